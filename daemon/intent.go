//go:build unix

package daemon

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// overrides are the values that operators set and that have not lapsed. A set is
// immutable, and is compared by its pointer; nil is the empty one.
type overrides struct {
	list []history.Override // by act
}

// overridesOf is a set; nil for none.
func overridesOf(list []history.Override) *overrides {
	if len(list) == 0 {
		return nil
	}
	return &overrides{list}
}

// all are those of a set, also of the empty one.
func (o *overrides) all() []history.Override {
	if o == nil {
		return nil
	}
	return o.list
}

// with is the set with one more, in the place of the one of the same key.
func (o *overrides) with(one history.Override) *overrides {
	list := slices.DeleteFunc(slices.Clone(o.all()), func(old history.Override) bool { return old.Config == one.Config && old.Key == one.Key })
	return &overrides{append(list, one)}
}

// after are those that were set after an act.
func (o *overrides) after(act uint64) []history.Override {
	list := o.all()
	for len(list) > 0 && list[0].Act <= act {
		list = list[1:]
	}
	return list
}

// lapsed reports whether the time of an override has ended: by the wall clock, or by the
// time since boot, whichever is first, so that a clock that is set back does not prolong
// it. Of another boot only the wall clock is left.
func lapsed(o *history.Override, now time.Time, boot string, sinceBoot time.Duration) bool {
	return !now.Before(o.Until) || o.Boot == boot && sinceBoot >= o.UntilBoot
}

// patches are overrides as a plan applies them.
func patches(list []history.Override) []plan.Patch {
	of := make([]plan.Patch, len(list))
	for i, o := range list {
		of[i] = plan.Patch{Config: o.Config, Key: o.Key, Value: o.Value, Name: overrideLayer}
	}
	return of
}

// noAct is the number of an override that is being tried: above all others.
const noAct = math.MaxUint64

// unfit is the refusal of what overrides come to; nil if there are no errors.
func unfit(problems []*plan.Problem) *refusal {
	f := &refusal{reason: ReasonOverride, key: string(ReasonOverride)}
	for _, p := range problems {
		if !p.Warning {
			said := *p
			said.What += "; change or clear the override, or correct the source"
			f.add(&said, p.InLayer())
		}
	}
	if f.count == 0 {
		return nil
	}
	return f
}

// overrideLayer is what problems and origins call the topmost layer, and pinLayer the
// content that is held.
const (
	overrideLayer = "override"
	pinLayer      = "pin"
)

// patched is a content with overrides over it, or problems. It uses the schemas of p, so
// that it is for the worker.
func patched(base *content, p *plan.Plan, set *overrides, list []history.Override) (*content, []*plan.Problem) {
	if len(list) == 0 {
		return base, nil
	}
	c := *base
	c.base, c.overrides, c.digest = base, set, &digest{}
	find := func(name string) *image.Section {
		if i, ok := base.index(name); ok {
			return base.sections[i]
		}
		return nil
	}
	changed, problems := plan.Overlay(p, find, patches(list))
	if slices.ContainsFunc(problems, func(p *plan.Problem) bool { return !p.Warning }) {
		return nil, problems
	}
	c.sections = slices.Clone(base.sections)
	for _, s := range changed {
		i, _ := base.index(s.Name())
		c.sections[i] = s
	}
	c.revision += "+override"
	return &c, problems
}

// lapse ends the overrides whose time has come. They end at once; that this is entered in
// the audit may wait for a disk. It reports whether one has ended.
func (d *Daemon) lapse(now time.Time) bool {
	kept, ended := d.sift(d.overrides.all(), now)
	for _, o := range ended {
		d.log.Info("an override has lapsed", "act", o.Act, "config", o.Config, "key", o.Key, "until", o.Until)
		d.effects = append(d.effects, effect{entry: lapseEntry(&o)})
	}
	if ended == nil {
		return false
	}
	d.obey(overridesOf(kept))
	d.forget(ended)
	return true
}

// sift tells the overrides that are in force from those that have lapsed.
func (d *Daemon) sift(list []history.Override, now time.Time) (kept, ended []history.Override) {
	sinceBoot := shm.Boottime()
	for _, o := range list {
		if lapsed(&o, now, d.boot, sinceBoot) {
			ended = append(ended, o)
		} else {
			kept = append(kept, o)
		}
	}
	return kept, ended
}

// obey puts a set of overrides in force. Without any, what the sources come to is known
// already, and does not wait for the worker, which a parser may keep.
func (d *Daemon) obey(set *overrides) {
	d.overrides = set
	if len(set.all()) == 0 && d.base != nil {
		d.good = d.base
	}
}

func lapseEntry(o *history.Override) history.Entry {
	return history.Entry{Command: fmt.Sprintf("lapse of override %d of %s %s", o.Act, o.Config, o.Key), By: history.By{UID: -1}}
}

// forget has overrides that have lapsed taken out of the stored intent. What fails is
// tried again at the next start, which finds that they have lapsed.
func (d *Daemon) forget(lapsed []history.Override) {
	for _, o := range lapsed {
		e := lapseEntry(&o)
		e.Time = time.Now()
		d.recorder.do(func() {
			entry, _, err := d.recorder.store.Act(e, func(_ uint64, i *history.Intent) error {
				i.Overrides = slices.DeleteFunc(i.Overrides, func(old history.Override) bool { return old.Act == o.Act })
				return nil
			})
			if err == nil {
				err = d.recorder.store.Done(entry.Number, "lapsed", 0)
			}
			if err != nil {
				d.recorder.errors.Inc()
				d.log.Error("the audit does not have the lapse of an override", "act", o.Act, "error", err)
			}
		})
	}
}

// target is what is to be live: nil while that is not known.
func (d *Daemon) target() *content {
	if p := d.pinned; p != nil {
		if len(d.overrides.after(d.intent.Pin.Act)) == 0 {
			return p
		}
		if d.overlaid != nil && d.overlaid.base == p {
			return d.overlaid // with an older set of overrides until that of now is made
		}
		return p
	}
	return d.good
}

// decided reports whether target has all that operators asked for.
func (d *Daemon) decided() bool {
	switch p := d.pinned; {
	case p == nil:
		return d.good == nil || d.good.overrides == d.overrides
	case len(d.overrides.after(d.intent.Pin.Act)) == 0:
		return true
	default:
		return d.overlaid != nil && d.overlaid.base == p && d.overlaid.overrides == d.overrides
	}
}
