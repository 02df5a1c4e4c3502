//go:build unix

package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/atomic"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// ErrRefused says that what the sources have is not what the region holds. The
// log has one line for each reason.
var ErrRefused = errors.New("the sources' newest revision is not published")

// ErrUnknownOrigin is the error of State.Why while what is live was published by an
// earlier process, and the sources were not accepted since.
var ErrUnknownOrigin = errors.New("where the current generation comes from is not known until its sources are read and accepted")

// Daemon publishes sources into a region. Make one with New, and call one of
// Run, Once and DryRun, once.
type Daemon struct {
	opt      Options
	log      *slog.Logger
	open     func(source.Spec, source.Options) (source.Source, error)
	wake     chan struct{} // capacity 1: a source was looked at
	requests chan *request
	ended    chan struct{} // closed at the end of Run and Once
	silence  time.Duration // maxSilence

	polled      atomic.Pointer[[]*source.Follower] // nil before the sources are followed
	state       atomic.Pointer[State]
	watchErrors atomic.Uint64
	stateErrors atomic.Uint64 // failures to write the state directory; of several goroutines

	// The rest belongs to the owner: the goroutine that Run or Once was called on.
	layers layers
	worker *worker
	region *region
	dir    *stateDir
	diary  *diary
	tally  tally

	planned *inputs  // what the newest plan was made of; nil before the first
	verdict *refusal // on that plan; nil if it is good
	good    *content // what the newest good plan comes to with overrides; nil before the first
	base    *content // the same without them
	settled *content // the content that the region was last seen to hold

	recorder  *recorder
	unkept    error          // why the history is in memory although there is a state directory
	boot      string         // bootID
	intent    history.Intent // as it is stored
	overrides *overrides     // that have not lapsed
	pinned    *content       // what the pin holds; nil: nothing is pinned
	overlaid  *content       // the same with the overrides that were set after the pin
	trial     *trial         // nil: none waits
	effects   []effect       // acts that are yet to be settled
	waiting   *Waiting
	recalled  bool     // whether the history was asked for its newest content
	before    *content // that content, until there is a region
	past      *Past
	reloads   []reloading
	replies   []func() // to be given at the end of the turn, when the state says the same

	held     *holding      // what the region holds, with its digest
	judged   bool          // there was a verdict on what all sources have
	asked    bool          // whether older was looked for
	older    *content      // what was last good, until it is published
	tried    time.Time     // when settle was called last
	retried  time.Time     // when retry was called last
	started  time.Time     // when the sources began to be followed
	behind   time.Time     // since when it is not converged
	seenGood time.Duration // when the sources were last valid for the previous daemon, by shm.Boottime

	planTrouble   trouble
	pinTrouble    trouble // with overrides over a pin
	guardTrouble  trouble
	regionTrouble trouble
	notices       notices
	slow          alarm
}

// New makes a daemon. It touches nothing.
func New(o Options) *Daemon {
	o = o.withDefaults()
	d := &Daemon{
		opt:           o,
		log:           o.Log,
		open:          Schemes.Open,
		wake:          make(chan struct{}, 1),
		requests:      make(chan *request),
		ended:         make(chan struct{}),
		silence:       maxSilence,
		worker:        newWorker(plan.New(plan.Options{Opaque: o.Opaque, AllowEmpty: o.AllowEmpty})),
		tally:         newTally(),
		planTrouble:   trouble{log: o.Log, values: o.LogValues},
		pinTrouble:    trouble{log: o.Log, values: o.LogValues},
		guardTrouble:  trouble{log: o.Log, values: o.LogValues},
		regionTrouble: trouble{log: o.Log, values: o.LogValues},
		boot:          bootID(),
		notices:       notices{log: o.Log},
		slow:          alarm{log: o.Log},
	}
	d.state.Store(&State{Refusals: maps.Clone(d.tally.refusals)})
	return d
}

