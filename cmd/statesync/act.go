package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/shm"
)

// order is what the daemon is asked to do.
type order struct {
	command string // as control.Client.Do has it
	body    control.Command

	// intro are lines before what would change. question is asked after that; empty: the
	// command does not need one.
	intro    func(preview control.Reply) []string
	question string
	blind    bool // the daemon has no preview of it
	// settle completes the command by its preview, so that what was shown is what is done.
	// It may be nil.
	settle func(body *control.Command, preview control.Reply)
	done   func(control.Reply) string // says what is live now
	taken  string                     // says what was done although something else stays live
}

// acting is one run of a command that asks the daemon to change something.
type acting struct {
	app    *app
	socket string
	why    string
	yes    bool
	dryRun bool
	format *choice
}

// actHelp ends the help of each of these commands.
const actHelp = `

On a terminal it shows what would change, and asks; elsewhere it needs --yes. It
is for root, the daemon's user and the members of the daemon's --control-group.`

// command makes a command one that has the daemon change something. prepare says what, by
// the daemon's status and the arguments.
func (t *acting) command(cmd *cobra.Command, prepare func(s control.Status, args []string) (order, error)) {
	flags := cmd.Flags()
	flags.StringVar(&t.why, "why", "", "the `reason`, for log, status and audit")
	flags.BoolVarP(&t.yes, "yes", "y", false, "do it without a question")
	flags.StringVar(&t.socket, "control", "", "the `path` of the daemon's control socket (default: as the daemon says)")
	t.format = output(cmd, "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, status, err := t.dial(cmd.Context())
		if err != nil {
			return t.explain(err)
		}
		o, err := prepare(status, args)
		if err != nil {
			return err
		}
		return t.run(cmd.Context(), c, o)
	}
}

// askingCommand is a command for what programs may notice: it is shown and asked about
// first.
func (a *app) askingCommand(cmd *cobra.Command, prepare func(s control.Status, args []string) (order, error)) *cobra.Command {
	t := &acting{app: a}
	cmd.Long += actHelp
	t.command(cmd, prepare)
	cmd.Flags().BoolVar(&t.dryRun, "dry-run", false, "show what would change, and change nothing")
	return cmd
}

// dial connects to the control socket, and asks how the daemon stands.
func (t *acting) dial(ctx context.Context) (c *control.Client, s control.Status, err error) {
	if t.socket != "" {
		region, _ := t.app.open() // the socket may be used without
		users, err := t.app.users(region)
		if err != nil {
			return nil, s, err
		}
		c = control.DialSocket(t.socket, users)
		s, err = c.Status(ctx)
		return c, s, err
	}
	region, err := t.app.open()
	if err != nil {
		return nil, s, err
	}
	users, err := t.app.users(region)
	if err != nil {
		return nil, s, err
	}
	if s, err = control.Dial(t.app.dir(), users).Status(ctx); err != nil {
		return nil, s, err
	}
	if s.Control == "" {
		return nil, s, errors.New("the daemon has no control socket, and takes no commands; start it with a --state-dir or a --control-dir")
	}
	return control.DialSocket(s.Control, users), s, nil
}

// explain adds to an error what an operator can do about it.
func (t *acting) explain(err error) error {
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		return fmt.Errorf("%w, so nothing was changed; %s", err, t.meanwhile())
	case errors.Is(err, control.ErrNoAnswer):
		return fmt.Errorf("%w, so nothing was changed; look at its log%s, or restart it", err, unitOf(t.app.dir(), packagedUnit).log())
	case errors.Is(err, fs.ErrPermission) && !errors.As(err, new(*shm.UntrustedError)), refusedWith(err, http.StatusForbidden):
		return fmt.Errorf("%w; run it with sudo, as the daemon's user, or as a member of the daemon's --control-group", err)
	}
	return err
}

// meanwhile says how the daemon is started, and what works without it.
func (t *acting) meanwhile() string {
	what := startDaemon(t.app.dir(), packagedUnit)
	if u := unitOf(t.app.dir(), packagedUnit); u != "" {
		what = u.start() + u.log()
	}
	return what + "; programs keep reading meanwhile, and statesync log, diff and get --generation show what the region still holds"
}

