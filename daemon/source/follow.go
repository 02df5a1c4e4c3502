package source

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// Bounds of a Follower.
const (
	// DefaultInterval is the FollowOptions.Interval that is zero.
	DefaultInterval = 5 * time.Second
	// hintPause is the time from the end of a look to the next one because of a hint, in
	// the mean: a source that hints all the time is looked at 100 times a second at most.
	// hintBurst is how many of these pauses may be left out after a quiet time, so that a
	// hint now and then is followed at once. What is never left out is as long as the look
	// took. A directory's hints are further apart when there are many.
	hintPause = 10 * time.Millisecond
	hintBurst = 100
	// failedInterval is the time from the end of a look that failed to the next one, at
	// most.
	failedInterval = 5 * time.Second
	// closeWait is how long Close waits for a Fetch that does not honour its context.
	closeWait = time.Second
	// maxBackoff is the time from the end of a poll that failed to the next one, at most,
	// unless the interval is longer.
	maxBackoff = time.Minute
	// triggerPause is the time from the end of a look to the next one because of a
	// Trigger, at least.
	triggerPause = time.Second
	// triggerJitter bounds the random time that is added to triggerPause after a look that
	// could not reach the server. A trigger does not wait for the whole backoff: a server
	// that sends one is most likely back. It still waits, so that a server that fails under
	// its load gets neither a look for each trigger, nor those of all hosts at once.
	triggerJitter = 10 * time.Second
)

// Look is what a Follower knows of its source after a look. It is immutable.
type Look struct {
	Snapshot *Snapshot // the newest whole one; nil before the first
	Err      error     // why the newest look failed; nil where it found Snapshot
	Began    time.Time // when the newest look that ended began
	Good     time.Time // when the newest look that worked ended; zero: never
	Running  time.Time // when the look began that is under way; zero: none is
	Count    uint64    // looks that ended since the start
	Failures uint64    // those of them that failed
	Rechecks uint64    // how many calls of Recheck are answered by the looks that ended
}

// FollowOptions say how a source is followed.
type FollowOptions struct {
	// Interval is the time from the end of a look to the next one where there is no
	// hint. The default is DefaultInterval.
	Interval time.Duration
	// Poll, when set, spreads the looks of many hosts at one server. Looks are then where
	// the wall clock, divided by Interval, leaves the same remainder for the host and the
	// source each time; after a look that could not reach the server the next one is at a
	// random time.
	Poll *Poll
	// Wake is called after each look, on the follower's goroutine, and must not
	// block. It may be nil.
	Wake func()
}

// Poll says when a host polls a source.
type Poll struct {
	Host, Source string // what tells the host and the source from others
}

// phase is a number that is the same for a host and a source, and spread evenly over those
// of all hosts.
func (p *Poll) phase() uint64 {
	sum := sha256.Sum256([]byte(p.Host + "\x00" + p.Source))
	return binary.LittleEndian.Uint64(sum[:])
}

// after returns the time from now to the next look. failures is how many looks in a row
// could not reach the server.
func (p *Poll) after(now time.Time, interval time.Duration, failures int) time.Duration {
	if failures > 0 {
		// Full jitter: hosts that failed at the same time do not come back at the same time.
		most := interval
		for range min(failures, 16) {
			most = min(2*most, max(interval, maxBackoff))
		}
		return time.Duration(rand.Int64N(int64(most))) + hintPause
	}
	into := time.Duration((uint64(now.UnixNano()) - p.phase()%uint64(interval)) % uint64(interval))
	return interval - into
}

// Follower looks at one source, at each hint, at an interval and when Recheck or Trigger
// asks for it, on a goroutine of its own. It keeps the newest look only: a snapshot that
// was not taken in time is dropped for a newer one.
type Follower struct {
	src      Source
	hint     <-chan struct{}
	interval time.Duration
	poll     *Poll
	wake     func()

	newest atomic.Pointer[Look]
	asked  atomic.Uint64 // calls of Recheck
	ask    chan struct{} // capacity 1

	trigger chan struct{} // capacity 1, so that a trigger waits for its look

	cancel context.CancelFunc
	done   chan struct{}
	closed error // of the source's Close; written before done is closed

	// Of the goroutine.
	now         Look
	unreachable int       // looks in a row that could not reach the server
	triggered   bool      // a Trigger came since the last look that reached the server
	owed        time.Time // when all pauses between the looks would have ended
}

// PanicError is the error of a look in which the source panicked. The next look goes on
// with the source as the panic left it.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("the source panicked: %v; this is a bug, report it with the stack", e.Value)
}

// Follow starts to follow a source, with a first look at once. The source belongs to the
// follower from now on, which closes it.
func Follow(src Source, o FollowOptions) *Follower {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Follower{
		src: src, hint: src.Hint(), interval: o.Interval, poll: o.Poll, wake: o.Wake,
		ask: make(chan struct{}, 1), trigger: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
	}
	go f.run(ctx)
	return f
}

// Look returns the newest look, nil before the first has ended. A look that hangs shows
// as Look.Running, and the first one as nil.
func (f *Follower) Look() *Look { return f.newest.Load() }

