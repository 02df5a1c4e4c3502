//go:build unix

package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
)

// Errors of commands.
var (
	// ErrStopped is that of a daemon that does not run, or ends.
	ErrStopped = errors.New("the daemon does not run")
	// ErrNoStateDir is that of a command whose effect has to survive a restart.
	ErrNoStateDir = errors.New("the daemon has no state directory, so that this would not survive a restart; give it one with --state-dir")
	// ErrBusy is that of a command that needs the worker while it makes a plan.
	ErrBusy = errors.New("the daemon is decoding a new revision; try again when status says that it is done")
	// ErrInvalid matches the error of a command that does not fit what there is.
	ErrInvalid = errors.New("not possible")
)

// By says which process asked for a command.
type By = history.By

// Request asks for a Command.
type Request struct {
	Command Command
	By      By
	Why     string // for the audit; may be empty
	// Preview has the daemon say what the command would change, and change nothing.
	Preview bool
}

// Command is what a daemon can be asked to do.
type Command interface{ text() string }

// The commands.
type (
	// Reload has every source looked at now, at all of its contents where it can be. It is
	// answered when that was done.
	Reload struct{}
	// Pin holds what is live.
	Pin struct{}
	// Rollback publishes the content of an older generation anew, and holds it. It
	// suspends the overrides that there are. Without a generation it takes the newest one
	// that differs from what is live, or from what the pin holds.
	Rollback struct{ To uint64 }
	// Unpin follows the sources again.
	Unpin struct{}
	// Override sets a key of a config over all layers for a time.
	Override struct {
		Config, Key string
		Value       []byte // canonical JSON; see plan.Value
		For         time.Duration
	}
	// ClearOverride ends overrides: of all configs, of a config, or of one key.
	ClearOverride struct{ Config, Key string }
	// Accept lets a content pass the guards.
	Accept struct{ Digest string }
	// AcceptCommit has a source accept a commit, and what descends from it, whatever it
	// accepted before.
	AcceptCommit struct{ Source, Commit string }
	// ResetFloor forgets what was accepted last of a source, so that it accepts whatever is
	// signed next. Source is its name, or its identity.
	ResetFloor struct{ Source string }
	// Purge forgets the values that a config had before.
	Purge struct{ Config string }
)

// Reply says what became of a command.
type Reply struct {
	Act        uint64     // its entry in the audit; 0: none
	Generation uint64     // that is live
	Record     uint64     // the generation whose content a pin holds; 0: none
	Published  bool       // the command led to a new generation
	Refused    string     // why what is asked for is not live; empty: it is
	Warnings   []string   // about an override
	Changes    Changes    // between what was live before the command and what is now
	Diff       *diff.Diff // of a Preview: what the command would change
}

// request is a command on its way to the owner.
type request struct {
	Request
	ctx  context.Context
	done chan<- result // capacity 1
}

type result struct {
	reply Reply
	err   error
}

func (r *request) finish(reply Reply, err error) {
	if r.done != nil {
		r.done <- result{reply, err}
		r.done = nil
	}
}

// Do is the one door for commands. It returns when the command has had its effect, or
// could not have it: what changes the intent is on stable storage with its entry in the
// audit by then. It waits for a daemon that is starting, until ctx ends, and returns
// ErrStopped for one that has ended. A command that was taken on is not undone when ctx
// ends.
func (d *Daemon) Do(ctx context.Context, r Request) (Reply, error) {
	done := make(chan result, 1)
	select {
	case d.requests <- &request{Request: r, ctx: ctx, done: done}:
	case <-d.ended:
		return Reply{}, ErrStopped
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
	select {
	case r := <-done:
		return r.reply, r.err
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	case <-d.ended:
		return Reply{}, ErrStopped
	}
}

// answer begins what a request asks for.
func (d *Daemon) answer(ctx context.Context, r *request) {
	switch r.Command.(type) {
	case Reload:
		d.reload(r)
	default:
		d.act(ctx, r)
	}
}

func (d *Daemon) reload(r *request) {
	if r.Preview {
		r.finish(Reply{Generation: d.region.generation()}, nil)
		return
	}
	d.log.Info("looking at the sources because of a reload", "source", d.layers.names())
	wait := make([]uint64, len(d.layers))
	for i, l := range d.layers {
		wait[i] = l.follower.Recheck()
	}
	d.reloads = append(d.reloads, reloading{request: r, looks: wait})
}

// reloading is a reload that is under way.
type reloading struct {
	request *request
	act     uint64   // the audit's entry of the act that asked for it; 0: none
	looks   []uint64 // what Look.Rechecks of each layer has to reach
}

// reloaded ends the reloads for which every source was looked at since, when nothing of
// it is still to be decided.
func (d *Daemon) reloaded() {
	if d.worker.busy() {
		return
	}
	for len(d.reloads) > 0 {
		r := d.reloads[0]
		for i, l := range d.layers {
			if l.look == nil || l.look.Rechecks < r.looks[i] {
				return
			}
		}
		d.reloads = d.reloads[1:]
		reply := Reply{Act: r.act, Generation: d.region.generation(), Refused: d.problem().place()}
		d.replies = append(d.replies, func() { r.request.finish(reply, nil) })
	}
}
