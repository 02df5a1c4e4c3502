package client

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/shm"
)

// counters are what a client counts.
type counters struct {
	refreshes, lapped, torn, faults, rejections, refusedRegions atomic.Uint64
}

// Stats is the state of a client and of its region, for an application's metrics
// and logs.
type Stats struct {
	RegionID   string        // in hexadecimal; empty without a region
	Generation uint64        // of the newest snapshot; 0 without a region
	Age        time.Duration // since that generation was published; negative after a clock was set back
	// DaemonAlive says whether the writer's heart has beaten in the last 5 s. A
	// dead one harms no reader: the configs only get older.
	DaemonAlive bool
	// SourceLastGood is how long ago the daemon last read a valid revision from
	// its source; negative if it never did.
	SourceLastGood time.Duration
	Observed       string // the newest revision seen with the present content
	Problem        string // why a newer revision is not published
	Refreshes      uint64 // reads of a region that had changed, or seemed to
	Retries        uint64 // copies that were started again, torn ones included
	TornReads      uint64 // copies that the writer overwrote
	Faults         uint64 // accesses to memory that was gone
	Rejections     uint64 // values that bindings rejected
	Rejected       int    // bindings whose newest value is rejected now: they have an older one
	RefusedRegions uint64 // times that another region at the path was unusable
	Err            error  // of the newest read of the region; nil if it succeeded
}

// MarshalJSON has durations in seconds, and Err as a string, for package expvar.
func (s Stats) MarshalJSON() ([]byte, error) {
	type stats Stats
	return json.Marshal(struct {
		stats
		Age, SourceLastGood    float64
		Observed, Problem, Err string `json:",omitempty"`
	}{stats(s), s.Age.Seconds(), s.SourceLastGood.Seconds(), s.Observed, s.Problem, text(s.Err)})
}

// Stats returns the present ones. It makes a few syscalls and allocates. It may
// block while another goroutine refreshes.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	s, err := c.current.Load(), c.err
	c.mu.Unlock()
	lapped, torn := c.counters.lapped.Load(), c.counters.torn.Load()
	stats := Stats{
		RegionID: s.RegionID(), Generation: s.Generation(), SourceLastGood: -1,
		Refreshes: c.counters.refreshes.Load(), Retries: lapped + torn, TornReads: torn,
		Faults: c.counters.faults.Load(), Rejections: c.counters.rejections.Load(),
		RefusedRegions: c.counters.refusedRegions.Load(), Err: advise(err),
	}
	for _, b := range c.Bindings() {
		if b.State == StateRejected {
			stats.Rejected++
		}
	}
	if s.hot != 0 {
		stats.Age = time.Since(s.published)
	}
	if s.region != nil {
		if status, err := s.region.Status(); err == nil {
			stats.DaemonAlive = status.Alive()
			stats.Observed, stats.Problem = status.Observed, status.Problem
			if status.SourceGood > 0 {
				stats.SourceLastGood = shm.Boottime() - status.SourceGood
			}
		}
	}
	return stats
}
