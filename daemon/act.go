//go:build unix

package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/git"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// An act is a command that changes the intent. It goes through the owner twice: the
// first time it is checked against what is live, and an override is tried on the worker;
// then the recorder stores the changed intent together with the act's entry in the audit;
// then the owner makes it so (acted), and has the entry marked as done when that is
// settled. A daemon that dies in between finds the intent at its next start, makes it so,
// and marks the entry then.

// Bounds of what an intent holds.
const (
	maxOverrides = 64
	maxAccepted  = 16
	maxFor       = 30 * 24 * time.Hour
)

// acted is what became of an act: the stored intent, or an error and nothing changed.
type acted struct {
	request *request
	entry   history.Entry
	intent  history.Intent
	pinned  *content // what the pin holds, if it is a new one
	trial   *made    // of an override
	preview *Reply   // nothing was changed
	looks   []uint64 // of an act on a floor: what the sources were asked to reach
	err     error
}

// effect is an act that is yet to be settled.
type effect struct {
	request *request // nil: none waits
	entry   history.Entry
	before  *image.Image
	warned  []string
}

// text is what the audit and the history call a command.
func (Reload) text() string { return "reload" }
func (Pin) text() string    { return "pin" }
func (c Rollback) text() string {
	if c.To == 0 {
		return "rollback"
	}
	return fmt.Sprintf("rollback %d", c.To)
}
func (Unpin) text() string { return "unpin" }
func (c Override) text() string {
	return fmt.Sprintf("override %s %s=%s --for %s", c.Config, c.Key, c.Value, c.For)
}

func (c ClearOverride) text() string {
	return strings.TrimRight(fmt.Sprintf("override --clear %s %s", c.Config, c.Key), " ")
}
func (c Accept) text() string { return "accept " + c.Digest }

func (c AcceptCommit) text() string { return "accept " + c.Source + " " + c.Commit }
func (c ResetFloor) text() string   { return "floors reset " + c.Source }
func (c Purge) text() string        { return "history purge " + c.Config }

// invalidf is an error that matches ErrInvalid.
func invalidf(format string, args ...any) error {
	return &invalidError{fmt.Sprintf(format, args...)}
}

type invalidError struct{ what string }

func (e *invalidError) Error() string        { return e.what }
func (e *invalidError) Is(target error) bool { return target == ErrInvalid }

// act begins an act.
func (d *Daemon) act(ctx context.Context, r *request) {
	if err := d.begin(ctx, r); err != nil {
		r.finish(Reply{}, err)
	}
}

func (d *Daemon) begin(ctx context.Context, r *request) error {
	switch r.Command.(type) {
	case Pin, Rollback, Override:
		if d.dir == nil {
			return ErrNoStateDir
		}
		if d.unkept != nil {
			return invalidf("the history cannot be kept, so that this would not survive a restart: %v; make room, and restart the daemon", d.unkept)
		}
	}
	switch c := r.Command.(type) {
	case Pin:
		if d.region.held == nil {
			return invalidf("nothing is live that could be held")
		}
		if p := d.intent.Pin; p != nil && d.settled == d.pinned {
			return invalidf("the content of generation %d is held already", p.Generation)
		}
		g, live := d.region.generation(), contentOf(d.region.held)
		d.pinTo(r, func() (history.Record, *content, error) {
			rec, err := d.recorder.store.Get(g)
			return rec, live, err
		})
	case Rollback:
		return d.rollback(r, c.To)
	case Unpin:
		if d.intent.Pin == nil {
			return invalidf("nothing is pinned")
		}
		if r.Preview {
			d.preview(r, d.good)
			return nil
		}
		d.store(r, nil, nil, func(_ uint64, i *history.Intent) error { i.Pin = nil; return nil })
	case Override:
		return d.override(ctx, r, c)
	case ClearOverride:
		cleared := func(o history.Override) bool {
			return (c.Config == "" || o.Config == c.Config) && (c.Key == "" || o.Key == c.Key)
		}
		if !slices.ContainsFunc(d.overrides.all(), cleared) {
			return invalidf("there is no such override")
		}
		d.store(r, nil, nil, func(_ uint64, i *history.Intent) error {
			i.Overrides = slices.DeleteFunc(i.Overrides, cleared)
			return nil
		})
	case Accept:
		return d.accept(r, c)
	case AcceptCommit:
		return d.acceptCommit(r, c)
	case ResetFloor:
		d.resetFloor(r, c)
	case Purge:
		return d.purge(r, c)
	default:
		return invalidf("the command is not known")
	}
	return nil
}

