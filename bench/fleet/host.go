//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/daemon/control"
)

// host is a daemon with a region of its own, and an application that reads it.
type host struct {
	region string
	daemon *exec.Cmd
	query  *control.Client
	app    *client.Client // nil until the region is there
}

// fleet is all hosts, and what their applications have seen.
type fleet struct {
	origins []*origin
	hosts   []*host

	mu      sync.Mutex
	has     [][]int         // by origin and host: the newest change that it has seen
	since   [][]time.Time   // and when it saw it
	faults  map[string]bool // what must not be
	stopped bool
	ended   chan struct{} // closed when the watching has ended
}

func newFleet(origins []*origin) *fleet {
	return &fleet{origins: origins, has: make([][]int, len(origins)), since: make([][]time.Time, len(origins)), faults: map[string]bool{}, ended: make(chan struct{})}
}

// start starts that many more daemons. The fleet's application reads their regions, too.
func (f *fleet) start(n int, statesyncd, dir, shm string) error {
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, []byte(f.origins[0].ca), 0o644); err != nil {
		return err
	}
	var args []string
	for _, o := range f.origins {
		args = append(args, "--source="+o.source)
	}
	for range n {
		name := fmt.Sprintf("host-%03d", len(f.hosts))
		h := &host{region: filepath.Join(shm, name)}
		h.query = control.Dial(h.region, []int{os.Geteuid()})
		h.daemon = exec.Command(statesyncd, append(args, "--region="+h.region, "--state-dir="+filepath.Join(dir, "state", name), "--control-dir=")...)
		// With more threads each, the daemons would mostly wake threads that have nothing to do.
		h.daemon.Env = append(os.Environ(), "SSL_CERT_FILE="+ca, "GOMAXPROCS=1")
		h.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
		log, err := os.Create(filepath.Join(dir, name+".log"))
		if err != nil {
			return err
		}
		h.daemon.Stderr = log
		if err := errors.Join(h.daemon.Start(), log.Close()); err != nil {
			return err
		}
		f.mu.Lock()
		f.hosts = append(f.hosts, h)
		for k := range f.origins {
			f.has[k], f.since[k] = append(f.has[k], 0), append(f.since[k], time.Time{})
		}
		f.mu.Unlock()
	}
	return nil
}

// watch reads all regions, every 5 ms, until the end.
func (f *fleet) watch() {
	defer close(f.ended)
	for running := true; running; time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		for i, h := range f.hosts {
			f.look(i, h)
		}
		running = !f.stopped
		f.mu.Unlock()
	}
}

func (f *fleet) look(i int, h *host) {
	if h.app == nil {
		var err error
		if h.app, err = client.Open(h.region); err != nil {
			h.app = nil
			return
		}
	}
	now := h.app.Snapshot()
	for k, o := range f.origins {
		doc, err := now.Get(o.config)
		if err != nil {
			if f.has[k][i] > 0 {
				f.faults[fmt.Sprintf("a host has lost %s: %v", o.config, err)] = true
			}
			continue
		}
		n, again := doc.IntOr("n", -1), doc.IntOr("again", -2)
		switch last := f.has[k][i]; {
		case n != again:
			f.faults["a host has a torn "+o.config] = true
		case n < last:
			f.faults["a host went back in "+o.config] = true
		case n > last:
			f.has[k][i], f.since[k][i] = n, time.Now()
		}
	}
}

// wait waits until all hosts have an origin's newest change, and returns when each saw it.
func (f *fleet) wait(k int, atMost time.Duration) ([]time.Time, error) {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		var there []time.Time
		f.mu.Lock()
		for i, n := range f.has[k] {
			if n == f.origins[k].changed {
				there = append(there, f.since[k][i])
			}
		}
		f.mu.Unlock()
		hosts := len(f.hosts) // only the caller starts some
		if len(there) == hosts {
			return there, nil
		}
		if time.Since(began) > atMost {
			return there, fmt.Errorf("%d of %d hosts have change %d of %s after %v", len(there), hosts, f.origins[k].changed, f.origins[k].config, atMost)
		}
	}
}

// troubled counts the hosts that say that an origin is in trouble.
func (f *fleet) troubled(k int) (n int, err error) {
	for _, h := range f.hosts {
		status, err := h.query.Status(context.Background())
		if err != nil {
			return n, err
		}
		for _, l := range status.Layers {
			if l.Name == f.origins[k].config && (l.Problem != "" || l.Good == nil || l.Looked == nil || l.Looked.After(*l.Good)) {
				n++
			}
		}
	}
	return n, nil
}

// cpu is what all daemons, and what they started, have used.
func (f *fleet) cpu() (total time.Duration) {
	const tick = time.Second / 100
	for _, h := range f.hosts {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.daemon.Process.Pid))
		if err != nil {
			continue
		}
		// After the name, which may have spaces, utime is the 12th field; stime, cutime
		// and cstime follow.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		for _, field := range fields[11:15] {
			n, _ := strconv.ParseInt(string(field), 10, 64)
			total += time.Duration(n) * tick
		}
	}
	return total
}

// resident is the median of what the daemons have of memory, in bytes.
func (f *fleet) resident() int64 {
	var all []int64
	for _, h := range f.hosts {
		statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", h.daemon.Process.Pid))
		if fields := bytes.Fields(statm); len(fields) > 1 {
			n, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			all = append(all, n*int64(os.Getpagesize()))
		}
	}
	return quantile(all, 0.5)
}

// stop ends the watching and the daemons.
func (f *fleet) stop() (failed error) {
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	<-f.ended
	for _, h := range f.hosts {
		if h.app != nil {
			failed = errors.Join(failed, h.app.Close())
		}
		failed = errors.Join(failed, h.daemon.Process.Signal(syscall.SIGTERM))
	}
	for _, h := range f.hosts {
		if err := h.daemon.Wait(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", filepath.Base(h.region), err))
		}
	}
	return failed
}
