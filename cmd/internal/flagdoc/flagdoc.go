// Package flagdoc makes tables of a command's flags. Only tests import it.
package flagdoc

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A default that the help has in words.
var inWords = regexp.MustCompile(`\s*\(default:?\s+([^()]*)\)`)

// Table is a command's flags, and those of the commands below it, as Markdown.
// Variable is the environment's name of a flag, or empty.
func Table(root *cobra.Command, variable func(command string, f *pflag.Flag) string) string {
	below := root.HasSubCommands()
	var b strings.Builder
	if below {
		b.WriteString("| command ")
	}
	b.WriteString("| flag | variable | default | what it is |\n")
	if below {
		b.WriteString("| --- ")
	}
	b.WriteString("| --- | --- | --- | --- |\n")
	add := func(command string, flags *pflag.FlagSet) {
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" || f.Name == "version" {
				return
			}
			kind, usage := pflag.UnquoteUsage(f)
			usage = strings.Join(strings.Fields(usage), " ")
			normal := f.DefValue
			switch found := inWords.FindStringSubmatch(usage); {
			case found != nil:
				usage, normal = inWords.ReplaceAllString(usage, ""), found[1]
			case normal == "" || normal == "[]" || normal == "false" || normal == "0s":
				normal = ""
			default:
				normal = "`" + normal + "`"
			}
			name := "--" + f.Name
			if f.Value.Type() != "bool" {
				name += " " + kind
			}
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			of := variable(command, f)
			if of != "" {
				of = "`" + of + "`"
			}
			if below {
				fmt.Fprintf(&b, "| %s ", command)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", cell(name), of, cell(normal), cell(usage))
		})
	}
	if below {
		add("all", root.PersistentFlags())
		var visit func(prefix string, of *cobra.Command)
		visit = func(prefix string, of *cobra.Command) {
			for _, c := range of.Commands() {
				add(prefix+c.Name(), c.LocalNonPersistentFlags())
				visit(prefix+c.Name()+" ", c)
			}
		}
		visit("", root)
	} else {
		add("", root.Flags())
	}
	return b.String()
}

// cell is text that a table's cell can hold.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
