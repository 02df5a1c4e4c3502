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
	left   atomic.Int64 // arrivals until it happens
)

func init() {
	asked := os.Getenv(Env)
	var count string
	action, point, _ = strings.Cut(asked, ":")
	point, count, _ = strings.Cut(point, ":")
	n, err := strconv.Atoi(count)
	if count == "" {
		n, err = 1, nil
	}
	known := action == "kill" || action == "stop"
	switch {
	case asked == "", asked == "trace":
		return
	case !known, err != nil, n < 1, !slices.Contains(Names, point):
		// A misspelled one would be a test that tries nothing.
		fmt.Fprintf(os.Stderr, "%s=%s: it must be trace, or kill:NAME, stop:NAME or either with :N behind it, with one of the names %s\n",
			Env, asked, strings.Join(Names, " "))
		os.Exit(2)
	}
	left.Store(int64(n))
}

// Here says that a named point has been reached. What FAILPOINT asks for there
// has happened when it returns.
func Here(name string) {
	if action == "trace" {
		fmt.Fprintln(os.Stderr, "failpoint", name)
		return
	}
	if name != point || left.Add(-1) != 0 {
		return
	}
	signal := unix.SIGKILL
	if action == "stop" {
		signal = unix.SIGSTOP
	}
	// To this very thread, which so gets no further. The whole process stops or
	// dies with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), signal)
}
