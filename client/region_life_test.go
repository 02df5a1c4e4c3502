//go:build unix

package client_test

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/shmtest"
)

// Whatever happens to the file while it is read and written, readers go on,
// never back, and are with the new region as soon as there is one.
func TestReadersSurviveWhatHappensToTheFile(t *testing.T) {
	t.Parallel()
	rounds := shmtest.Times(200, len(mishaps))
	if raceDetector {
		rounds = shmtest.Times(2, 1) * len(mishaps)
		shmtest.WithoutRaceDetector(t)
	}
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	r := startReading(t, open(t, dir))

	// The writer is a daemon's main loop in a hurry. It may be anywhere when
	// something happens to its file.
	var writing sync.Mutex
	var regions, newest atomic.Uint64
	newest.Store(1)
	stop := flatOut(t, func() error {
		time.Sleep(200 * time.Microsecond)
		writing.Lock()
		defer writing.Unlock()
		g := newest.Add(1)
		if p.Check() == nil && p.publish(numbered(g)) == nil {
			return nil
		}
		defer regions.Add(1)
		return p.create(g, numbered(g))
	})
	for round := range rounds {
		before := regions.Load()
		r.befall(mishaps[round%len(mishaps)].befall, p.Path(), &writing)
		eventually(t, "the writer makes a new region", func() bool { return regions.Load() > before })
		r.see(newest.Load())
	}
	stop()
	id := p.ID().String()
	eventually(t, "the client is at the last region", func() bool { return r.c.Snapshot().RegionID() == id })
	want(t, "the generation", r.c.Snapshot().Generation(), newest.Load())
	must(t, r.c.Stats().Err)
	wantMappings(t, dir, 2) // the writer's and the reader's
}

// Without exact readers only the follower can find the new region, and it sleeps
// on memory that is gone.
func TestFollowerSurvivesWhatHappensToTheFile(t *testing.T) {
	t.Parallel()
	for _, mishap := range mishaps {
		t.Run(mishap.name, func(t *testing.T) {
			t.Parallel()
			dir := regionIn(t)
			p := created(t, dir, 1, numbered(1))
			b := client.Bind[number](open(t, dir), "a")
			must(t, mishap.befall(p.Path()))
			want(t, "Get", b.Get().N, 1)
			must(t, p.create(2, numbered(2)))
			eventually(t, "the binding follows", func() bool { return b.Get().N == 2 })
			p.next(t, numbered(3))
			eventually(t, "the binding follows again", func() bool { return b.Get().N == 3 })
		})
	}
}

// Without a writer that would mend it, a damaged region leaves its readers
// what they have, and says so.
func TestDamageIsAnErrorAndNoValue(t *testing.T) {
	t.Parallel()
	for _, mishap := range mishaps {
		t.Run(mishap.name, func(t *testing.T) {
			t.Parallel()
			dir := regionIn(t)
			p := created(t, dir, 5, configs{"a": number{5}, "b": number{5}, "never asked for": number{5}})
			r := startReading(t, open(t, dir))
			r.see(5)
			r.befall(mishap.befall, p.Path(), new(sync.Mutex))
			r.goOn()
			r.see(5)
			want(t, "the generation", r.c.Snapshot().Generation(), 5)
			_, err := r.c.Get("never asked for")
			if mishap.harms == none {
				must(t, errors.Join(err, r.c.Stats().Err))
				return
			}
			if !errors.Is(err, client.ErrExpired) { // which a slot looks like whose sequence is lost
				wantError(t, err, client.ErrCorrupt, "never asked for", dir)
			}
			if mishap.harms == all {
				eventually(t, "Stats has an error", func() bool { return r.c.Stats().Err != nil })
				wantError(t, r.c.Stats().Err, client.ErrCorrupt, dir)
			}
		})
	}
}

// A snapshot stays whole when its region is long gone.
func TestSnapshotOutlivesItsRegion(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, configs{"a": number{1}, "late": number{1}})
	c := open(t, dir)
	b := client.Bind[number](c, "a")
	old := c.Snapshot()
	for g := uint64(2); g < 10; g++ {
		must(t, p.create(g, numbered(g)))
		eventually(t, "the new region is followed", func() bool { return c.Snapshot().Generation() == g })
	}
	want(t, "In", b.In(old).N, 1)
	d, err := old.Get("late") // its memory stays as long as the snapshot does
	must(t, err)
	want(t, "a config that is first asked for now", d.IntOr("N", 0), 1)
	wantMappings(t, dir, 3) // the writer's, the reader's, and the old snapshot's
	runtime.KeepAlive(old)
	old = nil
	wantMappings(t, dir, 2)
	_ = old
}

// A binding that is made while a byte of the region is flipped has its value as
// soon as it is flipped back, without a publication.
func TestBindDuringDamageIsSettledAfterIt(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	p.next(t, configs{"a": number{2}, "late": number{2}})
	c := open(t, dir)
	at := int64(slotsAt + 2*slotSize) // generation 2 is in slot 2
	image, err := os.ReadFile(p.Path())
	must(t, err)
	patch(t, p.Path(), at+8, ^image[at+8])
	b := client.Bind(c, "late", client.Options[number]{Default: number{42}})
	want(t, "Get during the damage", b.Get().N, 42)
	wantError(t, b.Err(), client.ErrCorrupt)
	wantError(t, c.Stats().Err, client.ErrCorrupt)
	patch(t, p.Path(), at+8, image[at+8])
	eventually(t, "the value is there", func() bool { return b.Get().N == 2 })
	must(t, b.Err())
	must(t, c.Stats().Err)
}
