package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/shm/image"
)

// listed is a config as ls prints it.
type listed struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Size is how long the content is, SectionSize how much of the image the
	// config takes with its index, both in bytes.
	Size        int    `json:"size"`
	SectionSize int    `json:"section_size"`
	Keys        int    `json:"keys"`
	Changed     uint64 `json:"changed"`
	Revision    string `json:"revision"`
}

func (a *app) lsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ls [PREFIX]",
		Aliases: []string{"list"},
		Short:   "List the configs",
		Long: `List the configs of the current generation: what kind they are, how long their
content is, how many keys they have, in which generation they last changed, and
which revision of the source brought that change. With a PREFIX, such as team/,
only those whose names begin with it. On a terminal, long names are cut.

As json it is one array of objects. There, section_size is what a config takes
of --max-image with its index, and the revision is not cut short.`,
		Example: `  statesync ls
  statesync ls team/
  statesync ls -o json | jq -r '.[] | select(.changed > 41) | .name'`,
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeName,
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		region, err := a.open()
		if err != nil {
			return err
		}
		var list []listed
		err = a.read(region, func(v *image.View) (err error) {
			list, err = listOf(v, strings.Join(args, ""))
			return err
		})
		if err != nil {
			return err
		}
		if format.word == "json" {
			return printJSON(a.stdout, list, "  ")
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tKIND\tSIZE\tKEYS\tCHANGED\tREVISION")
		room := a.columns() - otherColumns
		for _, c := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\n", cut(escape(c.Name), room), c.Kind, size(int64(c.Size)), c.Keys, c.Changed, short(c.Revision))
		}
		return w.Flush()
	}
	return cmd
}

// otherColumns is about how many columns of a terminal all but the name take.
const otherColumns = 64

// cut shortens a name to a number of columns, but not to less than 16; 0 or less is no
// limit.
func cut(name string, columns int) string {
	runes := []rune(name)
	if columns <= -otherColumns || len(runes) <= max(columns, 16) {
		return name
	}
	return string(runes[:max(columns, 16)-1]) + "…"
}

// listOf lists the configs of an image whose names begin with a prefix.
func listOf(v *image.View, prefix string) ([]listed, error) {
	list := make([]listed, 0, v.Len())
	err := eachSection(v, func(e image.Entry, s *image.Section) error {
		if !strings.HasPrefix(s.Name(), prefix) {
			return nil
		}
		revision, err := v.SectionRevision(e)
		if err != nil {
			return err
		}
		list = append(list, listed{
			Name: strings.Clone(s.Name()), Kind: s.Kind().String(), Size: len(s.Content()), SectionSize: s.Size(),
			Keys: s.KeyCount(), Changed: e.Changed, Revision: revision,
		})
		return nil
	})
	return list, err
}
