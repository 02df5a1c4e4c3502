package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

func (a *app) floorsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "floors",
		Short: "List what was accepted last of each source, or drop that",
		Long: `List what the daemon accepted last of the sources that may only move forward:
git: with verify=, whose commits must descend from it, and bundle:, whose
sequence must not be lower. LAYERS are the daemon's sources that are held to it
now; of others it is kept for the time when they come back.

It needs the running daemon.`,
		Example: `  statesync floors
  statesync floors -o json | jq '.[] | select(.layers == [])'`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		floors, err := answer(cmd.Context(), a, (*control.Client).Floors)
		if err != nil {
			return err
		}
		if format.word == "json" {
			return printJSON(a.stdout, floors, "  ")
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SOURCE\tLAYERS\tSINCE\tACCEPTED")
		for _, f := range floors {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", escape(f.Source), escape(cmp.Or(strings.Join(f.Layers, ","), "-")), stamp(f.Time), escape(f.State))
		}
		return w.Flush()
	}
	cmd.AddCommand(a.resetFloorCommand())
	return cmd
}

func (a *app) resetFloorCommand() *cobra.Command {
	return a.askingCommand(&cobra.Command{
		Use:   "reset SOURCE --why REASON",
		Short: "Drop what was accepted last of a source",
		Long: `Drop what the daemon accepted last of a source, so that it accepts whatever is
signed next, also an older commit, a rewritten branch or a lower sequence.
SOURCE is the name of a layer, or a source as statesync floors has it.

It gives up the protection against replay until something is accepted: a server
that has an old state, or that plays one, is believed. Of a bundle it gives up
the origin, too, unless the source has origin=, and the last time seen, which
keeps an expired bundle out when the clock is set back. To let one rewritten
branch pass, use statesync accept SOURCE COMMIT, which keeps the protection.`,
		Example:           `  statesync floors reset bundle --why "the signer began anew at 1"`,
		Args:              cobra.MatchAll(arguments(1, 1), reasoned),
		ValidArgsFunction: a.completeFloor,
	}, func(_ control.Status, args []string) (order, error) {
		source := args[0]
		return order{
			command: "floors/reset", body: control.Command{Source: source}, question: "Drop it?", taken: "it is dropped", blind: true,
			intro: func(control.Reply) []string {
				return []string{
					fmt.Sprintf("What was accepted last of %s would be dropped, and whatever is signed would be accepted next,", source),
					"also what is older.",
				}
			},
			done: func(r control.Reply) string {
				return fmt.Sprintf("generation %d is live: what was accepted of %s before was dropped", r.Generation, source)
			},
		}, nil
	})
}

// reasoned wants a reason for an act that gives up a protection.
func reasoned(cmd *cobra.Command, _ []string) error {
	if !cmd.Flags().Changed("why") {
		return errors.New("--why is missing; say why what was accepted is dropped")
	}
	return nil
}

// completeFloor offers the sources of which something is kept that was accepted.
func (a *app) completeFloor(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	ctx, cancel := context.WithTimeout(cmd.Context(), briefTime)
	defer cancel()
	floors, err := answer(ctx, a, (*control.Client).Floors)
	if err != nil || len(args) > 0 {
		return nil, directive
	}
	var offers []cobra.Completion
	for _, f := range floors {
		offers = append(offers, append(slices.Clone(f.Layers), f.Source)...)
	}
	return slices.DeleteFunc(offers, func(s string) bool { return !strings.HasPrefix(s, start) || escape(s) != s }), directive
}
