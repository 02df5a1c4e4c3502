//go:build unix

package daemon

import (
	"maps"
	"slices"
	"time"

	"github.com/statesync/statesync/shm"
)

// live reports whether readers have what was made of the sources last.
func (d *Daemon) live() bool {
	return d.region.whole && d.good != nil && d.good.plan != nil && d.settled == d.good && d.regionTrouble.now == nil
}

// converged reports whether what the sources come to is live.
func (d *Daemon) converged() bool {
	return d.live() && d.planTrouble.now == nil && d.layers.current()
}

// turned ends a turn: it makes the state that questions are answered from, and tells
// it to the region's readers.
func (d *Daemon) turned() {
	now := time.Now()
	was := d.State()
	good, goodAt := d.layers.credit(d.live())
	converged := d.converged()
	if d.worker.busy() && now.Sub(d.worker.job.since) < shm.HeartbeatInterval {
		converged = was.Converged // there is no verdict on what is newer
	}
	switch {
	case converged:
		d.behind = time.Time{}
	case d.judged && d.behind.IsZero():
		d.behind = now
	}
	problem := d.problem()
	s := &State{
		Turned:       now,
		Fresh:        d.layers.fresh(),
		Converged:    converged,
		Behind:       d.behind,
		LastSuccess:  good,
		LastGood:     good,
		Layers:       d.layers.states(),
		Problem:      problem.String(),
		Place:        problem.place(),
		Alarm:        d.slow.text,
		Reloading:    d.reloading != nil,
		Looks:        d.layers.looks(),
		Publications: d.tally.publications,
		Regions:      d.region.regions,
		Losses:       d.region.losses,
		Refusals:     maps.Clone(d.tally.refusals),
		StateErrors:  d.dir.errorCount(),
		WatchErrors:  d.watchErrors.Load(),
		Took:         d.tally.took,
	}
	s.Findings, s.Found = d.findings()
	if s.Problem == "" { // what is not published yet because it takes long
		s.Problem, s.Place = s.Alarm, s.Alarm
	}
	if good.IsZero() {
		goodAt = d.seenGood
		if goodAt > 0 {
			s.LastGood = now.Add(goodAt - shm.Boottime())
		}
	}
	if d.worker.busy() {
		s.Planning = d.worker.job.since
		s.Stuck = now.Sub(s.Planning) > stuckAfter*d.opt.PlanTime
	}
	if d.settled != nil {
		s.live = d.settled.plan
	}
	told := shm.Observation{
		SourceGood: goodAt, Observed: d.observed(), Problem: s.Problem,
		Fresh: s.Fresh, Converged: s.Converged, Held: s.Held, Layers: d.layers.status(),
		Findings: s.Findings, Found: s.Found,
	}
	if was := &d.region.before; !d.judged && d.region.whole && told.Problem == "" { // nothing newer is known
		told.Observed, told.Problem, told.Findings, told.Found, told.Layers = was.Observed, was.Problem, was.Findings, was.Found, was.Layers
	}
	d.region.tell(told)
	s.Ready = d.region.whole
	if m := d.region.held; m != nil {
		if d.held == nil || d.held.image != m {
			d.held = &holding{image: m}
		}
		s.held = d.held
		s.Generation, s.Revision, s.Configs, s.Bytes, s.Published = m.Generation(), m.Revision(), m.Len(), m.Size(), m.Published()
	}
	d.state.Store(s)
	d.opt.Observe(s)
}

// problems are all that keeps the newest from being published: what is wrong with the
// layers, with what they come to, and with the region.
func (d *Daemon) problems() (all []*refusal) {
	for _, l := range d.layers {
		all = append(all, l.problem())
	}
	all = append(all, d.planTrouble.now, d.regionTrouble.now)
	return slices.DeleteFunc(all, func(f *refusal) bool { return f == nil })
}

// problem is the first of them; nil if there is none.
func (d *Daemon) problem() *refusal {
	if all := d.problems(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// findings are what all of them say, the first maxLines of each, and how many they are.
func (d *Daemon) findings() (findings []shm.Finding, found int) {
	for _, f := range d.problems() {
		found += f.count
		for _, p := range f.problems {
			findings = append(findings, shm.Finding{
				Reason: string(f.reason), Layer: p.Layer, File: p.File, Line: p.Line, Column: p.Column, Key: p.Key, Message: p.What,
			})
		}
	}
	return findings, found
}

// stuckAfter is how many times Options.PlanTime a plan may take until the watchdog is
// no longer fed.
const stuckAfter = 10
