package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

func (a *app) whyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why NAME [KEY]",
		Short: "Show where a value comes from, and what it overrules",
		Long: `Ask the daemon where a config, or the value of one of its keys, comes from: the
winner first, with its layer, value, place and version, and below it what the
lower layers have there. What an operator pinned or overrode is a layer, too.
Of a file of a git: source it says which commit last changed it, if the daemon
has seen the change.
With --generation it is asked of an earlier generation, as the history has it.

It needs the running daemon.`,
		Example: `  statesync why matchmaker weights.elo
  statesync why matchmaker weights.elo --generation 41
  statesync why matchmaker weights.elo -o json`,
		Args:              arguments(1, 2),
		ValidArgsFunction: a.complete,
	}
	format := output(cmd, "text", "json")
	generation := a.generationFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		why, err := a.why(cmd.Context(), *generation, args[0], strings.Join(args[1:], ""))
		if err != nil {
			return a.asked(err)
		}
		if format.word == "json" {
			return printJSON(a.stdout, why, "  ")
		}
		return a.printWhy(why)
	}
	return cmd
}

// why asks where a value comes from, or in an earlier generation came from.
func (a *app) why(ctx context.Context, g uint64, name, key string) (why control.Why, err error) {
	c, err := a.query()
	if err != nil {
		return why, err
	}
	if g != 0 {
		return c.WhyThen(ctx, g, name, key)
	}
	region, err := a.open()
	if err != nil {
		return why, err
	}
	if _, err := a.config(region, name); err != nil { // with what was perhaps meant
		return why, err
	}
	return c.Why(ctx, name, key)
}

func (a *app) printWhy(why control.Why) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for i, o := range why.Origins {
		sign := " "
		if i == 0 {
			sign = "*"
		}
		place := o.File
		if o.Line > 0 {
			place = fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
		}
		value := clip(o.Value)
		switch {
		case o.Deleted:
			value = "deleted"
		case o.Opaque:
			value = "opaque"
		}
		fmt.Fprintf(w, "%s %s\t%s\t%s\t%s\n", sign, escape(o.Layer), escape(value), escape(place), short(o.Version))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, o := range why.Origins {
		if c := o.Commit; c != nil {
			fmt.Fprintf(a.stdout, "%s: %s was last changed by %s, %s, %s: %s\n",
				escape(o.Layer), escape(o.File), escape(c.Name), stamp(c.Time), escape(c.Author), escape(c.Subject))
		}
	}
	if len(why.Origins) > 0 && why.Origins[0].Schema != "" {
		fmt.Fprintf(a.stdout, "checked by %s\n", escape(why.Origins[0].Schema))
	}
	if why.Since == 0 { // of an earlier generation
		_, err := fmt.Fprintf(a.stdout, "generation %d\n", why.Generation)
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "generation %d, in which %s last changed, of %d\n", why.Since, escape(why.Config), why.Generation)
	return err
}

// clip shortens a value for a line; -o json has all of it.
func clip(value string) string {
	const most = 60
	if r := []rune(value); len(r) > most {
		return string(r[:most]) + "…"
	}
	return value
}

func (a *app) layersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "layers",
		Short: "Show the daemon's sources, and how each is doing",
		Long: `Ask the daemon for its sources, the lowest layer first: which version of each is
in use, when its newest was last found to be used, and if it is not, why. It
needs the running daemon; "statesync status" shows the same without it, shorter.

It exits with 1 if the newest of a layer is not in use.`,
		Example: `  statesync layers
  statesync layers -o json | jq '.[].version'`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		layers, err := answer(cmd.Context(), a, (*control.Client).Layers)
		if err != nil {
			return err
		}
		if format.word == "json" {
			err = printJSON(a.stdout, layers, "  ")
		} else {
			err = a.printLayers(layers)
		}
		for _, l := range layers {
			if err == nil && (l.Problem != "" || l.Newest != "") {
				err = errNo
			}
		}
		return err
	}
	return cmd
}

func (a *app) printLayers(layers []control.Layer) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LAYER\tSOURCE\tVERSION\tGOOD")
	for _, l := range layers {
		good := "never"
		if l.Good != nil {
			good = span(time.Since(*l.Good)) + " ago"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", escape(l.Name), escape(l.Source), short(l.Version), good)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, l := range layers {
		if l.Problem == "" && l.Newest == "" {
			continue
		}
		if l.Problem == "" {
			l.Problem = "it is being decoded, or what the layers come to together is refused: see statesync status"
		}
		if _, err := fmt.Fprintf(a.stdout, "\n%s: the newest %s is not in use:\n  %s\n", escape(l.Name), short(l.Newest), escape(l.Problem)); err != nil {
			return err
		}
	}
	return nil
}
