//go:build linux

// Command locked is an application that locks its memory, and may read a region.
// TestMemoryLocked runs it: a test's own binary, with the race detector in it,
// can't be locked.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
)

func main() {
	future := flag.Bool("future", false, "lock only what is mapped later")
	limit := flag.Uint64("memlock", 0, "set RLIMIT_MEMLOCK to so many bytes first")
	heap := flag.Int("heap", 0, "take so many MiB of heap in the end, one after the other")
	flag.Parse()
	if err := run(flag.Arg(0), *future, *limit, *heap); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run(region string, future bool, limit uint64, heap int) error {
	if limit > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("setrlimit: %w", err)
		}
	}
	how := unix.MCL_CURRENT | unix.MCL_FUTURE
	if future {
		how = unix.MCL_FUTURE
	}
	if err := unix.Mlockall(how); err != nil {
		return fmt.Errorf("mlockall: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	before := lockedKiB()
	if region == "" {
		fmt.Println("opened", 0, before, before)
	} else {
		began := time.Now()
		c, err := client.Open(region)
		if err != nil {
			return err
		}
		defer c.Close()
		took := time.Since(began)
		fmt.Println("opened", took.Microseconds(), before, lockedKiB())
		go follow(c)
	}
	blocks := make([][]byte, heap)
	for n := range blocks {
		blocks[n] = make([]byte, 1<<20)
		fmt.Println("heap", n+1)
	}
	<-ended
	runtime.KeepAlive(blocks)
	return nil
}

// follow says which generations there are.
func follow(c *client.Client) {
	for last := uint64(0); ; time.Sleep(time.Millisecond) {
		if g := c.Snapshot().Generation(); g != last {
			last = g
			fmt.Println("generation", g)
		}
	}
}

// lockedKiB is how much of the process's memory counts as locked.
func lockedKiB() (kib int) {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmLck:")
	_, _ = fmt.Sscanf(rest, "%d", &kib)
	return kib
}
