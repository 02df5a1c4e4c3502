//go:build unix

package daemon

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// ErrRefused says that what the source has is not what the region holds. The
// log has one line for each reason.
var ErrRefused = errors.New("the source's newest revision is not published")

// Daemon publishes a source into a region. Make one with New, and call one of
// Run, Once and DryRun, once.
type Daemon struct {
	opt      Options
	log      *slog.Logger
	maker    *plan.Maker
	reload   chan struct{}
	counters *counters

	openSource func(string, source.Options) (source.Source, error)

	// The rest belongs to the goroutine that Run or Once was called on.
	source source.Source
	state  *state
	region *region

	snapshot *source.Snapshot // the last one that was decoded
	plan     *plan.Plan       // what became of it
	good     *content         // the newest good content; nil before the first
	asked    bool             // whether the state directory was asked for its last good image
	settled  *content         // the content that the region was last seen to hold
	seenGood time.Duration    // when the source last had a valid revision, by shm.Boottime

	sourceTrouble trouble
	regionTrouble trouble
	notices       notices
}

// New makes a daemon. It touches nothing.
func New(o Options) *Daemon {
	o = o.withDefaults()
	return &Daemon{
		opt:           o,
		log:           o.Log,
		maker:         plan.New(plan.Options{Opaque: o.Opaque, AllowEmpty: o.AllowEmpty}),
		reload:        make(chan struct{}, 1),
		counters:      newCounters(),
		openSource:    openSource,
		sourceTrouble: trouble{log: o.Log},
		regionTrouble: trouble{log: o.Log},
		notices:       notices{log: o.Log},
	}
}

// Run publishes until the context ends, and then returns nil: the region stays,
// and its status says that its writer has stopped. An error is one of the
// start, such as writer.ErrLocked for a second daemon, or a region that can't be
// sealed as asked. Transient failures, from a missing source to a full file system,
// are logged and retried, not returned.
func (d *Daemon) Run(ctx context.Context) (err error) {
	if err := d.start(ctx, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	d.turned()
	if err := d.reconcile(ctx); err != nil {
		return err
	}
	d.turned()
	if d.region.held == nil && ctx.Err() == nil {
		d.log.Warn("no region yet: waiting for the first good revision", "source", d.opt.Source)
	}
	beat := time.NewTicker(shm.HeartbeatInterval)
	defer beat.Stop()
	resync := time.NewTicker(d.opt.Resync)
	defer resync.Stop()
	for {
		step := d.reconcile
		select {
		case <-ctx.Done():
			return nil
		case <-d.reload:
			step = d.recheck
		case <-d.source.Hint():
		case <-resync.C:
		case <-beat.C:
			step = d.tend
		}
		if err := step(ctx); err != nil {
			return err
		}
		d.turned()
	}
}

// turned records that a turn of the loop has ended.
func (d *Daemon) turned() {
	d.counters.turnedAt.Store(time.Now())
	d.opt.Hooks.Turned(d.Stats())
}

// Once publishes what the source has and returns. ErrRefused says that the
// source can't be read or is refused, or that the region has no room for it;
// the region then holds what it held before or, when there was none, the last
// good image of the state directory.
func (d *Daemon) Once(ctx context.Context) (err error) {
	if err := d.start(ctx, false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.reconcile(ctx); err != nil {
		return err
	}
	if d.settled == nil || d.sourceTrouble.now != nil || d.regionTrouble.now != nil {
		return errors.Join(ErrRefused, ctx.Err())
	}
	return nil
}

// Reload makes Run read the source now, by content as far as the source can.
// It never blocks, and may be called from any goroutine.
func (d *Daemon) Reload() {
	select {
	case d.reload <- struct{}{}:
	default: // one is on its way already
	}
}

// start takes the locks, and opens the state directory and the region. It returns
// the context's error if the context ends while it waits for a lock.
func (d *Daemon) start(ctx context.Context, watch bool) (err error) {
	d.log.Info("starting", "source", d.opt.Source, "region", d.opt.Region, "state_dir", d.opt.StateDir,
		"resync", d.opt.Resync, "slots", d.opt.Writer.Slots, "max_image", d.opt.Writer.MaxImage)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	wait, cancel := context.WithTimeout(ctx, d.opt.LockWait)
	defer cancel()
	if err := d.own(wait); err != nil {
		return errors.Join(ctx.Err(), d.opt.advise(err))
	}
	if d.opt.StateDir == "" {
		d.log.Warn("no state directory: if the region is lost, generations start at 1 again, " +
			"and nothing can be published while the source cannot be read")
	} else if d.state, err = openState(wait, d.opt.StateDir, d.log, d.counters); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if err := d.region.attach(d.state); err != nil {
		return d.opt.advise(err)
	}
	d.seenGood = d.region.seenGood
	d.counters.attached(d.region.whole, d.seenGood)
	d.source, err = d.openSource(d.opt.Source, d.sourceOptions(watch))
	return err
}

// own takes the region's lock, and logs it if it has to wait.
func (d *Daemon) own(ctx context.Context) error {
	r := &region{opt: d.opt, log: d.log, counters: d.counters}
	now, cancel := context.WithCancel(ctx)
	cancel()
	err := r.own(now)
	if errors.Is(err, writer.ErrLocked) && ctx.Err() == nil {
		d.log.Info("waiting for the daemon that has the region", "for", d.opt.LockWait, "error", err)
		err = r.own(ctx)
	}
	if err == nil {
		d.region = r
	}
	return err
}

func (d *Daemon) sourceOptions(watch bool) source.Options {
	return source.Options{
		AllowEmpty: d.opt.AllowEmpty,
		Wanted:     d.maker.Wanted,
		MaxFile:    d.opt.Writer.MaxImage,
		NoWatch:    !watch,
		OnWatchError: func(err error) {
			d.counters.watchErrors.Inc()
			d.log.Warn("watching the source is impaired", "source", d.opt.Source, "error", err)
		},
	}
}

// stop releases everything that was opened. The region goes first, so that a
// successor can attach while the last image is still being saved.
func (d *Daemon) stop() error {
	var errs []error
	if d.region != nil {
		errs = append(errs, d.region.close())
	}
	if d.state != nil {
		errs = append(errs, d.state.close())
	}
	if d.source != nil {
		errs = append(errs, d.source.Close())
		d.log.Info("stopped", "generation", d.region.generation())
	}
	return errors.Join(errs...)
}
