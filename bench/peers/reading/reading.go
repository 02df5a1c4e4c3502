// Package reading measures what it costs to read a setting inside a request.
//
// Each contestant reads in a process of its own, so that neither its goroutines
// nor its garbage are another's business. All processes of a size are up at the
// same time and are told in turn to read, once in each round.
package reading

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/contestant"
	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/report"
	"github.com/statesync/statesync/bench/peers/server"
)

// loopTime is how long a contestant reads at a time.
const loopTime = 50 * time.Millisecond

// Section is the section of the report.
type Section struct{}

// Result is what was measured of one contestant.
type Result struct {
	Sizes    map[int]*Samples `json:"sizes"` // by the config's size in bytes
	Syscalls float64          `json:"syscalls"`
	Reads    int              `json:"syscalls_reads"` // how many they were counted in; 0 is not
	Version  string           `json:"version,omitempty"`
	Failed   string           `json:"failed,omitempty"` // why there is nothing
}

// Samples are those of all rounds.
type Samples struct {
	Serial   []Sample `json:"serial"`
	Parallel []Sample `json:"parallel"`
}

// Name is what --only takes.
func (Section) Name() string { return "reading" }

// Title heads the section.
func (Section) Title() string { return "Reading a setting inside a request" }

// Contestants are those that can be read.
func (Section) Contestants() []string {
	var names []string
	for _, c := range readable() {
		names = append(names, c.Name)
	}
	return names
}

// readable leaves out what is about changes alone.
func readable() []*contestant.Contestant {
	var all []*contestant.Contestant
	for _, c := range contestant.All() {
		switch c.Name {
		case "futex", "daemon", "redis-pubsub":
		default:
			all = append(all, c)
		}
	}
	return all
}

// Measure runs the contestants that the run wants.
func (Section) Measure(ctx context.Context, run *report.Run, old json.RawMessage) (json.RawMessage, error) {
	results := map[string]*Result{}
	if old != nil {
		if err := json.Unmarshal(old, &results); err != nil {
			return nil, err
		}
	}
	for _, c := range readable() {
		if run.Wants(c.Name) {
			results[c.Name] = &Result{Sizes: map[int]*Samples{}}
		}
	}
	fleet := server.NewFleet(run.Dir)
	err := func() error {
		for _, size := range config.Sizes {
			if err := measureSize(ctx, run, fleet, size, results); err != nil {
				return err
			}
		}
		return nil
	}()
	if err := errors.Join(err, fleet.Stop()); err != nil {
		return nil, err
	}
	return json.Marshal(results)
}

// open is a contestant whose process is up.
type open struct {
	*contestant.Contestant
	result *Result
	place  contestant.Place
	source contestant.Source
	reader *process.Process
}

func measureSize(ctx context.Context, run *report.Run, fleet *server.Fleet, size int, results map[string]*Result) (err error) {
	var all []*open
	defer func() {
		for _, o := range all {
			err = errors.Join(err, o.reader.Stop(), o.source.Close())
		}
	}()
	for _, c := range readable() {
		r := results[c.Name]
		if !run.Wants(c.Name) || r.Failed != "" {
			continue
		}
		o := &open{Contestant: c, result: r}
		if err := o.start(ctx, run, fleet, size); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			run.Say("%s: %v", c.Name, err)
			r.Failed = err.Error()
			continue
		}
		all = append(all, o)
		r.Sizes[size] = &Samples{}
		r.Version = c.Versions(o.place)
	}
	for round := range run.Rounds {
		run.Say("reading %d KiB, round %d of %d: %d contestants", size>>10, round+1, run.Rounds, len(all))
		for _, o := range all {
			if err := o.round(ctx, size); err != nil {
				return fmt.Errorf("%s: %w", o.Name, err)
			}
		}
	}
	if size != config.Sizes[0] {
		return nil
	}
	run.Say("reading under strace: %d contestants", len(all))
	for _, o := range all {
		n := straceReads(o.result.Sizes[size].Serial[0].Nanoseconds)
		perRead, err := countSyscalls(ctx, o.Contestant, o.place, n)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			run.Say("%s: %v", o.Name, err)
			continue
		}
		o.result.Syscalls, o.result.Reads = perRead, n
	}
	return nil
}

// start publishes the config and starts the reader.
func (o *open) start(ctx context.Context, run *report.Run, fleet *server.Fleet, size int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	top := contestant.Place{Dir: run.Dir, Shm: run.Shm, Size: size}
	if o.place, err = top.Sub(fmt.Sprintf("%s-%d", o.Name, size)); err != nil {
		return err
	}
	if o.source, err = o.Publish(ctx, &o.place, fleet); err != nil {
		return err
	}
	place, err := json.Marshal(o.place)
	if err == nil {
		o.reader, err = process.Start(ctx, readerPart, o.Name, string(place))
	}
	if err != nil {
		return errors.Join(err, o.source.Close())
	}
	return nil
}

// round takes a sample of each kind.
func (o *open) round(ctx context.Context, size int) error {
	samples := o.result.Sizes[size]
	for _, kind := range []struct {
		command string
		to      *[]Sample
	}{{"serial", &samples.Serial}, {"parallel", &samples.Parallel}} {
		if _, err := fmt.Fprintf(o.reader.In, "%s %d\n", kind.command, loopTime); err != nil {
			return err
		}
		line, err := o.reader.Line(ctx)
		if err != nil {
			return err
		}
		var s Sample
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			return err
		}
		*kind.to = append(*kind.to, s)
	}
	return nil
}
