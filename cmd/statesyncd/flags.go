//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/admin"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/webhook"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// settings are what the command line and the environment ask for.
type settings struct {
	daemon.Options
	listen  string // where metrics and health are served; empty is nowhere
	chosen  bool   // and that was asked for
	sources []string

	webhook       string // where its requests are taken; empty: nowhere
	webhookSecret string // the path of the file

	controlDir   string // of the control socket; empty: there is none
	controlGroup int    // whose members may command; -1: none

	once bool

	dryRun    bool
	logFormat string
	logLevel  string
	flush     func() // writes the log to its end; nil if it is written at once
}

// usageError is a mistake in the flags or in the environment.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

var long = `statesyncd takes configuration from a source, checks it as a whole, and publishes
it into a region of shared memory. Every process of the host reads it there
without a system call, and keeps reading when statesyncd is not running.

A source is a directory, dir:PATH: each file NAME.yaml, .yml, .json or .toml is
the config NAME, team/NAME.yaml is team/NAME, and NAME.schema.json (or .yaml,
.yml, .toml) is the JSON Schema of NAME. Files that --opaque names are published
as they are. One bad file refuses the whole revision, and the last good one
stays: the log says which file, line and why, and so does "statesync status".
Replace files by rename (write another name, then mv): a file written in place
may be read half-written.

A source may also be a branch of a Git repository, git:URL, with a URL of https,
http, ssh or file. It needs the package git, and openssh-client for ssh. The
branch is polled, every 10 seconds (ssh: every minute), and each commit is a
revision. Submodules and Git LFS are refused. Secrets are in files:
git:https://example.com/config.git?ref=main&path=prod&credentials=FILE

A source may also be a signed bundle on any web server, bundle:URL, with the URL
of its note. It is polled every 30 seconds, of all mirrors, and an older one than
was accepted last, or one that has expired, is refused. "statesync bundle" makes
bundles. bundle:https://example.com/prod/bundle.note?keys=FILE&mirror=URL

Several sources are layers: a later --source wins. Mappings are merged key by
key, lists and scalars replace, null deletes. A layer that cannot be read or
decoded goes on with what it had last; "statesync layers" says which, and
"statesync why NAME KEY" where a value comes from. NAME= gives a layer a name,
and a source has options, as in dir:/etc/app/host?prefix=team/&schemas=off:

` + options() + `

Every flag can be set in the environment too, --state-dir as STATESYNC_STATE_DIR;
the command line wins, an empty variable counts as not set, and an unknown
STATESYNC_ variable is refused. STATESYNC_SOURCE has one source a line.

Signals
  HUP          reads the source now, all of its contents
  TERM, INT    ends the daemon; the region stays, and its readers keep reading.
               A second one, a second later or more, ends it at once

Files
  REGION/region.v1         the region, ` + shm.DefaultDir + `/region.v1 by default
  REGION/lock              held by the one daemon that writes the region
  REGION/query.sock        answers statesync log, diff, show, why and layers
  CONTROL-DIR/control.sock takes statesync rollback, pin, unpin, override and accept
  STATE-DIR/generation     the generations that are reserved
  STATE-DIR/sources        what git: sources fetched; it may be deleted
  STATE-DIR/history.db     earlier generations, pins, overrides and the audit; the newest
                           is published at start when the source can't be read
  STATE-DIR/region         the path of the region that the directory belongs to
  STATE-DIR/decoding       what is being decoded; there only while it is

Guards
  A revision whose files are all valid is still refused if it removes more than
  --max-removed of the configs, or makes a list or an opaque config of a
  mapping. status says what would be lost; statesync accept lets it pass.

Metrics and health
  /metrics     for Prometheus, on --listen
  /livez       200 while the daemon works; 503 when it hangs
  /readyz      200 while readers find a generation in the region, else 503
  /healthz     200 while it is live and ready, looked at each source within
               --max-age, and has not been behind them for longer; else 503.
               Not for probes: no restart repairs a source
  A service manager that sets NOTIFY_SOCKET is told the same (READY, STATUS,
  WATCHDOG, RELOADING, STOPPING).

Webhook
  POST /webhook, on --webhook, has the git: and bundle: sources looked at now,
  whatever its body says: 202 if it has the secret, else 401. Requests that come
  while a source is looked at lead to one more look, and looks are a second
  apart, or more while the server fails. The secret is sent as a forge does:
  X-Hub-Signature-256 (GitHub, Gitea, Forgejo), X-Gitlab-Token, or by scripts as
  Authorization: Bearer SECRET

Exit codes
  0   ended as asked; with --once: published, or nothing to do
  1   failed; with --once or --dry-run: the source can't be read or is refused
  64  the flags or the environment make no sense`

