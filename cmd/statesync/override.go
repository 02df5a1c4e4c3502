package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

func (a *app) overrideCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "override NAME KEY=VALUE --for TIME | override --clear [NAME [KEY]]",
		Short: "Set a value over all sources for a time",
		Long: `Set one key of a config over whatever the sources say, until a time is over. The
VALUE is YAML: 5 is a number, "5" a string, [1, 2] a list, null deletes the key.
It is checked by the config's schema. It ends by itself, also while the daemon
does not run: after a restart it is not in force if its time is over.

With --clear overrides end now: all, those of a config, or that of a key.`,
		Example: `  statesync override matchmaker weights.elo=1500 --for 1h --why "game night"
  statesync override auth 'hosts=[a, b]' --for 30m --yes
  statesync override --clear matchmaker weights.elo`,
		Args:              arguments(0, 2),
		ValidArgsFunction: a.completeOverride,
	}
	duration := cmd.Flags().Duration("for", 0, "how `long` it holds, such as 1h; required")
	end := cmd.Flags().Bool("clear", false, "end overrides")
	return a.askingCommand(cmd, func(s control.Status, args []string) (order, error) {
		if *end {
			return clearing(s, args)
		}
		return overriding(s, args, *duration)
	})
}

func overriding(s control.Status, args []string, long time.Duration) (o order, err error) {
	if len(args) != 2 {
		return o, usageError{errors.New("it is used as: statesync override NAME KEY=VALUE --for 1h")}
	}
	name := args[0]
	key, value, ok := strings.Cut(args[1], "=")
	switch {
	case !ok || key == "":
		return o, usageError{fmt.Errorf("%q is not KEY=VALUE", args[1])}
	case strings.TrimSpace(value) == "":
		return o, usageError{fmt.Errorf(`%s has no value; write %s='""' for an empty string, and %s=null to delete the key`, key, key, key)}
	case long <= 0:
		return o, usageError{errors.New("say with --for how long it holds, such as --for 1h")}
	}
	return order{
		command: "override", question: "Override it?", taken: "the override is stored",
		body: control.Command{Config: name, Key: key, Value: value, For: long.String()},
		intro: func(control.Reply) []string {
			lines := []string{fmt.Sprintf("%s of %s would be %s for %s, over whatever the sources say.", key, name, clip(value), span(long))}
			if s.Pin != nil {
				lines = append(lines, heldText(s.Pin)+"; it would be set on top of that.")
			}
			return lines
		},
		done: func(r control.Reply) string {
			return fmt.Sprintf("generation %d is live: %s of %s is %s until %s", r.Generation, key, name, clip(value), stamp(time.Now().Add(long)))
		},
	}, nil
}

func clearing(s control.Status, args []string) (order, error) {
	body := control.Command{}
	if len(args) > 0 {
		body.Config = args[0]
	}
	if len(args) > 1 {
		body.Key = args[1]
	}
	ended := slices.DeleteFunc(slices.Clone(s.Overrides), func(o control.Override) bool {
		return body.Config != "" && o.Config != body.Config || body.Key != "" && o.Key != body.Key
	})
	return order{
		command: "override/clear", body: body, question: "End it?", taken: "the override has ended",
		intro: func(control.Reply) []string {
			lines := []string{count(len(ended), "override") + " would end:"}
			for _, o := range ended {
				lines = append(lines, "  "+overrideText(&o))
			}
			return lines
		},
		done: func(r control.Reply) string {
			return fmt.Sprintf("generation %d is live: %s ended", r.Generation, count(len(ended), "override"))
		},
	}, nil
}

// overrideText says what an override sets, until when, by which user and why.
func overrideText(o *control.Override) string {
	return fmt.Sprintf("%s %s=%s until %s by %s%s", o.Config, o.Key, clip(string(o.Value)), stamp(o.Until), o.By.Name(), because(o.Why))
}
