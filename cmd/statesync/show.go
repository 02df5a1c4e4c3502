package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

func (a *app) showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show [GENERATION] [NAME]",
		Short: "Show a generation: when, from what, by which command, what it changed",
		Long: `Show a generation, the live one unless its number is given: when it was
published, from which versions of the sources, the command that caused it if
there was one, and which configs it changed. statesync diff has the values that
it changed.

With a NAME it prints the config as that generation had it, as get does.

It asks the daemon, which has a history. If the daemon does not run, it shows
what the region still holds. As json it is one object.`,
		Example: `  statesync show
  statesync show 41
  statesync show 41 matchmaker`,
		Args:              arguments(0, 2),
		ValidArgsFunction: a.completeGenerations(1),
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		generations, name, err := generationsAndName(args, 1)
		if err != nil {
			return err
		}
		g := uint64(0)
		if len(generations) == 1 {
			g, _ = number(generations[0])
		}
		if name != "" {
			config, err := a.configAt(cmd.Context(), g, name)
			if err != nil {
				return err
			}
			return a.printConfig(config, nil, "json")
		}
		shown, dead, err := look(cmd.Context(), a, func(ctx context.Context, p past) (control.Show, error) { return p.Show(ctx, g, "") })
		switch {
		case err != nil:
			return err
		case dead != nil:
			a.fromRegion(dead)
		}
		if format.word == "json" {
			return printJSON(a.stdout, shown, "  ")
		}
		return a.printShow(shown, dead != nil)
	}
	return cmd
}

// generationsAndName takes up to a number of generations from the beginning of arguments,
// and the name that may follow.
func generationsAndName(args []string, most int, words ...string) (generations []string, name string, err error) {
	for len(args) > 0 && len(generations) < most && isGeneration(args[0], words) {
		generations, args = append(generations, args[0]), args[1:]
	}
	switch len(args) {
	case 0:
		return generations, "", nil
	case 1:
		if args[0] == "" {
			return nil, "", usageError{errors.New("the name is empty")}
		}
		return generations, args[0], nil
	}
	return nil, "", usageError{fmt.Errorf("%q is not the number of a generation", args[0])}
}

func isGeneration(arg string, words []string) bool {
	for _, word := range words {
		if arg == word {
			return true
		}
	}
	_, ok := number(arg)
	return ok
}

// metaText words what a source says of a version: the author, when, and the subject.
func metaText(meta map[string]string) string {
	var parts []string
	for _, key := range []string{"author", "committed-at", "subject"} {
		if value := meta[key]; value != "" {
			parts = append(parts, value)
		}
	}
	return strings.Join(parts, ", ")
}

func (a *app) printShow(s control.Show, region bool) error {
	r := s.Record
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", label, escape(fmt.Sprintf(format, args...)))
	}
	line("generation", "%d%s", r.Generation, marks(r))
	line("published", "%s", stamp(r.Time))
	line("revision", "%s", r.Revision)
	line("content", "%s", r.Digest)
	for i, l := range r.Layers {
		label := ""
		if i == 0 {
			label = "layers"
		}
		line(label, "%s  %s  %s", l.Name, l.Source, l.Version)
		if by := metaText(l.Meta); by != "" {
			line("", "%s", by)
		}
	}
	switch {
	case region:
		line("act", "not known")
	case r.By != nil:
		line("act", "%s by %s%s", r.Command, process(*r.By), because(r.Why))
	}
	line("configs", "%d", len(s.Configs))
	if region && r.Changes.Names == nil {
		line("changed", "not known: the region does not hold the generation before it")
	} else {
		line("changed", "%d", len(s.Changed))
	}
	for _, c := range s.Changed {
		fmt.Fprintf(w, "\t%s %s\n", a.paint(a.stdout, colorOf[c.What], signOf[c.What]), escape(c.Name))
	}
	return w.Flush()
}