// run shows what would be done and asks, where that is wanted, and has the daemon do it.
func (t *acting) run(ctx context.Context, c *control.Client, o order) error {
	o.body.Why = t.why
	if t.dryRun || o.question != "" && !t.yes {
		if !t.dryRun && !t.dialogue() {
			return usageError{errors.New("there is no terminal to ask on; give --yes to do it, or --dry-run to see what it would change")}
		}
		ok, err := t.preview(ctx, c, &o)
		if err != nil || !ok {
			return err
		}
	}
	reply, err := c.Do(ctx, o.command, o.body)
	switch {
	case errors.Is(err, control.ErrNoAnswer), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w; whether it was done is not known: see statesync status and statesync audit", err)
	case err != nil:
		return t.explain(err)
	}
	return t.report(o, reply)
}

// dialogue reports whether there is a terminal to ask on.
func (t *acting) dialogue() bool { return isTerminal(t.app.stdin) && isTerminal(t.app.stderr) }

// previewLines is how many lines of a difference are shown before a question.
const previewLines = 40

// preview shows what an order would change. It returns whether to do it.
func (t *acting) preview(ctx context.Context, c *control.Client, o *order) (bool, error) {
	w := t.app.stderr // it is not the result
	if t.dryRun {
		w = t.app.stdout
	}
	var p control.Reply
	if !o.blind {
		body := o.body
		body.Preview = true
		var err error
		if p, err = c.Do(ctx, o.command, body); err != nil {
			return false, t.explain(err)
		}
	}
	if t.dryRun && t.format.word == "json" {
		return false, printJSON(w, p, "  ")
	}
	for _, line := range o.intro(p) {
		fmt.Fprintln(w, escape(line))
	}
	if p.Diff != nil {
		if p.Diff.Empty() {
			fmt.Fprintln(w, "No value would change.")
		} else {
			fmt.Fprintln(w)
			if err := t.app.writeDiff(w, p.Diff, previewLines); err != nil {
				return false, err
			}
			fmt.Fprintf(w, "\n%s.\n", counts(p.Diff))
		}
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(w, "%s %s\n", t.app.paint(w, yellow, "warning:"), escape(warning))
	}
	if p.Refused != "" {
		fmt.Fprintf(w, "%s %s\n", t.app.paint(w, bold+red, "It would be refused:"), escape(p.Refused))
	}
	if t.dryRun {
		return false, nil
	}
	if o.settle != nil {
		o.settle(&o.body, p)
	}
	if !t.confirm(ctx, o.question) {
		fmt.Fprintln(t.app.stderr, "Nothing was changed.")
		return false, errNo
	}
	return true, nil
}

// confirm asks a question. Any answer but yes is a no.
func (t *acting) confirm(ctx context.Context, question string) bool {
	fmt.Fprintf(t.app.stderr, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() { // a terminal is read without regard to the context
		line, _ := bufio.NewReader(t.app.stdin).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answers:
		return answer == "y" || answer == "yes"
	case <-ctx.Done():
		fmt.Fprintln(t.app.stderr)
		return false
	}
}

// report says what became of an order.
func (t *acting) report(o order, r control.Reply) error {
	if t.format.word == "json" {
		if err := printJSON(t.app.stdout, r, "  "); err != nil {
			return err
		}
	} else if r.Refused == "" {
		text := o.done(r)
		if r.Published {
			text += " (" + changesText(r.Changes) + ")"
		}
		if _, err := fmt.Fprintln(t.app.stdout, escape(text)); err != nil {
			return err
		}
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(t.app.stderr, "warning: %s\n", escape(warning))
	}
	if r.Refused != "" {
		text := fmt.Sprintf("generation %d stays live: %s", r.Generation, r.Refused)
		if o.taken != "" {
			text = o.taken + ", but " + text
		}
		return errors.New(text)
	}
	return nil
}
