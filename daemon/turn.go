//go:build unix

package daemon

import (
	"maps"
	"slices"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// live reports whether readers have what is to be live: what was made of the sources
// last, or what an operator holds.
func (d *Daemon) live() bool {
	want := d.target()
	return d.region.whole && want != nil && (want.plan != nil || d.pinned != nil) && d.settled == want && d.regionTrouble.now == nil
}

// converged reports whether what the sources come to is live, or what an operator holds
// instead.
func (d *Daemon) converged() bool {
	if d.pinned != nil {
		return d.live() && d.decided()
	}
	return d.live() && d.planTrouble.now == nil && d.layers.current() && d.decided()
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
		Held:         d.intent.Pin != nil,
		Pin:          d.intent.Pin,
		Overrides:    d.overrides.all(),
		Waiting:      d.waits(),
		Layers:       d.layers.states(d.pinned),
		Problem:      problem.String(),
		Place:        problem.place(),
		Alarm:        d.slow.text,
		Reloading:    len(d.reloads) > 0,
		Looks:        d.layers.looks(),
		Publications: d.tally.publications,
		Regions:      d.region.regions,
		Losses:       d.region.losses,
		Refusals:     maps.Clone(d.tally.refusals),
		StateErrors:  d.stateErrors.Load(),
		History:      d.recorder.store.Stats(),
		WatchErrors:  d.watchErrors.Load(),
		Took:         d.tally.took,
	}
	s.Findings, s.Found = d.findings()
	if text := d.recorder.trouble.Load(); text != "" && s.Alarm == "" {
		s.Alarm = "the history cannot be written: " + text
	} else if d.unkept != nil && s.Alarm == "" {
		s.Alarm = "the history cannot be kept: " + d.unkept.Error()
	}
	if s.Problem == "" { // what is not published yet because it takes long
		s.Problem, s.Place = d.slow.text, d.slow.text
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
		s.live, s.content = d.settled.plan, d.settled
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
	s.Ready, s.past = d.region.whole, d.past
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
	all = append(all, d.planTrouble.now, d.pinTrouble.now, d.guardTrouble.now, d.regionTrouble.now)
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

// Waiting is what would be live, were it not held or guarded.
type Waiting struct {
	Revision string
	Changes  Changes // against what is live
	content  *content
	live     *image.Image
}

// Digest names the content, without overrides, as State.Digest does. It may take as long.
func (w *Waiting) Digest() string { return w.content.origin().digest.of(w.content.origin().sections) }

// waits is what waits behind a pin or a guard; nil: nothing does.
func (d *Daemon) waits() *Waiting {
	held := d.region.held
	if d.good == nil || held == nil || d.pinned == nil && d.guardTrouble.now == nil {
		d.waiting = nil
		return nil
	}
	if w := d.waiting; w == nil || w.content != d.good || w.live != held {
		d.waiting = &Waiting{Revision: d.good.revision, Changes: changesBetween(held.Sections(), d.good.sections), content: d.good, live: held}
	}
	if d.waiting.Changes.Added+d.waiting.Changes.Changed+d.waiting.Changes.Removed == 0 {
		return nil
	}
	return d.waiting
}
