//go:build unix

package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// State is how a daemon stands, made anew at the end of each turn of its owner. It
// is immutable: metrics, health, the service manager, the sockets and the region's
// status all tell the same. Its times have readings of the monotonic clock:
// time.Since of them does not jump with the time of day.
type State struct {
	Turned time.Time // when the owner ended this turn; zero: it has not started

	// What readers find.
	Ready      bool      // the current generation is in the region
	Generation uint64    // 0 is none
	Revision   string    // that it came from
	Configs    int       // in the current image
	Bytes      int       // of the current image
	Published  time.Time // when the current generation was committed, by whichever daemon

	// Fresh, Converged and Held are three different things: each source was looked
	// at within Options.MaxAge; what the sources come to is what is live; an operator
	// holds it back on purpose.
	Fresh, Converged, Held bool
	Behind                 time.Time // since when it is not converged; zero: it is, or nothing was read yet
	LastSuccess            time.Time // when it was last found to be converged; zero: never
	LastGood               time.Time // when every layer's newest was last found to be used; zero: never

	Pin       *history.Pin       // what an operator holds; nil: nothing
	Overrides []history.Override // that have not lapsed; those set before the pin are suspended
	Waiting   *Waiting           // what would be live were it not held or guarded; nil: nothing
	History   history.Stats

	Layers  []LayerState // the lowest first
	Problem string       // why a newer revision is not published, as the region's status has it
	Place   string       // Problem with layer, file, line, column and key, and no value
	// Findings are all that Problem sums up, the first 100 of each cause, with values;
	// Found is how many there are.
	Findings []shm.Finding
	Found    int
	// Alarm says that something takes longer than it should; empty when nothing does.
	Alarm string
	// Planning is since when a plan is being made; zero: none is.
	Planning time.Time
	// Stuck says that a plan takes so long that only the daemon's end can end it. The
	// watchdog is not fed then.
	Stuck     bool
	Reloading bool // a reload was asked for, and has not ended

	// What happened since the start.
	Looks        uint64 // at the sources
	Publications uint64 // generations that were committed
	Regions      uint64 // region files that were made
	Losses       uint64 // region files that were found gone or damaged
	// Refusals counts the looks and publications that were refused, each time anew,
	// by reason; every reason has an entry.
	Refusals    map[Reason]uint64
	StateErrors uint64    // failures to write the state directory
	WatchErrors uint64    // times that watching a source was found impaired
	Took        Durations // from the beginning of the look that found a change to its commit

	held    *holding
	live    *plan.Plan // what the region holds came from it; nil if that is not known
	content *content   // what the region holds; nil if that is not known
	past    *Past
}

// LayerState is how one source stands.
type LayerState struct {
	Name    string // "base"
	Source  string // "dir:/etc/app/config"
	Floor   string // the identity by which Past.Floors has what was accepted last; empty: that is not kept
	Version string // of what is used of it; empty: nothing yet
	Meta    map[string]string
	Newest  string        // what the source has, where that is not what is used
	Good    time.Time     // when the newest was last found to be used; zero: never
	Looked  time.Time     // when a look last worked; zero: never
	MaxAge  time.Duration // of that look, if the layer is fresh
	Problem string        // why the newest is not used; empty when it is
	Place   string        // Problem without values
	Looks   uint64
	Failed  uint64 // of the looks
}

// Why says where a value of the current generation comes from, the winner first: an
// override, what a pin holds, or the layers. An empty key is the whole config. It reads the
// config's files anew. The error is ErrUnknownOrigin while what is live was not made of
// sources that this daemon read, and matches headroom.ErrFull if there is no memory for it.
func (s *State) Why(config, key string) ([]plan.Origin, error) {
	if s.content == nil {
		return nil, ErrUnknownOrigin
	}
	origins := s.content.overridden(config, key)
	if pin := s.content.pin; pin != nil {
		from, err := s.content.held(config, key)
		return append(origins, from...), err
	}
	if s.live == nil {
		return nil, ErrUnknownOrigin
	}
	if err := headroom.Check(s.live.OriginsMemory(config)); err != nil {
		return nil, err
	}
	from, err := s.live.Origins(config, key)
	if s.past != nil {
		s.past.addCommits(s.Generation, from, s.Layers[0].Name)
	}
	if err != nil && len(origins) > 0 { // no layer has the key
		return origins, nil
	}
	return append(origins, from...), err
}

