package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/bundle"
	"github.com/statesync/statesync/daemon/source/dir"
)

// clockSkew is how long before it is made a bundle is valid, for hosts whose clocks are late.
const clockSkew = 5 * time.Minute

func (a *app) bundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Make, sign and check bundles for bundle: sources",
		Long: `Make, sign and check signed bundles, which any web server can carry to the
daemons that have --source bundle:URL. A bundle is two files: bundle.note, which
is signed, and SHA256.tar.gz, which the note names. None of these commands needs
a daemon or a region.`,
		Example: `  statesync bundle keygen --name ops@example.com --out ops
  statesync bundle build config --origin acme/prod --key ops.key --out www
  statesync bundle verify www --keys ops.pub`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SetOut(a.stderr)
			return usageError{errors.Join(cmd.Help(), errors.New("a command is missing"))}
		},
	}
	cmd.AddCommand(a.keygenCommand(), a.buildCommand(), a.signCommand(), a.verifyBundleCommand(), a.showBundleCommand())
	return cmd
}

// required returns the error of a flag that is missing.
func required(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if !cmd.Flags().Changed(name) {
			return usageError{fmt.Errorf("--%s is missing; it is used as: %s", name, cmd.UseLine())}
		}
	}
	return nil
}

func (a *app) keygenCommand() *cobra.Command {
	var name, out, keys string
	cmd := &cobra.Command{
		Use:   "keygen --name NAME --out PREFIX",
		Short: "Make the key of a signer",
		Long: `Make an Ed25519 key and write it to PREFIX.key, which only you can read, and its
public half to PREFIX.pub. Neither file may be there. Daemons get the public
half, in the file of keys=.

The NAME says which signer it is, such as an address. threshold= counts names:
two keys of one name are one signer, which is how a key is replaced. With --keys
the new key differs from those of that file also in the short hash that notes
have of a key.`,
		Example: `  statesync bundle keygen --name ops@example.com --out ops
  statesync bundle keygen --name ops@example.com --out ops-2 --keys keys.txt`,
		Args: arguments(0, 0), ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&name, "name", "", "the signer's `name`; required")
	cmd.Flags().StringVar(&out, "out", "", "the files' `path`, without .key and .pub; required")
	cmd.Flags().StringVar(&keys, "keys", "", "a `file` of public keys that the new one must differ from")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "name", "out"); err != nil {
			return err
		}
		if err := bundle.CheckName(name); err != nil {
			return usageError{err}
		}
		var others *bundle.Keys
		if keys != "" {
			var err error
			if others, err = bundle.ReadKeys(keys); err != nil {
				return err
			}
		}
		private, public, err := bundle.GenerateKey(name, others)
		if err != nil {
			return err
		}
		if err := createFile(out+".key", private+"\n", 0o600); err != nil {
			return err
		}
		if err := createFile(out+".pub", public+"\n", 0o644); err != nil {
			return errors.Join(err, os.Remove(out+".key"))
		}
		fmt.Fprintf(a.stderr, "%s.key is secret: keep it away from the web server and from the daemons\n", escape(out))
		_, err = fmt.Fprintln(a.stdout, public)
		return err
	}
	return cmd
}

// building is one run of bundle build.
type building struct {
	app      *app
	origin   string
	sequence uint64
	expires  time.Duration
	keys     []string
	out      string
}