// entry begins the audit's.
func (r *request) entry() history.Entry {
	return history.Entry{Time: time.Now(), Command: r.Command.text(), By: r.By, Why: r.Why}
}

// undertake has a job done on the recorder's goroutine, which then gives the owner what
// became of it. What was not begun when the owner ends, or when its caller does not wait
// any more, is not begun.
func (d *Daemon) undertake(r *request, job func(*acted)) {
	d.recorder.do(func() {
		if d.recorder.abandoned() || r.ctx.Err() != nil {
			return
		}
		a := acted{request: r}
		job(&a)
		d.recorder.answer(a)
	})
}

// store has the changed intent stored with the act's entry. pinned prepares what a pin
// is to hold, on the recorder's goroutine.
func (d *Daemon) store(r *request, trial *made, pinned func(*history.Entry) (*content, error), change func(number uint64, i *history.Intent) error) {
	d.undertake(r, func(a *acted) {
		a.trial = trial
		e := r.entry()
		if pinned != nil {
			a.pinned, a.err = pinned(&e)
		}
		if a.err == nil && r.Preview {
			a.preview = &Reply{}
		} else if a.err == nil {
			a.entry, a.intent, a.err = d.recorder.store.Act(e, change)
			if a.err != nil && !errors.Is(a.err, ErrInvalid) {
				a.err = fmt.Errorf("it cannot be stored, so nothing was changed: %w", a.err)
			}
		}
	})
}

// pinTo pins what find finds on the recorder's goroutine.
func (d *Daemon) pinTo(r *request, find func() (history.Record, *content, error)) {
	pin := &history.Pin{By: r.By, Why: r.Why, Time: time.Now()}
	_, pin.Rollback = r.Command.(Rollback)
	d.store(r, nil, func(e *history.Entry) (*content, error) {
		rec, c, err := find()
		if err != nil {
			return nil, err
		}
		if pin.Rollback {
			e.Command = Rollback{rec.Generation}.text()
		}
		pin.Generation, pin.Content, pin.Revision, pin.Layers = rec.Generation, rec.Content, rec.Revision, rec.Layers
		held := *c
		held.pin, held.layers, held.plan, held.base, held.overrides = pin, rec.Layers, nil, nil, nil
		return &held, nil
	}, func(number uint64, i *history.Intent) error {
		pin.Act = number
		i.Pin = pin
		return nil
	})
}

// rollback pins an older generation.
func (d *Daemon) rollback(r *request, to uint64) error {
	from := d.region.generation()
	if p := d.intent.Pin; p != nil {
		from = p.Generation
	}
	if from == 0 {
		return invalidf("nothing is live yet, and so there is nothing to go back from")
	}
	live := sectionsOf(d.region.held)
	s := d.recorder.store
	d.pinTo(r, func() (rec history.Record, c *content, err error) {
		if to == 0 {
			rec, err = s.Older(from)
		} else {
			rec, err = s.Get(to)
		}
		if err != nil {
			return rec, nil, invalidf("%v", err)
		}
		c, err = recorded(s, rec, live)
		return rec, c, err
	})
	return nil
}

