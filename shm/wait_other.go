//go:build unix && !linux

package shm

import (
	"time"

	"github.com/statesync/statesync/seqlock"
)

// waitPoll is how often the hot word is loaded where there is no futex.
const waitPoll = 50 * time.Millisecond

// Wait sleeps for a moment, unless the hot word has changed already. The
// caller must load the hot word itself.
func (r *Region) Wait(hot seqlock.Hot, timeout time.Duration) error {
	now, err := r.Hot()
	if err == nil && now == hot {
		time.Sleep(min(waitPoll, timeout))
	}
	return err
}

// Wake does nothing: no Wait lasts.
func (r *Region) Wake() error { return nil }

type waiting struct{}
