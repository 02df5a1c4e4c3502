//go:build failpoints && linux

package failpoint

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The action of FAILPOINT, and where it happens.
var (
	action string
	point  string
	from   string       // arrivals count from the first one at this point; empty is from the start
	armed  atomic.Bool  // arrivals count
	left   atomic.Int64 // arrivals until it happens
)

func init() {
	asked := os.Getenv(Env)
	var count string
	action, point, _ = strings.Cut(asked, ":")
	point, from, _ = strings.Cut(point, "@")
	point, count, _ = strings.Cut(point, ":")
	n, err := strconv.Atoi(count)
	if count == "" {
		n, err = 1, nil
	}
	known := action == "kill" || action == "stop"
	switch {
	case asked == "", asked == "trace":
		return
	case !known, err != nil, n < 1, !slices.Contains(Names, point), from != "" && !slices.Contains(Names, from):
		// With a misspelled name a test would try nothing.
		fmt.Fprintf(os.Stderr, "%s=%s: it must be trace, or kill:NAME or stop:NAME, with :N, @FROM or both behind it, and names out of %s\n",
			Env, asked, strings.Join(Names, " "))
		os.Exit(2)
	}
	armed.Store(from == "")
	left.Store(int64(n))
}

// Here says that a named point has been reached. If FAILPOINT has an action for
// it, this has happened when Here returns.
func Here(name string) {
	if action == "trace" {
		fmt.Fprintln(os.Stderr, "failpoint", name)
		return
	}
	if name == from {
		armed.Store(true)
	}
	if name != point || !armed.Load() || left.Add(-1) != 0 {
		return
	}
	signal := unix.SIGKILL
	if action == "stop" {
		signal = unix.SIGSTOP
	}
	// The signal goes to this thread, which gets no further. The whole process stops
	// or dies with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), signal)
}
