package pace

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // began is in another time, as the wall clock's may be
		const interval = time.Second
		first := Next(interval)
		if first <= 0 || first > interval {
			t.Fatalf("the first is in %v", first)
		}
		timer := time.NewTimer(first)
		time.Sleep(first / 2)
		if rest := Next(interval); rest != first-first/2 {
			t.Errorf("half-way the next is in %v, want %v", rest, first-first/2)
		}
		began := <-timer.C
		for n := range 3 {
			if rest := Next(interval); rest != interval {
				t.Errorf("at moment %d the next is in %v, want %v", n, rest, interval)
			}
			time.Sleep(interval)
		}
		if took := time.Since(began); took != 3*interval {
			t.Errorf("three intervals took %v", took)
		}
	})
}
