// Package visible measures the time from a change to the moment at which a
// reader in another process has the new value.
package visible

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/contestant"
	"github.com/statesync/statesync/bench/peers/origin"
	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/report"
	"github.com/statesync/statesync/bench/peers/server"
)

// pauses are how long nothing happens before a change, so that the thread that
// waits for it is asleep. In a busy process Go's scheduler takes up to 10 ms to
// notice that a thread sleeps in the kernel and to give its processor to another
// goroutine; a change before that would be seen at once, and flatter every
// contestant.
var pauses = map[string]struct{ least, most time.Duration }{
	"calm": {2 * time.Millisecond, 8 * time.Millisecond},
	"busy": {20 * time.Millisecond, 40 * time.Millisecond},
}

// lost is how long a change may take to be told. One that takes longer is
// counted as lost; a reader that tells of the next is not lost itself.
const (
	lost     = 2 * time.Second
	mostLost = 5 // in a row, and a contestant is given up
)

// ticking are the contestants that look every so often. They are given few
// changes, at any moment of their interval.
var ticking = map[string]time.Duration{"origin": origin.Tick}

// ticks is how many changes these are given in a round.
const ticks = 2

// Section is the section of the report.
type Section struct{}

// Result is what was measured of one contestant.
type Result struct {
	Version string    `json:"version,omitempty"`
	Calm    []Samples `json:"calm"` // of each round
	Busy    []Samples `json:"busy"`
	Failed  string    `json:"failed,omitempty"` // why there is no more
}

// Samples are the times of a round.
type Samples struct {
	Nanoseconds []float64 `json:"ns"`
	Renamed     []float64 `json:"from_rename_ns,omitempty"` // from the rename of a file on
	Lost        int       `json:"lost"`                     // changes that were never told
}

// Name is what --only takes.
func (Section) Name() string { return "visible" }

// Title heads the section.
func (Section) Title() string { return "From a change to its being visible in another process" }

// watched are the contestants that can push or be watched, and those whose
// every read is exact without a server being asked.
func watched() []*contestant.Contestant {
	var all []*contestant.Contestant
	for _, name := range []string{
		"futex", "binding", "snapshot", "daemon", "naive", "lmdb", "filevar", "viper", "koanf", "flagd",
		"redis-pubsub", "rueidis", "agent", "etcd", "nats", "origin",
	} {
		all = append(all, contestant.Find(name))
	}
	return all
}

// Contestants are those that are compared.
func (Section) Contestants() []string {
	var names []string
	for _, c := range watched() {
		names = append(names, c.Name)
	}
	return names
}

// open is a contestant whose reader is up.
type open struct {
	*contestant.Contestant
	result  *Result
	source  contestant.Source
	reader  *process.Process
	lines   chan string // what the reader writes; closed when it has ended
	version int
}

// Measure runs the contestants that the run wants.
func (Section) Measure(ctx context.Context, run *report.Run, old json.RawMessage) (_ json.RawMessage, err error) {
	results := map[string]*Result{}
	if old != nil {
		if err := json.Unmarshal(old, &results); err != nil {
			return nil, err
		}
	}
	fleet := server.NewFleet(run.Dir)
	var all []*open
	defer func() {
		for _, o := range all {
			err = errors.Join(err, o.stop())
		}
		err = errors.Join(err, fleet.Stop())
	}()
	for _, c := range watched() {
		if !run.Wants(c.Name) {
			continue
		}
		o := &open{Contestant: c, result: &Result{}, version: 1}
		results[c.Name] = o.result
		if err := o.start(ctx, run, fleet); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			run.Say("%s: %v", c.Name, err)
			o.result.Failed = err.Error()
			continue
		}
		all = append(all, o)
	}
	updates := max(1, run.Updates/run.Rounds)
	for round := range run.Rounds {
		for _, mode := range []string{"calm", "busy"} {
			run.Say("visible, round %d of %d, readers %s: %d contestants", round+1, run.Rounds, mode, len(all))
			for _, o := range all {
				if o.result.Failed != "" {
					continue
				}
				if err := o.round(ctx, mode, updates); err != nil {
					if ctx.Err() != nil {
						return nil, ctx.Err()
					}
					run.Say("%s: %v", o.Name, err)
					o.result.Failed = err.Error()
				}
			}
		}
	}
	return json.Marshal(results)
}

