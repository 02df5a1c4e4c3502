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
	now, err := futex.Monotonic()
	if err != nil {
		return err
	}
	until := now + min(max(timeout, 0), maxWait)
	for {
		err := futex.Wait(r.l.HotWord(), uint32(hot), until, r.bit)
		runtime.KeepAlive(r)
		switch {
		case errors.Is(err, unix.EINTR) && r.waiting.wakes.Load() == wakes: // by Go's scheduler
		case errors.Is(err, unix.EFAULT):
			return ErrFault
		case err == nil, errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ETIMEDOUT):
			return nil
		default:
			return err
		}
	}
}

// Wake ends the Wait calls on this Region, in this process. It has to be
// repeated until they have returned: one may be just about to sleep. Of several
// on memory that is gone, it may end the last one only.
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

// waiting is what Wake has to know of Wait.
type waiting struct {
	wakes  atomic.Uint64
	thread atomic.Int64 // that waited last
}
