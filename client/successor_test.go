//go:build unix

package client_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/shmtest"
	"github.com/statesync/statesync/shm/writer"
)

// Another region may be put at the path, and some readers may read it when the
// writer puts its own there again.
func TestRegionThatIsReplacedTwice(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	r := startReading(t, open(t, dir))
	for g := uint64(10); g < 40; g += 10 {
		other := successor(t, g)
		silence(t, other.Path())
		if g != 20 {
			retire(t, p.Path(), p.current.Generation())
		}
		must(t, os.Rename(other.Path(), p.Path()))
		if g != 20 {
			r.see(g)
		}
		late := open(t, dir)
		b := client.Bind[number](late, "a")
		want(t, "Get of a client that comes now", b.Get().N, g)
		wantError(t, p.Check(), writer.ErrLost)
		must(t, p.create(g+1, numbered(g+1)))
		r.see(g + 1)
		eventually(t, "the client that came late follows", func() bool { return b.Get().N == g+1 })
	}
}

// retire marks a region's file as retired by hand, as a writer does that dies
// before its successor is at the path.
func retire(t *testing.T, path string, g uint64) {
	t.Helper()
	patch(t, path, hotAt, binary.LittleEndian.AppendUint64(nil, g<<1|1)...)
}

// silence makes a region's writer one that died a while ago.
func silence(t *testing.T, path string) {
	t.Helper()
	patch(t, path, heartbeatAt, binary.LittleEndian.AppendUint64(nil, 1)...)
}

func TestRetiredRegionIsReadUntilItsSuccessorComes(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 5, configs{"a": number{5}, "b": number{5}, "late": number{5}})
	r := startReading(t, open(t, dir))
	r.see(5)
	id := p.ID().String()
	retire(t, p.Path(), 5)
	r.goOn()
	s := r.c.Snapshot()
	want(t, "the generation", s.Generation(), 5)
	want(t, "the region's id", s.RegionID(), id)
	d, err := r.c.Get("late")
	must(t, err)
	want(t, "a config that is first asked for now", d.IntOr("N", 0), 5)
	must(t, r.c.Stats().Err)

	must(t, p.create(6, numbered(6)))
	r.see(6)
	eventually(t, "the new region is followed", func() bool { return r.c.Snapshot().RegionID() == p.ID().String() })
}

// successor makes a region elsewhere, for a test to put it at another's path.
func successor(t *testing.T, g uint64) *publisher {
	t.Helper()
	return created(t, regionIn(t), g, numbered(g))
}

func TestSuccessorThatCannotBeUsedIsNotTaken(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"untrusted": func(path string) error { return os.Chmod(path, 0o666) },
		"a link":    func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)) },
		"a directory": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
		},
		"no region":  func(path string) error { return os.WriteFile(path, make([]byte, slotsAt+4*slotSize), 0o600) },
		"too short":  func(path string) error { return os.Truncate(path, slotsAt) },
		"of no use":  func(path string) error { return zero(path, versionAt, 1) },
		"bad hot":    func(path string) error { return zero(path, hotAt, 8) },
		"bad image":  func(path string) error { return zero(path, slotsAt+2*slotSize, slotSize) }, // of generation 6
		"bad config": func(path string) error { return zero(path, slotsAt+2*slotSize+384, 256) },  // behind its directory
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := regionIn(t)
			p := created(t, dir, 5, numbered(5))
			c := open(t, dir)
			b := client.Bind[number](c, "a")
			id := p.ID().String()
			bad := successor(t, 6)
			must(t, spoil(bad.Path()))
			retire(t, p.Path(), 5)
			must(t, os.RemoveAll(p.Path()))
			must(t, os.Rename(bad.Path(), p.Path()))
			eventually(t, "the successor is looked at", func() bool {
				s, stats := c.Snapshot(), c.Stats()
				if s.RegionID() != id || b.In(s).N != 5 {
					t.Fatalf("the value is %d, of region %s", b.In(s).N, s.RegionID())
				}
				return stats.RefusedRegions > 0 || stats.Err != nil
			})
			want(t, "Get", b.Get().N, 5)
			if c.Stats().Err == nil {
				t.Error("Stats does not say why the successor is not followed")
			}

			good := successor(t, 7)
			must(t, os.RemoveAll(p.Path()))
			must(t, os.Rename(good.Path(), p.Path()))
			eventually(t, "the good one is followed", func() bool { return b.Get().N == 7 })
			want(t, "the region's id", c.Snapshot().RegionID(), good.ID().String())
			must(t, c.Stats().Err)
		})
	}
}

