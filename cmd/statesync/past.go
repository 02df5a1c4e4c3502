package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// past answers about earlier generations: the daemon does, which has a history, or else
// the region, which holds the last few.
type past interface {
	Log(ctx context.Context, q control.LogQuery) ([]control.Record, error)
	Show(ctx context.Context, generation uint64, config string) (control.Show, error)
	Diff(ctx context.Context, from, to, config string) (*diff.Diff, error)
}

// lookTime is how long the daemon has to answer before the region is asked.
const lookTime = 10 * time.Second

// look has the daemon answer a question or, where it does not, the region. It returns
// why the daemon does not answer; nil: it did.
func look[T any](ctx context.Context, a *app, ask func(context.Context, past) (T, error)) (answer T, dead error, err error) {
	c, err := a.query()
	if err != nil {
		return answer, nil, err
	}
	limited, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	answer, err = ask(limited, c)
	if err == nil || ctx.Err() != nil || refusedWith(err, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict) {
		return answer, nil, err
	}
	dead = err
	region, err := a.open()
	if err != nil {
		return answer, dead, err
	}
	answer, err = ask(ctx, &ring{region})
	if err != nil {
		err = fmt.Errorf("%w; a running daemon may know more: %w", a.explain(err), a.asked(dead))
	}
	return answer, dead, err
}

// looked is look for commands that say the same of a dead daemon.
func looked[T any](ctx context.Context, a *app, ask func(context.Context, past) (T, error)) (T, error) {
	answer, dead, err := look(ctx, a, ask)
	if dead != nil && err == nil {
		a.fromRegion(dead)
	}
	return answer, err
}

// fromRegion says that what is printed is not from the history.
func (a *app) fromRegion(dead error) {
	fmt.Fprintf(a.stderr, "from the region, without the history: %s\n", escape(dead.Error()))
}

// refusedWith reports whether the daemon answered with one of these codes of HTTP.
func refusedWith(err error, codes ...int) bool {
	var refused *control.RefusedError
	return errors.As(err, &refused) && slices.Contains(codes, refused.Code)
}

// users are those whose process may answer for the daemon: those that are trusted to
// write the region. Without a region, its owner is not among them.
func (a *app) users(region *shm.Region) ([]int, error) {
	owners, err := a.trusted()
	if err != nil {
		return nil, err
	}
	users := slices.Concat(owners, []int{0, os.Geteuid()})
	if region == nil {
		return users, nil
	}
	if info, err := os.Lstat(region.Path()); err == nil {
		users = append(users, int(info.Sys().(*syscall.Stat_t).Uid))
	}
	return users, nil
}

// query is a client of the daemon of the region, whose process is trusted as the
// region is.
func (a *app) query() (*control.Client, error) {
	region, err := a.open() // says what is wrong with the region, if anything is
	if err != nil {
		return nil, err
	}
	users, err := a.users(region)
	return control.Dial(a.dir(), users), err
}

// asked adds to the error of a query what an operator can do about it.
func (a *app) asked(err error) error {
	if errors.Is(err, control.ErrNoDaemon) {
		return fmt.Errorf("%w; only a running daemon knows that: %s", err, startDaemon(a.dir(), packagedUnit))
	}
	return err
}

// answer asks the daemon what only a running one knows.
func answer[T any](ctx context.Context, a *app, ask func(*control.Client, context.Context) (T, error)) (is T, err error) {
	c, err := a.query()
	if err != nil {
		return is, err
	}
	is, err = ask(c, ctx)
	return is, a.asked(err)
}

// generationFlag adds --generation to a command that otherwise shows what is live.
func (a *app) generationFlag(cmd *cobra.Command) *uint64 {
	g := cmd.Flags().Uint64("generation", 0, "show what this earlier `generation` had (default: the live one)")
	_ = cmd.RegisterFlagCompletionFunc("generation", func(cmd *cobra.Command, _ []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.offerGenerations(cmd.Context(), start), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	})
	return g
}

// configAt is a config as an earlier generation had it.
func (a *app) configAt(ctx context.Context, g uint64, name string) (*image.Section, error) {
	shown, err := looked(ctx, a, func(ctx context.Context, p past) (control.Show, error) { return p.Show(ctx, g, name) })
	if err != nil {
		return nil, err
	}
	if shown.Config == nil {
		return nil, fmt.Errorf("the daemon's answer has no config %s", name)
	}
	if shown.Config.Kind == image.Opaque.String() {
		return image.NewOpaque(name, shown.Config.Content)
	}
	return image.NewDocument(name, shown.Config.Content)
}

// number is a generation of an argument.
func number(text string) (uint64, bool) {
	g, err := strconv.ParseUint(text, 10, 63)
	return g, err == nil && g > 0
}

// process names the user, the process and the program that an act comes from.
func process(by control.By) string {
	if by.UID < 0 {
		return by.Name()
	}
	what := []string{by.Name()}
	if by.User != "" {
		what = append(what, fmt.Sprintf("uid %d", by.UID))
	}
	what = append(what, fmt.Sprintf("pid %d", by.PID))
	if by.Program != "" {
		what = append(what, by.Program)
	}
	return what[0] + " (" + strings.Join(what[1:], ", ") + ")"
}

// because is a reason that was given, after a colon.
func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// stamp is a time for people.
func stamp(t time.Time) string { return t.Local().Format(time.DateTime) }

// changesText says what a generation changed: "+1 ~2 -3 a, b, …".
func changesText(c control.Changes) string {
	var words []string
	for _, n := range []struct {
		sign  string
		count int
	}{{"+", c.Added}, {"~", c.Changed}, {"-", c.Removed}} {
		if n.count > 0 {
			words = append(words, n.sign+strconv.Itoa(n.count))
		}
	}
	if words == nil {
		return "nothing"
	}
	const most = 3
	names := c.Names
	if len(names) > most {
		names = append(slices.Clone(names[:most]), "…")
	}
	return strings.Join(words, " ") + " " + strings.Join(names, ", ")
}
