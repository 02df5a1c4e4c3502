package match

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/bench/peers/scaling/cost"
)

// TestStallCounts has a service that answers no request for a while. A closed loop
// would send one request, wait, and find one slow answer.
func TestStallCounts(t *testing.T) {
	const stalled = 100 // requests that arrive during the stall
	ctx, cancel := context.WithCancel(t.Context())
	open := make(chan struct{})
	var arrived atomic.Int64
	var opened atomic.Int64 // on the loop's clock
	start := cost.Monotonic()
	go func() {
		for arrived.Load() < stalled {
			time.Sleep(time.Millisecond)
		}
		opened.Store(int64(cost.Monotonic() - start))
		close(open)
		cancel()
	}()
	samples := openLoop(ctx, start, arrivals(2000, 1), func() answer {
		arrived.Add(1)
		<-open
		return answer{version: 1}
	})
	if len(samples) < stalled {
		t.Fatalf("%d samples, want at least %d", len(samples), stalled)
	}
	for i, s := range samples[:stalled] {
		if least := time.Duration(opened.Load()) - s.intended; s.took() < least {
			t.Errorf("request %d, to be sent at %s, took %s; it could not be answered in less than %s", i, s.intended, s.took(), least)
		}
		if s.sent < s.intended {
			t.Errorf("request %d was sent at %s, before its time %s", i, s.sent, s.intended)
		}
	}
	// The first requests waited for nearly all of the stall, and so the median
	// shows it, though no answer by itself took any work.
	if l := latencyOf(samples); l.P50 == 0 || l.Worst < time.Duration(opened.Load())-samples[0].intended {
		t.Errorf("the latencies are %+v after a stall of %s", l, time.Duration(opened.Load()))
	}
}

func TestArrivals(t *testing.T) {
	const n, rate = 100_000, 1500.0
	next, again := arrivals(rate, 7), arrivals(rate, 7)
	last := time.Duration(0)
	for i := range n {
		at := next()
		if same := again(); same != at {
			t.Fatalf("arrival %d is at %s and at %s for the same seed", i, at, same)
		}
		if at < last {
			t.Fatalf("arrival %d is at %s, before the one at %s", i, at, last)
		}
		last = at
	}
	if got := n / last.Seconds(); got < 0.98*rate || got > 1.02*rate {
		t.Errorf("%.0f arrivals a second, want %.0f", got, rate)
	}
}

func TestLatencyOf(t *testing.T) {
	samples := []sample{{answer: answer{err: errors.New("failed")}, done: time.Hour}}
	for i := range 1000 {
		at := time.Duration(i) * time.Millisecond
		samples = append(samples, sample{intended: at, sent: at + time.Second, done: at + time.Duration(i+1)})
	}
	want := latency{Answered: 1000, Failed: 1, P50: 501, P99: 991, P999: 1000, Worst: 1000}
	if got := latencyOf(samples); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if in := within(samples, window{10 * time.Millisecond, 20 * time.Millisecond}); len(in) != 10 {
		t.Errorf("%d samples in a window of 10 arrivals", len(in))
	}
}

func TestSpread(t *testing.T) {
	samples := []sample{
		{intended: 90, done: 95, answer: answer{version: 1}},
		{intended: 110, done: 125, answer: answer{version: 2}},
		{intended: 115, done: 118, answer: answer{version: 1}},
		{intended: 120, done: 124, answer: answer{version: 2}},
		{intended: 130, done: 131, answer: answer{err: errors.New("failed")}},
	}
	if seen, stale := spread(samples, 100, 2); seen != 24 || stale != 15 {
		t.Errorf("seen after %d and stale until %d, want 24 and 15", seen, stale)
	}
}
