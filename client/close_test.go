//go:build unix

package client_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// closePromptly closes clients, all at once. It fails the test where Close
// waits for followers to wake by themselves, which takes them up to 2 s. Its
// tests run alone.
func closePromptly(t *testing.T, clients ...*client.Client) {
	t.Helper()
	began := time.Now()
	var all sync.WaitGroup
	var late atomic.Int64
	for _, c := range clients {
		all.Go(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if time.Since(began) > time.Second {
				late.Add(1)
			}
		})
	}
	all.Wait()
	if n := int(late.Load()); n > len(clients)/4 {
		t.Errorf("%d of %d times Close took more than a second", n, len(clients))
	}
}

func TestCloseIsPromptUnderLoad(t *testing.T) {
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	startReading(t, open(t, dir))
	stop := flatOut(t, func() error {
		time.Sleep(time.Millisecond) // else 50 followers and what wakes them leave no processor for Close
		return p.publish(numbered(p.current.Generation() + 1))
	})
	var clients []*client.Client
	for range 50 {
		c := open(t, dir)
		if client.Bind[number](c, "a").Get().N == 0 {
			t.Fatal("there is no value")
		}
		clients = append(clients, c)
	}
	closePromptly(t, clients...)
	stop()
}

func TestCloseIsPromptWhereNothingHappens(t *testing.T) {
	dir := regionIn(t)
	lazy := regionIn(t)
	created(t, dir, 1, numbered(1))
	var clients []*client.Client
	for range 20 {
		clients = append(clients, open(t, dir), open(t, lazy, client.Lazy()))
	}
	time.Sleep(20 * time.Millisecond) // for followers to fall asleep
	closePromptly(t, clients...)
}

// Where the memory is gone that the follower sleeps on, it can't be woken
// through it.
func TestCloseIsPromptWhereTheMemoryIsGone(t *testing.T) {
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	clients := []*client.Client{open(t, dir), open(t, dir), open(t, dir), open(t, dir)}
	time.Sleep(20 * time.Millisecond) // for followers to fall asleep
	must(t, os.Truncate(p.Path(), 0))
	closePromptly(t, clients...)
}

// The follower may sleep on a region that exact readers have left already.
func TestCloseIsPromptWhereTheRegionWasReplaced(t *testing.T) {
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	clients := []*client.Client{open(t, dir), open(t, dir), open(t, dir), open(t, dir)}
	time.Sleep(20 * time.Millisecond)
	must(t, os.Truncate(p.Path(), 0))
	must(t, p.create(2, numbered(2)))
	for _, c := range clients {
		eventually(t, "the new region is read", func() bool { return c.Snapshot().Generation() == 2 })
	}
	closePromptly(t, clients...)
}

func TestCloseFromEverywhereAtOnce(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(numbered(1))
	for range 10 {
		c := r.Client()
		b := client.Bind[number](c, "a")
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if i == 0 {
					_ = client.Bind[number](c, "b")
					_, _ = c.Get("b")
				}
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				want(t, "In", b.In(c.Snapshot()).N, 1)
			})
		}
		all.Wait()
		must(t, c.Close())
	}
}

func TestValuesOutliveTheClient(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(configs{"a": number{1}, "b": number{1}, "never asked for": number{1}})
	c := r.Client()
	b, k := client.Bind[number](c, "a"), client.BindKey(c, "a", "N", 0)
	absent := client.Bind(c, "absent", client.Options[number]{Default: number{42}})
	_, err := c.Get("b")
	must(t, err)
	before := c.Snapshot()
	must(t, c.Close())
	r.Publish(numbered(2))
	for _, s := range []*client.Snapshot{before, c.Snapshot()} {
		want(t, "the generation", s.Generation(), 2)
		want(t, "In", b.In(s).N, 1)
		want(t, "KeyBinding.In", k.In(s), 1)
		want(t, "In of an absent one", absent.In(s).N, 42)
		value, err := b.Lookup(s)
		want(t, "Lookup", value.N, 1)
		must(t, err)
		d, err := s.Get("b")
		must(t, err)
		want(t, "the document", d.IntOr("N", 0), 1)
	}
	want(t, "Get", b.Get().N, 1)
	want(t, "KeyBinding.Get", k.Get(), 1)
	want(t, "Get of an absent one", absent.Get().N, 42)
	must(t, errors.Join(b.Err(), k.Err()))

	_, err = c.Get("never asked for")
	wantError(t, err, client.ErrClosed, "never asked for")
	late := client.Bind(c, "never asked for", client.Options[number]{Default: number{43}})
	want(t, "Get of a later binding", late.Get().N, 43)
	want(t, "In of a later binding", late.In(c.Snapshot()).N, 43)
	wantError(t, late.Err(), client.ErrClosed)
	other := client.Bind[weights](c, "a")
	want(t, "Get of a later binding of another type", *other.Get(), weights{})
	for range c.Watch(t.Context(), "a") {
		t.Error("a closed client's Watch yields something")
	}
	stats := c.Stats()
	want(t, "Stats' generation", stats.Generation, 2)
	want(t, "DaemonAlive", stats.DaemonAlive, false)
}

// A closed client leaves only what the program still refers to.
func TestCloseLeavesNothingBehind(t *testing.T) {
	needLinux(t)
	goroutines := goleak.IgnoreCurrent()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	before := descriptors()
	var last *client.Snapshot
	for range 50 {
		c, err := client.Open(dir)
		must(t, err)
		b := client.Bind[number](c, "a")
		p.next(t, numbered(p.current.Generation()+1))
		b.In(c.Snapshot())
		_, err = c.Get("b")
		must(t, err)
		last = c.Snapshot()
		must(t, c.Close())
	}
	goleak.VerifyNone(t, goroutines)
	want(t, "the number of descriptors", descriptors(), before)
	wantMappings(t, dir, 2) // the writer's, and that of the last snapshot
	want(t, "the last snapshot's generation", last.Generation(), 51)
	runtime.KeepAlive(last)
	last = nil
	wantMappings(t, dir, 1)
	_ = last
}

// A client that is never closed holds a goroutine and a mapping, and nothing that
// grows.
func TestFollowingLeavesNothingBehind(t *testing.T) {
	needLinux(t)
	dir := regionIn(t)
	p := created(t, dir, 1, configs{"a": strings.Repeat("x", 1000)})
	c := open(t, dir)
	b := client.Bind[string](c, "a")
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	goroutines := runtime.NumGoroutine()
	change := func(n int) {
		for i := range n {
			g := p.next(t, configs{"a": strings.Repeat("x", 1000+i%7)})
			must(t, c.WaitGeneration(t.Context(), g))
			b.In(c.Snapshot())
			_, _ = c.Get("absent")
		}
	}
	change(100)
	before := heap()
	change(2000)
	if grown := heap() - before; grown > 256<<10 {
		t.Errorf("2,000 changes of 1 kB left %d bytes", grown)
	}
	eventually(t, "no goroutine stays", func() bool { return runtime.NumGoroutine() <= goroutines })
}
