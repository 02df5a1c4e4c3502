//go:build unix

package client_test

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"math/bits"
	"sync"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

// watched pulls what a Watch yields one by one.
type watched struct {
	t    *testing.T
	next func() (client.Change, bool)
}

func pull(t *testing.T, watch func(ctx context.Context) iter.Seq[client.Change]) watched {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	next, stop := iter.Pull(watch(ctx))
	t.Cleanup(stop)
	return watched{t, next}
}

// want fails the test unless the next change leads from one generation to
// another, with an error or with the value of "N".
func (w watched) want(from, to uint64, n int, err error) client.Change {
	w.t.Helper()
	change, ok := w.next()
	if !ok {
		w.t.Fatal("there is no change")
	}
	want(w.t, "From", change.From, from)
	want(w.t, "To", change.To, to)
	if err != nil {
		wantRefused(w.t, change.Err, err, change.Config, change.Key, to)
		return change
	}
	must(w.t, change.Err)
	want(w.t, "the value", change.Doc.IntOr("N", -1), n)
	want(w.t, "the document's generation", change.Doc.Generation(), to)
	return change
}

func TestWatchYieldsEachStateFromTheFirstOn(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	w := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.Watch(ctx, "a") })
	change := w.want(0, 1, 0, client.ErrNotFound)
	want(t, "Config", change.Config, "a")
	want(t, "Key", change.Key, "")
	want(t, "a key of a config that is absent", change.Doc.Has("N"), false)
	r.Set("other", number{1})
	r.Set("a", number{3})
	w.want(1, 3, 3, nil)
	r.Set("a", number{4})
	w.want(3, 4, 4, nil)
	r.Set("other", number{5})
	r.Delete("a")
	w.want(4, 6, 0, client.ErrNotFound)
	r.Set("a", number{7})
	w.want(6, 7, 7, nil)

	// Another loop begins anew, and so does the same sequence.
	sequence := c.Watch(t.Context(), "a")
	for range 2 {
		for change := range sequence {
			want(t, "From", change.From, 0)
			want(t, "To", change.To, 7)
			break
		}
	}
}

func TestWatchYieldsTheLatestOnly(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{2})
	c := r.Client()
	w := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.Watch(ctx, "a") })
	w.want(0, 2, 2, nil)
	for n := uint64(3); n <= 100; n++ {
		r.Set("a", number{n})
	}
	w.want(2, 100, 100, nil)
	r.Set("a", number{101})
	w.want(100, 101, 101, nil)
}

func TestWatchWithoutARegion(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	c := open(t, dir, client.Lazy())
	w := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.Watch(ctx, "a") })
	key := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.WatchKey(ctx, "a", "N") })
	w.want(0, 0, 0, client.ErrNoRegion)
	key.want(0, 0, 0, client.ErrNoRegion)
	created(t, dir, 7, numbered(7))
	w.want(0, 7, 7, nil)
	key.want(0, 7, 7, nil)
}

// A region without such a config is another state than no region: a program that
// waits for its config learns that it was not published.
func TestWatchTellsNoRegionFromNotFound(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	c := open(t, dir, client.Lazy())
	w := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.Watch(ctx, "absent") })
	w.want(0, 0, 0, client.ErrNoRegion)
	created(t, dir, 7, numbered(7))
	w.want(0, 7, 0, client.ErrNotFound)
}

func TestWatchKeyTellsNoRegionFromNoConfigAndNoKey(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	c := open(t, dir, client.Lazy())
	w := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.WatchKey(ctx, "a", "N") })
	w.want(0, 0, 0, client.ErrNoRegion)
	p := created(t, dir, 1, configs{"a": configs{"M": 1}})
	change := w.want(0, 1, 0, client.ErrNotFound) // the config does not have the key
	want(t, "a key that the config has", change.Doc.IntOr("M", 0), 1)
	p.next(t, configs{})
	change = w.want(1, 2, 0, client.ErrNotFound) // there is no config
	_, err := change.Doc.Int("N")
	wantRefused(t, err, client.ErrNotFound, "a", "N", 2)
	p.next(t, configs{"a": number{3}})
	w.want(2, 3, 3, nil)
}

