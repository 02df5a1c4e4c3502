package client

import (
	"testing"
	"time"
)

func TestAlarm(t *testing.T) {
	t.Parallel()
	const soon, later = 20 * time.Millisecond, 100 * time.Millisecond
	for name, newAlarm := range map[string]func(func()) alarm{"of this system": newAlarm, "of Go": newTimerAlarm} {
		rang := make(chan time.Time, 10)
		a := newAlarm(func() { rang <- time.Now() })
		set := time.Now()
		a.set(soon)
		select {
		case at := <-rang:
			if at.Sub(set) < soon {
				t.Errorf("%s: it went off after %v", name, at.Sub(set))
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it did not go off", name)
		}
		stopsAlarm(t, a, later, func() { a.set(0) }, rang, name+", set to 0")
		stopsAlarm(t, a, later, a.close, rang, name+", closed")
	}
}

// stopsAlarm sets an alarm, and fails the test if it goes off after it was stopped. If
// stopping it took so long on a busy machine that it may have gone off before, that
// proves nothing.
func stopsAlarm(t *testing.T, a alarm, after time.Duration, stop func(), rang <-chan time.Time, what string) {
	t.Helper()
	set := time.Now()
	a.set(after)
	stop()
	stopped := time.Since(set)
	time.Sleep(2 * after)
	if n := len(rang); n > 0 && stopped < after {
		t.Errorf("%s: it went off %d times after it was stopped", what, n)
	}
	for len(rang) > 0 {
		<-rang
	}
}