// overridden are the overrides of a content that say something of a key, the winner first.
func (c *content) overridden(config, key string) (origins []plan.Origin) {
	list := c.overrides.all()
	if c.pin != nil {
		list = c.overrides.after(c.pin.Act)
	}
	for _, o := range slices.Backward(list) {
		if o.Config != config || key != "" && o.Key != key && !strings.HasPrefix(o.Key, key+".") && !strings.HasPrefix(key, o.Key+".") {
			continue
		}
		origins = append(origins, plan.Origin{
			Layer: overrideLayer, Version: fmt.Sprintf("act %d", o.Act), File: fmt.Sprintf("%s by %s until %s%s", o.Key, o.By.Name(), o.Until.UTC().Format(time.RFC3339), whyText(o.Why)),
			Value: string(o.Value), Deleted: string(o.Value) == "null",
		})
	}
	return origins
}

// held is what a pin says of a key.
func (c *content) held(config, key string) ([]plan.Origin, error) {
	base := c.origin()
	i, ok := base.index(config)
	if !ok {
		return nil, fmt.Errorf("the pinned generation has no config %s", plain.Text(config))
	}
	o := plan.Origin{
		Layer: pinLayer, Version: fmt.Sprintf("generation %d", c.pin.Generation),
		File: fmt.Sprintf("held by %s since %s%s", c.pin.By.Name(), c.pin.Time.UTC().Format(time.RFC3339), whyText(c.pin.Why)),
	}
	switch s := base.sections[i]; {
	case s.Kind() == image.Opaque:
		o.Opaque = true
	case key == "":
		o.Value = string(s.Content())
	default:
		var v image.Value
		if err := s.Lookup(&v, key); err != nil {
			return nil, fmt.Errorf("the config %s has no key %s", plain.Text(config), plain.Text(key))
		}
		o.Value = string(v.Text)
	}
	return []plan.Origin{o}, nil
}

// whyText is the reason that an operator gave, after a colon.
func whyText(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// Changed is the generation in which a config last changed, and whether there is such
// a config. It looks at all of them.
func (s *State) Changed(config string) (generation uint64, ok bool) {
	if s.held == nil {
		return 0, false
	}
	for c := range s.held.image.Configs() {
		if c.Name() == config {
			return c.Changed, true
		}
	}
	return 0, false
}

// Durations counts times by their size, as a histogram does.
type Durations struct {
	Counts [len(durationBounds)]uint64 // of those that are at most each bound, and more than the one before
	Total  uint64                      // all of them
	Sum    time.Duration
}

// durationBounds go from 0.25 ms to 8 s.
var durationBounds = func() (bounds [16]time.Duration) {
	for i := range bounds {
		bounds[i] = 250 * time.Microsecond << i
	}
	return bounds
}()

// Buckets are the cumulative counts by bound in seconds, as Prometheus has them.
func (d *Durations) Buckets() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(d.Counts))
	var sum uint64
	for i, n := range d.Counts {
		sum += n
		buckets[durationBounds[i].Seconds()] = sum
	}
	return buckets
}

func (d *Durations) add(took time.Duration) {
	d.Total++
	d.Sum += took
	for i, bound := range durationBounds {
		if took <= bound {
			d.Counts[i]++
			return
		}
	}
}

// State may be called at any time, from any goroutine. It never blocks.
func (d *Daemon) State() *State { return d.state.Load() }

// tally is what the owner counts.
type tally struct {
	publications uint64
	refusals     map[Reason]uint64
	took         Durations
}

func newTally() tally {
	t := tally{refusals: make(map[Reason]uint64, len(reasons))}
	for _, reason := range reasons {
		t.refusals[reason] = 0
	}
	return t
}

// refused counts a refusal, if it is one.
func (t *tally) refused(f *refusal) {
	if f != nil {
		t.refusals[f.reason]++
	}
}
