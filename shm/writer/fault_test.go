//go:build unix

package writer

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
	"github.com/statesync/statesync/shm/shmtest"
)

// damage is something that a careless or hostile root does to a region's file.
type damage struct {
	do func(t *testing.T, w *Writer) error
	// lost says that a publication runs into it, too.
	lost bool
	// rewritten says that words may change under a sequence that does not: what
	// is left is for the sums in the image to find.
	rewritten bool
}

func truncated(size func(w *Writer) int64) damage {
	return damage{lost: true, do: func(_ *testing.T, w *Writer) error {
		return os.Truncate(w.Path(), size(w))
	}}
}

// current and next are the offsets of the middle of an image.
func current(w *Writer) int64 {
	return w.l.SlotOffset(w.l.Ring.Slot(w.l.Ring.Hot().Generation())) + page
}

func next(w *Writer) int64 {
	return w.l.SlotOffset(w.l.Ring.Slot(w.l.Ring.Hot().Generation()+1)) + page
}

func overwritten(with func([]byte)) damage {
	return damage{rewritten: true, do: func(_ *testing.T, w *Writer) error {
		f, err := os.OpenFile(w.Path(), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		b := make([]byte, w.l.FileSize())
		with(b)
		_, err = f.Write(b)
		return err
	}}
}

func zeroed(from, to int64) damage {
	return damage{rewritten: true, lost: from == layout.HotAt, do: func(_ *testing.T, w *Writer) error {
		f, err := os.OpenFile(w.Path(), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(make([]byte, to-from), from)
		return err
	}}
}

func moved(put func(t *testing.T, w *Writer, path string) error) damage {
	return damage{do: func(t *testing.T, w *Writer) error {
		path := filepath.Join(filepath.Dir(w.dir), "aside")
		return errors.Join(put(t, w, path), os.Rename(path, w.Path()))
	}}
}

var damages = map[string]damage{
	"truncated to nothing":            truncated(func(*Writer) int64 { return 0 }),
	"truncated in the identity":       truncated(func(*Writer) int64 { return layout.HotAt / 2 }),
	"truncated in the status":         truncated(func(*Writer) int64 { return layout.StatusAt + 100 }),
	"truncated in the table":          truncated(func(*Writer) int64 { return layout.TableAt + 100 }),
	"truncated behind the table":      truncated(func(*Writer) int64 { return layout.SlotsAt }),
	"truncated in the current slot":   truncated(current),
	"truncated in the next slot":      truncated(next),
	"one byte short":                  truncated(func(w *Writer) int64 { return w.l.FileSize() - 1 }),
	"one byte too long":               truncated(func(w *Writer) int64 { return w.l.FileSize() + 1 }),
	"overwritten with random bytes":   overwritten(func(b []byte) { _, _ = rand.Read(b) }),
	"overwritten with zeros":          overwritten(func([]byte) {}),
	"overwritten with ones":           overwritten(func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) }),
	"identity overwritten":            zeroed(layout.IdentityReserved*layout.WordBytes, layout.IdentityWords*layout.WordBytes),
	"hot word overwritten":            zeroed(layout.HotAt, layout.HotAt+layout.WordBytes),
	"table overwritten":               zeroed(layout.TableAt, layout.StatusAt),
	"removed":                         {do: func(_ *testing.T, w *Writer) error { return os.Remove(w.Path()) }},
	"moved away":                      {do: func(_ *testing.T, w *Writer) error { return os.Rename(w.Path(), w.Path()+".old") }},
	"replaced by nothing much":        moved(func(_ *testing.T, _ *Writer, path string) error { return os.WriteFile(path, []byte("x"), 0o644) }),
	"replaced by garbage":             moved(garbage),
	"replaced by a region":            moved(anotherRegion),
	"replaced by one that is retired": moved(retiredRegion),
	"replaced by a link": {do: func(_ *testing.T, w *Writer) error {
		return errors.Join(os.Rename(w.Path(), w.Path()+".old"), os.Symlink(w.Path()+".old", w.Path()))
	}},
	"locked away": {do: func(_ *testing.T, w *Writer) error {
		return errors.Join(os.Remove(w.Path()), os.WriteFile(w.Path(), nil, 0))
	}},
}

