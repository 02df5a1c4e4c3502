//go:build unix

package client_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
	"github.com/statesync/statesync/shm/writer"
)

// Every publication that returned before Snapshot was called is in it.
func TestSnapshotIsExact(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	a := client.Bind[number](c, "a")
	var committed atomic.Uint64
	committed.Store(1)
	stop := flatOut(t, func() error {
		err := p.publish(numbered(p.current.Generation() + 1))
		committed.Store(p.current.Generation())
		return err
	})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for last := uint64(0); last < uint64(shmtest.Times(2000, 600)) && !t.Failed(); {
				published := committed.Load()
				s := c.Snapshot()
				g := s.Generation()
				if g < published || g < last {
					t.Errorf("the snapshot is of generation %d, after %d was published and %d was seen", g, published, last)
				}
				last = g
				if n := a.In(s).N; n != g {
					t.Errorf("In is of %d in generation %d", n, g)
				}
				published = committed.Load()
				d, err := c.Get("b")
				if n := d.UintOr("N", 0); err != nil || n < published || n != d.Generation() {
					t.Errorf("Get is of %d in generation %d, after %d was published (%v)", n, d.Generation(), published, err)
				}
			}
		})
	}
	readers.Wait()
	stop()
}

// The same right after things went wrong: what was not there a moment ago is
// no reason to miss what is published now.
func TestSnapshotIsExactAsSoonAsThereIsARegion(t *testing.T) {
	t.Parallel()
	for range 5 {
		dir := regionIn(t)
		c := open(t, dir, client.Lazy())
		client.Bind[number](c, "a") // looks at the region, in vain
		p := created(t, dir, 1, numbered(1))
		client.Bind[number](c, "b") // looks once more, and finds it
		if g := c.Snapshot().Generation(); g != 1 {
			t.Skipf("a new binding did not find the region (generation %d)", g)
		}
		g := p.next(t, numbered(2))
		want(t, "the generation, after 2 was published", c.Snapshot().Generation(), g)
		p.close(t)
	}
}

func TestSnapshotIsExactAsSoonAsDamageIsMended(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	p.next(t, numbered(2))
	c := open(t, dir)
	for g := uint64(2); g < 7; g++ {
		patch(t, p.Path(), hotAt, byte((g-1)<<1))
		want(t, "the generation of a damaged region", c.Snapshot().Generation(), g)
		patch(t, p.Path(), hotAt, byte(g<<1))
		client.Bind[number](c, fmt.Sprint("config-", g)) // looks once more, and finds it mended
		p.next(t, numbered(g+1))
		want(t, "the generation", c.Snapshot().Generation(), g+1)
	}
}

func TestSnapshotNeverChanges(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(numbered(1))
	c := r.Client()
	_, err := c.Get("a")
	must(t, err)
	s := c.Snapshot()
	if c.Snapshot() != s {
		t.Error("without a publication there is another snapshot")
	}
	g, id := s.Generation(), s.RegionID()
	for n := range uint64(20) {
		r.Publish(numbered(n + 2))
		d, err := s.Get("a")
		must(t, err)
		want(t, "the value", d.IntOr("N", 0), 1)
		want(t, "the document's generation", d.Generation(), g)
		want(t, "the generation", s.Generation(), g)
		want(t, "the region's id", s.RegionID(), id)
	}
	r.Publish(configs{})
	if _, err := s.Get("a"); err != nil {
		t.Errorf("a deletion changed an old snapshot: %v", err)
	}
	_, err = c.Get("a")
	wantError(t, err, client.ErrNotFound)
}

