package client

import (
	"errors"
	"sync/atomic"
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

	// yieldFor bounds for how long the follower waits for goroutines that decode.
	yieldFor = time.Millisecond
)

// follow is the follower. It sleeps until the hot word moves and brings the
// newest snapshot up to it. It decodes small contents into plain types itself:
// a sleeping process pays more for a goroutine than for the decoding. Other
// bindings decode on goroutines of their own, so that no code of the application
// runs here.
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
// released the mutex.
func (c *Client) update(reason refreshReason) error {
	queue := decodeQueue{room: maxInline}
	c.mu.Lock()
	c.queue = &queue
	err := c.refreshLocked(reason)
	c.queue = nil
	c.mu.Unlock()
	for _, decode := range queue.decodings {
		decode()
	}
	queue.yield()
	return err
}

// decodeQueue is what the follower decodes itself of one change.
type decodeQueue struct {
	decodings []func()
	room      int           // bytes of content that still fit
	running   atomic.Int32  // goroutines that decode what is not queued
	ended     chan struct{} // closed when the last of them ends; nil: there are none
}

// run starts a goroutine that decodes.
func (q *decodeQueue) run(decode func()) {
	if q == nil {
		go decode()
		return
	}
	if q.ended == nil {
		q.ended = make(chan struct{})
		q.running.Store(1) // of yield, so that it ends last or waits
	}
	q.running.Add(1)
	go func() {
		defer func() {
			if q.running.Add(-1) == 0 {
				close(q.ended)
			}
		}()
		decode()
	}()
}

// yield gives the processor to the goroutines that were started, until they have
// ended or yieldFor is over. They are next on this processor, and in a busy
// process no other takes them: a follower that went to sleep in the kernel would
// keep it for up to 20 ms.
func (q *decodeQueue) yield() {
	if q.ended == nil || q.running.Add(-1) == 0 {
		return
	}
	timer := time.NewTimer(yieldFor)
	defer timer.Stop()
	select {
	case <-q.ended:
	case <-timer.C:
	}
}

// add reports whether the decoding of a content of so many bytes is queued.
func (q *decodeQueue) add(size int, decode func()) bool {
	if q == nil || size > q.room {
		return false
	}
	q.room -= size
	q.decodings = append(q.decodings, decode)
	return true
}