func (a *app) buildCommand() *cobra.Command {
	b := &building{app: a}
	cmd := &cobra.Command{
		Use:   "build DIR --key FILE --out WWW",
		Short: "Make a bundle of a directory, and sign it",
		Long: `Pack the files of a directory, by the rules of a dir: source, into
WWW/SHA256.tar.gz, sign a note about it, and put that into WWW/bundle.note. The
archive is there before the note changes: upload them in this order, too.

The sequence is one more than that of the note that is there, or 1. With the
sequence of that note, only its expiry changes: the content must be the same.
Daemons accept no sequence that is lower than the one they have: to go back,
build the older content anew.

When the note expires, daemons keep what they have, and say that it has expired.
Run statesync check DIR before.`,
		Example: `  statesync bundle build config --origin acme/prod --key ops.key --out www
  statesync bundle build config --expires 240h --key ops.key --out www
  statesync bundle build config --sequence 7 --key ops.key --out www`,
		Args: arguments(1, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&b.origin, "origin", "", "what the bundle is of, a `name` that stays (default: that of the note in WWW)")
	flags.Uint64Var(&b.sequence, "sequence", 0, "the `number` of the bundle (default: one more than that of the note in WWW)")
	flags.DurationVar(&b.expires, "expires", 30*24*time.Hour, "how long it is valid")
	flags.StringSliceVar(&b.keys, "key", nil, "the `file` of a private key; required, and may be repeated")
	flags.StringVar(&b.out, "out", "", "the `directory` that is served; required")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "key", "out"); err != nil {
			return err
		}
		if b.expires < time.Second {
			return usageError{fmt.Errorf("--expires %v: give a time such as 720h", b.expires)}
		}
		if cmd.Flags().Changed("sequence") && b.sequence == 0 {
			return usageError{errors.New("--sequence 0: the first is 1")}
		}
		return b.run(cmd.Context(), args[0])
	}
	return cmd
}

func (b *building) run(ctx context.Context, from string) error {
	signers, err := readSigners(b.keys)
	if err != nil {
		return err
	}
	n, err := b.place()
	if err != nil {
		return err
	}
	files, err := readDirectory(ctx, from)
	if err != nil {
		return err
	}
	archive, err := bundle.Pack(files)
	if err != nil {
		return err
	}
	if _, err := bundle.Unpack(archive, source.Options{}); err != nil {
		return fmt.Errorf("daemons would refuse it: %w", err)
	}
	old := n
	n.SetArchive(archive)
	if n.Sequence == old.Sequence && old.Size != 0 && n.Archive != old.Archive {
		return fmt.Errorf("sequence %d has another content already; give --sequence %d, or none", n.Sequence, n.Sequence+1)
	}
	n.NotBefore, n.Expires = validity(b.expires)
	msg, err := bundle.Sign(&n, signers...)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(b.out, n.ArchiveName()), archive); err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(b.out, bundle.NoteName), msg); err != nil {
		return err
	}
	return b.app.bundleLine(filepath.Join(b.out, bundle.NoteName), msg, count(len(files), "file"))
}

// place is the note to be made, without its archive: that of the note that is there, if
// it has the same sequence.
func (b *building) place() (n bundle.Note, err error) {
	at := filepath.Join(b.out, bundle.NoteName)
	msg, err := os.ReadFile(at)
	if errors.Is(err, fs.ErrNotExist) {
		if b.origin == "" {
			return n, usageError{errors.New("--origin is missing: there is no bundle yet that it could be taken from")}
		}
		if err := bundle.CheckOrigin(b.origin); err != nil {
			return n, usageError{fmt.Errorf("the bundle %w", err)}
		}
		return bundle.Note{Origin: b.origin, Sequence: max(b.sequence, 1)}, nil
	}
	if err != nil {
		return n, err
	}
	old, err := bundle.Inspect(msg)
	switch {
	case err != nil:
		return n, fmt.Errorf("%s %w; move it away, and give --sequence", at, err)
	case b.origin != "" && b.origin != old.Origin:
		return n, fmt.Errorf("%s is of %s, and daemons that have it accept no other origin; give another --out", at, old.Origin)
	case b.sequence != 0 && b.sequence < old.Sequence:
		return n, fmt.Errorf("%s has the sequence %d already, and daemons accept none that is lower", at, old.Sequence)
	case b.sequence == old.Sequence:
		return old.Note, nil
	}
	n = bundle.Note{Origin: old.Origin, Sequence: old.Sequence + 1}
	if b.sequence != 0 {
		n.Sequence = b.sequence
	}
	return n, nil
}

// validity is from when to when a note is valid that is signed now.
func validity(long time.Duration) (from, until time.Time) {
	now := time.Now().UTC().Truncate(time.Second)
	return now.Add(-clockSkew), now.Add(long).Truncate(time.Second)
}

func readSigners(files []string) (signers []note.Signer, err error) {
	for _, file := range files {
		s, err := bundle.ReadSigner(file)
		if err != nil {
			return nil, err
		}
		signers = append(signers, s)
	}
	return signers, nil
}