// A config that is first asked for on an old snapshot is found as long as its
// generation is in the ring.
func TestLateConfigIsFoundUntilItExpires(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	old := c.Snapshot()
	for g := uint64(2); g <= 4; g++ { // three later ones fit into a ring of four
		p.next(t, numbered(g))
		d, err := old.Get("a")
		must(t, err)
		want(t, "the value", d.UintOr("N", 0), 1)
		want(t, "the generation", d.Generation(), 1)
	}
	b := client.Bind[number](c, "b")
	want(t, "In of a late binding", *b.In(old), number{1})
	p.next(t, numbered(5))
	// What was found once stays.
	d, err := old.Get("a")
	must(t, err)
	want(t, "the value", d.UintOr("N", 0), 1)
	want(t, "In of a late binding", *b.In(old), number{1})

	p.next(t, configs{"c": number{6}, "d": number{6}})
	six := c.Snapshot()
	for g := uint64(7); g <= 10; g++ {
		p.next(t, configs{"c": number{g}, "d": number{g}})
	}
	_, err = six.Get("c")
	wantRefused(t, err, client.ErrExpired, "c", "", 6)
	late := client.Bind(c, "d", client.Options[number]{Default: number{42}})
	value, err := late.Lookup(six)
	wantRefused(t, err, client.ErrExpired, "d", "", 6)
	want(t, "Lookup", *value, number{42})
	want(t, "In", *late.In(six), number{42})
	want(t, "Get", *late.Get(), number{10})
}

// Asking a client for a config is asking for the newest generation, and that
// has not expired: where a fast writer overtook the look, there is a newer one.
func TestGetOfANewNameUnderAFastWriter(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p, err := newPublisher(dir, writer.Options{Slots: 2, MaxImage: 64 << 10, Group: -1})
	must(t, err)
	t.Cleanup(func() { p.close(t) })
	c := configs{}
	for i := range 100 {
		c[fmt.Sprintf("config-%d", i)] = number{uint64(i)}
	}
	must(t, p.create(1, c))
	stop := flatOut(t, func() error { // what is unchanged, so that it takes no time to build it
		m, err := image.Build(p.current.Generation()+1, "", p.current.Sections(), p.current)
		if err == nil {
			p.current, err = m, p.Publish(m.Generation(), m.Words())
		}
		return err
	})
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for n := 0; n < shmtest.Times(15, 5) && !t.Failed(); n++ {
				reader, err := client.Open(dir)
				if err != nil {
					t.Error(err)
					return
				}
				for name, value := range c {
					if d, err := reader.Get(name); err != nil || d.UintOr("N", 1000) != value.(number).N {
						t.Errorf("%s: %s (%v)", name, d.JSON(), err)
					}
				}
				if err := reader.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	stop()
}

// The newest generation can't have expired. Where its slot says so all the same,
// it is damaged, and asking again and again is of no use.
func TestGetOfANewNameInADamagedRegion(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 4, numbered(4))
	c := open(t, dir)
	must(t, zero(p.Path(), tableAt, slotsAt-tableAt))
	_, err := c.Get("a")
	wantRefused(t, err, client.ErrCorrupt, "a", "", 4)
}

// An older image that was copied into the current slot, whole and with valid sums,
// does not pass for this generation.
func TestGetOfANewNameInAnOlderImage(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 4, numbered(4))
	p.next(t, numbered(5))
	c := open(t, dir)
	must(t, copyInside(p.Path(), slotsAt, slotsAt+slotSize, slotSize))
	_, err := c.Get("a")
	wantRefused(t, err, client.ErrCorrupt, "a", "", 5)
}

// Names may come from anywhere: those that are not there are not kept.
func TestMissesAreNotKept(t *testing.T) {
	r := clienttest.New(t)
	r.Publish(numbered(1))
	c := r.Client()
	old := c.Snapshot()
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range 100_000 {
		name := fmt.Sprintf("random-%d-%d", i, i*7919)
		s := old
		if i%2 == 0 {
			s = c.Snapshot()
		}
		if _, err := s.Get(name); !errors.Is(err, client.ErrNotFound) {
			t.Fatalf("Get %s: %v", name, err)
		}
	}
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("100,000 names that are not there took %d bytes", grown)
	}
	runtime.KeepAlive(old)
}