// recorded is the content of a record. Configs that are live are not built again.
func recorded(s *history.Store, rec history.Record, live []*image.Section) (*content, error) {
	refs, err := s.Configs(rec.Generation)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if ref.Purged {
			return nil, invalidf("the config %s of generation %d was purged from the history", plain.Text(ref.Name), rec.Generation)
		}
	}
	sections, err := s.Sections(refs, live...)
	if err != nil {
		return nil, err
	}
	return &content{revision: rec.Revision, sections: sections, digest: &digest{}, layers: rec.Layers, published: rec.Time}, nil
}

// override tries an override on the worker, and has it stored if it fits.
func (d *Daemon) override(ctx context.Context, r *request, c Override) error {
	switch {
	case c.For <= 0 || c.For > maxFor:
		return invalidf("an override is for a time of at most %s, such as --for 1h", maxFor)
	case c.Key == "":
		return invalidf("an override sets a key; give it as KEY=VALUE")
	case len(d.overrides.all()) >= maxOverrides:
		return invalidf("there are %d overrides, which is as many as there may be; clear some, or change the source", maxOverrides)
	case !json.Valid(c.Value):
		return invalidf("the value is not JSON")
	case d.trial != nil:
		return ErrBusy
	}
	now := time.Now()
	one := history.Override{
		Config: c.Config, Key: c.Key, Value: c.Value, Time: now, Until: now.Add(c.For).Round(0),
		Boot: d.boot, UntilBoot: shm.Boottime() + c.For, By: r.By, Why: r.Why, Act: noAct,
	}
	d.trial = &trial{request: r, one: one, set: d.overrides.with(one), asked: now}
	d.plan(ctx)
	return nil
}

// trial is an override that is yet to be tried, or is being tried.
type trial struct {
	request *request
	one     history.Override
	set     *overrides
	asked   time.Time
}

// maxTrialWait is how long an override waits for the worker.
const maxTrialWait = time.Second

// hurry gives up on an override that the worker has no time for.
func (d *Daemon) hurry(now time.Time) {
	if t := d.trial; t != nil && (!d.worker.busy() || d.worker.job.trial != t) && now.Sub(t.asked) > maxTrialWait {
		d.trial = nil
		t.request.finish(Reply{}, ErrBusy)
	}
}

// tested takes what came of an override's trial.
func (d *Daemon) tested(m made) {
	t := m.trial
	if d.trial == t {
		d.trial = nil
	}
	problems, c := m.problems, m.content
	if d.pinned != nil {
		problems, c = m.pinProblems, m.overlaid
	}
	var wrong []string
	for _, p := range problems {
		if !p.Warning {
			wrong = append(wrong, p.Error())
		}
	}
	switch {
	case m.err != nil, m.crowded != nil:
		t.request.finish(Reply{}, ErrBusy)
		return
	case wrong != nil:
		t.request.finish(Reply{}, invalidf("%s", strings.Join(wrong, "\n")))
		return
	case c == nil:
		t.request.finish(Reply{}, invalidf("the sources were not read yet, so there is nothing to set a value over"))
		return
	case t.request.Preview:
		d.preview(t.request, c)
		return
	}
	d.store(t.request, &m, nil, func(number uint64, i *history.Intent) error {
		t.set.list[len(t.set.list)-1].Act = number
		i.Overrides = slices.Clone(t.set.list)
		return nil
	})
}

// accept lets a content pass. A digest may be cut short where it is that of what waits.
func (d *Daemon) accept(r *request, c Accept) error {
	digest := strings.ToLower(c.Digest)
	if w := d.waiting; w != nil {
		if full := w.Digest(); strings.HasPrefix(full, digest) && len(digest) >= len("sha256:")+12 {
			digest = full
		}
	}
	if !wholeDigest.MatchString(digest) {
		return invalidf("%q is not the digest of a content, such as sha256:… in what statesync status says of what waits", c.Digest)
	}
	if d.opt.Guards.accepts(digest, d.intent.Accepted) {
		return invalidf("%s is accepted already", digest)
	}
	if r.Preview {
		d.preview(r, d.good)
		return nil
	}
	r.Command = Accept{digest}
	d.store(r, nil, nil, func(number uint64, i *history.Intent) error {
		i.Accepted = append(i.Accepted, history.Acceptance{Act: number, Digest: digest, Time: time.Now(), By: r.By, Why: r.Why})
		if n := len(i.Accepted); n > maxAccepted {
			i.Accepted = slices.Delete(i.Accepted, 0, n-maxAccepted)
		}
		return nil
	})
	return nil
}

