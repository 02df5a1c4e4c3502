package scaling

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// holder keeps followers asleep through publications, so that the refresh that
// is timed is the reader's own, and not one that its follower had done already.
type holder struct{ header []byte }

func newHolder(region string) (*holder, error) {
	file, err := os.Open(region)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	header, err := unix.Mmap(int(file.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", region, err)
	}
	return &holder{header}, nil
}

// hold moves all threads that sleep on the hot word to a word that is never woken,
// where they stay for their bounded wait. docs/FORMAT.md says where the words are.
func (h *holder) hold() error {
	const futexRequeue, all = 3, 1<<31 - 1
	hot, unused := unsafe.Pointer(&h.header[0x80]), unsafe.Pointer(&h.header[0xc0])
	if _, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(hot), futexRequeue, 0, all, uintptr(unused), 0); errno != 0 {
		return fmt.Errorf("moving the waiters of a region: %w", errno)
	}
	return nil
}

func (h *holder) close() { _ = unix.Munmap(h.header) }