// readDirectory reads the files of a directory as a dir: source does.
func readDirectory(ctx context.Context, name string) ([]*source.File, error) {
	s, err := dir.Open(name, source.Options{NoWatch: true})
	if err != nil {
		return nil, err
	}
	snapshot, err := s.Fetch(ctx, nil)
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	return snapshot.Files, nil
}

// bundleLine says in one line what a note is of.
func (a *app) bundleLine(at string, msg []byte, more ...string) error {
	s, err := bundle.Inspect(msg)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s: %s#%d, expires %s, signed by %s", at, s.Origin, s.Sequence, s.Expires.Format(time.RFC3339), strings.Join(s.Signers, ", "))
	_, err = fmt.Fprintln(a.stdout, escape(strings.Join(append([]string{text}, more...), ", ")))
	return err
}

func (a *app) signCommand() *cobra.Command {
	var keys []string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "sign NOTE --key FILE",
		Short: "Sign a bundle's note, beside others",
		Long: `Add a signature to the note of a bundle, for daemons with threshold=2 or more.
Several people sign the same file one after another. The archive must be beside
the note, so that what is signed is there: look at it before.

With --expires the note gets a new expiry. That is another text: it loses the
signatures that it has, and the others sign again.`,
		Example: `  statesync bundle sign www/bundle.note --key other.key
  statesync bundle sign www --key ops.key --expires 720h`,
		Args: arguments(1, 1),
	}
	cmd.Flags().StringSliceVar(&keys, "key", nil, "the `file` of a private key; required, and may be repeated")
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long it is valid from now on (default: as the note says)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "key"); err != nil {
			return err
		}
		if cmd.Flags().Changed("expires") && expires < time.Second {
			return usageError{fmt.Errorf("--expires %v: give a time such as 720h", expires)}
		}
		signers, err := readSigners(keys)
		if err != nil {
			return err
		}
		at := notePath(args[0])
		msg, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		s, err := bundle.Inspect(msg)
		if err != nil {
			return fmt.Errorf("%s %w", at, err)
		}
		if _, err := localArchive(at, &s.Note); err != nil {
			return err
		}
		if expires != 0 {
			s.NotBefore, s.Expires = validity(expires)
			msg, err = bundle.Sign(&s.Note, signers...)
		} else {
			msg, err = bundle.Cosign(msg, signers...)
		}
		if err != nil {
			return err
		}
		if err := replaceFile(at, msg); err != nil {
			return err
		}
		return a.bundleLine(at, msg)
	}
	return cmd
}

// isURL reports whether a place is on a web server.
func isURL(where string) bool {
	return strings.HasPrefix(where, "https://") || strings.HasPrefix(where, "http://")
}

// notePath is the note in a directory, or the file itself.
func notePath(where string) string {
	if info, err := os.Stat(where); err == nil && info.IsDir() {
		return filepath.Join(where, bundle.NoteName)
	}
	return where
}

// localArchive reads the archive beside a note.
func localArchive(at string, n *bundle.Note) ([]byte, error) {
	archive, err := os.ReadFile(filepath.Join(filepath.Dir(at), n.ArchiveName()))
	if err != nil {
		return nil, err
	}
	return archive, n.CheckArchive(archive)
}

// located is a bundle's note, and how its archive is read.
type located struct {
	name    string
	msg     []byte
	archive func(*bundle.Note) ([]byte, error)
	close   func()
}

// locate reads the note of a directory, of a file, or of a URL.
func locate(ctx context.Context, where string) (*located, error) {
	if !isURL(where) {
		at := notePath(where)
		msg, err := os.ReadFile(at)
		return &located{at, msg, func(n *bundle.Note) ([]byte, error) { return localArchive(at, n) }, func() {}}, err
	}
	if err := bundle.CheckURL(where); err != nil {
		return nil, usageError{fmt.Errorf("the argument %w", err)}
	}
	client, err := bundle.NewClient()
	if err != nil {
		return nil, err
	}
	msg, _, err := client.Note(ctx, where, "")
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return &located{where, msg, func(n *bundle.Note) ([]byte, error) { return client.Archive(ctx, where, n) }, client.Close}, nil
}

