//go:build unix

package daemon

import (
	"time"

	"go.uber.org/atomic"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// Stats is what a daemon has done since its start, and how it stands. Its times
// have readings of the monotonic clock: time.Since of them does not jump with
// the time of day.
type Stats struct {
	Reconciles   uint64 // readings of the source
	Publications uint64 // generations that were committed
	Regions      uint64 // region files that were made
	Losses       uint64 // region files that were found gone or damaged
	// Refusals counts the readings and publications that were refused, each
	// time anew, by reason; every reason has an entry.
	Refusals    map[Reason]uint64
	StateErrors uint64 // failures to reserve a generation or to save an image
	WatchErrors uint64 // times that watching the source was found impaired

	Ready      bool   // readers find the current generation in the region
	Good       bool   // the newest revision is published
	Problem    string // why it is not, as the region's status has it
	Place      string // Problem with file, line, column and key, and no value
	Generation uint64 // the region's current one; 0 without a region
	Revision   string // that it came from
	Configs    int    // in the current image
	Bytes      int    // of the current image

	Turned      time.Time // when the loop last ended a turn; zero: never
	LastGood    time.Time // when the source last had a valid revision; zero: never
	LastSuccess time.Time // when the newest revision was last found to be published; zero: never
	Behind      time.Time // since when it is not; zero: it is, or nothing was read yet
	Published   time.Time // when the current generation was committed, by whichever daemon
}

// Stats may be called at any time, from any goroutine. Its fields are each
// true, but not all of the same moment.
func (d *Daemon) Stats() Stats {
	c := d.counters
	s := Stats{
		Reconciles:   c.reconciles.Load(),
		Publications: c.publications.Load(),
		Regions:      c.regions.Load(),
		Losses:       c.losses.Load(),
		Refusals:     make(map[Reason]uint64, len(c.refusals)),
		StateErrors:  c.stateErrors.Load(),
		WatchErrors:  c.watchErrors.Load(),
		Ready:        c.ready.Load(),
		Good:         c.good.Load(),
		Problem:      c.problem.Load(),
		Place:        c.place.Load(),
		Turned:       c.turnedAt.Load(),
		LastGood:     c.lastGood.Load(),
		LastSuccess:  c.lastSuccess.Load(),
		Behind:       c.behind.Load(),
	}
	for reason, n := range c.refusals {
		s.Refusals[reason] = n.Load()
	}
	if h := c.held.Load(); h != nil {
		m := h.image
		s.Generation, s.Revision, s.Configs, s.Bytes, s.Published = m.Generation(), m.Revision(), m.Len(), m.Size(), m.Published()
	}
	return s
}

// counters are what Stats is read from.
type counters struct {
	reconciles, publications, regions, losses, stateErrors, watchErrors atomic.Uint64

	refusals map[Reason]*atomic.Uint64

	ready, good                             atomic.Bool
	problem, place                          atomic.String
	held                                    atomic.Pointer[holding]
	turnedAt, lastGood, lastSuccess, behind atomic.Time
}

func newCounters() *counters {
	c := &counters{refusals: make(map[Reason]*atomic.Uint64, len(reasons))}
	for _, reason := range reasons {
		c.refusals[reason] = atomic.NewUint64(0)
	}
	return c
}

// refused counts a refusal, if it is one.
func (c *counters) refused(f *refusal) {
	if f != nil {
		c.refusals[f.reason].Inc()
	}
}

// holds records what the region holds.
func (c *counters) holds(m *image.Image) {
	c.held.Store(&holding{image: m})
}

// attached records what the previous daemon left: whether its region
// was attached, and when its source last had a valid revision, by shm.Boottime.
func (c *counters) attached(whole bool, good time.Duration) {
	c.ready.Store(whole)
	if good > 0 {
		c.lastGood.Store(time.Now().Add(good - shm.Boottime()))
	}
}

// evaluated records whether the source's newest revision is published.
func (c *counters) evaluated(good bool) {
	now := time.Now()
	c.good.Store(good)
	switch {
	case good:
		c.lastSuccess.Store(now)
		c.behind.Store(time.Time{})
	case c.behind.Load().IsZero():
		c.behind.Store(now)
	}
}
