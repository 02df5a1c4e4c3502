package client

import (
	"errors"
	"runtime"
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
			if c.started && c.isBusy() {
				// The goroutines that decode are next on this processor, and no other
				// takes them. If the follower went to sleep in the kernel, it would keep
				// the processor for up to 20 ms.
				runtime.Gosched()
			}
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
	if c.started { // isBusy will ask
		c.sleptAt, c.sleptCPU = time.Now(), processCPU()
	}
	if s.region.Wait(s.hot, followWait) != nil {
		return // its memory is gone, and the next look at it fails
	}
	if hot, err := s.region.Hot(); err == nil && hot == s.hot && !s.region.Beating() && s.region.Replaced() {
		_ = c.update(silentWriter)
	}
}

// isBusy reports whether the process has used more than a quarter of its
// processors since the follower last went to sleep. Where it has used less, an
// idle processor takes a goroutine that is started. Giving way then would cost
// more than the change: the Go runtime polls every 20 µs, for 10 ms, for the
// processor of a goroutine that sleeps in the kernel just after it was scheduled.
func (c *Client) isBusy() bool {
	used, elapsed := processCPU()-c.sleptCPU, time.Since(c.sleptAt)
	return 4*used > elapsed*time.Duration(runtime.GOMAXPROCS(0))
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
	c.started = c.started || queue.started
	for _, decode := range queue.decodings {
		decode()
	}
	return err
}

// decodeQueue is what the follower decodes itself of one change.
type decodeQueue struct {
	decodings []func()
	room      int  // bytes of content that still fit
	started   bool // goroutines decode what is not queued
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