// acceptCommit has a source accept a commit. The answer waits for a look at that source.
func (d *Daemon) acceptCommit(r *request, c AcceptCommit) error {
	if !git.IsObject(c.Commit) {
		return invalidf("%q is not a whole commit: 40 or 64 hexadecimal digits, as statesync status has it", c.Commit)
	}
	for _, l := range d.layers {
		if l.spec.Name != c.Source {
			continue
		}
		if Schemes.Floor(l.spec) != source.CommitFloor {
			return invalidf("the source %s is not held to its history, as ff=only or verify= of a git: source does, so there is no commit to accept", c.Source)
		}
		d.actFloor(r, l.floor, c.Commit)
		return nil
	}
	return invalidf("there is no source %q; statesync layers lists them", c.Source)
}

// resetFloor drops what was accepted last of a source.
func (d *Daemon) resetFloor(r *request, c ResetFloor) {
	identity := c.Source
	for _, l := range d.layers {
		if l.spec.Name == c.Source && l.floor != "" {
			identity = l.floor
		}
	}
	r.Command = ResetFloor{identity}
	d.actFloor(r, identity, "")
}

// actFloor sets the floor of an identity, or drops it if the state is empty, and has the
// sources looked at that have it. The answer waits for that.
func (d *Daemon) actFloor(r *request, identity, state string) {
	store, layers := d.recorder.store, d.layers
	d.undertake(r, func(a *acted) {
		old, err := store.Floor(identity)
		switch {
		case err != nil:
			a.err = err
			return
		case state == "" && old.State == "":
			a.err = invalidf("of %q nothing is kept that was accepted; statesync floors lists what is", identity)
			return
		case r.Preview:
			a.preview = &Reply{}
			return
		}
		if a.entry, a.err = store.ActFloor(r.entry(), identity, state); a.err != nil {
			return
		}
		a.looks = make([]uint64, len(layers))
		for i, l := range layers {
			if l.floor == identity {
				a.looks[i] = l.follower.Recheck()
			}
		}
		outcome := "accepted"
		if state == "" {
			outcome = "dropped " + old.State
		}
		a.err = store.Done(a.entry.Number, outcome, 0)
	})
}

var wholeDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// purge forgets what a config was, and what its files were.
func (d *Daemon) purge(r *request, c Purge) error {
	if err := image.CheckName(c.Config); err != nil {
		return invalidf("%v", err)
	}
	prefixes := map[string]string{}
	for _, l := range d.layers {
		prefixes[l.spec.Name] = l.spec.Prefix
	}
	maker := d.worker.maker
	d.undertake(r, func(a *acted) {
		a.preview = &Reply{} // there is nothing to settle
		if !r.Preview {
			_, a.err = d.recorder.store.Purge(c.Config, func(layer, path string) bool { return prefixes[layer]+maker.Name(path) == c.Config }, r.entry())
		}
	})
	return nil
}

// preview answers what publishing a content would change.
func (d *Daemon) preview(r *request, c *content) {
	if c == nil {
		r.finish(Reply{}, invalidf("the sources were not read yet, so what would be published is not known"))
		return
	}
	live, g := sectionsOf(d.region.held), d.region.generation()
	reply := Reply{Generation: g, Refused: d.guard(c).String()}
	if c.pin != nil { // what an operator chose is not guarded, and so says what it takes away
		reply.Record = c.pin.Generation
		reply.Warnings = d.opt.Guards.lost(live, c.sections)
	}
	done := r.done
	r.done = nil
	go func() { // it may take long for many configs
		reply.Diff = diff.Between(live, c.sections)
		done <- result{reply: reply}
	}()
}

