//go:build unix

package daemon

import (
	"context"
	"errors"
	"runtime/metrics"
	"time"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// content is what a good revision decodes to. It is immutable, and is compared
// by its pointer.
type content struct {
	revision string
	sections []*image.Section
	files    []string // where each section comes from; nil if that is not known
}

// contentOf is the content of an image that was published before.
func contentOf(m *image.Image) *content {
	return &content{revision: m.Revision(), sections: m.Sections()}
}

// reconcile reads the source and publishes its revision. Its error ends the daemon.
func (d *Daemon) reconcile(ctx context.Context) error {
	began := time.Now()
	d.counters.reconciles.Inc()
	refused := d.read(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // what an interrupted reading says is nothing about the source
	}
	d.counters.refused(refused)
	d.sourceTrouble.set(refused, d.region.generation())
	if refused != nil && d.good == nil && d.region.held == nil && !d.asked {
		d.asked = true
		d.good = d.lastGood()
	}
	if err := d.settle(began); err != nil {
		return err
	}
	if d.arrived() { // only then: a revision that has no room makes the source stale as a broken one does
		d.seenGood = shm.Boottime()
		d.counters.lastGood.Store(time.Now())
	}
	d.counters.evaluated(d.arrived())
	d.tell()
	return nil
}

// arrived reports whether what was last read of the source is in the region.
func (d *Daemon) arrived() bool {
	return d.sourceTrouble.now == nil && d.regionTrouble.now == nil
}

// read updates good from the source, or records why it cannot.
func (d *Daemon) read(ctx context.Context) *refusal {
	snapshot, err := d.source.Fetch(ctx, d.snapshot)
	if err != nil {
		return unreadable(err)
	}
	fresh := snapshot != d.snapshot
	if fresh {
		if err := d.roomFor(snapshot); err != nil {
			return crowded(snapshot.Version, d.opt.advise(err))
		}
		made, err := d.maker.Make(ctx, layers(snapshot))
		if err != nil {
			return unreadable(err)
		}
		d.snapshot, d.plan = snapshot, made
		d.notices.say(made)
	}
	if refused := invalid(snapshot.Version, d.plan.Problems); refused != nil {
		return refused
	}
	if fresh {
		c := &content{revision: snapshot.Version}
		for i := range d.plan.Configs {
			c.sections = append(c.sections, d.plan.Configs[i].Section)
			c.files = append(c.files, d.plan.Configs[i].File)
		}
		d.good = c
	}
	return nil
}

// layers are what a plan is made of: the one source.
func layers(snapshot *source.Snapshot) []plan.Layer {
	return []plan.Layer{{Name: "dir", Newest: snapshot}}
}

// roomFor reports whether there is memory for decoding what changed. A daemon that
// is killed for it would be killed again at its next start.
func (d *Daemon) roomFor(snapshot *source.Snapshot) error {
	need := d.maker.Memory(layers(snapshot))
	idle := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}} // the heap has these already
	metrics.Read(idle)
	return headroom.Check(need - int64(idle[0].Value.Uint64()))
}

// recheck is reconcile with a look at all contents, where the source can be
// asked for that.
func (d *Daemon) recheck(ctx context.Context) error {
	d.opt.Hooks.Reloading()
	d.log.Info("reading the source because of a reload", "source", d.opt.Source)
	if s, ok := d.source.(source.Rechecker); ok {
		s.Recheck()
	}
	return d.reconcile(ctx)
}

// lastGood is the content of an unusable region, or else that of the state
// directory, if any.
func (d *Daemon) lastGood() *content {
	if m := d.region.salvage(); m != nil {
		d.log.Warn("publishing what the region held until the source is good", "revision", m.Revision(), "configs", m.Len(),
			"published", m.Published())
		return contentOf(m)
	}
	m, err := d.state.lastGood(d.opt.Writer.MaxImage)
	switch {
	case err != nil:
		d.log.Warn("the last good image cannot be used", "state_dir", d.opt.StateDir, "error", err)
		return nil
	case m == nil:
		return nil
	}
	d.log.Warn("publishing the last good image until the source is good", "state_dir", d.opt.StateDir,
		"revision", m.Revision(), "configs", m.Len(), "published", m.Published())
	return contentOf(m)
}

// settle publishes the newest good content unless the region holds it. Content that
// cannot be published is refused, and tried again the next time. An error ends the
// daemon.
func (d *Daemon) settle(began time.Time) error {
	var refused *refusal
	r := d.region
	switch {
	case d.good == nil, r.whole && d.settled == d.good:
	case r.whole && r.held.Same(d.good.sections):
		d.settled = d.good
		d.log.Debug("unchanged", "generation", r.generation(), "revision", d.good.revision)
	default:
		err := r.put(d.good, began)
		switch {
		case errors.Is(err, errNotAsAsked):
			return d.opt.advise(err)
		case err != nil:
			refused = d.opt.unpublishable(d.good, err)
		default:
			d.settled = d.good
		}
	}
	if !r.whole && r.held != nil && (d.good == nil || d.settled != d.good) {
		// The file is lost, and what is newest does not fit: what it held before
		// is better than nothing.
		older := contentOf(r.held)
		err := r.put(older, began)
		if errors.Is(err, errNotAsAsked) {
			return d.opt.advise(err)
		}
		if err != nil && refused == nil {
			refused = d.opt.unpublishable(older, err)
		}
	}
	d.counters.refused(refused)
	d.regionTrouble.set(refused, r.generation())
	return nil
}

// tend is the heartbeat: it checks that the region is still what was published,
// recreates it if not, and tells the readers that the daemon lives.
func (d *Daemon) tend(context.Context) error {
	if d.region.held != nil {
		d.region.check()
		d.region.verify()
		if !d.region.whole {
			if err := d.settle(time.Now()); err != nil {
				return err
			}
			d.counters.evaluated(d.arrived())
		}
	}
	d.tell()
	return nil
}

// tell writes the region's status.
func (d *Daemon) tell() {
	observed := ""
	switch {
	case d.good != nil && d.settled == d.good:
		observed = d.good.revision
	case d.region.held != nil:
		observed = d.region.held.Revision()
	}
	problem := d.sourceTrouble.now
	if problem == nil {
		problem = d.regionTrouble.now
	}
	d.region.tell(observed, d.seenGood, problem.String())
	d.counters.ready.Store(d.region.whole)
	d.counters.problem.Store(problem.String())
	d.counters.place.Store(problem.place())
}
