package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/daemon/diff"
)

// exitTrouble is the exit code of diff for an error, as that of diff(1).
const exitTrouble = 2

func (a *app) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff [FROM [TO]] [NAME]",
		Short: "Show by key what is different between two generations",
		Long: `Show which configs and keys are different between two generations, with the
value in each. FROM and TO are numbers of generations, or one of the words

  live       what programs read now
  previous   the newest generation whose content is not that of live
  waiting    what would be live without the pin, or without the guard

By default it compares previous with live; one generation is compared with live;
waiting alone is what would change if it came to pass. With a NAME it compares
this config only. A config whose name is one of these words or a number comes
after two generations: diff previous live 42.

It exits with 0 if they are the same, with 1 if they differ, and with 2 if they
cannot be compared; with 64 if it was called wrongly. Long values are cut; -o
json has all of them, of the first 1,000 keys. If the daemon does not run, it
compares what the region still holds.`,
		Example: `  statesync diff                       # what did the last change do?
  statesync diff 41 matchmaker         # what changed since generation 41?
  statesync diff 41 44
  statesync diff waiting               # what would statesync unpin bring?`,
		Args:              arguments(0, 3),
		ValidArgsFunction: a.completeGenerations(2, control.Previous, control.Live, control.Next),
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, to, name, err := sides(args)
		if err != nil {
			return err
		}
		d, err := looked(cmd.Context(), a, func(ctx context.Context, p past) (*diff.Diff, error) { return p.Diff(ctx, from, to, name) })
		if err == nil {
			d = only(d, name)
			err = a.printDiff(d, format.word)
		}
		switch {
		case err != nil:
			return exitError{exitTrouble, err}
		case !d.Empty():
			return errNo
		}
		return nil
	}
	return cmd
}

// sides are what the arguments of diff compare.
func sides(args []string) (from, to, name string, err error) {
	sides, name, err := generationsAndName(args, 2, control.Previous, control.Live, control.Next)
	switch {
	case err != nil:
		return "", "", "", err
	case len(sides) == 0:
		return control.Previous, control.Live, name, nil
	case len(sides) == 1 && sides[0] == control.Next:
		return control.Live, control.Next, name, nil
	case len(sides) == 1:
		return sides[0], control.Live, name, nil
	case sides[0] == control.Next, sides[1] == control.Next && sides[0] != control.Live:
		return "", "", "", usageError{errors.New("what waits is compared with what is live: statesync diff waiting")}
	}
	return sides[0], sides[1], name, nil
}

// only is what a difference says of one config; of all if name is "". The daemon's answer
// about what waits is about all.
func only(d *diff.Diff, name string) *diff.Diff {
	if name == "" {
		return d
	}
	one := &diff.Diff{From: d.From, To: d.To, Configs: []diff.Config{}}
	for _, c := range d.Configs {
		if c.Name != name {
			continue
		}
		one.Configs = append(one.Configs, c)
		one.Keys, one.Listed = len(c.Keys), len(c.Keys)
		switch c.What {
		case diff.Added:
			one.Added++
		case diff.Removed:
			one.Removed++
		default:
			one.Changed++
		}
	}
	return one
}

func (a *app) printDiff(d *diff.Diff, format string) error {
	if format == "json" {
		return printJSON(a.stdout, d, "  ")
	}
	between := "now and what waits"
	if d.From != 0 {
		between = fmt.Sprintf("generations %d and %d", d.From, d.To)
	}
	if err := a.writeDiff(a.stdout, d, 0); err != nil {
		return err
	}
	if d.Empty() {
		fmt.Fprintf(a.stderr, "%s: no difference\n", between)
		return nil
	}
	fmt.Fprintf(a.stderr, "%s: %s\n", between, counts(d))
	return nil
}

// counts words how much is different.
func counts(d *diff.Diff) string {
	var words []string
	for _, n := range []struct {
		count int
		what  string
	}{{d.Added, diff.Added}, {d.Changed, diff.Changed}, {d.Removed, diff.Removed}} {
		if n.count > 0 {
			words = append(words, count(n.count, "config")+" "+n.what)
			if len(words) > 1 {
				words[len(words)-1] = fmt.Sprintf("%d %s", n.count, n.what)
			}
		}
	}
	return strings.Join(append(words, count(d.Keys, "key")), ", ")
}

// How a difference is marked, by what happened.
var (
	signOf  = map[string]string{diff.Added: "+", diff.Changed: "~", diff.Removed: "-", diff.Purged: "?"}
	colorOf = map[string]color{diff.Added: green, diff.Changed: yellow, diff.Removed: red, diff.Purged: yellow}
)

// writeDiff prints a line for each config and key that differs. If most is not 0, it
// prints at most so many lines, and one for a config that is added or removed.
func (a *app) writeDiff(w io.Writer, d *diff.Diff, most int) error {
	var lines []string
	line := func(indent, what, text string) {
		lines = append(lines, indent+a.paint(w, colorOf[what], signOf[what]+" "+text))
	}
	for _, c := range d.Configs {
		if most > 0 && (c.What == diff.Added || c.What == diff.Removed) {
			line("", c.What, escape(c.Name)+"  ("+c.What+")")
			continue
		}
		line("", c.What, escape(c.Name)+about(c))
		for _, k := range c.Keys {
			if k.Key != "" {
				line("    ", k.What, escape(k.Key)+"  "+values(k))
			}
		}
	}
	cut := 0
	if most > 0 && len(lines) > most {
		cut = len(lines) - most
		lines = lines[:most]
	}
	for _, text := range lines {
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	if most == 0 {
		cut = d.Keys - d.Listed
	}
	if cut > 0 {
		if _, err := fmt.Fprintf(w, "  … and %d more\n", cut); err != nil {
			return err
		}
	}
	return nil
}

// about says what the keys of a config do not.
func about(c diff.Config) string {
	switch {
	case c.What == diff.Purged:
		return "  (a value was purged)"
	case slices.ContainsFunc(c.Keys, func(k diff.Key) bool { return k.Key == "" }):
		return "  (compared as a whole)"
	}
	return ""
}

// values are the values of a key before and after.
func values(k diff.Key) string {
	switch k.What {
	case diff.Added:
		return escape(clip(k.After))
	case diff.Removed:
		return escape(clip(k.Before))
	}
	return escape(clip(k.Before)) + " → " + escape(clip(k.After))
}
