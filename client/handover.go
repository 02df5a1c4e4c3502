package client

import "time"

// passOnAfter is how long code of the application may hold the follower up before
// another goroutine follows.
const passOnAfter = time.Millisecond

// runForeign runs a function that may run code of the application, on the
// goroutine that follows. If that takes longer than passOnAfter, another
// goroutine becomes the follower, and this one only finishes what it began. So
// whatever the application's code does, it cannot stop the follower; and as long
// as it is quick, a change starts no goroutine and wakes no other thread.
//
// It reports whether the caller still follows. If the function ends its
// goroutine by runtime.Goexit, a new one follows.
func (c *Client) runForeign(run func()) (follows bool) {
	if c.alarm == nil {
		c.alarm = newAlarm(c.passOn)
	}
	term := c.term.Add(1)
	c.alarm.set(passOnAfter)
	returned := false
	defer func() {
		if follows = c.term.CompareAndSwap(term, term+1); !follows {
			return
		}
		c.alarm.set(0)
		if !returned {
			go c.follow()
		}
	}()
	run()
	returned = true
	return false // the deferred function decides
}

// passOn makes a new goroutine the follower if the present one runs code of the
// application.
func (c *Client) passOn() {
	if c.relieve() {
		go c.follow()
	}
}

// relieve takes the role of the follower from a goroutine that runs code of the
// application, if there is one.
func (c *Client) relieve() bool {
	term := c.term.Load()
	return term%2 == 1 && c.term.CompareAndSwap(term, term+1)
}

// alarm calls a function once, some time after it was set. The function must not
// block.
type alarm interface {
	// set sets the alarm anew; with 0 it does not go off. An alarm that is going
	// off meanwhile may still do so.
	set(after time.Duration)
	// close ends the alarm. It may overtake a call of set: the function must have
	// nothing to do by then.
	close()
}

// timerAlarm is an alarm of Go's scheduler.
type timerAlarm struct{ *time.Timer }

func newTimerAlarm(ring func()) alarm {
	t := time.AfterFunc(time.Hour, ring)
	t.Stop()
	return timerAlarm{t}
}

func (a timerAlarm) set(after time.Duration) {
	if after == 0 {
		a.Stop()
		return
	}
	a.Reset(after)
}

func (a timerAlarm) close() { a.Stop() }