// acted makes the intent so that the recorder has stored.
func (d *Daemon) acted(ctx context.Context, a acted) error {
	switch failed := a.err; {
	case failed != nil:
		a.request.finish(Reply{}, failed)
		return nil
	case a.looks != nil:
		d.log.Info("acting", entryAttributes(&a.entry)...)
		d.reloads = append(d.reloads, reloading{request: a.request, act: a.entry.Number, looks: a.looks})
		return nil
	case a.preview != nil && a.pinned != nil:
		d.preview(a.request, a.pinned)
		return nil
	case a.preview != nil:
		a.preview.Generation = d.region.generation()
		a.request.finish(*a.preview, nil)
		return nil
	}
	d.log.Info("acting", entryAttributes(&a.entry)...)
	e := effect{request: a.request, entry: a.entry, before: d.region.held}
	was := d.intent
	d.intent = a.intent
	switch {
	case a.intent.Pin == nil:
		d.pinned, d.overlaid = nil, nil
	case a.pinned != nil:
		d.pinned, d.overlaid = a.pinned, nil
	}
	if a.trial != nil {
		d.overrides = a.trial.trial.set
		e.warned = warnings(a.trial)
	} else if len(was.Overrides) != len(a.intent.Overrides) {
		kept, _ := d.sift(a.intent.Overrides, time.Now())
		d.obey(overridesOf(kept))
	}
	d.effects = append(d.effects, e)
	if a.trial != nil {
		m := *a.trial
		m.trial = nil
		return d.take(ctx, m)
	}
	if err := d.settle(time.Now()); err != nil {
		return err
	}
	d.plan(ctx)
	return nil
}

// entryAttributes are those of an act's line in the log.
func entryAttributes(e *history.Entry) []any {
	return []any{"act", e.Number, "command", e.Command, "uid", e.By.UID, "user", e.By.User, "pid", e.By.PID, "program", e.By.Program, "why", e.Why}
}

func warnings(m *made) (lines []string) {
	for _, p := range slices.Concat(m.problems, m.pinProblems) {
		if p.Warning {
			lines = append(lines, p.Error())
		}
	}
	return lines
}

// effected answers the acts that are settled, and has their entries marked as done.
func (d *Daemon) effected() {
	if len(d.effects) == 0 || !d.decided() {
		return
	}
	want := d.target()
	live := d.region.whole && want != nil && d.settled == want
	refused := ""
	if !live {
		refused = d.problem().place()
		if refused == "" { // the sources are yet to be read, say
			if want != nil || d.worker.busy() {
				return
			}
		}
	}
	g := d.region.generation()
	outcome := fmt.Sprintf("generation %d is live", g)
	if refused != "" {
		outcome = "refused: " + refused
	}
	for _, e := range d.effects {
		if e.request != nil {
			reply := Reply{
				Act: e.entry.Number, Generation: g, Refused: refused, Warnings: e.warned, Published: d.region.held != e.before,
				Changes: changesBetween(sectionsOf(e.before), sectionsOf(d.region.held)),
			}
			if d.intent.Pin != nil {
				reply.Record = d.intent.Pin.Generation
			}
			d.replies = append(d.replies, func() { e.request.finish(reply, nil) })
		}
		if e.entry.Number != 0 {
			d.recorder.do(func() {
				if err := d.recorder.store.Done(e.entry.Number, outcome, g); err != nil {
					d.recorder.errors.Inc()
					d.log.Error("an act cannot be entered as done; the next start does it", "act", e.entry.Number, "error", err)
				}
			})
		}
	}
	d.effects = nil
}

// cause is the newest act that is yet to be settled: what a publication is put down to.
func (d *Daemon) cause() (e history.Entry, ok bool) {
	if n := len(d.effects); n > 0 {
		return d.effects[n-1].entry, true
	}
	return history.Entry{}, false
}
