//go:build unix

package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/daemon/internal/pace"
	"github.com/statesync/statesync/shm"
)

// loop is the owner: the one goroutine that the region, the layers and what was
// decided belong to. It waits for news of the sources, for a plan, for a command and
// for the heartbeat, and for nothing else: a turn takes milliseconds, whatever a
// source, a parser or a client does. It ends with the context, with an error that ends
// the daemon, and, if once is set, with the first verdict on what all sources have.
func (d *Daemon) loop(ctx context.Context, once bool) error {
	beat := time.NewTimer(pace.Next(shm.HeartbeatInterval))
	defer beat.Stop()
	if err := d.settle(time.Now()); err != nil { // what is pinned needs no source
		return err
	}
	d.turned()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
			err = d.look(ctx)
		case m := <-d.worker.done:
			err = d.decide(ctx, m)
		case r := <-d.requests:
			d.answer(ctx, r)
		case a := <-d.recorder.acted:
			err = d.acted(ctx, a)
		case <-beat.C:
			beat.Reset(pace.Next(shm.HeartbeatInterval))
			err = d.tend(ctx)
		}
		if err != nil {
			return err
		}
		d.reloaded()
		d.effected()
		d.turned()
		d.worker.watch()
		for _, reply := range d.replies {
			reply()
		}
		d.replies = nil
		if once && d.judged && !d.worker.busy() {
			return nil
		}
	}
}

// look takes what the sources have, and has a plan made of it if that is new.
func (d *Daemon) look(ctx context.Context) error {
	for _, l := range d.layers {
		look := l.follower.Look()
		if look == nil || l.look != nil && look.Count == l.look.Count { // none has ended since
			continue
		}
		l.look = look
		var f *refusal
		if look.Err != nil {
			f = unreadable(d.label(l.spec.Name), look.Err)
		}
		d.tally.refused(f)
		l.unread.set(f, d.region.generation())
		if f != nil {
			d.fallBack(l)
		}
		if f == nil && !d.worker.busy() { // what is still refused counts again
			d.tally.refused(l.undecoded.now)
			d.tally.refused(d.planTrouble.now)
		}
	}
	if !d.layers.looked() {
		return nil
	}
	if f := d.regionTrouble.now; f != nil {
		if f.reason == ReasonTooLarge || time.Since(d.tried) < shm.HeartbeatInterval {
			d.tally.refused(f) // as before: each try lays out a whole image
		} else if err := d.settle(d.began()); err != nil { // there may be room again
			return err
		}
	}
	if d.plan(ctx) {
		return nil
	}
	return d.judge()
}

// inputs are what the next plan is made of; nil: there is nothing to make one of.
func (d *Daemon) inputs() *inputs {
	in := &inputs{layers: d.layers.inputs(d.label), overrides: d.overrides}
	if d.trial != nil {
		in.overrides = d.trial.set
	}
	if d.pinned != nil && len(in.overrides.after(d.intent.Pin.Act)) > 0 {
		in.pinned = d.pinned
	}
	if in.layers == nil && in.pinned == nil && d.base == nil {
		return nil
	}
	return in
}

// same reports whether two plans would come to the same. A nil plan was not made.
func (in *inputs) same(other *inputs) bool {
	return other != nil && in.overrides == other.overrides && in.pinned == other.pinned && sameNewest(in.layers, other.layers)
}

// plan has a plan made of the newest snapshots and of what operators asked for, if none
// was made of them yet. It reports whether one is being made.
func (d *Daemon) plan(ctx context.Context) bool {
	in := d.inputs()
	switch {
	case d.worker.busy():
		if in != nil && !sameNewest(in.layers, d.worker.job.layers) {
			d.worker.outdate()
		}
		return true
	case in == nil:
		return false
	case in.same(d.planned): // what was in the way of newer ones is gone with them
		d.planTrouble.set(d.verdict, d.region.generation())
		return false
	}
	if in.layers != nil {
		if why := d.diary.pause(inputsDigest(in.layers)); why != "" {
			d.refuse(deadly(newestVersions(in.layers), why))
			if in.layers = nil; d.trial == nil && in.pinned == nil {
				return false
			}
		}
	}
	d.worker.start(ctx, job{inputs: *in, good: d.base, trial: d.trial, began: d.began()})
	return true
}

// began is when the oldest look began that brought something that was not planned yet.
func (d *Daemon) began() time.Time {
	began := time.Now()
	for i, l := range d.layers {
		if l.look != nil && l.look.Began.Before(began) && (d.planned == nil || d.planned.layers == nil || d.planned.layers[i].Newest != l.look.Snapshot) {
			began = l.look.Began
		}
	}
	return began
}