// Run publishes until the context ends, and then returns nil: the region stays,
// and its status says that its writer has stopped. An error is one of the
// start, such as writer.ErrLocked for a second daemon, or a region that can't be
// sealed as asked. Transient failures, from a missing source to a full file system,
// are logged and retried, not returned.
func (d *Daemon) Run(ctx context.Context) (err error) {
	defer close(d.ended)
	if err := d.start(ctx, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	return d.loop(ctx, false)
}

// Once publishes what the sources have and returns. ErrRefused says that a
// source can't be read or is refused, or that the region has no room for it;
// the region then holds what it held before or, when there was none, the last
// good image of the state directory.
func (d *Daemon) Once(ctx context.Context) (err error) {
	defer close(d.ended)
	if err := d.start(ctx, false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	if err := d.loop(ctx, true); err != nil {
		return err
	}
	if !d.converged() {
		return errors.Join(ErrRefused, ctx.Err())
	}
	return nil
}

// start takes the locks, opens the state directory and the region, and begins to
// follow the sources. It returns the context's error if the context ends while it
// waits for a lock.
func (d *Daemon) start(ctx context.Context, watch bool) (err error) {
	d.log.Info("starting", "source", d.sourceTexts(), "region", d.opt.Region, "state_dir", d.opt.StateDir,
		"resync", d.opt.Resync, "slots", d.opt.Writer.Slots, "max_image", d.opt.Writer.MaxImage)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	if len(d.opt.Sources) == 0 || len(d.opt.Sources) > shm.MaxLayers {
		return fmt.Errorf("there are %d sources; give 1 to %d", len(d.opt.Sources), shm.MaxLayers)
	}
	wait, cancel := context.WithTimeout(ctx, d.opt.LockWait)
	defer cancel()
	if err := d.own(wait); err != nil {
		return errors.Join(ctx.Err(), d.opt.advise(err))
	}
	if d.opt.StateDir == "" {
		d.log.Warn("no state directory: if the region is lost, generations start at 1 again, " +
			"and nothing can be published while the source cannot be read")
	} else {
		takeOver(d.opt.OldStateDir, d.opt.StateDir, d.opt.Region, d.opt.Writer.MaxImage, d.log)
		if d.dir, err = openState(wait, d.opt.StateDir, &d.stateErrors, d.log); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		if err := d.dir.belongTo(d.opt.Region); err != nil {
			return err
		}
	}
	if err := d.recall(); err != nil {
		return err
	}
	if err := d.region.attach(d.dir); err != nil {
		return d.opt.advise(err)
	}
	if err := d.resume(); err != nil {
		return err
	}
	d.seenGood = d.region.seenGood
	d.diary = openDiary(d.dir, d.opt.Version, d.log)
	d.worker.diary = d.diary
	return d.follow(watch)
}

// follow begins to follow every source.
func (d *Daemon) follow(watch bool) error {
	d.started = time.Now()
	d.sweepSources()
	var polled []*source.Follower
	for i, spec := range d.opt.Sources {
		interval, poll := d.interval(spec)
		o := d.sourceOptions(spec, i, watch)
		o.Rescan = interval
		src, err := d.open(spec, o)
		if err != nil {
			return err
		}
		l := &layer{
			spec: spec, maxAge: max(d.opt.MaxAge, 3*interval), unread: trouble{log: d.log, values: d.opt.LogValues}, undecoded: trouble{log: d.log, values: d.opt.LogValues},
			follower: source.Follow(src, source.FollowOptions{Interval: interval, Poll: poll, Wake: d.news}),
		}
		if Schemes.Floor(spec) != source.NoFloor {
			l.floor = Schemes.Identity(spec)
		}
		d.layers = append(d.layers, l)
		if poll != nil {
			polled = append(polled, l.follower)
		}
	}
	d.polled.Store(&polled)
	return nil
}

// Trigger has the sources that are polled looked at now, at most once a second and less
// often while they cannot be reached. The other sources are not disturbed. It does not
// wait for the looks, costs the owner nothing, and may be called from any goroutine.
func (d *Daemon) Trigger() {
	if polled := d.polled.Load(); polled != nil { // else the first look is yet to come
		for _, f := range *polled {
			f.Trigger()
		}
	}
}

// interval is how often a source is looked at without a hint, and how this host polls it
// if it is one that many hosts share.
func (d *Daemon) interval(spec source.Spec) (time.Duration, *source.Poll) {
	switch interval, polls := Schemes.Polls(spec); {
	case polls:
		return interval, &source.Poll{Host: hostID() + "\x00" + d.opt.Region, Source: Schemes.Identity(spec)}
	case spec.Interval > 0:
		return spec.Interval, nil
	}
	return d.opt.Resync, nil
}

// hostID tells this host from others: by name, too, because hosts that were copied may
// have the same machine id.
func hostID() string {
	id, _ := os.ReadFile("/etc/machine-id")
	name, _ := os.Hostname()
	if len(id)+len(name) == 0 {
		return bootID()
	}
	return string(id) + name
}

// news wakes the owner.
func (d *Daemon) news() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// own takes the region's lock, and logs it if it has to wait.
func (d *Daemon) own(ctx context.Context) error {
	r := &region{opt: d.opt, log: d.log}
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

// sourceOptions are those of layer i. An empty one is fine above others.
func (d *Daemon) sourceOptions(spec source.Spec, i int, watch bool) source.Options {
	o := source.Options{
		AllowEmpty: d.opt.AllowEmpty || i > 0,
		Wanted:     d.worker.maker.Wanted,
		MaxFile:    d.opt.Writer.MaxImage,
		NoWatch:    !watch,
		Room:       func(bytes int64) error { return d.opt.advise(headroom.Check(bytes)) },
		StateDir:   d.sourceDir(i),
		Warn:       func(err error) { d.log.Warn("warning", "source", spec.Text, "what", err) },
		OnWatchError: func(err error) {
			d.watchErrors.Add(1)
			d.log.Warn("watching the source is impaired", "source", spec.Text, "error", err)
		},
	}
	if d.recorder != nil { // else it is a trial
		o.Floor = floor{d.recorder.store, Schemes.Identity(spec)}
	}
	return o
}

// floor is what the history has of a source.
type floor struct {
	store    *history.Store
	identity string
}

func (f floor) Get() (string, error) {
	stored, err := f.store.Floor(f.identity)
	return stored.State, err
}

func (f floor) Raise(from, to string) error { return f.store.RaiseFloor(f.identity, from, to) }

// sourceDir is a directory of the state directory for layer i alone, named by what its
// source is of; empty if there is no state directory.
func (d *Daemon) sourceDir(i int) string {
	if d.dir == nil {
		return ""
	}
	spec := d.opt.Sources[i]
	identity := Schemes.Identity(spec)
	name := fmt.Sprintf("%s-%x", spec.Scheme, sha256.Sum256([]byte(identity)))[:len(spec.Scheme)+1+32]
	same := 1
	for _, other := range d.opt.Sources[:i] {
		if Schemes.Identity(other) == identity {
			same++
		}
	}
	if same > 1 {
		name = fmt.Sprintf("%s-%d", name, same)
	}
	return filepath.Join(d.dir.path, sourcesDir, name)
}

// sweepSources deletes what sources left that are not followed any more.
func (d *Daemon) sweepSources() {
	if d.dir == nil {
		return
	}
	kept := map[string]bool{}
	for i := range d.opt.Sources {
		kept[filepath.Base(d.sourceDir(i))] = true
	}
	list, err := fs.ReadDir(d.dir.root.FS(), sourcesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("what earlier sources left cannot be listed", "state_dir", d.dir.path, "error", err)
	}
	for _, entry := range list {
		if kept[entry.Name()] {
			continue
		}
		if err := d.dir.root.RemoveAll(filepath.Join(sourcesDir, entry.Name())); err != nil {
			d.log.Warn("what an earlier source left cannot be deleted", "state_dir", d.dir.path, "name", entry.Name(), "error", err)
		}
	}
}

func (d *Daemon) sourceTexts() string {
	var ls layers
	for _, spec := range d.opt.Sources {
		ls = append(ls, &layer{spec: spec})
	}
	return ls.names()
}

// stop releases everything that was opened. The region goes first, so that a
// successor can attach while the last image is still being saved. A worker in the
// middle of a file, and a source that hangs, are left behind.
func (d *Daemon) stop() error {
	var errs []error
	if d.region != nil {
		errs = append(errs, d.region.close())
	}
	ended := d.worker.stop()
	if !ended {
		d.log.Warn("ending in the middle of decoding a file")
	}
	if d.diary != nil && (ended || !d.State().Stuck) { // a failing /livez ends one that is stuck, and its successor must know
		d.diary.end()
	}
	if d.recorder != nil {
		errs = append(errs, d.recorder.close())
	}
	if d.dir != nil {
		errs = append(errs, d.dir.close())
	}
	if err := d.layers.close(); err != nil {
		d.log.Warn("a source did not end", "error", err)
	}
	if d.layers != nil {
		d.log.Info("stopped", "generation", d.region.generation())
	}
	return errors.Join(errs...)
}
