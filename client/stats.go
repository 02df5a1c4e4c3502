package client

import (
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/shm"
)

// counters are what a client counts.
type counters struct {
	refreshes, lapped, torn, faults, refusals, refusedRegions atomic.Uint64
}

// Stats is how a client and its region are doing, for an application's own
// metrics and for people.
type Stats struct {
	RegionID   string        // in hexadecimal; empty without a region
	Generation uint64        // of the newest snapshot; 0 without a region
	Age        time.Duration // since that generation was published; negative after a clock was set back
	// DaemonAlive says whether the writer's heart has beaten in the last 5 s. A
	// dead one harms no reader: the configs only get older.
	DaemonAlive bool
	// SourceLastGood is how long ago the daemon last read its source and found
	// it good; negative where it never did.
	SourceLastGood time.Duration
	Observed       string // the newest revision seen with the present content
	Problem        string // why a newer revision is not published
	Refreshes      uint64 // looks at a region that had changed, or seemed to
	Retries        uint64 // copies that had to begin anew, the torn ones included
	TornReads      uint64 // copies that the writer ran into
	Faults         uint64 // touches of memory that was gone
	Refusals       uint64 // values that a binding did not accept
	RefusedRegions uint64 // looks at another file at the path that could not be used
	Err            error  // why the newest look at the region failed; nil if it did not
}

// Stats reads them. It makes a few syscalls.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	s, err := c.current.Load(), c.err
	c.mu.Unlock()
	lapped, torn := c.counters.lapped.Load(), c.counters.torn.Load()
	stats := Stats{
		RegionID: s.RegionID(), Generation: s.Generation(), SourceLastGood: -1,
		Refreshes: c.counters.refreshes.Load(), Retries: lapped + torn, TornReads: torn,
		Faults: c.counters.faults.Load(), Refusals: c.counters.refusals.Load(),
		RefusedRegions: c.counters.refusedRegions.Load(), Err: err,
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
