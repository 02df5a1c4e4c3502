package shm

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/internal/layout"
)

// Region is a region that is mapped for reading. It is safe for any number of
// goroutines, holds no descriptor, and is unmapped once it is unreachable. See
// Open.
type Region struct {
	l    layout.Layout
	path string // of the file
	file fileID
	bit  uint32 // of this region's own waiters

	_       [128]byte // keeps what waiters write off the cache lines above, which are read often
	waiting waiting
}

// MaxTries bounds how often a read is repeated because the writer overtook it.
// One lap of the writer takes at least K-1 publications, so a reader that is
// overtaken this often is slower than all of them together.
const MaxTries = 256

// Effort is how often a read was repeated.
type Effort struct {
	Lapped int // the writer had taken the slot before anything was copied
	Torn   int // the writer took the slot during the copy
}

// ID is the region's id.
func (r *Region) ID() ID { return r.l.ID }

// Geometry is how the region's file is divided.
func (r *Region) Geometry() Geometry { return r.l.Geometry }

// Created is when the region's file was made.
func (r *Region) Created() time.Time { return r.l.Created }

// Path is the path of the region's file.
func (r *Region) Path() string { return r.path }

// Hot loads the hot word. The error is nil or ErrFault. It allocates nothing,
// never blocks, and makes no syscall.
func (r *Region) Hot() (seqlock.Hot, error) { return r.l.Hot() }

// Read calls fn with the current generation's image, which the writer may change
// at any moment: fn copies what it needs and checks bounds and sums. Its result
// counts only if Read returns it. Read calls fn again, which must start over, if
// the writer overtook it; after 256 times the error is ErrBusy. An error of fn on
// an image that did not change is returned as it is. Memory that is gone is
// ErrFault, an impossible slot is ErrCorrupt.
//
// It makes no syscall, and never blocks.
func (r *Region) Read(fn func(hot seqlock.Hot, image []uint64) error) (Effort, error) {
	var effort Effort
	var first seqlock.Hot
	for n := range MaxTries {
		var hot seqlock.Hot // whatever is current
		p, err := r.pass(&hot, fn)
		if n == 0 {
			first = hot
		}
		switch {
		case p.whole || err != nil && !p.started:
			return effort, err
		case p.started:
			effort.Torn++
		case n == MaxTries-1 && hot == first && effort.Torn == 0:
			// Nothing was published meanwhile, so no writer may have taken the slot.
			return effort, fmt.Errorf("%s: %w: the slot of its generation %d is not whole", r.path, ErrCorrupt, hot.Generation())
		default:
			effort.Lapped++
		}
	}
	return effort, fmt.Errorf("%s: %w", r.path, ErrBusy)
}

// ReadGeneration is Read for one generation, current or not. The error is
// ErrExpired when the ring does not hold it any more.
func (r *Region) ReadGeneration(g uint64, fn func(hot seqlock.Hot, image []uint64) error) error {
	if g == 0 || g > seqlock.MaxGeneration {
		return fmt.Errorf("%s: generation %d: %w", r.path, g, ErrExpired)
	}
	hot := seqlock.Hot(g << 1)
	p, err := r.pass(&hot, fn)
	if p.whole || err != nil && !p.started {
		return err
	}
	return fmt.Errorf("%s: generation %d: %w", r.path, g, ErrExpired)
}

// Slot is what the slot table has for slot n, for tools: its sequence, and the
// length of its image in bytes. A slot whose generation is above that of a hot
// word loaded before belongs to the writer. The error is nil or ErrFault.
func (r *Region) Slot(n int) (sequence, length uint64, err error) {
	err = r.l.Guarded(func() error {
		sequence, length = atomic.LoadUint64(r.l.Sequence(n)), atomic.LoadUint64(r.l.Length(n))
		return nil
	})
	return sequence, length, err
}

// passed says what a pass over a slot saw.
type passed struct {
	started bool // the slot held the generation at the beginning
	whole   bool // and at the end
}

// pass makes one pass over the slot of a generation. If *hot is 0 that is the
// current one, and pass sets *hot to it. An error is fn's, or is about a slot that
// is whole, or about memory that is gone.
func (r *Region) pass(hot *seqlock.Hot, fn func(seqlock.Hot, []uint64) error) (passed, error) {
	p, ended, err := r.guardedPass(hot, fn)
	if ended {
		return p, err
	}
	// After a fault the second look is still to come. A page of a slot that the
	// writer is reusing may be gone for a moment, which is not damage.
	again := r.l.Guarded(func() error {
		p.whole = p.started && r.l.Ring.Whole(hot.Generation())
		return nil
	})
	if again != nil || !p.started {
		p.whole = true
	}
	return p, fmt.Errorf("%s: %w", r.path, err)
}

// guardedPass is the part of a pass that accesses the region. ended is false if
// memory was gone.
func (r *Region) guardedPass(hot *seqlock.Hot, fn func(seqlock.Hot, []uint64) error) (p passed, ended bool, err error) {
	defer r.l.RecoverFault(debug.SetPanicOnFault(true), &err)
	if *hot == 0 {
		*hot = r.l.Ring.Hot()
	}
	g := hot.Generation()
	if g == 0 || g > seqlock.MaxGeneration {
		return p, true, fmt.Errorf("%s: %w: its hot word names generation %d", r.path, ErrCorrupt, g)
	}
	if p.started = r.l.Ring.Whole(g); !p.started {
		return p, true, nil
	}
	image, err := r.l.Image(r.l.Ring.Slot(g))
	if err != nil {
		err = fmt.Errorf("%s: %w", r.path, err)
	} else {
		err = fn(*hot, image)
	}
	p.whole = r.l.Ring.Whole(g)
	return p, true, err
}