func TestWatchKeyYieldsNothingElse(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	w := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.WatchKey(ctx, "a", "N") })
	change := w.want(0, 1, 0, client.ErrNotFound)
	want(t, "Config", change.Config, "a")
	want(t, "Key", change.Key, "N")
	r.Set("a", configs{"x": 1})
	r.Set("a", configs{"x": 2})
	r.Set("a", configs{"x": 2, "N": 4})
	w.want(1, 4, 4, nil)
	r.Set("a", configs{"x": 5, "N": 4})
	r.Set("a", configs{"N": 4})
	r.Set("b", number{7})
	r.Set("a", configs{"N": 8})
	w.want(4, 8, 8, nil)
	r.Set("a", configs{"x": 1})
	w.want(8, 9, 0, client.ErrNotFound)
	// The key is still not there, whether its config is or not.
	r.Delete("a")
	r.Set("a", configs{"x": 1})
	r.Set("a", configs{"N": 12})
	w.want(9, 12, 12, nil)
	r.Delete("a")
	w.want(12, 13, 0, client.ErrNotFound)
}

func TestWatchSeesARegionThatIsReplaced(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	w := pull(t, func(ctx context.Context) iter.Seq[client.Change] { return c.Watch(ctx, "a") })
	w.want(0, 1, 1, nil)
	must(t, p.create(10, numbered(10)))
	w.want(1, 10, 10, nil)
	must(t, p.create(20, configs{"a": number{10}, "b": number{20}})) // which is no change of a
	p.next(t, numbered(21))
	w.want(10, 21, 21, nil)
}

// ending is closed when a loop over Watch has ended.
func ending(ctx context.Context, c *client.Client, body func(client.Change) bool) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for change := range c.Watch(ctx, "a") {
			if !body(change) {
				break
			}
		}
	}()
	return ended
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	seen := make(chan struct{}, 100)
	see := func(client.Change) bool { seen <- struct{}{}; return true }

	c := r.Client()
	ctx, cancel := context.WithCancel(t.Context())
	ended := ending(ctx, c, see)
	inTime(t, "the first state is yielded", seen)
	cancel()
	inTime(t, "the loop ends with its context", ended)
	inTime(t, "a loop ends whose context has ended", ending(ctx, c, see))

	ended = ending(t.Context(), c, see)
	inTime(t, "the first state is yielded", seen)
	must(t, c.Close())
	inTime(t, "the loop ends with the client", ended)
	inTime(t, "a loop ends whose client has ended", ending(t.Context(), c, see))

	c = r.Client()
	inTime(t, "the loop ends with a break", ending(t.Context(), c, func(client.Change) bool { return false }))
	inTime(t, "the loop ends after Close in its body", ending(t.Context(), c, func(client.Change) bool {
		must(t, c.Close())
		return true
	}))

	ctx, cancel = context.WithCancel(t.Context())
	inTime(t, "the loop ends with its context in its body", ending(ctx, r.Client(), func(client.Change) bool { cancel(); return true }))
}

// No waiter misses the last of many generations that come just when it looks.
func TestManyWait(t *testing.T) {
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	const each = 3
	last := uint64(shmtest.Times(6001, 1501)) // generations
	seen := make(chan uint64, 100)
	var loops []<-chan struct{}
	for range 8 {
		var before client.Change
		loops = append(loops, ending(t.Context(), c, func(change client.Change) bool {
			want(t, "From", change.From, before.To)
			if n := change.Doc.UintOr("N", 0); n != change.To || n <= before.To {
				t.Errorf("generation %d has the value %d, after generation %d", change.To, n, before.To)
			}
			before = change
			if change.To%each == last%each {
				seen <- change.To
			}
			return change.To < last
		}))
		waits := make(chan struct{})
		loops = append(loops, waits)
		go func() {
			defer close(waits)
			for g := uint64(1); g <= last; g++ {
				if err := c.WaitGeneration(t.Context(), g); err != nil {
					t.Error(err)
				}
				if g%each == last%each {
					seen <- g
				}
			}
		}()
	}
	for g := uint64(1); ; g += each {
		for range loops {
			want(t, "the generation", inTime(t, "everybody sees a generation", seen), g)
		}
		if g == last {
			break
		}
		for n := g; n < g+each; n++ {
			p.next(t, numbered(n+1))
		}
	}
	for _, ended := range loops {
		inTime(t, "the loop ends", ended)
	}
}

