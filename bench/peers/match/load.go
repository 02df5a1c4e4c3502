package match

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/bench/peers/scaling/cost"
)

// answer is what became of a request.
type answer struct {
	version int // of the settings that it was answered with
	err     error
}

// sample is one request of an open loop. Times are since the loop began.
type sample struct {
	intended time.Duration // when it was to be sent
	sent     time.Duration // when it was: the generator, too, may be late
	done     time.Duration
	answer
}

// took is the latency that the request's user sees. It counts from the moment at
// which the request was due, so the time in which a stalled service kept it from
// being sent is included.
func (s sample) took() time.Duration { return s.done - s.intended }

// arrivals returns the random times at which requests of many independent users
// arrive. The same seed gives the same times.
func arrivals(rate float64, seed uint64) func() time.Duration {
	random := rand.New(rand.NewPCG(seed, 1))
	var at float64 // seconds
	return func() time.Duration {
		at += random.ExpFloat64() / rate
		return time.Duration(at * float64(time.Second))
	}
}

// openLoop calls send at each arrival, whatever became of the calls before it,
// until the context ends; then it waits for those under way. The samples are
// in the order of their arrival, with times since start, which is on the clock
// of cost.Monotonic.
func openLoop(ctx context.Context, start time.Duration, next func() time.Duration, send func() answer) []sample {
	var mutex sync.Mutex
	var samples []sample
	var pending sync.WaitGroup
	// The runtime's timers round up to a millisecond; a thread's own sleep does not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // nanoseconds; else 50 µs
	for ctx.Err() == nil {
		s := sample{intended: next()}
		sleepUntil(start + s.intended)
		pending.Go(func() {
			s.sent = cost.Monotonic() - start
			s.answer = send()
			s.done = cost.Monotonic() - start
			mutex.Lock()
			samples = append(samples, s)
			mutex.Unlock()
		})
	}
	pending.Wait()
	slices.SortFunc(samples, func(a, b sample) int { return int(a.intended - b.intended) })
	return samples
}

func sleepUntil(at time.Duration) {
	t := unix.NsecToTimespec(int64(at))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil) == unix.EINTR {
	}
}

// window is a part of a run.
type window struct{ from, to time.Duration }

func (w window) length() time.Duration { return w.to - w.from }

// within are the samples whose arrival is in the window.
func within(samples []sample, w window) []sample {
	var in []sample
	for _, s := range samples {
		if s.intended >= w.from && s.intended < w.to {
			in = append(in, s)
		}
	}
	return in
}