// options are those of all sources, and then of each kind, a line each.
func options() string {
	var lines []string
	add := func(kind string, list []source.OptionDoc) {
		for _, o := range list {
			lines = append(lines, fmt.Sprintf("  %-7s %-12s %s", kind, o.Name, o.What))
		}
	}
	add("all", source.CommonOptions)
	for _, scheme := range daemon.Schemes {
		add(scheme.Name+":", scheme.Options)
	}
	return strings.Join(lines, "\n")
}

const examples = `  # publish a directory, and follow it
  statesyncd --source dir:/etc/app/config

  # what would that change?
  statesyncd --source dir:/etc/app/config --dry-run

  # a base for all hosts, and what this host has besides
  statesyncd --source base=dir:/etc/app/config --source host=dir:/etc/app/host

  # a folder of a branch; the repository's copy is kept in the state directory
  statesyncd --source 'git:https://git.example.com/config.git?ref=main&path=prod'

  # a mounted ConfigMap, for members of the group app only
  statesyncd --source dir:/config --region-mode 0640 --region-group app --log-format json

  # a region and a state directory of one's own, without root
  statesyncd --source dir:./config --region /tmp/my-region --state-dir /tmp/my-state

  # completions: source <(statesyncd completion bash), or zsh, or fish`

// newCommand is the command; run is called with the settings once they are
// known to make sense.
func newCommand(environ []string, run func(*settings) error) *cobra.Command {
	s := &settings{}
	maxImage, mode, gid := cli.ByteSize(daemon.DefaultMaxImage), fileMode(daemon.DefaultMode), group(-1)
	historyBytes, removed, removedKeys := cli.ByteSize(history.DefaultBytes), percent(daemon.DefaultMaxRemoved), percent(daemon.DefaultMaxRemovedKeys)
	controllers := group(-1)
	cmd := &cobra.Command{
		Use:           "statesyncd --source [NAME=]SCHEME:ADDRESS … [flags]",
		Short:         "Publish configuration into shared memory",
		Long:          long,
		Example:       examples,
		Version:       cli.Version(),
		Args:          noArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&s.sources, "source", nil, `where configs come from: [NAME=]dir:PATH[?OPTION=VALUE&…] or
[NAME=]git:URL[?…] or bundle:URL[?…] (required); may be repeated, and a later one wins.
In a path or URL, write %25 for a % and %3F for a ?`)
	f.StringVar(&s.Region, "region", shm.DefaultDir, "the region's directory")
	f.StringVar(&s.StateDir, "state-dir", "", `where generations and the last good image are kept; '' is nowhere (default
$STATE_DIRECTORY, else for root /var/lib/statesync/NAME, else
$XDG_STATE_HOME or ~/.local/state, /statesync/NAME; NAME is
made of the region's whole path)`)
	f.DurationVar(&s.Resync, "resync", daemon.DefaultResync, "how often a source is looked at without a hint")
	f.DurationVar(&s.PlanTime, "plan-time", daemon.DefaultPlanTime, `how long decoding and validating a revision may take; what takes
longer is an alarm in log, status and metrics`)
	f.IntVar(&s.Writer.Slots, "slots", shm.DefaultSlots, "how many generations the region holds, 2 to 32")
	f.Var(&maxImage, "max-image", "greatest size of all configs together with their indexes, in bytes, KiB, MiB or GiB")
	f.Var(&mode, "region-mode", "which users may read the region: 0600, 0640 or 0644")
	f.Var(&gid, "region-group", "the region's group, a name or a number (default: as it is)")
	f.DurationVar(&s.LockWait, "lock-wait", daemon.DefaultLockWait, "how long to wait for another daemon to end")
	f.StringSliceVar(&s.Opaque, "opaque", nil, "glob of files to publish as they are; may be repeated, or a list with commas")
	f.BoolVar(&s.AllowEmpty, "allow-empty", false, "publish a source without any config")
	f.IntVar(&s.History.Records, "history", history.DefaultRecords, "how many generations the history keeps")
	f.Var(&historyBytes, "history-bytes", "how large the history may be, in bytes, KiB, MiB or GiB")
	f.Var(&removed, "max-removed", `which part of the configs a revision may remove, where there were four
or more; a revision that removes more needs statesync accept`)
	f.Var(&removedKeys, "max-removed-keys", "the same for the keys of each config; 100% allows all")
	f.StringSliceVar(&s.Guards.Accept, "accept", nil, "digest of a content that passes these guards; for --once")
	f.StringVar(&s.controlDir, "control-dir", "", `where the control socket is, which takes rollback, pin and override; ''
is nowhere (default $RUNTIME_DIRECTORY, else the state directory)`)
	f.Var(&controllers, "control-group", `the group whose members may roll back, pin and override, beside root and
the daemon's user; a name or a number`)
	f.BoolVar(&s.Writer.Seal, "seal", false, "make the region's file append-only (needs CAP_LINUX_IMMUTABLE)")
	f.StringVar(&s.listen, "listen", admin.DefaultAddress, `where metrics and health are served: HOST:PORT, unix:PATH, or off.
A chosen address that is not available is an error; the default
is tried again`)
	f.StringVar(&s.webhook, "webhook", "", `where a server tells that it has something new: 127.0.0.1:PORT or
unix:PATH. Sources that are polled are then looked at now`)
	f.StringVar(&s.webhookSecret, "webhook-secret", "", `the path of the file with the webhook's secret, at least 16 bytes, which
other users cannot open; it is read again at each request`)
	f.DurationVar(&s.MaxAge, "max-age", 0, `how long ago a fresh source was last looked at, and how long the daemon
may be behind its sources, for /healthz (default three times
--resync, at least 1m)`)
	f.StringVar(&s.logFormat, "log-format", "text", "text or json, to standard error")
	f.StringVar(&s.logLevel, "log-level", "info", "debug, info, warn or error")
	f.BoolVar(&s.LogValues, "log-values", false, "let the log quote values of configs where it says what is wrong with them")
	f.BoolVar(&s.once, "once", false, "publish what the source has, and exit")
	f.BoolVar(&s.dryRun, "dry-run", false, "say what would be published, write nothing, and exit")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	complete(cmd)

	cmd.RunE = func(*cobra.Command, []string) error {
		if err := applyEnv(f, environ); err != nil {
			return &usageError{err}
		}
		if s.chosen = f.Changed("listen"); s.listen == "off" {
			s.listen = ""
		}
		if !f.Changed("max-age") {
			s.MaxAge = max(3*s.Resync, time.Minute)
		}
		s.Writer.MaxImage, s.Writer.Mode, s.Writer.Group = int64(maxImage), fs.FileMode(mode), int(gid)
		if !f.Changed("state-dir") {
			dir, before, err := defaultStateDir(environ, s.Region, os.Geteuid())
			if err != nil {
				return &usageError{err}
			}
			s.StateDir, s.OldStateDir = dir, before
		}
		if !f.Changed("control-dir") {
			s.controlDir = controlDir(environ, s.StateDir)
		}
		s.History.Bytes = int64(historyBytes)
		s.Guards.MaxRemoved, s.Guards.MaxRemovedKeys, s.controlGroup = removed.option(), removedKeys.option(), int(controllers)
		s.Version = cli.Version()
		if err := s.validate(); err != nil {
			return &usageError{err}
		}
		return run(s)
	}
	return cmd
}