// start publishes the config and starts the reader.
func (o *open) start(ctx context.Context, run *report.Run, fleet *server.Fleet) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	top := contestant.Place{Dir: run.Dir, Shm: run.Shm, Size: config.Sizes[0]}
	p, err := top.Sub("visible-" + o.Name)
	if err != nil {
		return err
	}
	if o.source, err = o.Publish(ctx, &p, fleet); err != nil {
		return err
	}
	o.result.Version = o.Versions(p)
	place, err := json.Marshal(p)
	if err == nil {
		o.reader, err = process.Start(ctx, readerPart, o.Name, string(place))
	}
	if err != nil {
		return errors.Join(err, o.source.Close())
	}
	o.lines = make(chan string, 1024)
	go func() {
		defer close(o.lines)
		for {
			line, err := o.reader.Line(context.Background())
			if err != nil {
				return
			}
			o.lines <- line
		}
	}()
	return nil
}

func (o *open) stop() error {
	return errors.Join(o.reader.Stop(), o.source.Close())
}

// round has the reader be calm or busy, and times so many changes.
func (o *open) round(ctx context.Context, mode string, updates int) error {
	if err := o.command(ctx, mode); err != nil {
		return err
	}
	tick, ticks := ticking[o.Name], ticks
	if tick == 0 {
		ticks = updates
	}
	var s Samples
	for inARow := 0; len(s.Nanoseconds)+s.Lost < ticks; {
		pause := pauses[mode].least + rand.N(pauses[mode].most-pauses[mode].least+tick)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		o.version++
		begun := monotonic()
		if err := o.source.Put(ctx, o.version); err != nil {
			return err
		}
		at, err := o.wait(ctx, lost+2*tick)
		switch {
		case err != nil:
			return err
		case at == 0:
			s.Lost++
			if inARow++; inARow == mostLost {
				return fmt.Errorf("%d changes in a row were never told, after %d that were", inARow, len(s.Nanoseconds))
			}
		default:
			inARow = 0
			s.Nanoseconds = append(s.Nanoseconds, float64(at-begun))
			if o.source.Renamed != nil {
				s.Renamed = append(s.Renamed, float64(at-onClock(o.source.Renamed())))
			}
		}
	}
	if mode == "busy" {
		o.result.Busy = append(o.result.Busy, s)
	} else {
		o.result.Calm = append(o.result.Calm, s)
	}
	return o.command(ctx, "idle") // the others have the processors now
}

// command tells the reader something, and waits for its echo.
func (o *open) command(ctx context.Context, command string) error {
	if _, err := fmt.Fprintln(o.reader.In, command); err != nil {
		return err
	}
	for {
		line, err := o.line(ctx, 30*time.Second)
		if err != nil || line == command {
			return err
		}
		if line == "" {
			return fmt.Errorf("the reader does not answer %q", command)
		}
	}
}

// wait is when the reader saw the newest version, or 0 when it has not within
// the time.
func (o *open) wait(ctx context.Context, most time.Duration) (at time.Duration, err error) {
	deadline := time.Now().Add(most)
	for {
		line, err := o.line(ctx, time.Until(deadline))
		if err != nil || line == "" {
			return 0, err
		}
		number, when, _ := strings.Cut(line, " ")
		var version int
		if _, err := fmt.Sscan(number, &version); err != nil {
			return 0, fmt.Errorf("the reader says %q", line)
		}
		if _, err := fmt.Sscan(when, (*int64)(&at)); err != nil {
			return 0, fmt.Errorf("the reader says %q", line)
		}
		if version == o.version {
			return at, nil
		}
	}
}

// line is what the reader writes next, or "" when it writes nothing in time.
func (o *open) line(ctx context.Context, most time.Duration) (string, error) {
	timer := time.NewTimer(max(0, most))
	defer timer.Stop()
	select {
	case line, ok := <-o.lines:
		if !ok {
			return "", errors.New("the reader has ended, see its message above")
		}
		return line, nil
	case <-timer.C:
		return "", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
