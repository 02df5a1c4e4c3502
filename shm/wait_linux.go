package shm

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
)

// The futex operations; x/sys has no names for them. None is FUTEX_PRIVATE:
// waiter and waker are different processes.
const (
	futexWaitBitset = 9
	futexWakeBitset = 10

	everyWaiter = ^uint32(0)

	// maxWait keeps a point in time from overflowing.
	maxWait = 24 * time.Hour
)

// Wait sleeps until the hot word is no longer hot, Wake is called on this
// Region, or the timeout is over, and does not say which: any process that can
// map the file can also wake or requeue its waiters, so the caller looks for
// itself, and never waits without a bound; a timeout is at most a day. Memory
// that is gone is ErrFault. It holds a thread while it sleeps.
func (r *Region) Wait(hot seqlock.Hot, timeout time.Duration) error {
	runtime.LockOSThread() // the thread that Wake may have to signal is the one that sleeps
	defer runtime.UnlockOSThread()
	wakes := r.waiting.wakes.Load()
	r.waiting.thread.Store(int64(unix.Gettid()))
	// WAIT_BITSET takes a point in time on the monotonic clock.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	until := unix.NsecToTimespec(now.Nano() + int64(min(max(timeout, 0), maxWait)))
	for {
		_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(r.hot())), futexWaitBitset,
			uintptr(uint32(hot)), uintptr(unsafe.Pointer(&until)), 0, uintptr(r.bit))
		runtime.KeepAlive(r)
		switch {
		case errno == unix.EINTR && r.waiting.wakes.Load() == wakes: // by Go's scheduler
		case errno == unix.EFAULT:
			return ErrFault
		case errno == 0, errno == unix.EAGAIN, errno == unix.EINTR, errno == unix.ETIMEDOUT:
			return nil
		default:
			return errno
		}
	}
}

// Wake ends the Wait calls on this Region, in this process. It has to be
// repeated until they have returned: one may be just about to sleep. Of several
// on memory that is gone, it may end the last one only.
func (r *Region) Wake() error {
	r.waiting.wakes.Add(1)
	err := wake(r.hot(), r.bit)
	runtime.KeepAlive(r)
	if thread := r.waiting.thread.Load(); errors.Is(err, ErrFault) && thread != 0 {
		// The kernel finds no waiters by a page that is gone. The signal with
		// which Go's scheduler preempts threads ends their syscalls, too.
		err = unix.Tgkill(os.Getpid(), int(thread), unix.SIGURG)
	}
	return err
}

// waiting is what Wake has to know of Wait.
type waiting struct {
	wakes  atomic.Uint64
	thread atomic.Int64 // that waited last
}

// wake wakes the waiters whose bits are in bits.
func wake(word *uint64, bits uint32) error {
	const all = 1<<31 - 1
	_, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWakeBitset, all, 0, 0, uintptr(bits))
	if errno != 0 {
		return errors.Join(errno, faultOf(errno))
	}
	return nil
}

// faultOf is ErrFault where the kernel could not read the futex's page.
func faultOf(errno error) error {
	if errors.Is(errno, unix.EFAULT) {
		return ErrFault
	}
	return nil
}

// Boottime is the time since the machine was started, suspension included. It
// is one clock for all processes, and does not jump.
func Boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
