//go:build unix

package daemon

import (
	"context"
	"errors"
)

// ErrStopped is the error of a command for a daemon that does not run, or ends.
var ErrStopped = errors.New("the daemon does not run")

// Command is what a daemon can be asked to do: a Reload.
type Command interface{ command() }

// Reload has every source looked at now, at all of its contents where it can be.
type Reload struct{}

func (Reload) command() {}

// request is a command on its way to the owner.
type request struct {
	command Command
	done    chan<- struct{} // capacity 1
}

// Do is the one door for commands. It returns when the owner has taken the command
// on; State says what comes of it. It waits for a daemon that is starting, until ctx
// ends, and returns ErrStopped for one that has ended.
func (d *Daemon) Do(ctx context.Context, c Command) error {
	done := make(chan struct{}, 1)
	select {
	case d.requests <- request{c, done}:
	case <-d.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-d.ended:
		return ErrStopped
	}
}

// answer does what a request asks for.
func (d *Daemon) answer(r request) {
	if _, ok := r.command.(Reload); ok {
		d.log.Info("looking at the sources because of a reload", "source", d.layers.names())
		d.reloading = make([]uint64, len(d.layers))
		for i, l := range d.layers {
			d.reloading[i] = l.follower.Recheck()
		}
	}
	r.done <- struct{}{}
}

// reloaded ends a reload when every source was looked at since, and nothing of it is
// still to be decided.
func (d *Daemon) reloaded() {
	if d.reloading == nil || d.worker.busy() {
		return
	}
	for i, l := range d.layers {
		if l.look == nil || l.look.Rechecks < d.reloading[i] {
			return
		}
	}
	d.reloading = nil
}
