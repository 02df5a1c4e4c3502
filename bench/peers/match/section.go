package match

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/statesync/statesync/bench/peers/report"
)

// Section is the experiment as a part of the comparison. Its raw results are
// those of whole modes: a mode that is measured anew replaces what it had.
type Section struct{}

// usual is what a run takes: about 20 s a mode for three rounds, and 13 s for
// each backend that is stopped.
var usual = options{
	rate: 1500, calm: 3 * time.Second, changes: 3, stop: 10 * time.Second,
	settle: 500 * time.Millisecond, after: 2 * configDeadline,
}

// mostRounds are enough for what a round counts: thousands of requests.
const mostRounds = 3

// Name is what --only takes.
func (Section) Name() string { return "match" }

// Title heads the section.
func (Section) Title() string { return "A matchmaking service under load" }

// Contestants are the modes.
func (Section) Contestants() []string { return modes }

// Measure runs the modes in turn, round by round, and then stops what each of
// them gets its settings from.
func (Section) Measure(ctx context.Context, run *report.Run, old json.RawMessage) (json.RawMessage, error) {
	o := usual
	o.rounds, o.say = min(run.Rounds, mostRounds), run.Say
	r, err := measure(ctx, o, run.Dir, run.Shm, run.Wants)
	if err != nil {
		return nil, err
	}
	if old != nil {
		var before result
		if err := json.Unmarshal(old, &before); err != nil {
			return nil, fmt.Errorf("the results of an earlier run: %w", err)
		}
		all := before.Modes
		maps.Copy(all, r.Modes)
		r.Modes = all
	}
	return json.Marshal(r)
}

func measure(ctx context.Context, o options, dir, shm string, wanted func(string) bool) (r *result, err error) {
	o.say("starting the services and what they need")
	s, err := startStacks(ctx, dir, shm, wanted)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := s.close(); err == nil {
			err = closing
		}
	}()
	r = &result{Rate: o.rate, CachedOf: cachedKeys, CalmFor: o.calm, StoppedIn: o.stop, Modes: map[string]*modeResult{}}
	for _, m := range s.modes {
		r.Modes[m.way.Mode] = &modeResult{}
	}
	for round := range o.rounds {
		for _, m := range s.modes {
			o.say("round %d of %d: %s at %.0f requests a second", round+1, o.rounds, m.way.Mode, o.rate)
			t, err := m.turn(ctx, o, uint64(round))
			if err != nil {
				return nil, err
			}
			r.Modes[m.way.Mode].Turns = append(r.Modes[m.way.Mode].Turns, t)
		}
	}
	for _, m := range s.modes {
		for _, b := range m.backends {
			o.say("%s: %s is stopped for %s", m.way.Mode, b.name, o.stop)
			out, err := m.outage(ctx, o, b)
			if err != nil {
				return nil, fmt.Errorf("mode %s, %s stopped: %w", m.way.Mode, b.name, err)
			}
			r.Modes[m.way.Mode].Outages = append(r.Modes[m.way.Mode].Outages, out)
		}
	}
	return r, nil
}
