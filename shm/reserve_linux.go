package shm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/failpoint"
)

// headroomFor is what a memory cgroup must have left for size bytes of pages:
// these, the kernel's own records of them, and what the daemon needs to go on.
func headroomFor(size int64) int64 { return size + size/256 + 2<<20 }

// Room says whether this process's memory cgroups allow so many bytes more. If
// not, the error matches ErrNoSpace: to ask for them would be no error but the
// OOM killer's work. It reads some small files.
func Room(size int64) error {
	if free, where, limited := headroom(); limited && size > free {
		return fmt.Errorf("%w: %w: %d bytes are needed and %d are left in %s; raise its limit, or lower --slots or the configs' size",
			ErrNoSpace, errHeadroom, size, free, where)
	}
	return nil
}

// reserve gives a range of the region's file pages, so that a store into it
// can't fault. A full file system is ENOSPC here, and the next store would be
// a SIGBUS without it. A memory cgroup's limit shows nowhere but in the
// killing of a process, so it is looked at first.
func reserve(file *os.File, offset, size int64) error {
	if err := Room(headroomFor(size)); err != nil {
		return err
	}
	failpoint.Here("reserve.begin")
	for {
		// The file has its size already. One that was truncated meanwhile is not to
		// grow again, with zeros under valid sequences.
		err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, size)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return outOfSpace(&os.PathError{Op: "reserve pages in", Path: file.Name(), Err: err})
		}
		failpoint.Here("reserve.done")
		return nil
	}
}

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// punch gives pages back. The seal forbids it, and is lifted meanwhile.
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
