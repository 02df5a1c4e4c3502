//go:build unix

package writer

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/internal/futex"
	"github.com/statesync/statesync/shm/internal/layout"
)

// Publish commits an image as generation g, which must be the current one plus
// 1. Readers that look from now on see it. A few waiting ones are awake when it
// returns, the others are woken in the background: with many of them that takes
// milliseconds. image is the image's parts, which are stored one after the other.
// Their words must never change afterwards: a part that is the same memory at the
// same place as in the slot's image, which is that of K generations before, is not
// stored again.
//
// An image that outgrows its slot goes into a larger file, which takes the old
// one's place and keeps its id: the region grows, and its generations continue.
//
// Errors match ErrNoSpace, ErrTooLarge, or ErrLost, after which Create is the
// way out. They leave the current generation as it is. A publication into pages
// that the slot already has makes two syscalls: a look at the file's size, and the wake.
func (w *Writer) Publish(g uint64, image [][]uint64) error {
	size, err := w.sizeOf(image)
	if err != nil {
		return err
	}
	// Stores behind the end of a truncated file are lost. On its last page they do
	// not even fault.
	if err := w.checkSize(); err != nil {
		return err
	}
	if g != w.current+1 || g > seqlock.MaxGeneration {
		return fmt.Errorf("%s: generation %d cannot follow %d: the next one is %d, and the last one is %d",
			w.path, g, w.current, w.current+1, uint64(seqlock.MaxGeneration))
	}
	failpoint.Here("publish.begin")
	hot, err := w.l.Hot()
	if err != nil {
		return fmt.Errorf("%s: %w: %w", w.path, ErrLost, err)
	}
	if hot != seqlock.Hot(w.current<<1) {
		// This includes a Create that failed after it retired the region: a commit
		// would clear the mark, and readers have gone elsewhere.
		return fmt.Errorf("%s: %w: its hot word was overwritten, or it was retired", w.path, ErrLost)
	}
	if size > w.l.SlotSize {
		failpoint.Here("grow.begin")
		if err = w.replace(w.l.ID, g, image); err != nil && !w.Attached() {
			err = fmt.Errorf("%w: %w", ErrLost, err)
		}
		return err
	}

	// Pages come before the slot is touched: an image that does not fit leaves even
	// the oldest generation readable.
	n := w.l.Ring.Slot(g)
	if w.reserved[n] < size {
		if err := w.reserveSlot(n, size); err != nil {
			return fmt.Errorf("%s: %w", w.path, err)
		}
	}
	failpoint.Here("publish.roomy")
	err = w.l.Guarded(func() error {
		w.l.Ring.Begin(g) // before the tail is punched: a reader may be copying it
		failpoint.Here("publish.begun")
		w.punchTail(n, size)
		failpoint.Here("publish.punched")
		stored := w.stored[n]
		w.stored[n] = nil // after a fault, what the slot holds is not known
		w.kept = store(w.l, g, size, image, &stored)
		w.stored[n] = stored
		w.l.Ring.Commit(g)
		failpoint.Here("publish.committed")
		w.current, w.currentLength = g, uint64(size)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w: %w", w.path, ErrLost, err)
	}
	w.waker.wake(w.l.HotWord())
	failpoint.Here("publish.woken")
	return nil
}

// sizeOf is an image's size in bytes; the error matches ErrTooLarge.
func (w *Writer) sizeOf(image [][]uint64) (int64, error) {
	words := 0
	for _, part := range image {
		words += len(part)
	}
	size := int64(words) * layout.WordBytes
	return size, CheckSize(size, w.options.MaxImage)
}

// store writes generation g into its slot, whose sequence is odd already: the
// protocol's steps 2 and 3. It leaves out the parts that the slot has by its
// inventory, and updates that. It reports whether there was such a part.
func store(l *layout.Layout, g uint64, size int64, image [][]uint64, stored *inventory) (kept bool) {
	n := l.Ring.Slot(g)
	slot := l.Slot(n)
	parts, at := 0, 0
	for _, part := range image {
		if len(part) == 0 {
			continue
		}
		if stored.has(parts, at, part) {
			kept = true
		} else {
			seqlock.StoreWords(slot[at:], part)
			stored.put(parts, at, part)
			failpoint.Here("store.part")
		}
		parts, at = parts+1, at+len(part)
	}
	*stored = (*stored)[:parts]
	failpoint.Here("store.words")
	atomic.StoreUint64(l.Length(n), uint64(size))
	failpoint.Here("store.length")
	l.Ring.Complete(g)
	failpoint.Here("store.complete")
	return kept
}

// waker wakes a region's waiters: a few at once, so that they need not wait for another
// goroutine to begin, and the others on a goroutine of its own. Of several commits
// in a short time that one wakes for the last.
type waker struct {
	asked atomic.Bool // a wake for all commits so far has yet to begin
	turn  sync.Mutex  // one at a time
	ended sync.WaitGroup
}

// wokenAtOnce is how many waiters are woken at once, in some microseconds each.
const wokenAtOnce = 16

// wake wakes every waiter on the hot word soon. The caller has committed.
func (k *waker) wake(hot *uint64) {
	// After an error the next Check finds memory that is gone.
	if woken, _ := futex.WakeSome(hot, futex.EveryWaiter, wokenAtOnce); woken < wokenAtOnce || k.asked.Swap(true) {
		return
	}
	k.ended.Go(func() {
		k.turn.Lock()
		defer k.turn.Unlock()
		k.asked.Store(false) // later commits ask again
		_ = futex.Wake(hot, futex.EveryWaiter)
	})
}

// wait returns when no wake is under way.
func (k *waker) wait() { k.ended.Wait() }
