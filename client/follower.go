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

	// lookFirst and lookLast are the first and the longest pause between looks at
	// the path while there is no region to sleep on.
	lookFirst = 10 * time.Millisecond
	lookLast  = followWait

	// passOnAfter is how long code of the application may hold the follower up
	// before another goroutine follows.
	passOnAfter = time.Millisecond
)

// follow is the follower. It sleeps until the hot word moves, brings the newest
// snapshot up to it, and has the bindings decode what changed. It decodes
// itself, since a sleeping process pays more for a goroutine than for the
// decoding. Code of the application may run meanwhile; see runForeign.
func (c *Client) follow() {
	look := lookFirst
	for !c.isClosed() {
		for len(c.foreign) > 0 {
			decode := c.foreign[0]
			c.foreign = c.foreign[1:]
			if !c.runForeign(decode) {
				return // another goroutine follows
			}
		}
		s := c.current.Load()
		if s.region != nil {
			if hot, err := s.region.Hot(); err == nil && hot == s.hot {
				look = lookFirst
				c.sleepOn(s)
				continue
			}
		}
		// The generation is new, or the region is retired, damaged or not there.
		err := c.update(0)
		if err == nil && c.current.Load() != s {
			look = lookFirst
			continue
		}
		select {
		case <-c.closed:
		case <-time.After(look):
		}
		if !errors.Is(err, shm.ErrBusy) { // a writer that is too fast is there: keep looking
			look = min(2*look, lookLast)
		}
	}
	close(c.following)
}

// sleepOn sleeps until the hot word differs from the snapshot's, or for
// followWait. A region whose writer is silent may have been replaced.
func (c *Client) sleepOn(s *Snapshot) {
	if c.sleepsOn.Load() != s.region { // a store would take the cache line from exact readers
		c.sleepsOn.Store(s.region)
	}
	if s.region.Wait(s.hot, followWait) != nil {
		return // its memory is gone, and the next look at it fails
	}
	if hot, err := s.region.Hot(); err == nil && hot == s.hot && !s.region.Beating() && s.region.Replaced() {
		_ = c.update(silentWriter)
	}
}

// update is the follower's refresh. It decodes what advance queued after it has
// released the mutex, and leaves in foreign what may run code of the application.
func (c *Client) update(reason refreshReason) error {
	queue := decodeQueue{room: maxInline}
	c.mu.Lock()
	c.queue = &queue
	err := c.refreshLocked(reason)
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
