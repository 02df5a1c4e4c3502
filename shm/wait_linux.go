package shm

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/internal/futex"
)

// maxWait keeps a point in time from overflowing.
const maxWait = 24 * time.Hour

// Wait sleeps until the hot word differs from hot, Wake is called on this Region,
// or the timeout is over. It does not say which: any process that can map the file
// can also wake or requeue its waiters, so the caller must load the hot word
// itself. A timeout is at most a day. Memory that is gone is ErrFault. Wait holds a
// thread while it sleeps.
func (r *Region) Wait(hot seqlock.Hot, timeout time.Duration) error {
	runtime.LockOSThread() // the thread that Wake may have to signal is the one that sleeps
	defer runtime.UnlockOSThread()
	wakes := r.waiting.wakes.Load()
	r.waiting.thread.Store(int64(unix.Gettid()))
	now, err := futex.Monotonic()
	if err != nil {
		return err
	}
	until := now + min(max(timeout, 0), maxWait)
	for {
		err := futex.Wait(r.l.HotWord(), uint32(hot), until, r.bit)
		runtime.KeepAlive(r)
		switch {
		case errors.Is(err, unix.EINTR) && r.waiting.wakes.Load() == wakes: // Go's scheduler interrupted it
		case errors.Is(err, unix.EFAULT):
			return ErrFault
		case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ETIMEDOUT):
			return nil
		default:
			return err
		}
	}
}

// Wake ends the Wait calls on this Region, in this process. The caller must repeat
// it until they have returned: one may be about to sleep. If memory is gone, it
// ends only the newest of several.
func (r *Region) Wake() error {
	r.waiting.wakes.Add(1)
	err := futex.Wake(r.l.HotWord(), r.bit)
	runtime.KeepAlive(r)
	if thread := r.waiting.thread.Load(); errors.Is(err, ErrFault) && thread != 0 {
		// The kernel finds no waiters by a page that is gone. The signal with
		// which Go's scheduler preempts threads ends their syscalls, too.
		err = unix.Tgkill(os.Getpid(), int(thread), unix.SIGURG)
	}
	return err
}

// waiting is what Wait tells Wake.
type waiting struct {
	wakes  atomic.Uint64 // calls of Wake
	thread atomic.Int64  // the thread that waited last
}
