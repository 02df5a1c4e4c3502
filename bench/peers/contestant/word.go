package contestant

import (
	"context"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// word is a number in shared memory that processes sleep on.
type word struct{ page []byte }

func createWord(path string, value int) (*word, error) {
	if err := os.WriteFile(path, make([]byte, os.Getpagesize()), 0o600); err != nil {
		return nil, err
	}
	w, err := openWord(path)
	if err != nil {
		return nil, err
	}
	return w, w.store(value)
}

func openWord(path string) (*word, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return &word{page}, err
}

func (w *word) at() *uint32 { return (*uint32)(unsafe.Pointer(&w.page[0])) }

func (w *word) load() int { return int(atomic.LoadUint32(w.at())) }

const (
	futexWait = 0
	futexWake = 1
)

// store changes the word and wakes all threads that sleep on it.
func (w *word) store(value int) error {
	atomic.StoreUint32(w.at(), uint32(value))
	if _, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w.at())), futexWake, 1<<31-1, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func (w *word) watch(ctx context.Context, seen func(int)) error {
	for ctx.Err() == nil {
		old := atomic.LoadUint32(w.at())
		seen(int(old))
		for atomic.LoadUint32(w.at()) == old && ctx.Err() == nil {
			timeout := unix.NsecToTimespec(int64(100 * time.Millisecond)) // to see that the context has ended
			_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(w.at())), futexWait, uintptr(old), uintptr(unsafe.Pointer(&timeout)), 0, 0)
		}
	}
	return nil
}

// Close unmaps the word.
func (w *word) Close() error { return unix.Munmap(w.page) }
