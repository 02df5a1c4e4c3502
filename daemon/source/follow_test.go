package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a source whose states the test makes. Its test runs in a bubble, where
// time goes on only once every goroutine waits.
type scripted struct {
	hint chan struct{}

	mu       sync.Mutex
	version  int
	err      error
	crash    any
	hang     chan struct{} // Fetch waits for it, and not for its context
	slow     time.Duration // what a Fetch takes
	fetches  int
	rechecks int
	closed   bool
	seen     *Snapshot // what the last Fetch was told that its caller has
}

func (s *scripted) Fetch(ctx context.Context, have *Snapshot) (*Snapshot, error) {
	s.mu.Lock()
	s.fetches++
	s.seen = have
	version, err, crash, hang, slow, closed := s.version, s.err, s.crash, s.hang, s.slow, s.closed
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(slow):
	}
	switch {
	case closed:
		return nil, fs.ErrClosed
	case crash != nil:
		panic(crash)
	case err != nil:
		return nil, err
	case have != nil && have.Version == strconv.Itoa(version):
		return have, nil
	}
	return &Snapshot{Version: strconv.Itoa(version)}, nil
}

func (s *scripted) Hint() <-chan struct{} { return s.hint }

func (s *scripted) Recheck() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rechecks++
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("closed twice")
	}
	s.closed = true
	return nil
}

func (s *scripted) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// count is how often Fetch was called.
func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

// follow runs a test with a follower of a scripted source, an hour between looks.
func follow(t *testing.T, test func(t *testing.T, s *scripted, f *Follower)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{hint: make(chan struct{}, 1), version: 1}
		f := Follow(s, FollowOptions{Interval: time.Hour})
		synctest.Wait()
		test(t, s, f)
		if err := f.Close(); err != nil || !s.closed {
			t.Errorf("Close gave %v; the source is closed: %v", err, s.closed)
		}
	})
}

// wants compares the newest look, apart from its times.
func wants(t *testing.T, f *Follower, version int, count, failures uint64) *Look {
	t.Helper()
	look := f.Look()
	if look == nil || look.Snapshot == nil || look.Snapshot.Version != strconv.Itoa(version) || look.Count != count || look.Failures != failures {
		t.Fatalf("the newest look is %+v, want version %d, %d looks and %d failures", look, version, count, failures)
	}
	return look
}

func TestFollowLooksAtOnce(t *testing.T) {
	follow(t, func(t *testing.T, _ *scripted, f *Follower) {
		if look := wants(t, f, 1, 1, 0); look.Err != nil || look.Good.IsZero() || look.Began.IsZero() || !look.Running.IsZero() {
			t.Errorf("the first look is %+v", look)
		}
	})
}

func TestFollowLooksAtHints(t *testing.T) {
	follow(t, func(t *testing.T, s *scripted, f *Follower) {
		first := f.Look()
		time.Sleep(time.Minute)
		s.set(func() { s.version = 2 })
		s.hint <- struct{}{}
		synctest.Wait()
		look := wants(t, f, 2, 2, 0)
		if s.seen != first.Snapshot || look.Began.Sub(first.Began) != time.Minute {
			t.Errorf("Fetch was told of %v, and began at %v after %v", s.seen, look.Began, first.Began)
		}
		if first.Snapshot.Version != "1" || first.Count != 1 {
			t.Errorf("a look that was taken became %+v", first)
		}

		// A hint right after a look waits only for as long as the look took.
		s.set(func() { s.slow = hintPause / 2 })
		s.hint <- struct{}{}
		time.Sleep(hintPause / 2)
		s.hint <- struct{}{}
		time.Sleep(hintPause/2 - 1)
		synctest.Wait()
		if n := s.count(); n != 3 {
			t.Errorf("%d looks before the pause has ended", n)
		}
		time.Sleep(1 + hintPause/2)
		synctest.Wait()
		wants(t, f, 2, 4, 0)
	})
}

func TestFollowLooksAtTheInterval(t *testing.T) {
	follow(t, func(t *testing.T, s *scripted, f *Follower) {
		s.set(func() { s.version = 2 })
		time.Sleep(time.Hour - 1)
		synctest.Wait()
		wants(t, f, 1, 1, 0)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wants(t, f, 2, 2, 0)
	})
}

func TestFollowHasADefaultInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{} // without hints
		f := Follow(s, FollowOptions{})
		time.Sleep(10*DefaultInterval + 1)
		synctest.Wait()
		if n := s.count(); n != 11 {
			t.Errorf("%d looks in 10 intervals, want 11", n)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFollowRechecks(t *testing.T) {
	follow(t, func(t *testing.T, s *scripted, f *Follower) {
		if n := f.Recheck(); n != 1 {
			t.Errorf("the first call is number %d", n)
		}
		synctest.Wait()
		if look := wants(t, f, 1, 2, 0); look.Rechecks != 1 || s.rechecks != 1 {
			t.Errorf("%d calls answered, %d of the source", look.Rechecks, s.rechecks)
		}

		// Calls during a look are answered together by the next one, and a look that
		// fails answers as well.
		s.set(func() { s.slow, s.err = time.Second, errors.New("broken") })
		f.Recheck()
		synctest.Wait()
		f.Recheck()
		last := f.Recheck()
		time.Sleep(time.Second)
		synctest.Wait()
		if look := f.Look(); look.Rechecks != 2 || look.Err == nil {
			t.Errorf("a look that began before two calls: %+v", look)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if look := wants(t, f, 1, 4, 2); look.Rechecks != last || s.rechecks != 3 {
			t.Errorf("%d calls of %d answered, %d of the source", look.Rechecks, last, s.rechecks)
		}

		// A look at a hint compares no content.
		time.Sleep(hintPause)
		s.hint <- struct{}{}
		time.Sleep(time.Second)
		synctest.Wait()
		if wants(t, f, 1, 5, 3); s.rechecks != 3 {
			t.Errorf("a hint rechecked")
		}
	})
}

// Triggers come to one look, and to one more if there were some during it. Looks because
// of triggers are a second apart.
func TestFollowLooksAtTriggers(t *testing.T) {
	follow(t, func(t *testing.T, s *scripted, f *Follower) {
		time.Sleep(time.Minute)
		s.set(func() { s.version, s.slow = 2, 100*time.Millisecond })
		f.Trigger()
		synctest.Wait()
		for range 1000 {
			f.Trigger()
		}
		if n := s.count(); n != 2 {
			t.Fatalf("%d looks began, want one at once beside the first", n)
		}
		time.Sleep(100*time.Millisecond + triggerPause - 1)
		synctest.Wait()
		wants(t, f, 2, 2, 0)
		if n := s.count(); n != 2 {
			t.Fatalf("%d looks began before the pause has ended", n)
		}
		time.Sleep(1 + 100*time.Millisecond)
		synctest.Wait()
		wants(t, f, 2, 3, 0)
		time.Sleep(time.Minute)
		wants(t, f, 2, 3, 0)

		// Another look answers a trigger that waits.
		f.Trigger()
		time.Sleep(100 * time.Millisecond)
		f.Trigger()
		f.Recheck()
		time.Sleep(time.Minute)
		wants(t, f, 2, 5, 0)
		if s.rechecks != 1 {
			t.Errorf("triggers rechecked: %d", s.rechecks)
		}
	})
}

// While a server cannot be reached, triggers wait for a bounded time, however long the
// backoff is. What they were for is looked at again within maxBackoff, however long the
// interval is.
func TestTriggersOfAnUnreachableServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{version: 1, err: Unreachable(errors.New("no route"))}
		f := Follow(s, FollowOptions{Interval: 1000 * time.Hour, Poll: &Poll{Host: "a", Source: "b"}})
		defer f.Close()
		synctest.Wait()
		takes := func(looks int) time.Duration {
			began := time.Now()
			for s.count() < looks {
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
			return time.Since(began)
		}
		for n := range 10 {
			for range 1000 {
				f.Trigger()
			}
			// Only before the first trigger is the backoff always longer.
			if took := takes(n + 2); n == 0 && took < triggerPause || took > triggerPause+triggerJitter+time.Millisecond {
				t.Fatalf("a trigger after %d failures led to a look after %v", n+1, took)
			}
		}
		s.set(func() { s.err = nil })
		if took := takes(12); took > maxBackoff+2*hintPause {
			t.Errorf("a look for triggers that failed was repeated after %v", took)
		}
		time.Sleep(maxBackoff + time.Second)
		synctest.Wait()
		if wants(t, f, 1, 12, 11); s.rechecks != 0 {
			t.Error("triggers rechecked")
		}
	})
}