// noArgs refuses arguments that are not flags.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &usageError{fmt.Errorf("%q is not a valid flag; a source is given as --source dir:PATH, git:URL or bundle:URL", args[0])}
}

// complete tells the shells' completions what the values are.
func complete(cmd *cobra.Command) {
	words := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	for name, fn := range map[string]cobra.CompletionFunc{
		"source":      words("dir:", "git:", "bundle:"),
		"listen":      words(admin.DefaultAddress, "unix:", "off"),
		"webhook":     words("127.0.0.1:", "unix:"),
		"log-format":  words("text", "json"),
		"log-level":   words("debug", "info", "warn", "error"),
		"region-mode": words("0600", "0640", "0644"),
	} {
		// The error is about a flag that does not exist, and the tests see to that.
		_ = cmd.RegisterFlagCompletionFunc(name, fn)
	}
	_ = cmd.MarkFlagDirname("region")
	_ = cmd.MarkFlagDirname("state-dir")
	_ = cmd.MarkFlagDirname("control-dir")
}

// minResync keeps a reading of the source from following the last one at once.
const minResync = 100 * time.Millisecond

// validate says what is wrong with the settings, and how it is put right.
func (s *settings) validate() error {
	if len(s.sources) == 0 {
		return errors.New("--source is missing; give it as --source dir:PATH, git:URL or bundle:URL, or as STATESYNC_SOURCE=dir:PATH")
	}
	var err error
	if s.Sources, err = daemon.Schemes.Parse(s.sources); err != nil {
		return fmt.Errorf("--source: %w", err)
	}
	if n := len(s.Sources); n > shm.MaxLayers {
		return fmt.Errorf("--source is given %d times; at most %d layers are possible", n, shm.MaxLayers)
	}
	if s.PlanTime < time.Second {
		return fmt.Errorf("--plan-time %v is too short; give at least 1s, such as %v", s.PlanTime, daemon.DefaultPlanTime)
	}
	if s.Region == "" {
		return fmt.Errorf("--region is empty; give a directory, or leave it out for %s", shm.DefaultDir)
	}
	if s.StateDir != "" && sameDir(s.StateDir, s.Region) {
		return fmt.Errorf("--state-dir and --region are both %s; give --state-dir a directory of its own", s.Region)
	}
	if s.controlDir != "" && sameDir(s.controlDir, s.Region) {
		return fmt.Errorf("--control-dir and --region are both %s; give --control-dir a directory that readers do not mount", s.Region)
	}
	if s.controlGroup >= 0 && (s.controlDir == "" || s.StateDir != "" && sameDir(s.controlDir, s.StateDir)) {
		return errors.New("--control-group needs a directory that the group can enter, and the state directory is the daemon's alone; " +
			"give one with --control-dir")
	}
	if s.Resync < minResync {
		return fmt.Errorf("--resync %v is too short; give at least %v, such as 5s", s.Resync, minResync)
	}
	if s.LockWait < 0 {
		return fmt.Errorf("--lock-wait %v is negative; give 0s for no waiting, or a time such as 10s", s.LockWait)
	}
	if err := writer.CheckLimits(s.Writer.Slots, s.Writer.MaxImage); err != nil {
		return fmt.Errorf("--slots or --max-image: %w", err)
	}
	if s.History.Records < 1 {
		return fmt.Errorf("--history %d is too short; give at least 1, such as %d", s.History.Records, history.DefaultRecords)
	}
	if s.History.Bytes < 1 {
		return fmt.Errorf("--history-bytes is %d; give at least 1MiB", s.History.Bytes)
	}
	for _, glob := range s.Opaque {
		if _, err := path.Match(glob, ""); err != nil || glob == "" {
			return fmt.Errorf("--opaque %q is not a valid glob; *, ?, [a-z] and \\ mean what they do in a shell, and a \\ before one takes its meaning away", glob)
		}
	}
	if s.listen != "" {
		if err := admin.CheckAddress(s.listen); err != nil {
			return fmt.Errorf("--listen: %w, or off", err)
		}
	}
	if err := s.validateWebhook(); err != nil {
		return err
	}
	if s.MaxAge <= s.Resync {
		return fmt.Errorf("--max-age %v is not longer than --resync %v, which is how often the source is looked at; give at least %v",
			s.MaxAge, s.Resync, 2*s.Resync)
	}
	if s.logFormat != "text" && s.logFormat != "json" {
		return fmt.Errorf("--log-format %q is not known; give text or json", s.logFormat)
	}
	if _, err := s.level(); err != nil {
		return err
	}
	return nil
}

