//go:build unix

package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// A snapshot is immutable: what a binding has in it stays, however much is
// published while a request holds it.
func TestInOfOneSnapshotNeverChanges(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(configs{"deleted": weights{Elo: 1}, "refused": weights{Elo: 1}, "there": weights{Elo: 1}})
	c := r.Client()
	def := client.Options[weights]{Default: weights{Elo: -1}}
	bindings := map[string]*client.Binding[weights]{
		"deleted": client.Bind(c, "deleted", def),
		"refused": client.Bind(c, "refused", def),
		"there":   client.Bind(c, "there", def),
	}
	r.Publish(configs{"refused": configs{"elo": "x"}, "there": weights{Elo: 1}})
	held := c.Snapshot()
	for name, b := range bindings {
		want(t, "In of "+name, *b.In(held), weights{Elo: 1})
	}
	for n := range 10 {
		value := weights{Elo: 2 + n}
		r.Publish(configs{"deleted": value, "refused": value, "there": value})
	}
	for name, b := range bindings {
		want(t, "In of "+name+", ten changes later", *b.In(held), weights{Elo: 1})
		want(t, "Get of "+name, *b.Get(), weights{Elo: 11})
	}
}

func TestInGivesOldSnapshotsTheirOwnValues(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	b := client.Bind(c, "a", client.Options[number]{Default: number{0}})
	k := client.BindKey[uint64](c, "a", "N", 0)
	// Of each generation, what a binding is to have in it.
	steps := []struct {
		config any
		want   uint64
		err    error
	}{
		{configs{"N": "refused at first"}, 0, client.ErrWrongType},
		{number{10}, 10, nil},
		{number{11}, 11, nil},
		{configs{"N": "refused"}, 11, client.ErrWrongType},
		{configs{"N": "refused again"}, 11, client.ErrWrongType},
		{nil, 11, client.ErrNotFound},
		{number{12}, 12, nil},
		{configs{"N": "refused"}, 12, client.ErrWrongType},
		{number{10}, 10, nil}, // a rollback is a change like any other
	}
	snapshots := []*client.Snapshot{c.Snapshot()}
	for _, step := range steps {
		if step.config == nil {
			r.Delete("a")
		} else {
			r.Set("a", step.config)
		}
		snapshots = append(snapshots, c.Snapshot())
		want(t, "Get", b.Get().N, step.want)
		want(t, "KeyBinding.Get", k.Get(), step.want)
	}
	// Newest first, and oldest first: what was asked before makes no difference.
	check := func(i int) {
		t.Helper()
		value, err := b.Lookup(snapshots[i+1])
		what := fmt.Sprintf("in generation %d", i+2)
		want(t, "Lookup "+what, value.N, steps[i].want)
		want(t, "In "+what, b.In(snapshots[i+1]).N, steps[i].want)
		want(t, "KeyBinding.In "+what, k.In(snapshots[i+1]), steps[i].want)
		if !errors.Is(err, steps[i].err) {
			t.Errorf("Lookup %s: %v", what, err)
		}
	}
	for i := range steps {
		check(len(steps) - 1 - i)
	}
	for i := range steps {
		check(i)
	}
	want(t, "In where there was none", b.In(snapshots[0]).N, 0)
}

// A value that is accepted late counts in all snapshots after its own whose values
// were rejected.
func TestInOfRejectedValuesAfterOneThatIsAcceptedLate(t *testing.T) {
	t.Parallel()
	asleep, wake := make(chan struct{}), make(chan struct{})
	p := created(t, regionIn(t), 1, configs{"a": number{1}})
	c := open(t, p.dir())
	b := client.Bind(c, "a", client.Options[number]{Validate: func(n *number) error {
		if n.N == 2 {
			close(asleep)
			<-wake
		}
		return nil
	}})
	p.next(t, configs{"a": number{2}})
	inTime(t, "the validation of 2 sleeps", asleep)
	var rejected []*client.Snapshot
	for i := range 3 {
		p.next(t, configs{"a": configs{"N": "x", "i": i}})
		s := c.Snapshot()
		want(t, "In", b.In(s).N, 1)
		rejected = append(rejected, s)
	}
	close(wake)
	eventually(t, "2 is accepted", func() bool { return b.Get().N == 2 })
	for _, s := range rejected {
		want(t, "In", b.In(s).N, 2)
	}
}