func TestFollowKeepsTheLastGoodSnapshot(t *testing.T) {
	broken := errors.New("broken")
	follow(t, func(t *testing.T, s *scripted, f *Follower) {
		good := f.Look()
		s.set(func() { s.version, s.err = 2, broken })
		time.Sleep(time.Hour)
		synctest.Wait()
		look := wants(t, f, 1, 2, 1)
		if !errors.Is(look.Err, broken) || look.Snapshot != good.Snapshot || !look.Good.Equal(good.Good) || !look.Began.After(good.Began) {
			t.Errorf("a look that failed is %+v after %+v", look, good)
		}
		s.set(func() { s.err = nil })
		time.Sleep(time.Hour)
		synctest.Wait()
		if look := wants(t, f, 2, 3, 1); look.Err != nil || !look.Good.After(good.Good) {
			t.Errorf("the look after it is %+v", look)
		}
	})
}

func TestFollowBeginsWithAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{err: fs.ErrNotExist}
		f := Follow(s, FollowOptions{})
		synctest.Wait()
		if look := f.Look(); look == nil || look.Snapshot != nil || !errors.Is(look.Err, fs.ErrNotExist) || !look.Good.IsZero() {
			t.Errorf("the first look is %+v", look)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFollowSurvivesAPanic(t *testing.T) {
	follow(t, func(t *testing.T, s *scripted, f *Follower) {
		s.set(func() { s.crash = "index out of range" })
		f.Recheck()
		synctest.Wait()
		var panicked *PanicError
		look := wants(t, f, 1, 2, 1)
		if !errors.As(look.Err, &panicked) || !strings.Contains(look.Err.Error(), "index out of range") || !strings.Contains(string(panicked.Stack), "scripted") {
			t.Errorf("a panic is the error %v", look.Err)
		}
		s.set(func() { s.crash, s.version = nil, 2 })
		f.Recheck()
		synctest.Wait()
		wants(t, f, 2, 3, 1)
	})
}

// A source that hints all the time is looked at once in each pause, after a burst.
func TestFollowBoundsHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		always := make(chan struct{})
		close(always)
		s := &scripted{hint: always}
		f := Follow(s, FollowOptions{})
		before, wait := 0, hintPause/2 // away from the moments at which looks begin
		for n, want := range []int{hintBurst + 1, int(time.Second / hintPause), int(time.Second / hintPause)} {
			time.Sleep(wait)
			synctest.Wait()
			if got := s.count() - before; got != want {
				t.Errorf("%d looks in part %d, want %d", got, n, want)
			}
			before, wait = s.count(), time.Second
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFollowWakesAndKeepsTheNewestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{hint: make(chan struct{}, 1)}
		var f *Follower
		var mu sync.Mutex
		var counts []uint64 // of the newest look at each wake
		started := make(chan struct{})
		f = Follow(s, FollowOptions{Interval: time.Second, Wake: func() {
			<-started
			mu.Lock()
			defer mu.Unlock()
			counts = append(counts, f.Look().Count)
		}})
		close(started)
		for n := range 5 {
			s.set(func() { s.version = n })
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if look := f.Look(); look.Snapshot.Version != "4" || look.Count != 6 {
			t.Errorf("after five changes that were not taken the newest look is %+v", look)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		for i, n := range counts {
			if n != uint64(i+1) {
				t.Fatalf("at the wakes there were %d looks, want one more each time", counts)
			}
		}
		if len(counts) != 6 {
			t.Errorf("%d wakes for 6 looks", len(counts))
		}
	})
}

// A Fetch that hangs is seen in the look, and keeps Close for a second.
func TestFollowSourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		s := &scripted{hint: make(chan struct{}, 1), version: 1}
		woken := 0
		f := Follow(s, FollowOptions{Interval: time.Hour, Wake: func() { woken++ }})
		synctest.Wait()
		first := f.Look()
		s.set(func() { s.hang, s.version = hang, 2 })
		time.Sleep(time.Hour)
		hung := time.Now()
		time.Sleep(time.Minute)
		if look := wants(t, f, 1, 1, 0); !look.Running.Equal(hung) || !look.Began.Equal(first.Began) {
			t.Errorf("while a look hangs since %v there is %+v", hung, look)
		}
		f.Recheck() // does not block

		for range 2 {
			began := time.Now()
			err := f.Close()
			if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "hangs") || took != closeWait {
				t.Errorf("Close gave %v after %v", err, took)
			}
		}
		if s.closed {
			t.Error("the source is closed under its Fetch")
		}
		close(hang)
		synctest.Wait()
		if wants(t, f, 1, 1, 0); !s.closed || woken != 1 {
			t.Errorf("the look ended after all: the source is closed: %v, %d wakes", s.closed, woken)
		}
		if err := f.Close(); err != nil {
			t.Errorf("Close after the end: %v", err)
		}
	})
}