// A successor that can be mapped and not read is mapped again for each look.
// The mappings must not pile up until the next garbage collection, which is
// minutes away in a process that does not allocate.
func TestSuccessorThatCannotBeReadIsMappedOnce(t *testing.T) {
	needLinux(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	dir := regionIn(t)
	p := created(t, dir, 5, numbered(5))
	c := open(t, dir)
	bad := successor(t, 6)
	must(t, zero(bad.Path(), slotsAt+2*slotSize, slotSize))
	retire(t, p.Path(), 5)
	must(t, os.Rename(bad.Path(), p.Path()))
	before := c.Stats().Refreshes
	eventually(t, "it is looked at often", func() bool { c.Snapshot(); return c.Stats().Refreshes > before+30 })
	if n := mappings(t, dir); n > 4 { // one writer's each, and the client's one or two
		t.Errorf("after 30 looks at a successor that can't be read there are %d mappings", n)
	}
	b := client.Bind[number](c, "a")
	must(t, c.Close())
	wantMappings(t, dir, 2) // the writers'
	want(t, "Get", b.Get().N, 5)
}

// A program may change its directory: a region that it named by a relative path
// is still the one that it follows.
func TestRelativePathStaysWhatItWas(t *testing.T) {
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	t.Chdir(filepath.Dir(dir))
	c := open(t, filepath.Base(dir))
	t.Chdir("/")
	must(t, p.create(2, numbered(2)))
	for range 100 {
		if c.Snapshot().Generation() == 2 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the new region is not followed")
}

// Within a region no reader goes back, even where its hot word does.
func TestRegionThatGoesBackIsDamaged(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 4, numbered(4))
	p.next(t, numbered(5))
	r := startReading(t, open(t, dir))
	r.see(5)
	patch(t, p.Path(), hotAt, 4<<1) // which is still whole
	eventually(t, "Stats has an error", func() bool { r.c.Snapshot(); return r.c.Stats().Err != nil })
	wantError(t, r.c.Stats().Err, client.ErrCorrupt, dir)
	r.goOn()
	want(t, "the generation", r.c.Snapshot().Generation(), 5)
	patch(t, p.Path(), hotAt, 5<<1)
	r.see(p.next(t, numbered(6)))
	eventually(t, "the error is gone", func() bool { r.c.Snapshot(); return r.c.Stats().Err == nil })
}

// Two regions may have the same generation, and are two all the same.
func TestRegionOfTheSameGenerationIsAnother(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 5, configs{"other": number{5}})
	c := open(t, dir)
	old := c.Snapshot()
	must(t, p.create(5, configs{"a": number{5}}))
	eventually(t, "the new region is followed", func() bool { return c.Snapshot().RegionID() == p.ID().String() })
	b := client.Bind(c, "a", client.Options[number]{Default: number{42}})
	want(t, "Get", b.Get().N, 5)
	value, err := b.Lookup(old)
	want(t, "Lookup in the old region", value.N, 42)
	wantRefused(t, err, client.ErrNotFound, "a", "", 5)
	_, err = old.Get("other")
	must(t, err)
	_, err = c.Get("other")
	wantError(t, err, client.ErrNotFound)
}

// A new region may begin at 1 again: a daemon that lost all it had does so.
func TestRegionThatBeginsAgainIsFollowed(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1000, configs{"a": number{1000}, "gone": number{1000}})
	c := open(t, dir)
	b, gone := client.Bind[number](c, "a"), client.Bind[number](c, "gone")
	old := c.Snapshot()
	must(t, p.create(1, numbered(1)))
	eventually(t, "the new region is followed", func() bool { return b.Get().N == 1 })
	s := c.Snapshot()
	want(t, "the generation", s.Generation(), 1)
	want(t, "In", b.In(s).N, 1)
	want(t, "In of the old snapshot", b.In(old).N, 1000)
	want(t, "Get of a config that is gone", gone.Get().N, 1000)
	want(t, "In of a config that is gone", gone.In(s).N, 1000)
	wantError(t, gone.Err(), client.ErrNotFound)
	_, err := s.Get("gone")
	wantError(t, err, client.ErrNotFound)
	g := p.next(t, configs{"a": number{2}, "gone": number{2}})
	must(t, c.WaitGeneration(t.Context(), g))
	want(t, "Get", gone.Get().N, 2)
}

// A region without a living daemon may be replaced without waking its readers.
// They look at the path now and then.
func TestSilentReplacementIsFound(t *testing.T) {
	t.Parallel()
	for _, death := range []string{"stopped", "killed"} {
		for _, replaced := range []string{"file", "directory"} {
			t.Run(death+", another "+replaced, func(t *testing.T) {
				t.Parallel()
				dir := regionIn(t)
				p := created(t, dir, 5, numbered(5))
				path := p.Path()
				c := open(t, dir)
				b := client.Bind[number](c, "a")
				if death == "stopped" {
					p.close(t)
				} else {
					silence(t, path)
				}
				want(t, "DaemonAlive", c.Stats().DaemonAlive, false)
				next := successor(t, 6)
				if replaced == "file" {
					must(t, os.Rename(next.Path(), path))
				} else {
					must(t, os.Rename(dir, filepath.Join(filepath.Dir(dir), "old")))
					must(t, os.Rename(next.dir(), dir))
				}
				eventually(t, "the binding follows", func() bool { return b.Get().N == 6 })
				want(t, "the region's id", c.Snapshot().RegionID(), next.ID().String())
			})
		}
	}
}

// A reader that found the region damaged or retired a moment ago does not miss
// what was published since.
func TestSnapshotIsExactAfterAPublicationThatEndsDamage(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, numbered(1))
	c := open(t, p.dir())
	for range 20 {
		p.damaged(t, numbered(2))
		c.Snapshot()
		g := p.next(t, numbered(3))
		want(t, "the generation that ends the damage", c.Snapshot().Generation(), g)
		g = p.damaged(t, numbered(4)) + 1
		c.Snapshot()
		must(t, p.create(g, numbered(g)))
		want(t, "the first generation of the region that replaces it", c.Snapshot().Generation(), g)
	}
}

func TestSnapshotIsExactAfterAReplacementThatReadersWatch(t *testing.T) {
	t.Parallel()
	p := created(t, regionIn(t), 1, numbered(1))
	c := open(t, p.dir())
	stop := flatOut(t, func() error { c.Snapshot(); return nil })
	for g := uint64(2); g < uint64(shmtest.Times(300, 80)); g++ {
		must(t, p.create(g, numbered(g)))
		want(t, "the generation when Create has returned", c.Snapshot().Generation(), g)
	}
	stop()
}