// decide takes a plan from the worker, publishes it or says why not, and begins the
// next if there is newer input already.
func (d *Daemon) decide(ctx context.Context, m made) error {
	d.worker.finished(m)
	d.slow.set("")
	if m.trial != nil {
		d.tested(m)
		if d.plan(ctx) {
			return nil
		}
		return d.judge()
	}
	return d.take(ctx, m)
}

// take makes use of a plan whose overrides are in force.
func (d *Daemon) take(ctx context.Context, m made) error {
	switch {
	case m.err != nil: // abandoned
	case m.crowded != nil && m.held == nil: // it is tried again after the next look
		d.refuse(crowded(newestVersions(m.layers), d.opt.advise(m.crowded)))
	default:
		d.planned = &m.inputs
		if m.plan != nil {
			d.notices.say(m.plan)
			d.undecoded(m)
			d.verdict = invalid(m.plan)
		}
		if d.verdict == nil {
			d.verdict = unfit(m.problems)
		}
		d.refuse(d.verdict)
		if m.content != nil {
			d.base = m.content.origin()
			if m.overrides == d.overrides {
				d.good = m.content
			} else { // some have ended since: the next plan has the others
				d.obey(d.overrides)
			}
		}
		if m.plan != nil && m.plan.Refused() && d.fallBackAll() {
			d.planned = nil // it is made again of what was used before the start
		}
		if m.plan != nil && d.verdict == nil && d.pinned != nil { // accepted, although it is not live
			d.layers.use(m.plan)
		}
		d.overlaid = m.overlaid
		d.pinTrouble.set(unfit(m.pinProblems), d.region.generation())
		if err := d.settle(m.began); err != nil {
			return err
		}
	}
	if m.crowded != nil && sameNewest(d.layers.inputs(d.label), m.asked) {
		return d.judge() // what there was no memory for is tried again after the next look
	}
	if d.plan(ctx) {
		return nil
	}
	return d.judge()
}

// undecoded takes what a plan says of the layers whose newest snapshot it does not use.
func (d *Daemon) undecoded(m made) {
	for i, l := range d.layers {
		newest := m.asked[i].Newest.Version
		f := unused(&m.plan.Layers[i], newest)
		if m.held != nil && m.held[i] {
			f = crowded(newest, d.opt.advise(m.crowded))
			f.problems[0].Layer = d.label(l.spec.Name)
		}
		d.tally.refused(f)
		l.undecoded.set(f, d.region.generation())
	}
}

// refuse takes the refusal of the newest plan, or nil.
func (d *Daemon) refuse(f *refusal) {
	d.tally.refused(f)
	d.planTrouble.set(f, d.region.generation())
}

// judge ends the consideration of what all sources have: if nothing could be made of
// it and there is no region, what was last good is published.
func (d *Daemon) judge() error {
	d.judged = true
	if want := d.target(); want != nil && d.settled == want || d.region.held != nil {
		return nil
	}
	if !d.asked {
		d.asked = true
		if d.older = d.lastGood(); d.older == nil {
			d.log.Warn("no region yet: waiting for the first good revision", "source", d.layers.names())
		}
	}
	if d.older == nil {
		return nil
	}
	err := d.put(d.older, time.Now())
	switch {
	case errors.Is(err, errNotAsAsked):
		return d.opt.advise(err)
	case err != nil: // it is tried again
		if d.regionTrouble.now == nil {
			d.regionTrouble.set(d.opt.unpublishable(d.older, err), 0)
		}
	default:
		if d.older = nil; d.target() == nil { // what was in its way is gone
			d.regionTrouble.set(nil, d.region.generation())
		}
	}
	return nil
}

// lastGood is the content of an unusable region, or else the newest of the history, if
// any.
func (d *Daemon) lastGood() *content {
	if m := d.region.salvage(); m != nil {
		d.log.Warn("publishing what the region held until the source is good", "revision", m.Revision(), "configs", m.Len(),
			"published", m.Published())
		return contentOf(m)
	}
	c := d.remembered()
	if c != nil {
		d.log.Warn("publishing the last good generation until the source is good", "state_dir", d.opt.StateDir,
			"revision", c.revision, "configs", len(c.sections), "published", c.published)
	}
	return c
}

