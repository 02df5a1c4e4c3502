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
	only   string       // arrivals with another file do not count; empty is any
	always bool         // it happens at each arrival
	armed  atomic.Bool  // arrivals count
	left   atomic.Int64 // arrivals until it happens
)

// actions are what can happen.
var actions = map[string]func(){
	"kill":     func() { signal(unix.SIGKILL) },
	"stop":     func() { signal(unix.SIGSTOP) },
	"panic":    func() { panic("planted") },
	"loop":     loop,
	"hang":     func() { select {} },
	"overflow": func() { overflow([64]uint64{}) },
	"memory":   takeMemory,
}

func init() {
	asked := os.Getenv(Env)
	var count string
	action, point, _ = strings.Cut(asked, ":")
	point, only, _ = strings.Cut(point, "=")
	point, from, _ = strings.Cut(point, "@")
	point, count, _ = strings.Cut(point, ":")
	always = only != "" && count == ""
	n, err := strconv.Atoi(count)
	if count == "" {
		n, err = 1, nil
	}
	switch {
	case asked == "", asked == "trace":
		return
	case actions[action] == nil, err != nil, n < 1, !slices.Contains(Names, point), from != "" && !slices.Contains(Names, from):
		// With a misspelled name a test would try nothing.
		fmt.Fprintf(os.Stderr, "%s=%s: it must be trace, or ACTION:NAME with :N, @FROM and =FILE behind it, in this order; "+
			"an action is kill, stop, hang, panic, loop, overflow or memory, and a name one of %s\n", Env, asked, strings.Join(Names, " "))
		os.Exit(2)
	}
	armed.Store(from == "")
	left.Store(int64(n))
}

// Here says that a named point has been reached. If FAILPOINT has an action for
// it, this has happened when Here returns.
func Here(name string) { File(name, "") }

// File is Here for a point that is reached once for each file.
func File(name, file string) {
	if action == "trace" {
		fmt.Fprintln(os.Stderr, "failpoint", name)
		return
	}
	if name == from {
		armed.Store(true)
	}
	if name != point || only != "" && file != only || !armed.Load() {
		return
	}
	if always || left.Add(-1) == 0 {
		actions[action]()
	}
}

// signal stops or kills this process. The signal goes to this thread, which gets no
// further. The whole process stops or dies with it.
func signal(s unix.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), s)
}

// sink keeps the compiler from leaving out what has no effect.
var sink atomic.Uint64

func loop() {
	for n := uint64(0); ; n++ {
		if n%(1<<20) == 0 {
			sink.Store(n)
		}
	}
}

// overflow has frames of the size of a parser's.
func overflow(frame [64]uint64) uint64 {
	frame[sink.Load()%64]++
	return overflow(frame) + frame[0]
}

// takeMemory takes memory, and writes to all of it.
func takeMemory() {
	const step = 16 << 20
	for taken := [][]byte(nil); ; {
		b := make([]byte, step)
		for i := 0; i < step; i += os.Getpagesize() {
			b[i] = 1
		}
		taken = append(taken, b)
		sink.Store(uint64(len(taken)))
	}
}
