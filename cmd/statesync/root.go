package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/shm"
)

// app is what the commands share.
type app struct {
	env    func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	region  string // --region
	owners  users  // --owner
	noColor bool   // --no-color

	// running is set once the call has been understood: errors from then on
	// are answers.
	running bool
}

const rootLong = `statesync looks at what statesyncd publishes.

The daemon statesyncd puts all configs of a host into one shared memory region.
Every change makes a new generation of all of them, and programs read it through
the package client without a request to the daemon. statesync shows people and
scripts the same. Looking changes nothing, and most of it needs no running
daemon. The commands of the way back ask the daemon to hold what is live, to go
back, to override a value for a time, or to let pass what a guard refused. They
are for root, the daemon's user and the members of its --control-group.

A region is a directory. The one to look at is, in this order: --region,
$STATESYNC_REGION, ` + shm.DefaultDir + `. It must belong to root, to
you, or to a user whose number --owner or $STATESYNC_OWNER gives, or lie in a
directory of root's.

A KEY is a dotted path inside a config: weights.elo, pools.0.name.

The exit code is 0 when all is well, 1 when the answer is no (not found, stale,
bad, timed out, refused), and 64 when the command was called wrongly. statesync
diff exits with 1 for a difference, and with 2 for an error.`

const rootExample = `  statesync ls                           # what there is
  statesync get matchmaker               # a config
  statesync get matchmaker weights.elo   # one key of it
  statesync watch matchmaker             # a line whenever it changes
  statesync status                       # how daemon and sources are doing
  statesync why matchmaker weights.elo   # where a value comes from
  statesync log                          # what was published, and when
  statesync diff                         # what the last change did
  statesync rollback                     # go back to what was before it
  statesync check ./config               # before you commit
  statesync bundle build ./config --key ops.key --out www   # signed`

// command is the root command with everything below it.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "statesync",
		Short:         "Look at the configs that statesyncd publishes",
		Long:          rootLong,
		Example:       rootExample,
		Version:       versionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.running = true
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.stderr)
			return usageError{errors.Join(cmd.Help(), errors.New("a command is missing"))}
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVar(&a.region, "region", "", "the region's `directory` (default $STATESYNC_REGION, then "+shm.DefaultDir+")")
	flags.Var(&a.owners, "owner", "trust the regions of the user of this number, too, as $STATESYNC_OWNER does")
	flags.BoolVar(&a.noColor, "no-color", false, "print no colors on a terminal, as $NO_COLOR does")
	_ = root.MarkPersistentFlagDirname("region") // fails for an unknown flag only
	root.AddGroup(
		&cobra.Group{ID: "configs", Title: "The configs:"},
		&cobra.Group{ID: "past", Title: "The past:"},
		&cobra.Group{ID: "back", Title: "The way back:"},
		&cobra.Group{ID: "health", Title: "The region and its daemon:"},
		&cobra.Group{ID: "source", Title: "The sources:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("configs", a.getCommand(), a.lsCommand(), a.watchCommand())
	add("past", a.logCommand(), a.showCommand(), a.diffCommand(), a.auditCommand(), a.historyCommand())
	add("back", a.rollbackCommand(), a.pinCommand(), a.unpinCommand(), a.overrideCommand(), a.acceptCommand(), a.reloadCommand())
	add("health", a.statusCommand(), a.waitCommand(), a.verifyCommand())
	add("source", a.checkCommand(), a.layersCommand(), a.whyCommand(), a.floorsCommand(), a.bundleCommand())
	add("", a.completionCommand())
	root.SetHelpCommand(helpCommand())
	return root
}

// helpCommand is cobra's, except that a command that does not exist is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		Long:  "Print how a command is used: the same as COMMAND --help.",
		Example: `  statesync help
  statesync help get`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []string
			for _, c := range cmd.Root().Commands() {
				if len(args) == 0 && c.IsAvailableCommand() && strings.HasPrefix(c.Name(), start) {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || of == nil || len(rest) > 0 {
				return usageError{fmt.Errorf("there is no command %q", strings.Join(args, " "))}
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// versionText is what the build knows of itself.
func versionText() string {
	return fmt.Sprintf("%s, region layout %d, %s", cli.Version(), shm.LayoutVersion, runtime.Version())
}

// arguments wants a number of arguments.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("%q was given %s; it is used as: %s", cmd.CommandPath(), count(len(args), "argument"), cmd.UseLine())
		}
		return nil
	}
}

// dir is the region's directory.
func (a *app) dir() string {
	switch {
	case a.region != "":
		return a.region
	case a.env(client.EnvRegion) != "":
		return a.env(client.EnvRegion)
	}
	return shm.DefaultDir
}
