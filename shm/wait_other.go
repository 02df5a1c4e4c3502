//go:build unix && !linux

package shm

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
)

// waitPoll is how often the hot word is looked at where there is no futex.
const waitPoll = 50 * time.Millisecond

const everyWaiter = ^uint32(0)

// Wait sleeps for a moment, unless the hot word has changed already. The
// caller looks for itself.
func (r *Region) Wait(hot seqlock.Hot, timeout time.Duration) error {
	now, err := r.Hot()
	if err == nil && now == hot {
		time.Sleep(min(waitPoll, timeout))
	}
	return err
}

// Wake has nobody to wake: no Wait lasts.
func (r *Region) Wake() error { return nil }

type waiting struct{}

func wake(*uint64, uint32) error { return nil }

// Boottime is the time since the machine was started. It is one clock for all
// processes, and does not jump.
func Boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
