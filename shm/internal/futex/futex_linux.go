// Package futex is the kernel's wait queue of a word that processes share.
package futex

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/internal/layout"
)

// The operations; x/sys has no names for them. None is FUTEX_PRIVATE: waiter and
// waker are different processes.
const (
	waitBitset = 9
	wakeBitset = 10
)

// EveryWaiter are the bits that every waiter has one of.
const EveryWaiter = ^uint32(0)

// Wait sleeps while the lower half of the word is low, at most until a point in
// time on the monotonic clock. bits say which calls of Wake end it. The error is
// the kernel's. It holds a thread while it sleeps.
func Wait(word *uint64, low uint32, until time.Duration, bits uint32) error {
	at := unix.NsecToTimespec(int64(until))
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), waitBitset,
		uintptr(low), uintptr(unsafe.Pointer(&at)), 0, uintptr(bits))
	if errno != 0 {
		return errno
	}
	return nil
}

// Wake wakes the waiters on a word that have one of the bits. The error matches
// layout.ErrFault where the word's page is gone: the kernel finds the waiters by
// it.
func Wake(word *uint64, bits uint32) error {
	_, err := WakeSome(word, bits, 1<<31-1)
	return err
}

// WakeSome is Wake of at most so many waiters. It returns how many it woke.
func WakeSome(word *uint64, bits uint32, most int) (woken int, err error) {
	n, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), wakeBitset, uintptr(most), 0, 0, uintptr(bits))
	switch errno {
	case 0:
		return int(n), nil
	case unix.EFAULT:
		return 0, errors.Join(errno, layout.ErrFault)
	}
	return 0, errno
}

// Monotonic is the clock of Wait's until.
func Monotonic() (time.Duration, error) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano()), err
}
