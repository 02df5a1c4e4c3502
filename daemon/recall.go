//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/failpoint"
)

// maxInMemory bounds the history of a daemon without a state directory, in bytes: it is
// charged to the daemon's memory.
const maxInMemory = 16 << 20

// recall opens the history. That of a daemon without a state directory is in memory.
func (d *Daemon) recall() error {
	path, bounds := "", d.opt.History
	if d.dir != nil {
		path = filepath.Join(d.dir.path, historyFile)
	} else if bounds.Bytes == 0 || bounds.Bytes > maxInMemory {
		bounds.Bytes = maxInMemory
	}
	fresh := path != "" && begins(path)
	store, err := history.Open(path, bounds)
	if store == nil && path != "" && (fresh || errors.Is(err, history.ErrDamaged)) {
		// There is none, so no pin is forgotten: a disk without room keeps no config from
		// its readers. What is left of a file that could not be made goes.
		if fresh {
			_ = os.Remove(path)
		}
		d.unkept = err
		d.stateErrors.Inc()
		d.log.Error("the history cannot be kept and is in memory until the next start; rollback, pin and override are refused",
			"state_dir", d.opt.StateDir, "error", err)
		store, err = history.Open("", history.Options{Records: bounds.Records, Bytes: maxInMemory})
	}
	if store == nil {
		return fmt.Errorf("the history: %w", err)
	}
	whole := err == nil
	if !whole { // it goes on with an empty one
		d.stateErrors.Inc()
		d.log.Error("the history is damaged and begins anew; pins and overrides are lost", "state_dir", d.opt.StateDir, "error", err)
	}
	failpoint.Here("memory.opened")
	d.recorder = startRecorder(store, &d.stateErrors, d.log)
	d.past = &Past{Store: store, options: plan.Options{Opaque: d.opt.Opaque, AllowEmpty: true}, recorder: d.recorder}
	if err := d.takeLastGood(); err != nil {
		d.log.Warn("the last good image of an earlier version cannot be taken over", "state_dir", d.opt.StateDir, "error", err)
	}
	newest, _, err := store.Newest()
	if err != nil {
		return fmt.Errorf("the history: %w", err)
	}
	d.dir.assume(newest.Generation, whole)
	return nil
}

// begins reports whether the history in a file would be a new one.
func begins(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == 0 || errors.Is(err, fs.ErrNotExist)
}

// resume takes on what operators asked for before, and records what the region holds if
// the process before had no time for that.
func (d *Daemon) resume() error {
	store := d.recorder.store
	if err := d.remind(store); err != nil {
		return fmt.Errorf("what operators asked for cannot be read from the history: %w; to begin anew without it, move %s away",
			err, filepath.Join(d.opt.StateDir, historyFile))
	}
	if held := d.region.held; held != nil {
		if newest, ok, err := store.Newest(); err == nil && (!ok || newest.Generation < held.Generation()) {
			d.remember(contentOf(held))
		}
	}
	return nil
}

// remind takes on the stored intent, and what was begun and is not done.
func (d *Daemon) remind(s *history.Store) error {
	var err error
	if d.intent, err = s.Intent(); err != nil {
		return err
	}
	kept, ended := d.sift(d.intent.Overrides, time.Now())
	d.overrides = overridesOf(kept)
	d.forget(ended)
	if pin := d.intent.Pin; pin != nil {
		refs, err := s.Pinned()
		if err != nil {
			return err
		}
		sections, err := s.Sections(refs, sectionsOf(d.region.held)...)
		if err != nil {
			return err
		}
		d.pinned = &content{revision: pin.Revision, sections: sections, digest: &digest{}, pin: pin, layers: pin.Layers}
		d.log.Warn("held by an operator", "generation", pin.Generation, "since", pin.Time, "uid", pin.By.UID, "user", pin.By.User, "why", pin.Why)
	}
	pending, err := s.Pending()
	if err != nil {
		return err
	}
	for _, e := range pending {
		d.effects = append(d.effects, effect{entry: e, before: d.region.held})
	}
	return nil
}

// takeLastGood takes over the image that an earlier version saved, once.
func (d *Daemon) takeLastGood() error {
	m, err := d.dir.lastGood(d.opt.Writer.MaxImage)
	if err != nil || m == nil {
		return err
	}
	_, ok, err := d.recorder.store.Newest()
	if err == nil && !ok {
		err = d.recorder.store.Record(history.Publication{
			Record: history.Record{Generation: m.Generation(), Time: m.Published(), Revision: m.Revision()}, Configs: m.Sections(),
		})
	}
	if err == nil && d.unkept == nil { // else the next start takes it over
		err = d.dir.root.Remove(lastGoodFile)
	}
	return err
}

// remember has what was just published recorded.
func (d *Daemon) remember(c *content) {
	m := d.region.held
	p := history.Publication{
		Record: history.Record{
			Generation: m.Generation(), Time: m.Published(), Revision: m.Revision(), Layers: c.layers, Region: d.region.id().String(),
		},
		Configs: m.Sections(),
	}
	if c.plan != nil {
		p.Layers, p.Snapshots = make([]history.Layer, len(d.layers)), make([]*source.Snapshot, len(d.layers))
		for i, l := range d.layers {
			p.Snapshots[i] = c.plan.Layers[i].Snapshot
			p.Layers[i] = history.Layer{Name: l.spec.Name, Source: l.spec.Text, Version: p.Snapshots[i].Version, Meta: p.Snapshots[i].Meta}
		}
	}
	if e, ok := d.cause(); ok {
		by := e.By
		p.Act, p.Command, p.Why, p.By = e.Number, e.Command, e.Why, &by
	}
	d.recorder.record(p)
}

// remembered is the newest content of the history, which stands for what is live while
// there is no region; nil: there is none, or it cannot be used.
func (d *Daemon) remembered() *content {
	if d.recalled {
		return d.before
	}
	d.recalled = true
	rec, ok, err := d.recorder.store.Newest()
	if ok && err == nil {
		d.before, err = recorded(d.recorder.store, rec, nil)
	}
	if err != nil {
		d.log.Warn("the last good generation of the history cannot be used", "state_dir", d.opt.StateDir, "error", err)
	}
	return d.before
}

// fallBack has a layer fall back on what was used of it before the start, if nothing was
// used since. It asks the history once.
func (d *Daemon) fallBack(l *layer) bool {
	if l.used != nil || l.asked {
		return false
	}
	l.asked = true
	rec, ok, err := d.recorder.store.Newest()
	if err != nil || !ok || rec.Generation < d.region.newest() {
		return false // what is live, or was last, is newer than what is remembered
	}
	for _, of := range rec.Layers {
		if of.Name != l.spec.Name || of.Source != l.spec.Text {
			continue
		}
		snapshots, err := d.recorder.store.Snapshots(rec.Generation)
		if err != nil {
			d.log.Warn("what was used of the sources before cannot be read from the history", "error", err)
			return false
		}
		l.used = snapshots[l.spec.Name]
	}
	return l.used != nil
}

// fallBackAll does so for all layers, and reports whether there is one that does now.
func (d *Daemon) fallBackAll() (some bool) {
	for _, l := range d.layers {
		some = d.fallBack(l) || some
	}
	return some
}
