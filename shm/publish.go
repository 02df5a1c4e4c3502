//go:build unix

package shm

import (
	"errors"
	"fmt"
	"os"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/failpoint"
)

// punchSlack is how much of a slot may stay reserved beyond its image, so that
// an image whose size goes up and down a little costs no syscalls.
const punchSlack = SlotAlign

// Publish commits an image as generation g, which must be the current one plus
// 1: readers that look from now on see it, and waiting ones are woken. image
// is the image's parts, to be stored one behind the other. Their words must
// never change afterwards: a part that is the same memory, at the same place,
// as in the image that the slot holds, of K generations before, is not stored
// again.
//
// Errors match ErrNoSpace, ErrTooLarge, or ErrLost, after which Create is the
// way out. They leave the current generation as it is, except one of the wake,
// which comes after the commit: Generation tells. A publication
// into pages that the slot has already makes two syscalls, a look at the file's
// size and the wake.
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
	current, err := w.Generation()
	if err == nil && current != w.current {
		return fmt.Errorf("%s: %w: its hot word was overwritten", w.path, ErrLost)
	}
	n := w.ring.Slot(g)
	if err == nil && w.reserved[n] < size {
		// Before the slot is touched: what does not fit leaves even the oldest
		// generation readable.
		if err := w.reserveSlot(n, size); err != nil {
			return fmt.Errorf("%s: %w", w.path, err)
		}
	}
	if err == nil {
		failpoint.Here("publish.roomy")
		err = w.guarded(func() error {
			w.ring.Begin(g) // before the tail is punched: it may be in the middle of a read
			failpoint.Here("publish.begun")
			w.punchTail(n, size)
			failpoint.Here("publish.punched")
			holds := w.holds[n]
			w.holds[n] = nil // what a fault leaves there is not known
			w.store(g, size, image, &holds)
			w.holds[n] = holds
			w.ring.Commit(g)
			failpoint.Here("publish.committed")
			w.current, w.currentLength = g, uint64(size)
			return nil
		})
	}
	if err == nil {
		err = wake(w.hot(), everyWaiter)
		failpoint.Here("publish.woken")
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", w.path, ErrLost, err)
	}
	return nil
}

// sizeOf is an image's size in bytes.
func (w *Writer) sizeOf(image [][]uint64) (int64, error) {
	words := 0
	for _, part := range image {
		words += len(part)
	}
	size := int64(words) * wordBytes
	if size > w.options.MaxImage {
		return 0, fmt.Errorf("%w: it has %d bytes with its indexes, and --max-image allows %d", ErrTooLarge, size, w.options.MaxImage)
	}
	return size, nil
}

// reserveSlot gives a slot pages for size bytes.
func (w *Writer) reserveSlot(n int, size int64) error {
	from := max(w.reserved[n], 0)
	if err := reserve(w.file, w.slotOffset(n)+from, size-from); err != nil {
		return err
	}
	if w.reserved[n] >= 0 {
		w.reserved[n] = size
	}
	return nil
}

// punchTail gives back the pages behind an image of size bytes. Pages that
// can't be given back are a waste and not an error.
func (w *Writer) punchTail(n int, size int64) {
	end := w.reserved[n]
	if end < 0 {
		end = w.SlotSize // of a file that this writer did not make
	}
	page := int64(os.Getpagesize())
	keep := (size + page - 1) / page * page
	if w.reserved[n] < 0 || end-keep > punchSlack {
		_ = w.punch(w.slotOffset(n)+keep, end-keep)
		end = keep
	}
	w.reserved[n] = end
}

// outOfSpace makes an error about space one that matches ErrNoSpace.
func outOfSpace(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %w; make the file system larger, or the configs smaller", ErrNoSpace, err)
	}
	return err
}

var errHeadroom = errors.New("the memory cgroup is nearly full")
