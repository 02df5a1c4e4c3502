package visible

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/contestant"
	"github.com/statesync/statesync/bench/peers/process"
)

// started is one moment on both clocks: Go's, which makes no syscall, and the
// one that all processes share.
var started = time.Now()

var startedAt = func() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // it can't fail
	return time.Duration(t.Nano())
}()

// monotonic is a clock that all processes share, to some hundred nanoseconds.
func monotonic() time.Duration { return onClock(time.Now()) }

// onClock is a time of this process on the clock of monotonic.
func onClock(t time.Time) time.Duration { return startedAt + t.Sub(started) }

// work is what a request of a busy process does besides reading its setting.
const work = 50 * time.Microsecond

// readerPart is the process that waits for changes. Its arguments are a
// contestant's name and its place as JSON. It writes a line for each version
// that it sees, the version and the time on the clock of monotonic, and takes
// the commands "idle", "calm" and "busy", which it answers with a line of their
// name. It begins idle.
//
// Idle, it leaves the processors to the others. Calm, it sees a change when the
// contestant notifies of it; for an exact contestant, which does not notify, one
// goroutine polls all the time. Busy, each processor has two goroutines that serve
// request after request without ever waiting, and a change is seen by the first
// request that reads the new value.
var readerPart = process.Register("visible", func(ctx context.Context, args []string, in *bufio.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("wants a contestant's name and its place")
	}
	c := contestant.Find(args[0])
	if c == nil {
		return fmt.Errorf("there is no contestant %q", args[0])
	}
	var p contestant.Place
	if err := json.Unmarshal([]byte(args[1]), &p); err != nil {
		return err
	}
	r, err := c.Open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	w := &watcher{Reader: r, out: out}
	return w.run(ctx, in)
})

// watcher is the reading process.
type watcher struct {
	*contestant.Reader
	told atomic.Int64 // the newest version that the contestant told of
	calm atomic.Bool  // a change is seen when it is told

	mu  sync.Mutex // orders what is written
	out io.Writer

	seen atomic.Int64 // the newest version that was written
}

func (w *watcher) run(ctx context.Context, in *bufio.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	if w.Watch != nil {
		established := make(chan struct{})
		var once sync.Once
		go func() {
			failed <- w.Watch(ctx, func(elo int) {
				now := monotonic()
				w.told.Store(int64(config.Version(elo)))
				if w.calm.Load() {
					w.saw(config.Version(elo), now)
				}
				once.Do(func() { close(established) })
			})
		}()
		select {
		case <-established:
		case err := <-failed:
			return err
		}
	}
	if err := process.Ready(w.out, ""); err != nil {
		return err
	}
	stop := func() {}
	defer func() { stop() }()
	for {
		command, err := in.ReadString('\n')
		if err != nil {
			return nil // the parent has gone, or wants it to end
		}
		select {
		case err := <-failed:
			return err
		default:
		}
		stop()
		stop = func() {}
		command = strings.TrimSpace(command)
		w.calm.Store(command == "calm")
		switch {
		case command == "busy":
			stop = w.serve(2*runtime.GOMAXPROCS(0), work, failed)
		case command == "calm" && w.Watch == nil:
			stop = w.serve(1, 0, failed)
		case command != "calm" && command != "idle":
			return fmt.Errorf("unknown command %q", command)
		}
		if err := w.write(command); err != nil {
			return err
		}
	}
}

// serve has so many goroutines serve requests, which take that long each, until
// stop is called. None of them ever waits for anything.
func (w *watcher) serve(goroutines int, working time.Duration, failed chan<- error) (stop func()) {
	var stopped atomic.Bool
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for !stopped.Load() {
				version, err := w.request()
				if err != nil {
					select {
					case failed <- err:
					default:
					}
					return
				}
				if int64(version) > w.seen.Load() {
					w.saw(version, monotonic())
				}
				for end := monotonic() + working; monotonic() < end; {
				}
			}
		})
	}
	return func() {
		stopped.Store(true)
		wg.Wait()
	}
}

// request is the version that a request reads.
func (w *watcher) request() (int, error) {
	if w.Watch != nil && !w.Polled {
		return int(w.told.Load()), nil
	}
	elo, err := w.Loop(1)
	return config.Version(elo), err
}

// saw writes that a version was seen, if it is the first time.
func (w *watcher) saw(version int, at time.Duration) {
	for {
		old := w.seen.Load()
		if int64(version) <= old {
			return
		}
		if w.seen.CompareAndSwap(old, int64(version)) {
			_ = w.write(fmt.Sprint(version, " ", int64(at))) // a parent that does not read it stops this process
			return
		}
	}
}

func (w *watcher) write(line string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := io.WriteString(w.out, line+"\n")
	return err
}