func garbage(_ *testing.T, w *Writer, path string) error {
	b := make([]byte, w.l.FileSize())
	_, _ = rand.Read(b)
	return os.WriteFile(path, b, 0o644)
}

// anotherRegion makes one that is as good as the writer's, and later.
func anotherRegion(t *testing.T, w *Writer, path string) error {
	other := created(t, filepath.Join(filepath.Dir(w.dir), "other"), small(), generation(t, w)+1)
	return errors.Join(os.Rename(other.Path(), path), other.Close())
}

func retiredRegion(t *testing.T, w *Writer, path string) error {
	other := created(t, filepath.Join(filepath.Dir(w.dir), "other"), small(), generation(t, w)+1)
	other.l.Ring.Retire()
	return errors.Join(os.Rename(other.Path(), path), other.Close())
}

// crowd is readers that read flat out, and look for another region whenever
// something is odd. What they accept is whole, and never older than what they
// had.
type crowd struct {
	dir       string
	followers [8]follower
	rewritten atomic.Bool  // sums would find what is wrong with an image
	paused    sync.RWMutex // where it would be the race detector that dies
}

type follower struct {
	region *shm.Region
	buffer []uint64
	seen   atomic.Uint64 // the newest generation
	reads  atomic.Uint64
	faults atomic.Uint64
}

// follow starts readers of a region, which end with the test.
func follow(t *testing.T, dir string) *crowd {
	c := &crowd{dir: dir}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range c.followers {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					c.step(t, &c.followers[i])
					runtime.Gosched() // the machine has fewer processors than there are readers
				}
			}
		})
	}
	t.Cleanup(func() {
		close(stop)
		group.Wait()
		var reads, faults uint64
		for i := range c.followers {
			reads += c.followers[i].reads.Load()
			faults += c.followers[i].faults.Load()
		}
		t.Logf("%d reads, %d faults", reads, faults)
	})
	return c
}

// step looks for a region, if need be, and reads once.
func (c *crowd) step(t *testing.T, f *follower) {
	if raceDetector {
		c.paused.RLock()
		defer c.paused.RUnlock()
	}
	if f.region == nil || f.region.Retired() || f.region.Replaced() {
		found, err := shm.Open(c.dir, shm.Trust{})
		switch {
		case err == nil:
			f.region = found
		case !anyOf(err, shm.ErrNoRegion, shm.ErrCorrupt, shm.ErrLayout, shm.ErrFault, shm.ErrUntrusted, fs.ErrPermission):
			t.Errorf("opening: %v", err)
		}
	}
	if f.region == nil {
		return
	}
	if f.buffer == nil {
		f.buffer = make([]uint64, 0, layout.SlotAlign/layout.WordBytes)
	}
	g, _, err := readProofs(f.region, f.buffer)
	switch {
	case err == nil && g < f.seen.Load():
		t.Errorf("generation %d came after %d", g, f.seen.Load())
	case err == nil:
		f.seen.Store(g)
		f.reads.Add(1)
	case errors.Is(err, shm.ErrFault):
		f.faults.Add(1)
	case anyOf(err, shm.ErrCorrupt, shm.ErrBusy) || errors.Is(err, errTorn) && c.rewritten.Load():
	default:
		t.Errorf("reading: %v", err)
	}
}

// befall damages the region while it is read.
func (c *crowd) befall(t *testing.T, d damage, w *Writer) {
	t.Helper()
	c.rewritten.Store(d.rewritten)
	if raceDetector {
		c.paused.Lock()
		defer c.paused.Unlock()
	}
	must(t, d.do(t, w))
}

// see waits until every reader is at a generation.
func (c *crowd) see(t *testing.T, g uint64) {
	t.Helper()
	for i := range c.followers {
		eventually(t, "a reader follows", func() bool { return c.followers[i].seen.Load() == g })
	}
	c.rewritten.Store(false)
}

