//go:build unix

package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/admin"
	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/daemon/notify"
	"github.com/statesync/statesync/daemon/webhook"
)

// serve is the life of a daemon that runs until a signal ends it, with what
// tells others how it is doing around it.
func (s *settings) serve(ctx context.Context, cancel context.CancelFunc) error {
	notifier := notify.New(s.Log, s.LockWait)
	defer notifier.Close()
	s.Observe = notifier.Observe
	d := daemon.New(s.Options)
	o := admin.Options{
		Region: s.Region, Slots: s.Writer.Slots, MaxImage: s.Writer.MaxImage,
		LockWait: s.LockWait, MaxAge: s.MaxAge, Version: s.Version, Log: s.Log,
	}
	var hook *webhook.Server
	if s.webhook != "" {
		var err error
		if hook, err = webhook.New(s.webhookSecret, d.Trigger, s.Log); err != nil {
			return err
		}
		o.Webhook = hook.Requests
	}
	server := admin.New(d, o)
	defer s.listenFor(d, func() { notifier.Stopping(); cancel() })()

	var serving sync.WaitGroup
	defer serving.Wait()
	telling, told := context.WithCancel(ctx) // a successor may have the address at once
	defer told()
	l, err := s.address(ctx)
	switch {
	case ctx.Err() != nil:
		return nil // stopped while it waited
	case err != nil:
		return err
	case s.listen != "":
		serving.Go(func() { s.tell(telling, server, l) })
	}
	if hook != nil {
		l, err := s.webhookAddress(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		serving.Go(func() { s.take(telling, hook, l) })
	}
	serving.Go(func() {
		if !started(telling, d) {
			return
		}
		if err := control.Serve(telling, d, control.Options{
			Region: s.Region, Mode: s.Writer.Mode, Group: s.Writer.Group, Version: s.Version,
			Control: s.controlDir, ControlGroup: s.controlGroup, Log: s.Log,
		}); err != nil {
			s.Log.Error("queries and commands are no longer answered; restart the daemon", "error", err)
		}
	})
	if err := d.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil // stopped while it waited for the daemon before it
}

// startPoll is how often a daemon that is starting is looked at.
const startPoll = 50 * time.Millisecond

// started waits until a daemon has the region, and so may make the query socket in its
// directory. It returns false if the context ends before.
func started(ctx context.Context, d *daemon.Daemon) bool {
	for d.State().Turned.IsZero() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(startPoll):
		}
	}
	return true
}

// address listens where metrics and health are asked for; nil without an error
// is nowhere, or not yet. An address that was chosen may be that of the daemon
// before this one, which is waited for as its lock is.
func (s *settings) address(ctx context.Context) (net.Listener, error) {
	if s.listen == "" {
		return nil, nil
	}
	wait := s.LockWait
	if !s.chosen {
		wait = 0
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	l, err := admin.Listen(ctx, s.listen)
	if err != nil && !s.chosen {
		s.Log.Warn("no metrics and no health yet: the default address is not available and will be retried; "+
			"configs are published meanwhile", "listen", s.listen, "error", err)
		return nil, nil
	}
	return l, err
}

// webhookAddress listens where the webhook's requests are taken, which may be the address
// of the daemon before this one.
func (s *settings) webhookAddress(ctx context.Context) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, s.LockWait)
	defer cancel()
	return webhook.Listen(ctx, s.webhook)
}

// take takes the webhook's requests until the context ends.
func (s *settings) take(ctx context.Context, hook *webhook.Server, l net.Listener) {
	s.Log.Info("serving the webhook", "webhook", l.Addr().String())
	if err := hook.Serve(ctx, l); err != nil {
		s.Log.Error("the webhook is no longer served; restart the daemon", "webhook", s.webhook, "error", err)
	}
}

// tellRetry is how often the default address is tried.
const tellRetry = 2 * time.Second

// tell serves metrics and health until the context ends.
func (s *settings) tell(ctx context.Context, server *admin.Server, l net.Listener) {
	for l == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellRetry):
		}
		now, cancel := context.WithCancel(ctx)
		cancel()
		l, _ = admin.Listen(now, s.listen) // why not was said
	}
	s.Log.Info("serving metrics and health", "listen", l.Addr().String())
	if err := server.Serve(ctx, l); err != nil {
		s.Log.Error("metrics and health are no longer served; restart the daemon", "listen", s.listen, "error", err)
	}
}
