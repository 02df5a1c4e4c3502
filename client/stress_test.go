//go:build unix

package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/shmtest"
)

// rudeness is what code of the application does to the goroutine that runs it.
var rudeness = []func(c *client.Client) error{
	func(*client.Client) error { return nil },
	func(*client.Client) error { return errors.New("rejected") },
	func(*client.Client) error { panic("out of luck") },
	func(*client.Client) error { runtime.Goexit(); return nil },
	func(*client.Client) error { time.Sleep(500 * time.Microsecond); return nil }, // about when the role passes on
	func(*client.Client) error { time.Sleep(time.Millisecond); runtime.Goexit(); return nil },
	func(*client.Client) error { time.Sleep(3 * time.Millisecond); return nil },
	func(*client.Client) error { runtime.LockOSThread(); return nil },
	func(*client.Client) error { runtime.LockOSThread(); runtime.Goexit(); return nil },
	func(*client.Client) error { debug.SetPanicOnFault(false); return nil },
	func(*client.Client) error { debug.SetPanicOnFault(true); return nil },
	func(c *client.Client) error { c.Snapshot(); c.Bindings(); c.Stats(); return nil },
	func(c *client.Client) error { return c.Ready(context.Background()) }, // ErrInHook
}

// Whatever validations and hooks do, and whenever the client is closed: values
// never go back, those of a snapshot belong together, and nothing is left behind,
// which the end of the package's tests verifies.
func TestRudeCodeUnderLoad(t *testing.T) {
	t.Parallel()
	for round := range shmtest.Times(8, 2) {
		dir := regionIn(t)
		p := created(t, dir, 1, numbered(1))
		c := open(t, dir)
		var blocked atomic.Int64
		wake := make(chan struct{})
		validate := func(n *number) error {
			if n.N > 1 && rand.IntN(40) == 0 { // Bind waits for the first one
				blocked.Add(1)
				defer blocked.Add(-1)
				<-wake
			}
			return rudeness[rand.IntN(len(rudeness))](c)
		}
		var bindings []*client.Binding[number]
		for i := range 6 {
			var old atomic.Pointer[number]
			bindings = append(bindings, client.Bind(c, []string{"a", "b"}[i%2], client.Options[number]{
				Validate: validate,
				OnChange: func(change client.Changed[number]) {
					if change.Old != old.Swap(change.New) {
						t.Error("the old value of a change is not the new one of that before")
					}
					if change.Old != nil && change.Old.N >= change.New.N {
						t.Errorf("a hook is told %d after %d", change.New.N, change.Old.N)
					}
					_ = rudeness[rand.IntN(len(rudeness))](c)
				},
				OnReject: func(error) { _ = rudeness[rand.IntN(len(rudeness))](c) },
			}))
		}
		polite := client.Bind[number](c, "a")
		other := client.Bind[number](c, "b")
		ended := make(chan struct{})
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				last := make([]uint64, len(bindings)+1)
				for !isClosed(ended) {
					s := c.Snapshot()
					if a, b := polite.In(s).N, other.In(s).N; a != b || a != s.Generation() {
						t.Errorf("a snapshot of generation %d has the values of %d and %d", s.Generation(), a, b)
					}
					for i, b := range append([]*client.Binding[number]{polite}, bindings...) {
						n := b.Get().N
						if n < last[i] {
							t.Errorf("Get returns %d after %d", n, last[i])
						}
						last[i] = n
					}
				}
			})
		}
		readers.Go(func() {
			last := uint64(0)
			for change := range bindings[0].Changes(t.Context()) {
				if change.New.N <= last {
					t.Errorf("Changes yields %d after %d", change.New.N, last)
				}
				last = change.New.N
			}
		})
		for g := uint64(2); g < 60; g++ {
			if g%20 == 0 {
				must(t, p.create(g, numbered(g)))
			} else {
				p.next(t, numbered(g))
			}
			if round%2 == 0 {
				eventually(t, fmt.Sprintf("generation %d is followed", g), func() bool { return polite.Get().N == g })
			}
		}
		must(t, inTime(t, "Close returns", async(c.Close)))
		close(ended)
		readers.Wait()
		close(wake)
		eventually(t, "the validations return", func() bool { return blocked.Load() == 0 })
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
