//go:build unix

package daemon

import (
	"time"

	"go.uber.org/atomic"

	"github.com/statesync/statesync/shm/image"
)

// Stats is what a daemon has done since its start, and how it stands.
type Stats struct {
	Reconciles   uint64 // readings of the source
	Publications uint64 // generations that were committed
	Regions      uint64 // region files that were made
	Losses       uint64 // region files that were found gone or damaged
	// Refusals counts the readings and publications that were refused, each
	// time anew, by reason; every reason has an entry.
	Refusals    map[Reason]uint64
	StateErrors uint64 // failures to reserve a generation or to save an image

	Good       bool   // the newest revision is published
	Generation uint64 // the region's current one; 0 without a region
	Configs    int    // in the current image
	Bytes      int    // of the current image

	LastGood      time.Time // when the source was last found good; zero: never
	LastPublished time.Time // of this daemon's last publication; zero: none
}

// Stats may be called at any time, from any goroutine. Its fields are each
// true, but not all of the same moment.
func (d *Daemon) Stats() Stats {
	c := d.counters
	s := Stats{
		Reconciles:    c.reconciles.Load(),
		Publications:  c.publications.Load(),
		Regions:       c.regions.Load(),
		Losses:        c.losses.Load(),
		Refusals:      make(map[Reason]uint64, len(c.refusals)),
		StateErrors:   c.stateErrors.Load(),
		Good:          c.good.Load(),
		Generation:    c.generation.Load(),
		Configs:       int(c.configs.Load()),
		Bytes:         int(c.bytes.Load()),
		LastGood:      c.lastGood.Load(),
		LastPublished: c.lastPublished.Load(),
	}
	for reason, n := range c.refusals {
		s.Refusals[reason] = n.Load()
	}
	return s
}

// counters are what Stats is read from.
type counters struct {
	reconciles, publications, regions, losses, stateErrors atomic.Uint64

	refusals map[Reason]*atomic.Uint64

	good                    atomic.Bool
	generation              atomic.Uint64
	configs, bytes          atomic.Int64
	lastGood, lastPublished atomic.Time
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

// holds takes down what the region holds.
func (c *counters) holds(m *image.Image) {
	c.generation.Store(m.Generation())
	c.configs.Store(int64(m.Len()))
	c.bytes.Store(int64(m.Size()))
}
