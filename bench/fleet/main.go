//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/statesync/statesync/bench/page"
)

// serverEnv is set in the processes of the servers.
const serverEnv = "STATESYNC_FLEET_SERVER"

// The comments around what is written into a page.
const (
	begin = "<!-- begin: written by bench/fleet -->\n"
	end   = "<!-- end: written by bench/fleet -->\n"
)

// trial says what is tried.
type trial struct {
	first      int // hosts with which changes are tried before the others start; 0: none
	hosts      int
	interval   time.Duration // of the polls
	calm       time.Duration // how long nothing happens
	changes    int           // of each origin
	outage     time.Duration
	trouble    time.Duration // how long a server hangs, is slow and writes garbage
	statesyncd string
	statesync  string
	command    string // that the report names
}

func main() {
	serveIfServer()
	t := trial{}
	flag.IntVar(&t.first, "first", 100, "with how many of the daemons to try changes before the others start")
	flag.IntVar(&t.hosts, "hosts", 500, "how many `daemons` there are")
	flag.DurationVar(&t.interval, "interval", 10*time.Second, "how often each polls each source")
	flag.DurationVar(&t.calm, "calm", time.Minute, "how long to measure polls without a change")
	flag.IntVar(&t.changes, "changes", 5, "how many changes of each source to make")
	flag.DurationVar(&t.outage, "outage", time.Minute, "how long the servers are down")
	flag.DurationVar(&t.trouble, "trouble", 30*time.Second, "how long each server hangs, is slow and writes garbage")
	bin := flag.String("bin", "bin", "the `folder` of statesyncd and statesync")
	file := flag.String("page", "", "the `file` to write the tables into, between the comments that say so")
	flag.Parse()
	t.command = strings.Join(append([]string{"go run ./bench/fleet"}, os.Args[1:]...), " ")
	if t.first >= t.hosts {
		t.first = 0
	}
	t.statesyncd, t.statesync = filepath.Join(*bin, "statesyncd"), filepath.Join(*bin, "statesync")
	var report strings.Builder
	err := measure(t, io.MultiWriter(os.Stdout, &report))
	if err == nil && *file != "" {
		err = page.Write(*file, begin, end, report.String())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// serveIfServer does not return in the process of a server.
func serveIfServer() {
	if os.Getenv(serverEnv) == "" {
		return
	}
	if err := serve(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fleet: a server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measure tries everything, and writes its tables.
func measure(t trial, report io.Writer) (err error) {
	for _, name := range []*string{&t.statesyncd, &t.statesync} {
		if *name, err = filepath.Abs(*name); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "statesync-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	shm, err := os.MkdirTemp("/dev/shm", "statesync-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(shm)
	origins, err := newOrigins(dir, t.statesync, t.interval)
	defer func() {
		for _, o := range origins {
			err = errors.Join(err, o.stop())
		}
	}()
	if err != nil {
		return err
	}
	m := &meter{fleet: newFleet(origins), trial: t, text: report}
	err = m.all(dir, shm)
	err = errors.Join(err, m.fleet.stop())
	for fault := range m.fleet.faults {
		err = errors.Join(err, errors.New(fault))
	}
	return err
}