func TestWaitGenerationWaitsUntilBindingsHaveSettled(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	decoding, release := make(chan struct{}, 10), make(chan struct{}, 10)
	stuck := make(chan struct{})
	defer close(stuck)
	release <- struct{}{}
	slow := client.Bind(c, "a", client.Options[number]{Validate: func(n *number) error {
		switch n.N {
		case 6:
			<-stuck
		case 3:
			return errors.New("three is refused")
		default:
			decoding <- struct{}{}
			<-release
		}
		return nil
	}})
	inTime(t, "the first value is decoded", decoding)
	must(t, c.WaitGeneration(t.Context(), 1))
	must(t, c.WaitGeneration(t.Context(), 0))

	wait := func(g uint64) <-chan error {
		return async(func() error { return c.WaitGeneration(t.Context(), g) })
	}
	settled := wait(2)
	p.next(t, numbered(2))
	inTime(t, "the second value is decoded", decoding)
	select {
	case err := <-settled:
		t.Fatalf("WaitGeneration returned while a binding was decoding: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	release <- struct{}{}
	must(t, inTime(t, "the second generation is settled", settled))
	want(t, "Get", slow.Get().N, 2)

	// A refusal settles a generation, too.
	settled = wait(3)
	p.next(t, numbered(3))
	must(t, inTime(t, "the third generation is settled", settled))
	want(t, "Get", slow.Get().N, 2)
	if slow.Err() == nil {
		t.Error("the third value was not refused")
	}
	// And so does a later generation.
	settled = wait(4)
	release <- struct{}{}
	release <- struct{}{}
	p.next(t, numbered(4))
	p.next(t, numbered(5))
	must(t, inTime(t, "the fourth generation is settled", settled))

	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("the test has no patience")
	cancel(reason)
	p.next(t, numbered(6))
	wantError(t, c.WaitGeneration(ctx, 6), reason)
}

func TestWaitGenerationEnds(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	lazy := open(t, dir, client.Lazy())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantError(t, lazy.WaitGeneration(ctx, 1), context.DeadlineExceeded, "generation 1")

	without := async(func() error { return lazy.WaitGeneration(t.Context(), 2) })
	p := created(t, dir, 2, numbered(2))
	must(t, inTime(t, "a lazy client finds the generation", without))

	c := open(t, dir)
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	wantError(t, c.WaitGeneration(ctx, 3), context.DeadlineExceeded, "generation 3", "at 2")

	// In another region the number means nothing, be it there already or not.
	first := c.Snapshot().RegionID()
	waits := &waitingContext{Context: t.Context(), waits: make(chan struct{})}
	replaced := async(func() error { return c.WaitGeneration(waits, 5) })
	select {
	case err := <-replaced:
		t.Fatalf("WaitGeneration returned too early: %v", err)
	case <-waits.waits:
	}
	must(t, p.create(100, numbered(100)))
	wantError(t, inTime(t, "WaitGeneration sees the new region", replaced), client.ErrReplaced, first, p.ID().String())

	closed := async(func() error { return c.WaitGeneration(t.Context(), 101) })
	must(t, c.Close())
	wantError(t, inTime(t, "WaitGeneration ends with the client", closed), client.ErrClosed)
	wantError(t, c.WaitGeneration(t.Context(), 101), client.ErrClosed)
}

// waitingContext closes waits once its end is waited for.
type waitingContext struct {
	context.Context
	waits chan struct{}
	once  sync.Once
}

func (c *waitingContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

// twin is another name with the hash of a name of 16 bytes.
func twin(t *testing.T, name string) string {
	t.Helper()
	const prime1, prime2, prime4, prime5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
	inverse := func(odd uint64) uint64 { // modulo 2^64
		x := odd
		for range 6 {
			x *= 2 - odd*x
		}
		return x
	}
	round := func(word uint64) uint64 { return bits.RotateLeft64(word*prime2, 31) * prime1 }
	after := func(word uint64) uint64 {
		return bits.RotateLeft64((prime5+16)^round(word), 27)*prime1 + prime4
	}
	first, second := binary.LittleEndian.Uint64([]byte(name)), binary.LittleEndian.Uint64([]byte(name[8:]))
	wanted := after(first) ^ round(second) ^ after(first+1)
	other := binary.LittleEndian.AppendUint64(nil, first+1)
	other = binary.LittleEndian.AppendUint64(other, bits.RotateLeft64(wanted*inverse(prime1), -31)*inverse(prime2))
	want(t, "the hash", image.HashName(string(other)), image.HashName(name))
	return string(other)
}

// A name that has the hash of another config's has nothing of that config.
func TestNameWithTheHashOfAnother(t *testing.T) {
	t.Parallel()
	const name = "tenants/12345678"
	other := twin(t, name)
	r := clienttest.New(t)
	r.Set(name, number{7})
	c := r.Client()
	for change := range c.Watch(t.Context(), other) {
		wantError(t, change.Err, client.ErrNotFound)
		want(t, "Int of the other name", change.Doc.IntOr("N", -1), -1)
		want(t, "Uint of the other name", change.Doc.UintOr("N", 42), 42)
		break
	}
	want(t, "a binding of the other name", client.BindKey(c, other, "N", 42).In(c.Snapshot()), 42)
	want(t, "the config", client.Bind[number](c, name).Get().N, 7)
}
