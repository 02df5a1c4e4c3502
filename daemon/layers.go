//go:build unix

package daemon

import (
	"errors"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
)

// layer is what the owner knows of one source.
type layer struct {
	spec     source.Spec
	follower *source.Follower
	floor    string // the identity by which the history has what was accepted last; empty: that is not kept

	maxAge time.Duration // of a look, if the layer is fresh

	look   *source.Look     // the newest that was taken; nil before the first
	used   *source.Snapshot // in what is live; nil: not known
	asked  bool             // whether the history was asked what was used before the start
	good   time.Time        // when look.Snapshot was last found to be used
	goodAt time.Duration    // the same by shm.Boottime, which counts suspension

	unread    trouble // why the newest look failed
	undecoded trouble // why the newest snapshot is not used
}

// problem is why what the source has is not used; nil if it is.
func (l *layer) problem() *refusal {
	if l.unread.now != nil {
		return l.unread.now
	}
	return l.undecoded.now
}

// maxSilence is how long a source may take to answer until that is a problem.
const maxSilence = 10 * time.Second

// silent is how long the source has not answered, in a look that is under way.
func (l *layer) silent(now, started time.Time) time.Duration {
	switch look := l.follower.Look(); {
	case look == nil:
		return now.Sub(started)
	case look.Running.IsZero():
		return 0
	default:
		return now.Sub(look.Running)
	}
}

// layers are the owner's, the lowest first.
type layers []*layer

// looked reports whether every source has been looked at, or hangs.
func (ls layers) looked() bool {
	for _, l := range ls {
		if l.look == nil && l.unread.now == nil {
			return false
		}
	}
	return true
}

// newest is the source's newest snapshot, or what was used of it last where it cannot be
// read since the start; nil if there is none.
func (l *layer) newest() *source.Snapshot {
	switch {
	case l.look != nil && l.look.Snapshot != nil:
		return l.look.Snapshot
	case l.unread.now != nil:
		return l.used
	}
	return nil
}

// inputs are what a plan is made of; nil while there is nothing of a source. label is
// what problems call a layer.
func (ls layers) inputs(label func(string) string) []plan.Layer {
	in := make([]plan.Layer, len(ls))
	for i, l := range ls {
		newest := l.newest()
		if newest == nil {
			return nil
		}
		in[i] = plan.Layer{
			Name: label(l.spec.Name), Newest: newest, Accepted: l.used,
			Prefix: l.spec.Prefix, NoSchemas: l.spec.NoSchemas,
		}
	}
	return in
}

// sameNewest reports whether two plans would be made of the same newest snapshots.
func sameNewest(a, b []plan.Layer) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Newest != b[i].Newest {
			return false
		}
	}
	return true
}

// newestVersions words what a plan would be made of.
func newestVersions(in []plan.Layer) string {
	var versions []string
	for _, l := range in {
		versions = append(versions, l.Newest.Version)
	}
	return strings.Join(versions, " ")
}

// use notes what a plan uses of each source.
func (ls layers) use(p *plan.Plan) {
	for i, l := range ls {
		l.used = p.Layers[i].Snapshot
	}
}

// current reports whether every source's newest look worked, and found what is used.
func (ls layers) current() bool {
	for _, l := range ls {
		if l.look == nil || l.look.Err != nil || l.look.Snapshot != l.used {
			return false
		}
	}
	return true
}

// credit notes of each layer whose newest snapshot is used when that was seen, and
// returns the oldest of the times, zero if a layer never was. live says that what is
// used is what readers have.
func (ls layers) credit(live bool) (oldest time.Time, at time.Duration) {
	for i, l := range ls {
		if live && l.look != nil && l.look.Err == nil && l.look.Snapshot == l.used && l.good != l.look.Good {
			l.good, l.goodAt = l.look.Good, shm.Boottime()
		}
		if i == 0 || l.good.Before(oldest) {
			oldest, at = l.good, l.goodAt
		}
	}
	return oldest, at
}

// fresh reports whether every source was looked at lately.
func (ls layers) fresh() bool {
	for _, l := range ls {
		if l.look == nil || l.look.Good.IsZero() || time.Since(l.look.Good) > l.maxAge {
			return false
		}
	}
	return true
}

// looks are how often the sources were looked at.
func (ls layers) looks() (n uint64) {
	for _, l := range ls {
		if l.look != nil {
			n += l.look.Count
		}
	}
	return n
}

// states are how the layers stand. Of what a pin holds the versions are those of its
// record.
func (ls layers) states(pinned *content) []LayerState {
	states := make([]LayerState, len(ls))
	for i, l := range ls {
		f := l.problem()
		s := LayerState{Name: l.spec.Name, Source: l.spec.Text, Floor: l.floor, Good: l.good, MaxAge: l.maxAge, Problem: f.String(), Place: f.place()}
		if l.used != nil {
			s.Version, s.Meta = l.used.Version, l.used.Meta
		}
		if look := l.look; look != nil {
			s.Looked, s.Looks, s.Failed = look.Good, look.Count, look.Failures
			if look.Snapshot != nil && look.Snapshot != l.used {
				s.Newest = look.Snapshot.Version
			}
		}
		if pinned != nil {
			held := ""
			for _, of := range pinned.layers {
				if of.Name == s.Name {
					held, s.Meta = of.Version, of.Meta
				}
			}
			if s.Newest == "" && held != s.Version {
				s.Newest = s.Version
			}
			s.Version = held
		}
		states[i] = s
	}
	return states
}

// status is what the region's status says of them.
func (ls layers) status() []shm.Layer {
	status := make([]shm.Layer, len(ls))
	for i, l := range ls {
		status[i] = shm.Layer{Name: l.spec.Name, Problem: l.problem().String(), Good: l.goodAt}
		if l.used != nil {
			status[i].Version = l.used.Version
		}
	}
	return status
}

// names words them for the log.
func (ls layers) names() string {
	var names []string
	for _, l := range ls {
		names = append(names, l.spec.Text)
	}
	return strings.Join(names, " ")
}

// close ends all followers at the same time.
func (ls layers) close() error {
	errs := make(chan error, len(ls))
	n := 0
	for _, l := range ls {
		if l.follower != nil {
			n++
			go func() { errs <- l.follower.Close() }()
		}
	}
	var err error
	for range n {
		err = errors.Join(err, <-errs)
	}
	return err
}
