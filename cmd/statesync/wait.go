package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/client"
)

func (a *app) waitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait",
		Short: "Wait until there is something to read",
		Long: `Wait until there is a region to read, or until it has reached a generation, and
exit with 0; when the time is over, exit with 1 and say what is missing. It is
for what has to run before a program that can't do without its configs: an init
container, or a unit's ExecStartPre.

A region that a dead daemon left behind can be read. Whether it is up to date is
another question: statesync status --max-age.`,
		Example: `  statesync wait
  statesync wait --generation 42 --timeout 2m
  ExecStartPre=/usr/bin/statesync wait --timeout 1m`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	generation := cmd.Flags().Uint64("generation", 1, "wait for this `generation` or a later one")
	timeout := cmd.Flags().Duration("timeout", 30*time.Second, "give up after this `time`; 0: never")
	verbose := cmd.Flags().BoolP("verbose", "v", false, "say what it waits for, and what it finds in the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		tell := func(format string, args ...any) {
			if *verbose {
				fmt.Fprintln(a.stderr, escape(fmt.Sprintf(format, args...)))
			}
		}
		if *timeout < 0 {
			return usageError{fmt.Errorf("--timeout %s: it must not be negative; 0 is without end", timeout)}
		}
		ctx, cancel := until(cmd.Context(), *timeout)
		defer cancel()
		if _, err := a.open(); err != nil {
			if errors.As(err, new(usageError)) {
				return err
			}
			tell("waiting: %v", err)
		}
		c, err := a.connect(client.WaitContext(ctx))
		if err != nil {
			return err
		}
		defer c.Close()
		if now := c.Snapshot().Generation(); now < *generation {
			tell("waiting: %s is at generation %d, and %d is asked for", a.dir(), now, *generation)
		}
		if err := c.WaitGeneration(ctx, *generation); err != nil {
			return a.waited(c, err, *generation)
		}
		s := c.Snapshot()
		tell("%s is at generation %d; its region is %s", a.dir(), s.Generation(), s.RegionID())
		return nil
	}
	return cmd
}

// waited reports what is missing after a wait that timed out.
func (a *app) waited(c *client.Client, err error, wanted uint64) error {
	stats := c.Stats()
	switch {
	case errors.Is(err, client.ErrReplaced):
		return fmt.Errorf("%s: %w; its generations count anew, so that %d can't be waited for any more", a.dir(), err, wanted)
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%s is still at generation %d, and %d is asked for", a.dir(), stats.Generation, wanted)
	}
	switch {
	case stats.Err != nil:
		err = fmt.Errorf("%w: %w", err, a.explain(stats.Err))
	case !stats.DaemonAlive:
		err = fmt.Errorf("%w; its daemon is silent: start statesyncd", err)
	case stats.Problem != "":
		err = fmt.Errorf("%w; the daemon refuses a newer revision: %s", err, stats.Problem)
	}
	return err
}
