//go:build unix

// Statesyncd publishes a source of configuration into a region of shared
// memory, where any number of processes read it. Run it with --help.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/daemon"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the answer is no, or something went wrong
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
		return cli.ExitUsage
	default:
		fmt.Fprintf(stderr, "statesyncd: %v\n", err)
		return exitFailed
	}
}

// run is the daemon's life.
func run(s *settings, stdout, stderr io.Writer) error {
	s.Log = s.logger(stderr)
	if !s.dryRun && !s.once {
		pipe := newLogPipe(stderr, func(lines int) []byte {
			var line bytes.Buffer
			s.logger(&line).Warn(missingLines(lines))
			return line.Bytes()
		})
		defer pipe.close()
		s.flush = pipe.close
		s.Log = s.logger(pipe)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	switch {
	case s.dryRun, s.once:
		d := daemon.New(s.Options)
		defer s.listenFor(d, cancel)()
		if s.dryRun {
			err = d.DryRun(ctx, stdout)
		} else {
			err = d.Once(ctx)
		}
	default:
		err = s.serve(ctx, cancel)
	}
	if err != nil {
		s.Log.Error("failed", "error", err)
		return errLogged
	}
	return nil
}

// oneSignal is how long after a signal another one is the same: timeout(1) and
// some shells send it to the process and to its group.
const oneSignal = time.Second

// listenFor turns signals into what they mean until the returned function is
// called: a reload, the end, and the end at once.
func (s *settings) listenFor(d *daemon.Daemon, end func()) (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		var stopping time.Time
		for {
			select {
			case <-done:
				return
			case got := <-signals:
				switch {
				case got == syscall.SIGHUP:
					go reload(d) // it waits for a daemon that is starting
				case !stopping.IsZero() && time.Since(stopping) < oneSignal:
				case !stopping.IsZero():
					s.Log.Error("exiting at once", "signal", got.String())
					if s.flush != nil {
						s.flush()
					}
					os.Exit(exitFailed)
				default:
					stopping = time.Now()
					s.Log.Info("stopping; the region stays", "signal", got.String())
					end()
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// reloadWait is how long a reload waits for a daemon that is starting.
const reloadWait = time.Minute

func reload(d *daemon.Daemon) {
	ctx, cancel := context.WithTimeout(context.Background(), reloadWait)
	defer cancel()
	_, _ = d.Do(ctx, daemon.Request{Command: daemon.Reload{}}) // one that ends has nothing to reload
}
