package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// checking is one run of check.
type checking struct {
	app  *app
	dirs map[string]string // by layer, as it was given, so that editors find what is named

	opaque     []string
	allowEmpty bool
	strict     bool
	maxImage   cli.ByteSize
	accept     bool

	errors, warnings int
	found            string // what there is to publish, in words
	digest           string // of what there is to publish; empty if it would be refused
	top              string // the directory of the highest layer
}

func (a *app) checkCommand() *cobra.Command {
	c := &checking{app: a, maxImage: daemon.DefaultMaxImage, dirs: map[string]string{}}
	cmd := &cobra.Command{
		Use:   "check [NAME=]DIR …",
		Short: "Say what the daemon would say of directories of configs",
		Long: `Read a directory as the daemon with --source dir:DIR would, and print one line
for each thing that is wrong with it:

  FILE:LINE:COLUMN: KEY: what is wrong, and what to do
  FILE:LINE:COLUMN: warning: KEY: what is probably not meant

Several directories are layers, in the order of the daemon's --source: a later
one wins. A directory may have the options of a source, DIR?prefix=team/.

It exits with 1 if the daemon would refuse to publish this, and with 0 if not,
whatever the warnings (but see --strict). A summary, and which files are
skipped, go to the standard error. No daemon and no region are needed: it is for
a pre-commit hook, and for CI. Give it the flags that the daemon has.

The digest in the summary is that of the content, which the daemon's guards and
statesync accept name. With --accept-file it is put into the file
` + source.AcceptFile + ` of the last directory, so that the content passes the
guards of every daemon that reads this file with the rest: for a change that
means to remove much. It lets no other content pass. For that, give all the
layers that the daemons have.`,
		Example: `  statesync check ./config
  statesync check ./base ./hosts/a
  statesync check ./config --opaque '*.lua' --opaque 'certs/*' --strict
  statesync check . --max-image 256MiB
  statesync check ./config --accept-file`,
		Args: arguments(1, shm.MaxLayers),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd.Context(), args) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&c.opaque, "opaque", nil, "publish the files that this `glob` matches as they are; may be repeated, or a list with commas")
	flags.BoolVar(&c.allowEmpty, "allow-empty", false, "accept a directory without any config")
	flags.Var(&c.maxImage, "max-image", "the greatest `size` of all configs together with their indexes")
	flags.BoolVar(&c.strict, "strict", false, "exit with 1 for warnings, too")
	flags.BoolVar(&c.accept, "accept-file", false, "let what passes the check pass the guards: write "+source.AcceptFile)
	return cmd
}

func (c *checking) run(ctx context.Context, args []string) error {
	for _, glob := range c.opaque {
		if _, err := path.Match(glob, ""); err != nil {
			return usageError{fmt.Errorf("--opaque %q: the glob is malformed", glob)}
		}
	}
	if err := writer.CheckLimits(shm.DefaultSlots, int64(c.maxImage)); err != nil {
		return usageError{fmt.Errorf("--max-image %s: %w", &c.maxImage, err)}
	}
	sources, err := c.sources(args)
	if err != nil {
		return usageError{err}
	}
	trial, err := daemon.Try(ctx, daemon.Options{
		Sources: sources, Opaque: c.opaque, AllowEmpty: c.allowEmpty, Writer: writer.Options{MaxImage: int64(c.maxImage)},
		Log: slog.New(slog.DiscardHandler),
	}, nil)
	if err != nil {
		return err
	}
	c.report(trial)
	summary := []string{count(c.errors, "error"), count(c.warnings, "warning")}
	if c.found != "" {
		summary = append([]string{c.found}, summary...)
	}
	fmt.Fprintln(c.app.stderr, strings.Join(summary, ", "))
	if c.digest != "" {
		fmt.Fprintln(c.app.stderr, c.digest)
	}
	if c.errors > 0 || c.strict && c.warnings > 0 {
		return errNo
	}
	if c.accept {
		return c.app.acceptFile(c.top, c.digest)
	}
	return nil
}

// sources are the layers that the arguments name.
func (c *checking) sources(args []string) ([]source.Spec, error) {
	texts := make([]string, len(args))
	for i, arg := range args {
		name, dir, named := strings.Cut(arg, "=")
		if !named || strings.ContainsAny(name, "/.?") {
			name, dir = "", arg
		} else {
			name += "="
		}
		if dir == "" {
			return nil, errors.New("the directory's name is empty")
		}
		texts[i] = name + "dir:" + dir
	}
	specs, err := daemon.Schemes.Parse(texts)
	for _, spec := range specs {
		c.dirs[spec.Name] = spec.Address
	}
	if len(specs) > 0 {
		c.top = specs[len(specs)-1].Address
	}
	if len(specs) == 1 { // its layer has no name in problems
		c.dirs[""] = specs[0].Address
	}
	return specs, err
}

// report prints a line for each thing that is wrong.
func (c *checking) report(t *daemon.Trial) {
	if t.Image != nil {
		c.digest = history.DigestText(history.ContentDigest(t.Image.Sections()))
	}
	for _, p := range t.Problems {
		c.finding(p)
	}
	if t.Plan == nil {
		return
	}
	for _, p := range t.Plan.Skipped {
		fmt.Fprintf(c.app.stderr, "%s: skipped: it is neither .json, .yaml, .yml nor .toml, and no --opaque names it\n",
			escape(filepath.Join(c.dirs[p.Layer], p.Path)))
	}
	files := 0
	for _, l := range t.Layers {
		files += len(l.Newest.Files)
		if slices.ContainsFunc(l.Newest.Files, func(f *source.File) bool { return f.Path == source.AcceptFile }) {
			files--
		}
	}
	c.found = count(files-len(t.Plan.Skipped), "file")
	if !t.Plan.Refused() {
		c.found = count(len(t.Plan.Configs), "config")
	}
}

// finding prints one line, and counts it.
func (c *checking) finding(p *plan.Problem) {
	at := *p
	if at.Layer != "" || at.File != "" {
		at.File = filepath.Join(c.dirs[at.Layer], at.File)
	}
	if at.Warning {
		c.warnings++
	} else {
		c.errors++
	}
	fmt.Fprintln(c.app.stdout, escape(at.Error()))
}
