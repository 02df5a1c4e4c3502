//go:build unix

// Statesyncd publishes a source of configuration into a region of shared
// memory, where any number of processes read it. Run it with --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/statesync/statesync/daemon"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the answer is no, or something went wrong
	exitUsage  = 2 // the flags or the environment make no sense
)

// errLogged stands for an error that is in the log already.
var errLogged = errors.New("see the log")

func main() {
	os.Exit(execute(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// execute runs the command and returns its exit code.
func execute(args, environ []string, stdout, stderr io.Writer) int {
	cmd := newCommand(environ, func(s *settings) error { return run(s, stdout, stderr) })
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.Execute()
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errLogged):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "statesyncd: %v\nsee statesyncd --help\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "statesyncd: %v\n", err)
		return exitFailed
	}
}

// run is the daemon's life.
func run(s *settings, stdout, stderr io.Writer) error {
	s.Log = s.logger(stderr)
	d := daemon.New(s.Options)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopListening := listen(d, s.Log, cancel)
	defer stopListening()
	var err error
	switch {
	case s.dryRun:
		err = d.DryRun(ctx, stdout)
	case s.once:
		err = d.Once(ctx)
	default:
		err = d.Run(ctx)
		if errors.Is(err, context.Canceled) {
			err = nil // stopped while it waited for the daemon before it
		}
	}
	if err != nil {
		s.Log.Error("failed", "error", err)
		return errLogged
	}
	return nil
}

// listen turns signals into what they mean until the returned function is
// called: a reload, the end, and the end at once.
func listen(d *daemon.Daemon, log *slog.Logger, cancel context.CancelFunc) (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		stopping := false
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				switch {
				case s == syscall.SIGHUP:
					d.Reload()
				case stopping:
					log.Error("exiting at once", "signal", s.String())
					os.Exit(exitFailed)
				default:
					stopping = true
					log.Info("stopping; the region stays", "signal", s.String())
					cancel()
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
