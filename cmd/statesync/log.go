package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

// logged is a generation as log prints it in JSON.
type logged struct {
	control.Record
	From string `json:"from"` // history or region
}

func (a *app) logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log [NAME [KEY]]",
		Short: "List the generations, or those that changed a config or a key",
		Long: `List the published generations, the newest first: when each was published, what
it changed, from which versions of the sources, and where an operator caused it,
the command, by which user and why. With a NAME only those that changed this
config, and with a KEY only those that changed this value of it.

What changed is +added ~changed -removed, and the first names. LIVE is what
programs read now; PINNED is what statesync pin or rollback holds.

With --follow the newest come last, and new ones are printed as they come, also
those of a daemon that is restarted.

It asks the daemon, which has a history. If the daemon does not run, it lists
the generations that the region still holds; which layers they came from, and
which user caused them, is not known then. As json there is one object a line.`,
		Example: `  statesync log
  statesync log matchmaker weights.elo
  statesync log --follow
  statesync log -n 100 -o json | jq -r 'select(.act > 0) | .command'`,
		Args:              arguments(0, 2),
		ValidArgsFunction: a.complete,
	}
	format := output(cmd, "text", "json")
	n := cmd.Flags().UintP("number", "n", 20, "how many `generations`")
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with those that come")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *n == 0 {
			return usageError{errors.New("--number 0: it must be more than nothing")}
		}
		var q control.LogQuery
		if len(args) > 0 {
			q.Config = args[0]
		}
		if len(args) > 1 {
			q.Key = args[1]
		}
		l := &logging{app: a, json: format.word == "json", query: q}
		records, err := l.newest(cmd.Context(), int(*n))
		if err != nil {
			return err
		}
		if !*follow {
			if len(records) == 0 {
				fmt.Fprintf(a.stderr, "no generation that is remembered changed %s\n", escape(strings.Join(args, " ")))
			}
			return l.print(records)
		}
		slices.Reverse(records)
		l.steady = true
		if err := l.print(records); err != nil {
			return err
		}
		return l.follow(cmd.Context(), records)
	}
	return cmd
}

// logging is one run of log.
type logging struct {
	app    *app
	json   bool
	query  control.LogQuery
	dead   error // why the daemon does not answer
	steady bool  // more lines follow, in the same columns
	headed bool
}

// page is how many records are asked for at once.
const page = 500

// newest asks for the n newest records.
func (l *logging) newest(ctx context.Context, n int) ([]control.Record, error) {
	records, dead, err := look(ctx, l.app, func(ctx context.Context, p past) ([]control.Record, error) {
		return pages(ctx, p, l.query, func(all []control.Record) bool { return len(all) < n })
	})
	if l.dead = dead; dead != nil && err == nil {
		l.app.fromRegion(dead)
	}
	return records[:min(len(records), n)], err
}

// pages asks for records, the newest first, as long as more of them are wanted.
func pages(ctx context.Context, p past, q control.LogQuery, more func([]control.Record) bool) (all []control.Record, err error) {
	for q.Limit = page; more(all); {
		records, err := p.Log(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, records...)
		if len(records) < q.Limit {
			break
		}
		q.Before = records[len(records)-1].Generation
	}
	return all, nil
}

// followPoll is how often the daemon is asked for new generations.
const followPoll = time.Second

// follow prints the generations that come after those that were printed.
func (l *logging) follow(ctx context.Context, printed []control.Record) error {
	last := uint64(0)
	if n := len(printed); n > 0 {
		last = printed[n-1].Generation
	}
	tick := time.NewTicker(followPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		c, err := l.app.query()
		if err != nil {
			continue // the region is being replaced
		}
		records, err := pages(ctx, c, l.query, func(all []control.Record) bool {
			return len(all) == 0 || all[len(all)-1].Generation > last
		})
		if err != nil {
			l.silent(err)
			continue
		}
		l.dead = nil
		if len(records) > 0 && records[0].Generation < last {
			last = 0 // a daemon without the history of the one before counts anew
		}
		records = slices.DeleteFunc(records, func(r control.Record) bool { return r.Generation <= last })
		slices.Reverse(records)
		if err := l.print(records); err != nil {
			return err
		}
		if n := len(records); n > 0 {
			last = records[n-1].Generation
		}
	}
}

// silent says once that the daemon does not answer.
func (l *logging) silent(err error) {
	if l.dead == nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(l.app.stderr, "waiting for the daemon: %s\n", escape(err.Error()))
	}
	l.dead = err
}

func (l *logging) print(records []control.Record) error {
	if l.json {
		for _, r := range records {
			if err := printJSON(l.app.stdout, logged{r, l.origin()}, ""); err != nil {
				return err
			}
		}
		return nil
	}
	if len(records) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(l.app.stdout, 0, 0, 2, ' ', 0)
	if !l.headed {
		l.columns(w, "GENERATION", "TIME", "CHANGED", "LAYERS", "ACT")
		l.headed = true
	}
	for _, r := range records {
		l.line(w, r)
	}
	return w.Flush()
}

// origin is where the records come from.
func (l *logging) origin() string {
	if l.dead != nil {
		return "region"
	}
	return "history"
}

// line prints a record on one line.
func (l *logging) line(w io.Writer, r control.Record) {
	changed, layers, act := changesText(r.Changes), layersText(r.Layers), actText(r)
	if l.dead != nil {
		layers, act = short(r.Revision), "not known"
		if r.Changes.Names == nil {
			changed = "not known"
		}
	}
	l.columns(w, fmt.Sprint(r.Generation, marks(r)), stamp(r.Time), escape(changed), escape(layers), escape(cmp.Or(act, "-")))
}

// columns prints the columns of a line. Those that are printed later get the same width,
// as far as it is known.
func (l *logging) columns(w io.Writer, generation, at, changed, layers, act string) {
	format := "%s\t%s\t%s\t%s\t%s\n"
	if l.steady {
		format = "%-10s\t%-19s\t%-20s\t%-24s\t%s\n"
	}
	fmt.Fprintf(w, format, generation, at, changed, layers, act)
}

// marks say what a generation is now.
func marks(r control.Record) string {
	text := ""
	if r.Live {
		text += " LIVE"
	}
	if r.Pinned {
		text += " PINNED"
	}
	return text
}

// layersText has the versions of layers, cut.
func layersText(layers []control.RecordLayer) string {
	var words []string
	for _, l := range layers {
		word := short(l.Version)
		if len(layers) > 1 {
			word = l.Name + "=" + word
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// actText says which command led to a generation, by which user and why; empty for none.
func actText(r control.Record) string {
	if r.By == nil {
		return ""
	}
	return r.Command + " by " + r.By.Name() + because(r.Why)
}
