//go:build unix

package writer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/internal/layout"
)

// The pages of a region's file are reserved before they are stored to, punched
// behind a smaller image, and reclaimed where a reader made them by touching a
// hole. pages_linux.go has the syscalls.

// punchSlack is how much of a slot may stay reserved beyond its image, so that
// an image whose size goes up and down a little costs no syscalls.
const punchSlack = layout.SlotAlign

// reserveSlot gives slot n pages for size bytes. The rest of the last page counts, so that
// an image that grows by a few bytes each time seldom has to ask for more.
func (w *Writer) reserveSlot(n int, size int64) error {
	from := w.reserved[n]
	size = wholePages(size)
	if err := w.reserve(w.file, w.l.SlotOffset(n)+from, size-from); err != nil {
		return err
	}
	w.reserved[n] = size
	return nil
}

// punchTail gives back the pages of slot n behind an image of size bytes. A
// failure wastes memory and is not an error.
func (w *Writer) punchTail(n int, size int64) {
	keep := wholePages(size)
	if end := w.reserved[n]; end-keep > punchSlack {
		_ = w.punch(w.l.SlotOffset(n)+keep, end-keep)
		w.reserved[n] = keep
	}
}

// reclaim gives back the pages of the attached file that hold no image, and
// says whether there were any. A reader makes them by touching holes of its
// mapping, and without this they would stay.
func (w *Writer) reclaim() bool {
	if w.strayBytes() == 0 {
		return false
	}
	for n, reserved := range w.reserved {
		keep := wholePages(reserved)
		if w.punch(w.l.SlotOffset(n)+keep, w.l.SlotSize-keep) != nil {
			return false
		}
	}
	return true
}

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// outOfSpace makes an error about space match ErrNoSpace, and adds how many
// bytes the attached file holds for no image.
func (w *Writer) outOfSpace(err error) error {
	if !isNoSpace(err) {
		return err
	}
	err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	if stray := w.strayBytes(); stray > 0 {
		err = fmt.Errorf("%w; the region's file itself holds %d bytes beyond its images, because a process that can read it touches them again and again",
			err, stray)
	}
	return err
}

// wholePages rounds a number of bytes up to pages.
func wholePages(n int64) int64 {
	page := int64(os.Getpagesize())
	return (n + page - 1) / page * page
}