// validateWebhook says what is wrong with the webhook's settings. A webhook without a
// source that it could have looked at is an error: it would take requests for nothing.
func (s *settings) validateWebhook() error {
	polled := func(spec source.Spec) bool {
		_, polls := daemon.Schemes.Polls(spec)
		return polls
	}
	switch {
	case s.webhook == "" && s.webhookSecret == "":
		return nil
	case s.webhook == "":
		return errors.New("--webhook-secret is for --webhook; give that as 127.0.0.1:PORT or unix:PATH")
	case s.webhookSecret == "":
		return errors.New("--webhook needs --webhook-secret, the path of a file with the secret; make one with: (umask 077; openssl rand -hex 32 > FILE)")
	case !filepath.IsAbs(s.webhookSecret): // it is not quoted, since it may be the secret itself
		return errors.New("--webhook-secret is not the absolute path of a file")
	case !slices.ContainsFunc(s.Sources, polled):
		return errors.New("--webhook is for sources that are polled, git: and bundle:, and --source has none; leave it out")
	}
	if err := webhook.CheckAddress(s.webhook); err != nil {
		return fmt.Errorf("--webhook: %w", err)
	}
	return nil
}

// sameDir reports whether two paths name one directory, which need not exist.
func sameDir(a, b string) bool {
	if x, err := os.Stat(a); err == nil {
		y, err := os.Stat(b)
		return err == nil && os.SameFile(x, y)
	}
	x, errX := filepath.Abs(a)
	y, errY := filepath.Abs(b)
	return errX == nil && errY == nil && x == y
}

func (s *settings) level() (slog.Level, error) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(s.logLevel, level.String()) {
			return level, nil
		}
	}
	return 0, fmt.Errorf("--log-level %q is not known; give debug, info, warn or error", s.logLevel)
}

// logger writes what the settings ask for.
func (s *settings) logger(w io.Writer) *slog.Logger {
	level, _ := s.level() // validated
	o := &slog.HandlerOptions{Level: level}
	if s.logFormat == "json" {
		o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration {
				a.Value = slog.StringValue(a.Value.Duration().String()) // with its unit, as in the text
			}
			return a
		}
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
