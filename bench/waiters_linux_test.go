package bench

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// holdWaiters returns a function that moves all threads that sleep on a region's
// hot word to a word that is never woken, where they stay for their bounded wait.
func holdWaiters(tb testing.TB, path string) (hold func()) {
	tb.Helper()
	file, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	header, err := unix.Mmap(int(file.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Munmap(header) })
	const futexRequeue, all = 3, 1<<31 - 1
	hot, other := unsafe.Pointer(&header[0x80]), unsafe.Pointer(&header[0xc0]) // docs/FORMAT.md
	return func() {
		if _, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(hot), futexRequeue, 0, all, uintptr(other), 0); errno != 0 {
			tb.Fatal(errno)
		}
	}
}
