package client

import (
	"errors"
	"time"

	"github.com/statesync/statesync/shm"
)

const (
	// followWait bounds the follower's sleep: any process that can map the region
	// can move its waiters to another word, and a dead daemon wakes no reader when
	// its region is replaced.
	followWait = 2 * time.Second

	// firstPause and lastPause are the first and the longest pause between two
	// tries to read a region that is not there, or not whole.
	firstPause = 10 * time.Millisecond
	lastPause  = followWait

	// pollPause is the pause between looks at the hot word where the kernel refuses
	// to wait for it.
	pollPause = 50 * time.Millisecond
)

// follow is the follower. It sleeps until the hot word moves, brings the newest
// snapshot up to it, and has the bindings decode what changed. It decodes
// itself, since a sleeping process pays more for a goroutine than for the
// decoding. Code of the application may run meanwhile; see runForeign.
func (c *Client) follow() {
	pause := firstPause
	for !c.isClosed() {
		for len(c.foreign) > 0 {
			decode := c.foreign[0]
			c.foreign = c.foreign[1:]
			if !c.runForeign(decode) {
				return // another goroutine follows
			}
		}
		s := c.current.Load()
		if s.isNewest() && !c.unfinished.Load() {
			pause = firstPause
			c.sleep(s, followWait)
			if !s.isNewest() || s.region.Beating() {
				c.reportHeart(s, true)
				continue
			}
			c.reportHeart(s, false) // its region may have been replaced
		}
		err := c.update()
		c.reportRegion(err)
		if err == nil && (c.current.Load() != s || s.isNewest()) {
			pause = firstPause
			continue
		}
		c.sleep(s, pause)
		if !errors.Is(err, shm.ErrBusy) { // a writer that is too fast is there: keep looking
			pause = min(2*pause, lastPause)
		}
	}
	close(c.following)
}

// sleep sleeps until the region has a later generation than the snapshot, the
// client is closed, wakeFollower is called, or the timeout is over.
func (c *Client) sleep(s *Snapshot, timeout time.Duration) {
	if s.isNewest() {
		if c.sleepsOn.Load() != s.region { // a store would take the cache line from exact readers
			c.sleepsOn.Store(s.region)
		}
		err := s.region.Wait(s.hot, timeout)
		if err == nil {
			c.log.over(aboutWaiting, "the kernel waits for changes again")
			return
		}
		if !errors.Is(err, shm.ErrFault) {
			c.log.problem(aboutWaiting, "refused", "the kernel does not wait for changes of the region; polling",
				"error", err, "every", pollPause)
		}
		timeout = min(timeout, pollPause)
	}
	select {
	case <-c.closed:
	case <-time.After(timeout):
	}
}

// wakeFollower ends the follower's sleep, unless it was just about to begin. A
// sleep that it misses is bounded.
func (c *Client) wakeFollower() {
	if r := c.sleepsOn.Load(); r != nil {
		_ = r.Wake() // a failure costs the rest of the sleep
	}
}

// update is the follower's refresh. It decodes what advance queued after it has
// released the mutex, and leaves in foreign what may run code of the application.
func (c *Client) update() error {
	queue := decodeQueue{room: maxInline}
	c.mu.Lock()
	c.queue = &queue
	err := c.refreshLocked()
	c.queue = nil
	c.mu.Unlock()
	for _, decode := range queue.plain {
		decode()
	}
	c.foreign = append(c.foreign, queue.foreign...)
	return err
}

// decodeQueue is what the follower decodes itself of one change.
type decodeQueue struct {
	room    int // bytes of content that still fit in plain
	plain   []func()
	foreign []func() // what takes long, or runs code of the application
}

// add reports whether the decoding of a content of so many bytes is queued.
func (q *decodeQueue) add(size int, decode func()) bool {
	if q == nil || size > q.room {
		return false
	}
	q.room -= size
	q.plain = append(q.plain, decode)
	return true
}

// run has a decoding done that is not plain: by the follower, or for a nil queue
// by a goroutine of its own.
func (q *decodeQueue) run(decode func()) {
	if q == nil {
		go decode()
		return
	}
	q.foreign = append(q.foreign, decode)
}
