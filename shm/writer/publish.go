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

// punchSlack is how much of a slot may stay reserved beyond its image, so that
// an image whose size goes up and down a little costs no syscalls.
const punchSlack = layout.SlotAlign

// Publish commits an image as generation g, which must be the current one plus
// 1: readers that look from now on see it, and waiting ones are woken. image
// is the image's parts, to be stored one behind the other. Their words must
// never change afterwards: a part that is the same memory, at the same place,
// as in the image that the slot holds, of K generations before, is not stored
// again. Waiters are woken behind its back: with many of them that takes
// milliseconds, and nothing of a publication depends on it.
//
// An image that outgrows its slot goes into a larger file, which takes the old
// one's place with its id: the region grows, and its generations go on.
//
// Errors match ErrNoSpace, ErrTooLarge, or ErrLost, after which Create is the
// way out. They leave the current generation as it is. A publication into
// pages that the slot has already makes one syscall, a look at the file's size.
func (w *Writer) Publish(g uint64, image [][]uint64) error {
	size, err := w.sizeOf(image)
	if err != nil {
		return err
	}
	// Stores behind the end of a file that was truncated go nowhere, without a
	// fault where they are on its last page.
	if err := w.checkSize(); err != nil {
		return err
	}
	if g != w.current+1 || g > seqlock.MaxGeneration {
		return fmt.Errorf("%s: generation %d can't follow %d: the next one is %d, and the last one of all %d",
			w.path, g, w.current, w.current+1, uint64(seqlock.MaxGeneration))
	}
	failpoint.Here("publish.begin")
	var hot seqlock.Hot
	err = w.l.Guarded(func() error {
		hot = w.l.Ring.Hot()
		return nil
	})
	if err == nil && hot != seqlock.Hot(w.current<<1) {
		// Also after a Create that failed behind the retirement: a commit would
		// clear the mark, and readers have gone elsewhere.
		return fmt.Errorf("%s: %w: its hot word was overwritten, or it was retired", w.path, ErrLost)
	}
	if err == nil && size > w.l.SlotSize {
		return w.grow(g, image)
	}
	n := w.l.Ring.Slot(g)
	if err == nil && w.reserved[n] < size {
		// Before the slot is touched: what does not fit leaves even the oldest
		// generation readable.
		if err := w.reserveSlot(n, size); err != nil {
			return fmt.Errorf("%s: %w", w.path, err)
		}
	}
	if err == nil {
		failpoint.Here("publish.roomy")
		err = w.l.Guarded(func() error {
			w.l.Ring.Begin(g) // before the tail is punched: it may be in the middle of a read
			failpoint.Here("publish.begun")
			w.punchTail(n, size)
			failpoint.Here("publish.punched")
			holds := w.holds[n]
			w.holds[n] = nil // what a fault leaves there is not known
			store(w.l, g, size, image, &holds)
			w.holds[n] = holds
			w.l.Ring.Commit(g)
			failpoint.Here("publish.committed")
			w.current, w.currentLength = g, uint64(size)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", w.path, ErrLost, err)
	}
	w.waker.wake(w.l.HotWord())
	return nil
}

// waker wakes a region's waiters on a goroutine of its own. Of several commits
// in a short time it wakes for the last one.
type waker struct {
	asked atomic.Bool // a wake that covers all commits so far is yet to begin
	turn  sync.Mutex  // one at a time
	ended sync.WaitGroup
}

// wake has every waiter on the hot word woken. The commit came before.
func (k *waker) wake(hot *uint64) {
	if k.asked.Swap(true) {
		return
	}
	k.ended.Go(func() {
		k.turn.Lock()
		defer k.turn.Unlock()
		k.asked.Store(false)                   // commits from here on ask anew
		_ = futex.Wake(hot, futex.EveryWaiter) // memory that is gone is for the next Check
		failpoint.Here("publish.woken")
	})
}

// wait returns when no wake is under way.
func (k *waker) wait() { k.ended.Wait() }

// sizeOf is an image's size in bytes.
func (w *Writer) sizeOf(image [][]uint64) (int64, error) {
	words := 0
	for _, part := range image {
		words += len(part)
	}
	size := int64(words) * layout.WordBytes
	return size, CheckSize(size, w.options.MaxImage)
}

// grow commits an image as generation g in a larger file.
func (w *Writer) grow(g uint64, image [][]uint64) error {
	failpoint.Here("grow.begin")
	err := w.replace(w.l.ID, g, image)
	if err != nil && !w.Attached() {
		err = fmt.Errorf("%w: %w", ErrLost, err)
	}
	return err
}

// reserveSlot gives slot n pages for size bytes.
func (w *Writer) reserveSlot(n int, size int64) error {
	from := w.reserved[n]
	if err := w.reserve(w.file, w.l.SlotOffset(n)+from, size-from); err != nil {
		return err
	}
	w.reserved[n] = size
	return nil
}

// punchTail gives back the pages of slot n behind an image of size bytes. Pages
// that can't be given back are a waste and not an error.
func (w *Writer) punchTail(n int, size int64) {
	keep := wholePages(size)
	if end := w.reserved[n]; end-keep > punchSlack {
		_ = w.punch(w.l.SlotOffset(n)+keep, end-keep)
		w.reserved[n] = keep
	}
}

// outOfSpace makes an error about space one that matches ErrNoSpace.
func outOfSpace(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