// settle publishes what is to be live unless the region holds it. Content that is guarded
// or cannot be published is refused, and tried again after the next look. An error ends
// the daemon.
func (d *Daemon) settle(began time.Time) error {
	var refused, guarded *refusal
	r, want := d.region, d.target()
	d.tried = time.Now()
	if want == nil && r.held == nil {
		return nil // see judge
	}
	switch {
	case want == nil, r.whole && d.settled == want:
	case r.whole && r.held.Same(want.sections):
		d.settledOn(want)
		d.log.Debug("unchanged", "generation", r.generation(), "revision", want.revision)
	default:
		if guarded = d.guard(want); guarded != nil {
			break
		}
		err := d.put(want, began)
		switch {
		case errors.Is(err, errNotAsAsked):
			return d.opt.advise(err)
		case err != nil:
			refused = d.opt.unpublishable(want, err)
		default:
			d.settledOn(want)
		}
	}
	if !r.whole && r.held != nil && (want == nil || d.settled != want) {
		// The file is lost, and what is newest does not fit: what it held before
		// is better than nothing.
		older := contentOf(r.held)
		err := d.put(older, began)
		if errors.Is(err, errNotAsAsked) {
			return d.opt.advise(err)
		}
		if err != nil && refused == nil {
			refused = d.opt.unpublishable(older, err)
		}
	}
	d.tally.refused(guarded)
	d.guardTrouble.set(guarded, r.generation())
	d.tally.refused(refused)
	d.regionTrouble.set(refused, r.generation())
	return nil
}

// settledOn notes that the region holds a content.
func (d *Daemon) settledOn(c *content) {
	d.settled = c
	if c.plan != nil {
		d.layers.use(c.plan)
	}
}

// put publishes a content, and counts it.
func (d *Daemon) put(c *content, began time.Time) error {
	before := d.region.held
	err := d.region.put(c, began)
	if d.region.held != before {
		d.before = nil
		d.tally.publications++
		d.tally.took.add(time.Since(began))
		d.remember(c)
	}
	return err
}

// tend is the heartbeat: it checks that the region is still what was published,
// recreates it if not, and looks at how long things take.
func (d *Daemon) tend(ctx context.Context) error {
	if d.region.held != nil {
		d.region.check()
		d.region.verify()
		if !d.region.whole {
			if err := d.settle(time.Now()); err != nil {
				return err
			}
		}
	}
	now := time.Now()
	if d.lapse(now) {
		if err := d.settle(now); err != nil {
			return err
		}
	}
	d.hurry(now)
	if d.worker.busy() {
		d.slow.set(d.overdue())
		if d.region.held == nil && now.Sub(d.worker.job.since) > d.silence { // readers have nothing meanwhile
			return d.judge()
		}
		return d.notice(ctx, now)
	}
	if err := d.retry(ctx, now); err != nil {
		return err
	}
	return d.notice(ctx, now)
}

// retryInterval is how often what may be possible again is tried, if no source is looked at
// more often.
const retryInterval = 5 * time.Second

// retry tries what failed for want of memory or room, and what the daemon died over.
func (d *Daemon) retry(ctx context.Context, now time.Time) error {
	if now.Sub(d.retried) < retryInterval || !d.layers.looked() {
		return nil
	}
	d.retried = now
	if f := d.regionTrouble.now; f != nil && f.reason != ReasonTooLarge {
		if err := d.settle(now); err != nil {
			return err
		}
	}
	d.plan(ctx) // does nothing if nothing failed
	if d.worker.busy() {
		return nil
	}
	return d.judge()
}

// notice finds sources that do not answer. The others are published without them, with
// what was used of them before.
func (d *Daemon) notice(ctx context.Context, now time.Time) error {
	hangs, looked := false, d.layers.looked()
	for _, l := range d.layers {
		if since := l.silent(now, d.started); since > d.silence {
			hangs = true
			l.unread.set(hanging(d.label(l.spec.Name), since), d.region.generation())
			d.fallBack(l)
		}
	}
	if !hangs || looked || d.plan(ctx) {
		return nil
	}
	return d.judge()
}

// overdue says that a plan takes too long; empty if it does not.
func (d *Daemon) overdue() string {
	took := time.Since(d.worker.job.since)
	if took < d.opt.PlanTime {
		return ""
	}
	file, done, total := d.worker.maker.Progress()
	return fmt.Sprintf("decoding the newest revision takes longer than %s: %d of %d bytes, at %s; readers keep the last good one; "+
		"make that file or its schema smaller, or raise --plan-time", d.opt.PlanTime, done, total, file)
}

// observed is the newest revision that was seen to have what the region holds.
func (d *Daemon) observed() string {
	switch {
	case d.settled != nil && d.settled == d.target():
		return d.settled.revision
	case d.region.held != nil:
		return d.region.held.Revision()
	}
	return ""
}