// Close ends a look that honours its context, and drops what it found.
func TestFollowCloseEndsALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{slow: time.Hour}
		f := Follow(s, FollowOptions{})
		synctest.Wait()
		began := time.Now()
		if err := f.Close(); err != nil || !time.Now().Equal(began) || !s.closed {
			t.Errorf("Close gave %v after %v", err, time.Since(began))
		}
		if look := f.Look(); look != nil {
			t.Errorf("a look that was interrupted is %+v", look)
		}
		f.Recheck() // does not block
	})
}

// A source that breaks its promise is an error and no crash.
func TestFollowWantsASnapshotOrAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := Follow(nothing{}, FollowOptions{})
		synctest.Wait()
		if look := f.Look(); look.Err == nil || look.Failures != 1 {
			t.Errorf("neither a snapshot nor an error is %+v", look)
		}
		if err := f.Close(); err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("a panic of Close gave %v", err)
		}
	})
}

type nothing struct{}

func (nothing) Fetch(context.Context, *Snapshot) (*Snapshot, error) { return nil, nil }
func (nothing) Hint() <-chan struct{}                               { return nil }
func (nothing) Close() error                                        { panic("not made") }

func TestPollsAreSpread(t *testing.T) {
	const interval = 10 * time.Second
	now := time.Unix(1_800_000_000, 123)
	seconds := map[int64]int{}
	for i := range 1000 {
		p := &Poll{Host: fmt.Sprint("host-", i), Source: "git:https://example.com/config.git"}
		next := now.Add(p.after(now, interval, 0))
		if !next.After(now) || next.Sub(now) > interval {
			t.Fatalf("the next look is after %v", next.Sub(now))
		}
		if again := next.Add(p.after(next, interval, 0)); again.Sub(next) != interval {
			t.Fatalf("the look after it is %v later", again.Sub(next))
		}
		seconds[next.Unix()%10]++
	}
	for second := range int64(10) {
		if n := seconds[second]; n < 50 || n > 150 {
			t.Errorf("of 1000 hosts %d look in second %d of 10", n, second)
		}
	}
}

func TestPollsBackOffAtRandom(t *testing.T) {
	p := &Poll{Host: "a", Source: "b"}
	for _, c := range []struct {
		interval, most time.Duration
		failures       int
	}{
		{10 * time.Second, 20 * time.Second, 1},
		{10 * time.Second, 40 * time.Second, 2},
		{10 * time.Second, maxBackoff, 3},
		{10 * time.Second, maxBackoff, 1 << 30},
		{5 * time.Minute, 5 * time.Minute, 1},
	} {
		shortest, longest := c.most, time.Duration(0)
		for range 1000 {
			after := p.after(time.Now(), c.interval, c.failures)
			shortest, longest = min(shortest, after), max(longest, after)
		}
		if shortest < hintPause || longest > c.most+hintPause || shortest > c.most/10 || longest < c.most*9/10 {
			t.Errorf("after %d failures every %v: between %v and %v, want up to %v", c.failures, c.interval, shortest, longest, c.most)
		}
	}
}

func TestOnlyUnreachableSourcesBackOff(t *testing.T) {
	f := &Follower{src: &unreached{}, wake: func() {}}
	for _, want := range []int{1, 2, 0, 0, 1} {
		if f.look(t.Context()); f.unreachable != want {
			t.Fatalf("after look %d it counts %d failures in a row, want %d", f.now.Count, f.unreachable, want)
		}
	}
}

// unreached is a source that cannot be reached twice, then is bad, then good, and then
// cannot be reached.
type unreached struct {
	Source
	looks int
}

func (s *unreached) Fetch(context.Context, *Snapshot) (*Snapshot, error) {
	s.looks++
	switch s.looks {
	case 3:
		return nil, ErrEmpty
	case 4:
		return &Snapshot{}, nil
	}
	return nil, fmt.Errorf("a source: %w", Unreachable(errors.New("no route")))
}