func anyOf(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// Damage to a region under its readers kills none of them, and none goes back. The
// writer detects it and makes a new region, and the readers follow.
func TestDamageUnderReaders(t *testing.T) {
	rounds := 10
	if raceDetector || testing.Short() {
		rounds = 2
	}
	for name, d := range shmtest.Some(damages, 8) {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(memoryTemp(t), "region")
			w := created(t, dir, small(), 1)
			readers := follow(t, dir)
			for range rounds {
				for range w.l.Slots + 1 {
					publish(t, w, 1024)
				}
				r := open(t, dir)
				id, last := w.ID(), generation(t, w)
				readers.befall(t, d, w)

				wantError(t, w.Check(), ErrLost, w.Path())
				if d.lost {
					wantError(t, w.Publish(last+1, proofs(last+1, 2048)), ErrLost, w.Path())
					wantError(t, w.Check(), ErrLost, w.Path())
				}
				must(t, w.Create(last+2, proofs(last+2, 1024)))
				must(t, w.Check())
				if !r.Retired() || !r.Replaced() {
					t.Errorf("retired %v, replaced %v", r.Retired(), r.Replaced())
				}
				if w.ID() == id {
					t.Error("another region has the same id")
				}
				readers.see(t, last+2)
			}
		})
	}
	if raceDetector {
		shmtest.WithoutRaceDetector(t)
	}
}

// Everything that touches memory that is gone says so.
func TestEveryTouchIsGuarded(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	hot, err := r.Hot()
	must(t, err)
	must(t, os.Truncate(w.Path(), 0))

	_, err = r.Hot()
	wantError(t, err, shm.ErrFault)
	_, err = r.Read(verifyCopy)
	wantError(t, err, shm.ErrFault)
	_, err = r.Status()
	wantError(t, err, shm.ErrFault)
	if r.Beating() || !r.Retired() || r.Replaced() {
		t.Errorf("beating %v, retired %v, replaced %v", r.Beating(), r.Retired(), r.Replaced())
	}
	_, _, err = r.Slot(1)
	wantError(t, err, shm.ErrFault)
	if err := r.Wait(hot, time.Minute); err != nil {
		wantError(t, err, shm.ErrFault)
	}
	if err := r.Wake(); err != nil {
		wantError(t, err, shm.ErrFault)
	}

	_, err = w.Generation()
	wantError(t, err, shm.ErrFault)
	wantError(t, w.Current(func(uint64, []uint64) error { return nil }), shm.ErrFault)
	wantError(t, w.Beat(), shm.ErrFault)
	wantError(t, w.Check(), ErrLost)
	wantError(t, w.Publish(2, proofs(2, 10)), ErrLost)
	must(t, w.Close())

	_, err = shm.Open(dir, shm.Trust{})
	wantError(t, err, shm.ErrCorrupt, w.Path())
	w = own(t, dir, small())
	wantError(t, w.Attach(), shm.ErrCorrupt, w.Path())
	must(t, w.Create(2, proofs(2, 10)))
	wantGeneration(t, open(t, dir), 2)
}

// Memory of which only a part is gone is an error at once, and neither a lapped
// nor an expired generation.
func TestTableIsGone(t *testing.T) {
	w := created(t, regionIn(t), small(), 1)
	r := open(t, w.dir)
	must(t, os.Truncate(w.Path(), layout.TableAt))
	effort, err := r.Read(verifyCopy)
	wantError(t, err, shm.ErrFault)
	if effort != (shm.Effort{}) {
		t.Errorf("it took %+v to find out", effort)
	}
	wantError(t, r.ReadGeneration(1, verifyCopy), shm.ErrFault)
}

// A fault that is not the region's goes through.
func TestForeignFault(t *testing.T) {
	w := created(t, regionIn(t), small(), 1)
	other := created(t, regionIn(t), small(), 1)
	must(t, os.Truncate(other.Path(), 0))
	defer func() {
		if recover() == nil {
			t.Error("the fault of another mapping was taken for the region's")
		}
	}()
	_ = w.l.Guarded(func() error {
		_ = other.l.Ring.Hot()
		return nil
	})
}
