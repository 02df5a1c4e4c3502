package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/client"
)

// changed is a change as watch prints it in JSON.
type changed struct {
	Time     time.Time       `json:"time"`
	Config   string          `json:"config"`
	Key      string          `json:"key,omitempty"`
	From     uint64          `json:"from"`
	To       uint64          `json:"to"`
	Revision string          `json:"revision,omitempty"`
	Value    json.RawMessage `json:"value,omitempty"` // of a document or a key
	Data     []byte          `json:"data,omitempty"`  // of an opaque config, in base64
	Error    string          `json:"error,omitempty"` // why there is neither
}

func (a *app) watchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch NAME [KEY] | PREFIX/",
		Short: "Print a line whenever a config, one key of it, or one of several changes",
		Long: `Print a line for the present state of a config, or of one of its keys, and one
more after each change, until it is interrupted. A line has the time, from which
generation to which the change led, and the value.

A name that ends with a slash is a prefix: there is a line for each config whose
name begins with it, first for those that are there, and then for each that is
added, changed or removed.

A config, key or region that is not there is a state, too. What changes twice
while a line is being printed is printed once, as it is then. Between changes
nothing runs: the kernel wakes statesync when there is something new.

With --count it ends after so many lines, the first one included, and exits with
1 when --timeout is over before that.`,
		Example: `  statesync watch matchmaker
  statesync watch matchmaker weights.elo -o json
  statesync watch team/
  statesync watch matchmaker --count 2 --timeout 1m    # the next change`,
		Args:              arguments(1, 2),
		ValidArgsFunction: a.complete,
	}
	format := output(cmd, "text", "json")
	lines := cmd.Flags().Uint("count", 0, "end after so many `lines` (default: never)")
	timeout := cmd.Flags().Duration("timeout", 0, "end after this `time` (default: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, key := args[0], ""
		if len(args) == 2 {
			if key = args[1]; key == "" {
				return usageError{errors.New("the key is empty")}
			}
		}
		if *timeout < 0 {
			return usageError{fmt.Errorf("--timeout %s: it must not be negative", timeout)}
		}
		several := strings.HasSuffix(name, "/")
		if several && key != "" {
			return usageError{fmt.Errorf("%s is a prefix, which has no keys", name)}
		}
		c, err := a.connect()
		if errors.Is(err, client.ErrNoRegion) {
			c, err = a.connect(client.Lazy())
		}
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := until(cmd.Context(), *timeout)
		defer cancel()
		states := c.Watch(ctx, name)
		switch {
		case several:
			states = eachChange(c.WatchPrefix(ctx, name))
		case key != "":
			states = c.WatchKey(ctx, name, key)
		}
		n := uint(0)
		for change := range states {
			if err := a.printChange(change, format.word, several); err != nil {
				return err
			}
			if n++; n == *lines {
				return nil
			}
		}
		if *lines > 0 && cmd.Context().Err() == nil {
			return fmt.Errorf("%s had %s after %s, and %d were asked for", name, count(int(n), "line"), timeout, *lines)
		}
		return nil
	}
	return cmd
}

// until is a context that also ends when a timeout is over, if there is one.
func until(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// eachChange has the changes of several configs in the form of one config's.
func eachChange(changes iter.Seq[client.PrefixChange]) iter.Seq[client.Change] {
	return func(yield func(client.Change) bool) {
		for c := range changes {
			change := client.Change{Config: c.Config, To: c.Generation, Doc: c.Doc}
			if c.Kind == client.ConfigRemoved {
				change.Err = client.ErrNotFound
			}
			if !yield(change) {
				return
			}
		}
	}
}

// printChange prints a change on one line, with the config's name if it may be one of
// several.
func (a *app) printChange(change client.Change, format string, several bool) error {
	now := time.Now()
	var text []byte
	err := change.Err
	if err == nil {
		text = change.Doc.JSON()
		if change.Key != "" {
			text, err = change.Doc.Raw(change.Key)
		}
	}
	opaque := err == nil && change.Key == "" && change.Doc.Opaque()
	absent := ""
	switch {
	case errors.Is(err, client.ErrNoRegion):
		absent = "no region in " + a.dir()
	case errors.Is(err, client.ErrNotFound) && change.Doc.JSON() != nil:
		absent = "no such key"
	case errors.Is(err, client.ErrNotFound):
		absent = "no such config"
	case err != nil:
		absent = err.Error()
	case !opaque && !json.Valid(text):
		absent = "the value is not JSON"
	}
	if format == "json" {
		line := changed{
			Time: now, Config: change.Config, Key: change.Key, From: change.From, To: change.To,
			Revision: change.Doc.Revision(), Error: absent,
		}
		switch {
		case absent != "":
		case opaque:
			line.Data = text
		default:
			line.Value = text
		}
		return printJSON(a.stdout, line, "")
	}
	value := ""
	switch {
	case absent != "":
		value = "(" + escape(absent) + ")"
	case !opaque:
		value = string(escapeJSON(text))
	case utf8.Valid(text):
		value = strconv.Quote(string(text))
	default:
		value = fmt.Sprintf("(%s that are not text)", count(len(text), "byte"))
	}
	stamp := now.Format("2006-01-02T15:04:05.000Z07:00")
	if several {
		_, err = fmt.Fprintf(a.stdout, "%s  %d  %s  %s\n", stamp, change.To, escape(change.Config), value)
	} else {
		_, err = fmt.Fprintf(a.stdout, "%s  %d→%d  %s\n", stamp, change.From, change.To, value)
	}
	return err
}
