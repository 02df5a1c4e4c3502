package scaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/statesync/statesync/bench/peers/report"
)

// The parts, by which a run can be narrowed.
const (
	partReaders = "readers"
	partGrowth  = "growth"
	partDaemon  = "daemon-cpu"
	partPolls   = "polls"
)

// result is what was found, as it is kept.
type result struct {
	Crowd  []crowdPoint             `json:",omitempty"`
	Memory *memory                  `json:",omitempty"`
	Growth map[string][]growthPoint `json:",omitempty"` // by the line's name
	Daemon []daemonPoint            `json:",omitempty"`
	Polls  *polls                   `json:",omitempty"`
}

// Section is the measurement as a part of the comparison.
type Section struct{}

// Name is what --only takes.
func (Section) Name() string { return "scaling" }

// Title heads the section.
func (Section) Title() string { return "How cost grows" }

// Contestants are the section's parts.
func (Section) Contestants() []string {
	return []string{partReaders, partGrowth, partDaemon, partPolls}
}

// crowds are the numbers of readers.
var crowds = []int{1, 2, 5, 10, 20, 50, 100, 200}

// mostRounds bound what takes a second and more each, and is a median already.
const mostRounds = 3

// Measure runs the parts that are wanted, and keeps what an earlier run found
// of the others.
func (Section) Measure(ctx context.Context, run *report.Run, old json.RawMessage) (json.RawMessage, error) {
	var r result
	if old != nil {
		if err := json.Unmarshal(old, &r); err != nil {
			return nil, fmt.Errorf("the results of an earlier run: %w", err)
		}
	}
	rounds := min(run.Rounds, mostRounds)
	var err error
	if run.Wants(partReaders) {
		r.Memory = new(memory)
		if r.Crowd, *r.Memory, err = measureCrowd(ctx, crowds, rounds, run.Say); err != nil {
			return nil, err
		}
	}
	if run.Wants(partGrowth) {
		if r.Growth, err = measureGrowth(ctx, usualPace, run.Say); err != nil {
			return nil, err
		}
	}
	if run.Wants(partDaemon) {
		if r.Daemon, err = measureDaemon(ctx, usualPlan, run.Dir, run.Say); err != nil {
			return nil, err
		}
	}
	if run.Wants(partPolls) {
		// Without Git's server the rest is still worth having.
		if r.Polls, err = measurePolls(ctx, pollTimes, run.Dir, run.Say); errors.Is(err, errNoGit) {
			run.Say("%v", err)
		} else if err != nil {
			return nil, err
		}
	}
	return json.Marshal(r)
}

func measureGrowth(ctx context.Context, pace pace, say func(string, ...any)) (map[string][]growthPoint, error) {
	points := map[string][]growthPoint{}
	for _, line := range lines {
		for _, x := range line.points {
			say("%s: %d", line.name, x)
			p, err := line.shape(x).measure(ctx, pace)
			if err != nil {
				return nil, fmt.Errorf("%s, %d: %w", line.name, x, err)
			}
			points[line.name] = append(points[line.name], p)
		}
	}
	return points, nil
}
