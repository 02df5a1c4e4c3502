//go:build unix

package client_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
)

// visit is one call of user code from inside a client.
type visit struct {
	*client.Client
	ctx  context.Context // ends with the test
	wake <-chan struct{} // closed with the test
}

// deeds are what user code does there.
var deeds = map[string]struct {
	do      func(v visit)
	patient bool // and does not return
	closes  bool
}{
	"panics": {do: func(visit) { panic("out of luck") }},
	"exits":  {do: func(visit) { runtime.Goexit() }},
	"sleeps": {do: func(v visit) { <-v.wake }, patient: true},
	// Its own binding has not settled that generation, nor will it before.
	"waits for its generation": {do: func(v visit) { _ = v.WaitGeneration(v.ctx, 2) }, patient: true},
	"waits for a later one":    {do: func(v visit) { _ = v.WaitGeneration(v.ctx, 1<<40) }, patient: true},
	"waits for a passed one": {do: func(v visit) {
		ctx, cancel := context.WithTimeout(v.ctx, time.Millisecond)
		defer cancel()
		_ = v.WaitGeneration(ctx, 1)
	}},
	"closes": {do: func(v visit) { _ = v.Close() }, closes: true},
	"closes twice at once": {do: func(v visit) {
		other := async(v.Close)
		_ = v.Close()
		if err := <-other; err != nil {
			panic(err)
		}
	}, closes: true},
	"reads": {do: func(v visit) {
		_, _ = v.Get("polite")
		_, _ = v.Get("never asked for")
		_, _ = v.Snapshot().Get("rude")
		_ = v.Stats()
	}},
	"binds": {do: func(v visit) {
		client.Bind[number](v.Client, "rude").Get()
		client.BindKey(v.Client, "polite", "N", 0).In(v.Snapshot())
		client.Bind[rude](v.Client, "rude").Get()
	}},
	"watches": {do: func(v visit) {
		for range v.Watch(v.ctx, "rude") {
			break
		}
	}},
}

// places are where a client calls user code. Each has do called when the config
// says 2.
var places = map[string]func(t *testing.T, v visit, do func()){
	"UnmarshalJSON": func(t *testing.T, v visit, do func()) {
		client.Bind[rude](v.Client, "rude")
		errands.Store(t.Name(), func([]byte) error { do(); return nil })
		t.Cleanup(func() { errands.Delete(t.Name()) })
	},
	"UnmarshalJSON of a key": func(t *testing.T, v visit, do func()) {
		client.BindKey(v.Client, "outer", "rude", rude{})
		errands.Store(t.Name(), func([]byte) error { do(); return nil })
		t.Cleanup(func() { errands.Delete(t.Name()) })
	},
	"Decode of a document": func(t *testing.T, v visit, do func()) {
		errands.Store(t.Name(), func([]byte) error { do(); return nil })
		t.Cleanup(func() { errands.Delete(t.Name()) })
		inLoop(t, v.Watch(v.ctx, "rude"), func(d client.Doc) { _ = d.Decode(new(rude)) })
	},
	"validation": func(_ *testing.T, v visit, do func()) {
		client.Bind(v.Client, "rude", client.Options[number]{Validate: func(n *number) error {
			if n.N == 2 {
				do()
			}
			return nil
		}})
	},
	"validation of a key": func(_ *testing.T, v visit, do func()) {
		client.BindKey(v.Client, "rude", "N", 0, client.KeyOptions[int]{Validate: func(n *int) error {
			if *n == 2 {
				do()
			}
			return nil
		}})
	},
	"hook": func(_ *testing.T, v visit, do func()) {
		client.Bind(v.Client, "rude", client.Options[number]{OnReject: func(error) { do() }, Validate: func(n *number) error {
			if n.N == 2 {
				return errors.New("no")
			}
			return nil
		}})
	},
	"watch": func(t *testing.T, v visit, do func()) {
		inLoop(t, v.Watch(v.ctx, "rude"), func(d client.Doc) {
			if d.IntOr("N", 0) == 2 {
				do()
			}
		})
	},
	"watch of a key": func(t *testing.T, v visit, do func()) {
		inLoop(t, v.WatchKey(v.ctx, "rude", "N"), func(d client.Doc) {
			if d.IntOr("N", 0) == 2 {
				do()
			}
		})
	},
}