// A binding that is made when a snapshot is old already still has the
// snapshot's own value, as long as the region has it.
func TestInOfABindingYoungerThanTheSnapshot(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	old := c.Snapshot()
	r.Set("a", number{2})
	b := client.Bind[number](c, "a")
	want(t, "Get", *b.Get(), number{2})
	value, err := b.Lookup(old)
	must(t, err)
	want(t, "Lookup", *value, number{1})
	want(t, "In", *b.In(old), number{1})
	want(t, "Get after In of an old snapshot", *b.Get(), number{2})
	if b.In(old) != value {
		t.Error("the second In decoded once more")
	}

	// What is found out about the past says nothing about the present.
	past := c.Snapshot()
	r.Set("a", configs{"N": "no number"})
	late := client.Bind[number](c, "a")
	wantError(t, late.Err(), client.ErrWrongType)
	want(t, "In", *late.In(past), number{2})
	wantError(t, late.Err(), client.ErrWrongType)
}

func TestInOfAnotherClientsSnapshotIsGet(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c, other := r.Client(), r.Client()
	b := client.Bind[number](c, "a")
	client.Bind[number](other, "a")
	foreign := other.Snapshot()
	r.Set("a", number{2})
	want(t, "In", *b.In(foreign), number{2})
	value, err := b.Lookup(foreign)
	want(t, "Lookup", *value, number{2})
	if err == nil {
		t.Error("Lookup does not say that the snapshot is another client's")
	}
}

// decodedOnce counts how often it is decoded.
type decodedOnce struct{ N uint64 }

var decodings atomic.Uint64

func (d *decodedOnce) UnmarshalJSON(text []byte) error {
	decodings.Add(1)
	time.Sleep(time.Millisecond) // long enough for the others to come
	type plain decodedOnce
	return json.Unmarshal(text, (*plain)(d))
}

func TestOneChangeIsDecodedOnce(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	before := decodings.Load()
	b := client.Bind[decodedOnce](c, "a")
	for g := uint64(2); g < 7; g++ {
		var together, done sync.WaitGroup
		together.Add(1)
		for range 1000 {
			done.Go(func() {
				together.Wait()
				s := c.Snapshot()
				if n := b.In(s).N; n != s.Generation() {
					t.Errorf("In is of %d in generation %d", n, s.Generation())
				}
			})
		}
		p.next(t, numbered(g))
		together.Done()
		done.Wait()
		want(t, "Get", b.Get().N, g)
		want(t, "decodings", decodings.Load()-before, g)
	}
}

func TestBindingsOfOneSnapshotBelongTogether(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	// One binding takes a goroutine, and the other does not: they come apart.
	a := client.Bind(c, "a", client.Options[number]{Validate: func(*number) error { runtime.Gosched(); return nil }})
	b := client.BindKey[uint64](c, "b", "N", 0)
	stop := flatOut(t, func() error { return p.publish(numbered(p.current.Generation() + 1)) })
	var apart atomic.Uint64 // how often two Gets were of two generations
	var readers sync.WaitGroup
	deadline := time.Now().Add(patience)
	for range 4 {
		readers.Go(func() {
			var last uint64
			for n := 0; n < 2000 || apart.Load() == 0 && time.Now().Before(deadline); n++ {
				s := c.Snapshot()
				g := s.Generation()
				if x, y := a.In(s).N, b.In(s); x != g || y != g {
					t.Errorf("in generation %d one binding is of %d, the other of %d", g, x, y)
				}
				// Get moves before In returns, and never back.
				x, y := a.Get().N, b.Get()
				if x < g || y < g || x < last {
					t.Errorf("Get is of %d and %d after In of %d, Get before was of %d", x, y, g, last)
				}
				if last = x; x != y {
					apart.Add(1)
				}
			}
		})
	}
	readers.Wait()
	stop()
	if apart.Load() == 0 {
		t.Error("two Gets never came apart under a busy writer: what did the test test?")
	}
	t.Logf("two Gets came apart %d times in %d generations, two Ins of one snapshot never", apart.Load(), p.current.Generation())
}