func (a *app) verifyBundleCommand() *cobra.Command {
	var keys, origin string
	var threshold int
	cmd := &cobra.Command{
		Use:   "verify WWW|URL --keys FILE",
		Short: "Check a bundle as a daemon would",
		Long: `Check the signatures of a bundle, its times, and its archive, in a directory or
at the URL of its note, as a daemon does that sees it for the first time. It
exits with 1 if a daemon would refuse it. Whether the configs in it are valid is
for statesync check to say, before the bundle is built.`,
		Example: `  statesync bundle verify www --keys keys.txt
  statesync bundle verify https://cdn.example.com/bundle.note --keys keys.txt`,
		Args: arguments(1, 1),
	}
	cmd.Flags().StringVar(&keys, "keys", "", "the `file` of the signers' public keys; required")
	cmd.Flags().StringVar(&origin, "origin", "", "what it must be of, a `name` (default: anything)")
	cmd.Flags().IntVar(&threshold, "threshold", 1, "how many signers of different names must have signed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "keys"); err != nil {
			return err
		}
		if threshold < 1 {
			return usageError{fmt.Errorf("--threshold %d: give 1 or more", threshold)}
		}
		known, err := bundle.ReadKeys(keys)
		if err != nil {
			return err
		}
		l, err := locate(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer l.close()
		s, err := known.Open(l.msg, threshold)
		now := time.Now()
		switch {
		case err != nil:
			return fmt.Errorf("%s %w", l.name, err)
		case origin != "" && s.Origin != origin:
			return fmt.Errorf("%s is of %s and not of %s", l.name, s.Origin, origin)
		case now.Before(s.NotBefore):
			return fmt.Errorf("%s is not valid before %s", l.name, s.NotBefore.Format(time.RFC3339))
		case !now.Before(s.Expires):
			return fmt.Errorf("%s expired at %s", l.name, s.Expires.Format(time.RFC3339))
		}
		archive, err := l.archive(&s.Note)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		files, err := bundle.Unpack(archive, source.Options{})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, escape(fmt.Sprintf("%s: %s#%d is good until %s, verified as signed by %s, %s",
			l.name, s.Origin, s.Sequence, s.Expires.Format(time.RFC3339), strings.Join(s.Signers, ", "), count(len(files), "file"))))
		return err
	}
	return cmd
}

// shownBundle is what bundle show prints.
type shownBundle struct {
	Origin    string    `json:"origin"`
	Sequence  uint64    `json:"sequence"`
	NotBefore time.Time `json:"not_before"`
	Expires   time.Time `json:"expires"`
	Archive   string    `json:"archive"`
	Size      int64     `json:"size"`
	Signers   []string  `json:"signers_unverified"`
}

func (a *app) showBundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show WWW|URL",
		Short: "Show what a bundle's note says",
		Long: `Show what the note of a bundle says, in a directory or at a URL. Nothing is
verified, the signatures included: see statesync bundle verify.`,
		Example: `  statesync bundle show www
  statesync bundle show https://cdn.example.com/prod/bundle.note -o json`,
		Args: arguments(1, 1),
	}
	format := output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l, err := locate(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer l.close()
		s, err := bundle.Inspect(l.msg)
		if err != nil {
			return fmt.Errorf("%s %w", l.name, err)
		}
		if format.word == "json" {
			return printJSON(a.stdout, shownBundle{s.Origin, s.Sequence, s.NotBefore, s.Expires, s.ArchiveName(), s.Size, s.Signers}, "  ")
		}
		state := "in " + span(time.Until(s.Expires))
		if time.Until(s.Expires) <= 0 {
			state = "EXPIRED"
		}
		_, err = fmt.Fprintf(a.stdout, "origin      %s\nsequence    %d\nnot before  %s\nexpires     %s (%s)\narchive     %s\nsize        %s\nsigned by   %s (not verified)\n",
			s.Origin, s.Sequence, s.NotBefore.Format(time.RFC3339), s.Expires.Format(time.RFC3339), state, s.ArchiveName(), size(s.Size), escape(strings.Join(s.Signers, ", ")))
		return err
	}
	return cmd
}