// inLoop calls body in a loop over a watch, on a goroutine that may do there
// what it likes.
func inLoop(t *testing.T, changes func(func(client.Change) bool), body func(client.Doc)) {
	started, ended := make(chan struct{}, 1000), make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = recover() }()
		for change := range changes {
			body(change.Doc)
			started <- struct{}{}
		}
	}()
	inTime(t, "the loop has begun", started)
	t.Cleanup(func() { inTime(t, "the loop ends", ended) })
}

// Nothing that user code does anywhere stops other bindings, exact readers, the
// follower, or Close.
func TestUserCodeDoesAnythingAnywhere(t *testing.T) {
	t.Parallel()
	for place, install := range places {
		for deed, d := range deeds {
			t.Run(place+" "+deed, func(t *testing.T) {
				t.Parallel()
				all := func(do string, n int) configs {
					c := both(do, n)
					c["outer"] = configs{"rude": rude{do, n}}
					return c
				}
				p := created(t, regionIn(t), 1, all("", 1))
				c := open(t, p.dir())
				polite := client.Bind[number](c, "polite")
				key := client.BindKey(c, "polite", "N", 0)
				wake := make(chan struct{})
				ctx, cancel := context.WithCancel(context.Background())
				began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
				var once atomic.Bool
				v := visit{c, ctx, wake}
				install(t, v, func() {
					if !once.CompareAndSwap(false, true) {
						return // of a binding that the deed itself makes
					}
					began <- struct{}{}
					defer func() { ended <- struct{}{} }()
					d.do(v)
				})
				t.Cleanup(func() { cancel(); close(wake) }) // before the place's own
				p.next(t, all(t.Name(), 2))
				inTime(t, "the user's code is called", began)
				if !d.patient {
					inTime(t, "the user's code has returned", ended)
				}
				if d.closes {
					want(t, "the generation after Close", c.Snapshot().Generation(), 2)
				} else {
					for n := 3; n < 6; n++ {
						g := p.next(t, all("", n))
						s := c.Snapshot()
						want(t, "the generation", s.Generation(), g)
						want(t, "In of another binding", polite.In(s).N, uint64(n))
						want(t, "In of a binding of a key", key.In(s), n)
						eventually(t, "another binding follows", func() bool { return polite.Get().N == uint64(n) && key.Get() == n })
					}
				}
				must(t, inTime(t, "Close returns", async(c.Close)))
			})
		}
	}
}

// A value that validation refuses by panicking or by ending its goroutine is
// refused like any other.
func TestValidatorThatFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(){
		"out of luck": func() { panic("out of luck") },
		"Goexit":      runtime.Goexit,
	} {
		p := created(t, regionIn(t), 1, both("", 1))
		c := open(t, p.dir())
		refusals := make(chan error, 10)
		b := client.Bind(c, "rude", client.Options[number]{OnReject: func(err error) { refusals <- err }, Validate: func(n *number) error {
			if n.N == 2 {
				fail()
			}
			return nil
		}})
		polite := client.Bind[number](c, "polite")
		g := p.next(t, both("", 2))
		must(t, c.WaitGeneration(t.Context(), g))
		want(t, "Get", b.Get().N, 1)
		want(t, "In", b.In(c.Snapshot()).N, 1)
		wantRefused(t, b.Err(), errAny, "rude", "", g)
		err := inTime(t, "OnReject is called", refusals)
		wantError(t, err, err, "rude", name)
		want(t, "Rejections", c.Stats().Rejections, 1)
		goesOn(t, c, p, polite)
		eventually(t, "the binding follows again", func() bool { return b.Get().N == 1001 })
	}
}