// Recheck has the source looked at now, at all content where it is a Rechecker. It
// returns the number that Look.Rechecks reaches when that look has ended, whether it
// worked or not. It never blocks, and may be called from any goroutine.
func (f *Follower) Recheck() uint64 {
	n := f.asked.Add(1)
	select {
	case f.ask <- struct{}{}:
	default: // the look that is asked for already will see n
	}
	return n
}

// Trigger has the source looked at now, or triggerPause after the last look if that is
// later; after a look that could not reach the server it takes up to triggerJitter longer.
// The next look that begins answers all calls before it. Trigger never blocks, and may be
// called from any goroutine.
func (f *Follower) Trigger() {
	select {
	case f.trigger <- struct{}{}:
	default:
	}
}

// Close ends the looks and closes the source. After it has returned nil, Wake is not
// called any more. A look that does not end within a second of its context is left
// alone, and so is a Close of the source: the error says so, and the goroutine closes
// the source if the look ever ends. Close may be called again, to wait once more.
func (f *Follower) Close() error {
	f.cancel()
	wait := time.NewTimer(closeWait)
	defer wait.Stop()
	select {
	case <-f.done:
		return f.closed
	case <-wait.C:
		return fmt.Errorf("the source did not end within %v and is left as it is: it hangs in the file system or the network", closeWait)
	}
}

// run is the follower's goroutine.
func (f *Follower) run(ctx context.Context) {
	defer close(f.done)
	for again := true; again; again = f.wait(ctx) {
		f.look(ctx)
	}
	f.closed = guard(f.src.Close)
}

// look looks once, and keeps what it found unless the follower was closed meanwhile.
func (f *Follower) look(ctx context.Context) {
	began := time.Now()
	if f.now.Count > 0 {
		running := f.now
		running.Running = began
		f.newest.Store(&running)
	}
	asked := f.asked.Load()
	select {
	case <-f.trigger:
		f.triggered = true
	default:
	}
	snapshot, err := f.fetch(ctx, asked > f.now.Rechecks)
	if ctx.Err() != nil {
		return
	}
	f.now.Began, f.now.Err, f.now.Rechecks = began, err, asked
	f.now.Count++
	if err == nil {
		f.now.Snapshot, f.now.Good = snapshot, time.Now()
	} else {
		f.now.Failures++
	}
	if f.unreachable++; !errors.Is(err, ErrUnreachable) {
		f.unreachable, f.triggered = 0, false
	}
	ended := f.now
	f.newest.Store(&ended)
	f.wake()
}

// fetch calls the source.
func (f *Follower) fetch(ctx context.Context, recheck bool) (snapshot *Snapshot, err error) {
	err = guard(func() (err error) {
		if r, ok := f.src.(Rechecker); ok && recheck {
			r.Recheck()
		}
		snapshot, err = f.src.Fetch(ctx, f.now.Snapshot)
		return err
	})
	if err == nil && snapshot == nil {
		err = errors.New("the source returned neither a snapshot nor an error; this is a bug")
	}
	return snapshot, err
}

// guard makes a panic of a call its error.
func guard(call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return call()
}

// wait waits for the next look's time, and returns false when there is none. A hint or a
// trigger that comes before its time sets the timer, so that a source at rest wakes the
// follower for its polls only.
func (f *Follower) wait(ctx context.Context) bool {
	now := time.Now()
	interval := f.interval
	if f.triggered { // what is new at the server may cause no other trigger
		interval = min(interval, maxBackoff)
	}
	switch {
	case f.poll != nil:
		interval = f.poll.after(now, interval, f.unreachable)
	case f.now.Err != nil:
		interval = min(interval, failedInterval)
	}
	next, hintAt, triggerAt := now.Add(interval), now.Add(f.hintRest(now)), now.Add(f.triggerRest())
	timer := time.NewTimer(interval)
	defer timer.Stop()
	// sooner has the look at a time, if that is before the next one. It reports whether that
	// is now.
	sooner := func(at time.Time) bool {
		rest := time.Until(at)
		if rest > 0 && at.Before(next) {
			next = at
			timer.Reset(rest)
		}
		return rest <= 0
	}
	hint, trigger := f.hint, f.trigger
	for come := false; !come; {
		select {
		case <-ctx.Done():
			return false
		case <-hint:
			hint = nil
			come = sooner(hintAt)
		case <-trigger:
			f.triggered, trigger = true, nil
			come = sooner(triggerAt)
		case <-timer.C:
			come = true
		case <-f.ask:
			come = true
		}
	}
	if hint == nil { // the look is for those, too, that came since
		select {
		case <-f.hint:
		default:
		}
	}
	return ctx.Err() == nil
}

// hintRest is the time from the end of a look, which is now, until a hint counts.
func (f *Follower) hintRest(now time.Time) time.Duration {
	if earliest := now.Add(-hintBurst * hintPause); f.owed.Before(earliest) {
		f.owed = earliest
	}
	f.owed = f.owed.Add(hintPause)
	return max(f.owed.Sub(now), min(now.Sub(f.now.Began), hintPause))
}

// triggerRest is the time from the end of a look until a trigger counts.
func (f *Follower) triggerRest() time.Duration {
	if f.unreachable == 0 {
		return triggerPause
	}
	return triggerPause + rand.N(triggerJitter)
}
