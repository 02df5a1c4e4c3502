package client

import (
	"errors"
	"runtime"
	"time"

	"github.com/statesync/statesync/shm"
)

const (
	// followWait bounds the follower's sleep: a waiter can be requeued away by
	// anybody who can map the region, and a daemon that died has no one to say
	// that its region was replaced.
	followWait = 2 * time.Second

	// lookFirst and lookLast are how often the path is looked at while there is
	// no region to sleep on: at first, and in the long run.
	lookFirst = 10 * time.Millisecond
	lookLast  = followWait
)

// follow is the follower. It sleeps until the hot word moves and brings the
// newest snapshot up to it; the bindings decode on goroutines of their own, so
// that no user's code runs here.
func (c *Client) follow() {
	defer close(c.following)
	look := lookFirst
	for !c.isClosed() {
		s := c.current.Load()
		if s.region != nil {
			if hot, err := s.region.Hot(); err == nil && hot == s.hot {
				look = lookFirst
				c.sleepOn(s)
				continue
			}
		}
		// The generation is new, or the region is retired, damaged or not there.
		err := c.refresh(0)
		if err == nil && c.current.Load() != s {
			look = lookFirst
			// The goroutines that decode are next on this processor. If the follower
			// went to sleep in the kernel with it, they would wait in a busy process
			// until the scheduler takes the processor away.
			runtime.Gosched()
			continue
		}
		select {
		case <-c.closed:
		case <-time.After(look):
		}
		if !errors.Is(err, shm.ErrBusy) { // a writer that was too fast for us is no reason to look less often
			look = min(2*look, lookLast)
		}
	}
}

// sleepOn sleeps until the hot word is another than the snapshot's, and for a
// bounded time. A region whose writer is silent may have been replaced.
func (c *Client) sleepOn(s *Snapshot) {
	if c.sleepsOn.Load() != s.region { // a store would take the line from exact readers
		c.sleepsOn.Store(s.region)
	}
	if s.region.Wait(s.hot, followWait) != nil {
		return // its memory is gone, which the next look at it will say, too
	}
	if hot, err := s.region.Hot(); err == nil && hot == s.hot && !s.region.Beating() && s.region.Replaced() {
		_ = c.refresh(silentWriter)
	}
}
