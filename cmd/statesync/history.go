package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

func (a *app) historyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show how much is remembered, or remove values from it",
		Long: `Show how many generations the daemon remembers, and how large that is. Users
that may read the region may look at all of them with log, show and diff; purge
removes what must not be there. It needs the running daemon.`,
		Example: `  statesync history
  statesync history purge auth`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := answer(cmd.Context(), a, (*control.Client).Status)
		if err != nil {
			return err
		}
		if format.word == "json" {
			return printJSON(a.stdout, s.History, "  ")
		}
		h := s.History
		_, err = fmt.Fprintf(a.stdout, "%s, %d to %d: %s, in a file of %s\n", count(h.Records, "generation"), h.Oldest, h.Newest, size(h.Bytes), size(h.FileBytes))
		return err
	}
	cmd.AddCommand(a.purgeCommand())
	return cmd
}

func (a *app) purgeCommand() *cobra.Command {
	return a.askingCommand(&cobra.Command{
		Use:   "purge NAME",
		Short: "Remove the older values of a config from the history for good",
		Long: `Remove from the history every value that a config had before the one that is
live, for example a secret that was published by mistake. It cannot be undone:
generations with these values can then neither be shown nor be gone back to. The
audit keeps that it was done. The region holds older generations until as many
new ones were published as it has slots.`,
		Example: `  statesync history purge auth --why "held a token"`,
		Args:    arguments(1, 1), ValidArgsFunction: a.completeName,
	}, func(_ control.Status, args []string) (order, error) {
		return order{
			command: "purge", body: control.Command{Config: args[0]}, question: "Remove them for good?", blind: true,
			intro: func(control.Reply) []string {
				return []string{
					fmt.Sprintf("Every value that %s had before the one that is live would be removed from the history.", args[0]),
					"This cannot be undone, and no generation with such a value can be gone back to.",
				}
			},
			done: func(control.Reply) string {
				return fmt.Sprintf("the history has no older value of %s any more", args[0])
			},
		}, nil
	})
}

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List what operators had the daemon do",
		Long: `List the commands that the daemon was given, the newest first: when, by which
user and process, why, and what came of it. What ended by itself, such as an
override whose time was over, is listed, too. It needs the running daemon. As
json there is one object a line.`,
		Example: `  statesync audit
  statesync audit -n 100 -o json | jq -r .command`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output(cmd, "text", "json")
	n := cmd.Flags().UintP("number", "n", 20, "how many `entries`, at most 1000")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *n == 0 || *n > 1000 {
			return usageError{fmt.Errorf("--number %d: it is from 1 to 1000", *n)}
		}
		entries, err := answer(cmd.Context(), a, func(c *control.Client, ctx context.Context) ([]control.Entry, error) {
			return c.Audit(ctx, 0, int(*n))
		})
		if err != nil {
			return err
		}
		if format.word == "json" {
			for _, e := range entries {
				if err := printJSON(a.stdout, e, ""); err != nil {
					return err
				}
			}
			return nil
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ACT\tTIME\tBY\tCOMMAND\tOUTCOME")
		for _, e := range entries {
			outcome := e.Outcome
			if e.Done.Equal(time.Time{}) {
				outcome = "begun"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", e.Number, stamp(e.Time), escape(process(e.By)), escape(clip(e.Command)+because(e.Why)), escape(outcome))
		}
		return w.Flush()
	}
	return cmd
}