func TestGetOfImpossibleNames(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(numbered(1))
	c := r.Client()
	for _, name := range []string{"", "/", "..", "a/", "a\x00", "\xff", string(make([]byte, 1<<20))} {
		if _, err := c.Get(name); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("Get %.20q: %v", name, err)
		}
		b := client.Bind(c, name, client.Options[number]{Default: number{42}})
		want(t, "Get of a binding", *b.Get(), number{42})
		wantError(t, b.Err(), client.ErrNotFound)
	}
}

// Whether faults are panics is a setting of the goroutine's, which is the
// application's.
func TestSnapshotLeavesPanicOnFaultAsItIs(t *testing.T) {
	t.Parallel()
	c := clienttest.New(t).Client()
	for _, set := range []bool{true, false} {
		debug.SetPanicOnFault(set)
		c.Snapshot()
		_, _ = c.Get("absent")
		_ = c.Stats()
		want(t, "the setting", debug.SetPanicOnFault(false), set)
	}
}

func TestContextCarriesASnapshot(t *testing.T) {
	t.Parallel()
	if client.FromContext(context.Background()) != nil {
		t.Error("a context has a snapshot that was not put there")
	}
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	b := client.Bind[number](c, "a")
	s := c.Snapshot()
	ctx := client.NewContext(t.Context(), s)
	inner, cancel := context.WithCancel(ctx)
	cancel()
	r.Set("a", number{2})
	if client.FromContext(ctx) != s || client.FromContext(inner) != s {
		t.Error("the context has another snapshot")
	}
	want(t, "In", *b.In(client.FromContext(inner)), number{1})
	want(t, "In without a snapshot", *b.In(client.FromContext(context.Background())), number{2})
	newer := client.NewContext(ctx, c.Snapshot())
	want(t, "In of the inner one", *b.In(client.FromContext(newer)), number{2})
	if client.FromContext(client.NewContext(ctx, nil)) != nil {
		t.Error("a nil snapshot is none")
	}
}

// After a publication a reader copies what changed, and only that.
func TestUnchangedConfigIsNotCopied(t *testing.T) {
	dir := regionIn(t)
	p, err := newPublisher(dir, writer.Options{MaxImage: 4 << 20, Group: -1})
	must(t, err)
	t.Cleanup(func() { p.close(t) })
	must(t, p.create(1, configs{"big": strings.Repeat("x", 1<<20), "small": number{1}}))
	c := open(t, dir)
	big, small := client.Bind[string](c, "big"), client.Bind[number](c, "small")
	sections := slices.Clone(p.current.Sections())
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := allocated()
	const changes = 100
	for g := uint64(2); g < 2+changes; g++ {
		sections[1], err = section("small", number{g})
		must(t, err)
		m, err := image.Build(g, "", sections, p.current)
		must(t, err)
		must(t, p.Publish(g, m.Words()))
		p.current = m
		want(t, "In", small.In(c.Snapshot()).N, g)
	}
	want(t, "what did not change", len(*big.In(c.Snapshot())), 1<<20)
	if each := (allocated() - before) / changes; each > 100<<10 {
		t.Errorf("each change of a small config took %d bytes, beside a big one of 1 MiB", each)
	}
}

// Many configs in one client: those that were got are carried along.
func TestSnapshotOfManyConfigs(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	const n = 300
	all := func(value int) configs {
		c := configs{}
		for i := range n {
			c[fmt.Sprintf("team-%d/config", i)] = configs{"n": value + i}
		}
		return c
	}
	r.Publish(all(0))
	c := r.Client()
	first := c.Snapshot()
	for round := range 3 {
		for i := range n {
			d, err := c.Get(fmt.Sprintf("team-%d/config", i))
			must(t, err)
			want(t, d.Name(), d.IntOr("n", -1), round*1000+i)
		}
		r.Publish(all((round + 1) * 1000))
	}
	d, err := first.Get("team-7/config")
	must(t, err)
	want(t, "the value in the first snapshot", d.IntOr("n", -1), 7)
}
