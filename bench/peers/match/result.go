package match

import (
	"slices"
	"time"
)

// result is what the experiment found, as it is kept.
type result struct {
	Rate      float64                // requests a second
	CachedOf  int                    // keys that a flush deletes in Redis
	CalmFor   time.Duration          // of each turn
	StoppedIn time.Duration          // how long a backend was stopped
	Modes     map[string]*modeResult // by name
}

type modeResult struct {
	Turns   []turn
	Outages []outage
}

// turn is what one mode showed in one round.
type turn struct {
	Calm     latency
	Changing latency
	Late     time.Duration // P99 of how late the load generator itself was, in calm
	Quiet    spent         // in calm
	Changes  []change
}

// latency is a distribution, and what has none.
type latency struct {
	Answered, Failed      int
	P50, P99, P999, Worst time.Duration
}

// latencyOf is that of the answered ones. A failed request has no latency: it
// is counted.
func latencyOf(samples []sample) latency {
	var l latency
	var took []time.Duration
	for _, s := range samples {
		if s.err != nil {
			l.Failed++
			continue
		}
		took = append(took, s.took())
	}
	slices.Sort(took)
	l.Answered = len(took)
	if len(took) > 0 {
		l.P50, l.P99, l.P999, l.Worst = percentile(took, 0.5), percentile(took, 0.99), percentile(took, 0.999), took[len(took)-1]
	}
	return l
}

// percentile of sorted durations.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(float64(len(sorted))*p), len(sorted)-1)]
}

// change is what one change of the config cost.
type change struct {
	Call  time.Duration // of the call that makes the change
	Seen  time.Duration // until the first answer with the new value
	Stale time.Duration // until the last request that was answered with the old one
	Reads uint64        // of the backend, in the window
	Spent time.Duration // CPU of the whole stack, in the window
	Long  time.Duration // the window
}

// outage is what the stop of a backend did.
type outage struct {
	What   string
	During latency       // of the requests that arrived during the stop
	After  time.Duration // from the backend's return to the last failure
	Reason string        // of the first failure
}

// spent is what a mode used in a window of time.
type spent struct {
	Requests       int
	For            time.Duration
	Service, Stack time.Duration // CPU of the service, and of all that the mode needs
	Usage          usage         // of the service
	window         window
}
