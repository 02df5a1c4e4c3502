package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/dir"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// checking is one run of check.
type checking struct {
	app *app
	dir string // as it was given, so that editors find what is named

	opaque     []string
	allowEmpty bool
	strict     bool
	maxImage   byteSize

	errors, warnings int
	found            string // what there is to publish, in words
}

func (a *app) checkCommand() *cobra.Command {
	c := &checking{app: a, maxImage: 64 << 20}
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Say what the daemon would say of a directory of configs",
		Long: `Read a directory as the daemon with --source dir:DIR would, and print one line
for each thing that is wrong with it:

  FILE:LINE:COLUMN: KEY: what is wrong, and what to do
  FILE:LINE:COLUMN: warning: KEY: what is probably not meant

It exits with 1 if the daemon would refuse to publish this, and with 0 if not,
whatever the warnings (but see --strict). A summary, and which files are
skipped, go to the standard error. No daemon and no region are needed: it is for
a pre-commit hook, and for CI. Give it the flags that the daemon has.`,
		Example: `  statesync check ./config
  statesync check ./config --opaque '*.lua' --opaque 'certs/*' --strict
  statesync check . --max-image 256MiB`,
		Args: arguments(1, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c.dir = args[0]
			return c.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&c.opaque, "opaque", nil, "publish the files that this `glob` matches as they are; may be repeated, or a list with commas")
	flags.BoolVar(&c.allowEmpty, "allow-empty", false, "accept a directory without any config")
	flags.Var(&c.maxImage, "max-image", "the greatest `size` of all configs together with their indexes")
	flags.BoolVar(&c.strict, "strict", false, "exit with 1 for warnings, too")
	return cmd
}

func (c *checking) run(ctx context.Context) error {
	for _, glob := range c.opaque {
		if _, err := path.Match(glob, ""); err != nil {
			return usageError{fmt.Errorf("--opaque %q: the glob is malformed", glob)}
		}
	}
	if err := writer.CheckLimits(shm.DefaultSlots, int64(c.maxImage)); err != nil {
		return usageError{fmt.Errorf("--max-image %s: %w", &c.maxImage, err)}
	}
	if c.dir == "" {
		return usageError{errors.New("the directory's name is empty")}
	}
	if err := c.check(ctx); err != nil {
		return err
	}
	summary := []string{count(c.errors, "error"), count(c.warnings, "warning")}
	if c.found != "" {
		summary = append([]string{c.found}, summary...)
	}
	fmt.Fprintln(c.app.stderr, strings.Join(summary, ", "))
	if c.errors > 0 || c.strict && c.warnings > 0 {
		return errNo
	}
	return nil
}

// check goes the way of a revision up to its publication.
func (c *checking) check(ctx context.Context) error {
	maker := plan.New(plan.Options{Opaque: c.opaque, AllowEmpty: c.allowEmpty})
	src, err := dir.Open(c.dir, source.Options{
		AllowEmpty: c.allowEmpty, Wanted: maker.Wanted, MaxFile: int64(c.maxImage), NoWatch: true,
	})
	if err != nil {
		return err
	}
	defer src.Close()
	snapshot, err := src.Fetch(ctx, nil)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		for _, err := range parts(err) {
			var in *source.FileError
			if errors.As(err, &in) {
				err = &plan.Problem{File: in.Path, What: in.Err.Error()}
			}
			c.finding(err)
		}
		return nil
	}
	made, err := maker.Make(ctx, []plan.Layer{{Name: "dir", Newest: snapshot}})
	if err != nil {
		return err
	}
	for _, p := range made.Problems {
		c.finding(p)
	}
	for _, skipped := range made.Skipped {
		fmt.Fprintf(c.app.stderr, "%s: skipped: it is neither .json, .yaml, .yml nor .toml, and no --opaque names it\n",
			escape(filepath.Join(c.dir, skipped.Path)))
	}
	c.found = count(len(snapshot.Files)-len(made.Skipped), "file")
	if !made.Refused() {
		c.found = count(len(made.Configs), "config")
		c.checkImage(snapshot.Version, made.Configs)
	}
	return nil
}

// finding prints one line, and counts it.
func (c *checking) finding(err error) {
	problem, ok := errors.AsType[*plan.Problem](err)
	if ok {
		at := *problem
		at.File = filepath.Join(c.dir, at.File)
		err = &at
	}
	if ok && problem.Warning {
		c.warnings++
	} else {
		c.errors++
	}
	fmt.Fprintln(c.app.stdout, escape(err.Error()))
}

// checkImage finds what is wrong with all configs together.
func (c *checking) checkImage(revision string, configs []plan.Config) {
	sections := make([]*image.Section, len(configs))
	largest := 0
	for i, config := range configs {
		sections[i] = config.Section
		if config.Section.Size() > sections[largest].Size() {
			largest = i
		}
	}
	built, err := image.Build(1, revision, sections, nil)
	switch {
	case err != nil:
		c.finding(&plan.Problem{What: err.Error()})
	case int64(built.Size()) > int64(c.maxImage):
		what := fmt.Sprintf("all configs together take %d bytes with their indexes, and --max-image allows %d", built.Size(), int64(c.maxImage))
		if len(configs) > 0 {
			what += fmt.Sprintf("; the largest is %s with %d; make it smaller, or give statesyncd and this a larger --max-image",
				configs[largest].Name, sections[largest].Size())
		}
		c.finding(&plan.Problem{What: what})
	}
}
