package writer

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/internal/layout"
)

// While a reader touches the holes of the region's file as fast as they are
// punched, pages are reserved in pieces of reclaimChunk bytes, for at most
// reclaimFor.
const (
	reclaimChunk = 256 << 10
	reclaimFor   = 500 * time.Millisecond
)

// reserve gives a range of a region's file pages, so that a store into it cannot
// fault: a full file system is ENOSPC here, and would be a SIGBUS at the store.
// Pages that readers made by touching holes of the attached file are reclaimed
// first. A memory cgroup's limit shows only when it kills a process, so
// Options.Room is asked before.
func (w *Writer) reserve(file *os.File, offset, size int64) error {
	if room := w.options.Room; room != nil {
		if err := room(size); err != nil {
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
	}
	failpoint.Here("reserve.begin")
	chunk, until := size, shm.Boottime()+reclaimFor
	for size > 0 {
		n := min(chunk, size)
		// KEEP_SIZE: a file that was truncated meanwhile must not grow again, with
		// zeros under valid sequences.
		err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, n)
		switch {
		case err == nil:
			offset, size = offset+n, size-n
		case errors.Is(err, unix.EINTR):
		case isNoSpace(err) && shm.Boottime() < until && w.reclaim():
			chunk = reclaimChunk
		default:
			return w.outOfSpace(&os.PathError{Op: "reserve pages in", Path: w.path, Err: err})
		}
	}
	failpoint.Here("reserve.done")
	return nil
}

// survey returns how many bytes each slot of the attached file has pages for,
// from its start and for its image. It does not count pages behind the image,
// which a reader made by touching a hole or an earlier image left.
func (w *Writer) survey() []int64 {
	reserved := make([]int64, w.l.Slots)
	for n := range reserved {
		start := w.l.SlotOffset(n)
		hole, err := unix.Seek(int(w.file.Fd()), start, unix.SEEK_HOLE)
		if err != nil { // the whole slot is a hole, or the file system cannot tell
			continue
		}
		reserved[n] = min(hole-start, w.l.SlotSize)
		_ = w.l.Guarded(func() error {
			if *w.l.Sequence(n)%2 == 0 { // the slot is whole, so the length is its image's
				reserved[n] = min(reserved[n], wholePages(int64(min(*w.l.Length(n), uint64(w.l.SlotSize)))))
			}
			return nil
		})
	}
	return reserved
}

// strayBytes is how much memory the attached file takes beyond its head and
// images.
func (w *Writer) strayBytes() int64 {
	var st unix.Stat_t
	if !w.Attached() || unix.Fstat(int(w.file.Fd()), &st) != nil {
		return 0
	}
	stray := st.Blocks*512 - layout.SlotsAt
	for _, n := range w.reserved {
		stray -= wholePages(n)
	}
	return max(stray, 0)
}

// punch gives pages back. The seal forbids it, and is lifted for the call.
func (w *Writer) punch(offset, size int64) error {
	if size <= 0 {
		return nil
	}
	call := func() error {
		failpoint.Here("punch.begin")
		return unix.Fallocate(int(w.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, size)
	}
	err := call()
	if errors.Is(err, unix.EPERM) && w.options.Seal {
		if err = setAppendOnly(int(w.file.Fd()), false); err == nil {
			err = errors.Join(call(), setAppendOnly(int(w.file.Fd()), true))
			failpoint.Here("punch.sealed")
		}
	}
	return err
}
