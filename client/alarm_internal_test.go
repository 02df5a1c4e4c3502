package client

import (
	"testing"
	"time"
)

func TestAlarm(t *testing.T) {
	t.Parallel()
	for name, newAlarm := range map[string]func(func()) alarm{"of this system": newAlarm, "of Go": newTimerAlarm} {
		rang := make(chan time.Time, 10)
		a := newAlarm(func() { rang <- time.Now() })
		set := time.Now()
		a.set(20 * time.Millisecond)
		select {
		case at := <-rang:
			if at.Sub(set) < 20*time.Millisecond {
				t.Errorf("%s: it went off after %v", name, at.Sub(set))
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it did not go off", name)
		}
		a.set(50 * time.Millisecond)
		a.set(0)
		time.Sleep(100 * time.Millisecond)
		a.set(50 * time.Millisecond)
		a.close()
		time.Sleep(100 * time.Millisecond)
		if n := len(rang); n > 0 {
			t.Errorf("%s: it went off %d times after it was stopped", name, n)
		}
	}
}
