package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/shm/image"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes commands, configs and keys",
		Long: `Print a script for a shell which makes the tab key complete commands, flags, and
the names and keys that are in the region at that moment.`,
		Example: `  source <(statesync completion bash)   # for this shell; needs bash-completion
  statesync completion bash > /etc/bash_completion.d/statesync
  statesync completion zsh > "${fpath[1]}/_statesync"
  statesync completion fish > ~/.config/fish/completions/statesync.fish`,
		Args:              cobra.MatchAll(arguments(1, 1), cobra.OnlyValidArgs),
		ValidArgs:         shells,
		ValidArgsFunction: cobra.FixedCompletions(shells, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "zsh":
				return cmd.Root().GenZshCompletion(a.stdout)
			case "fish":
				return cmd.Root().GenFishCompletion(a.stdout, true)
			}
			return cmd.Root().GenBashCompletionV2(a.stdout, true)
		},
	}
}

// complete offers the names of configs as first argument, and the keys of that
// config as second. Where the region can't be read it has nothing to offer.
func (a *app) complete(_ *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	region, err := a.open()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var offers []string
	switch len(args) {
	case 0:
		_ = a.read(region, func(v *image.View) (err error) {
			offers, err = names(v)
			return err
		})
	case 1:
		if config, err := a.config(region, args[0]); err == nil && config.Kind() == image.Document {
			offers = keys(config)
		}
	}
	// The protocol with the shell has tabs and line ends of its own.
	offers = slices.DeleteFunc(offers, func(s string) bool {
		return !strings.HasPrefix(s, start) || escape(s) != s
	})
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// completeName offers the names of configs as first argument.
func (a *app) completeName(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(cmd, args, start)
}

// completeGenerations offers generations and words for the first arguments, and then, or
// in their place, the names of configs.
func (a *app) completeGenerations(most int, words ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		generations, name, err := generationsAndName(args, most, words...)
		if err != nil || name != "" {
			return nil, directive
		}
		var offers []cobra.Completion
		if len(generations) < most {
			for _, word := range words {
				if strings.HasPrefix(word, start) {
					offers = append(offers, word)
				}
			}
			offers = append(offers, a.offerGenerations(cmd.Context(), start)...)
		}
		names, _ := a.complete(cmd, nil, start)
		return append(offers, names...), directive
	}
}

// completeGeneration offers generations as first argument.
func (a *app) completeGeneration(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offerGenerations(cmd.Context(), start), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// offered is how long a completion may take, and how many generations it offers.
const (
	briefTime    = time.Second
	offeredLines = 20
)

// offerGenerations are the newest generations, with what they changed.
func (a *app) offerGenerations(ctx context.Context, start string) (offers []cobra.Completion) {
	ctx, cancel := context.WithTimeout(ctx, briefTime)
	defer cancel()
	records, _, _ := look(ctx, a, func(ctx context.Context, p past) ([]control.Record, error) {
		return p.Log(ctx, control.LogQuery{Limit: offeredLines})
	})
	for _, r := range records {
		if g := fmt.Sprint(r.Generation); strings.HasPrefix(g, start) {
			offers = append(offers, cobra.CompletionWithDesc(g, escape(stamp(r.Time)+marks(r)+" "+changesText(r.Changes))))
		}
	}
	return offers
}

// completeDigest offers the digest of what waits.
func (a *app) completeDigest(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	s, err := a.briefly(cmd.Context())
	if err != nil || len(args) > 0 || s.Waiting == nil || !strings.HasPrefix(s.Waiting.Digest, start) {
		return nil, directive
	}
	return []cobra.Completion{cobra.CompletionWithDesc(s.Waiting.Digest, escape(changesText(s.Waiting.Changes)))}, directive
}

// completeOverride offers configs and their keys; with --clear, those that are overridden.
func (a *app) completeOverride(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	end, err := cmd.Flags().GetBool("clear")
	if err != nil || !end {
		offers, _ := a.complete(cmd, args, start)
		if len(args) == 1 {
			for i := range offers {
				offers[i] += "="
			}
			return offers, directive | cobra.ShellCompDirectiveNoSpace
		}
		return offers, directive
	}
	s, err := a.briefly(cmd.Context())
	if err != nil {
		return nil, directive
	}
	var offers []cobra.Completion
	for _, o := range s.Overrides {
		offer := o.Config
		if len(args) == 1 {
			offer = o.Key
		}
		if (len(args) == 0 || len(args) == 1 && args[0] == o.Config) && strings.HasPrefix(offer, start) && escape(offer) == offer {
			offers = append(offers, offer)
		}
	}
	return slices.Compact(offers), directive
}

// briefly asks the daemon how it stands, and waits for no longer than people do.
func (a *app) briefly(ctx context.Context) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, briefTime)
	defer cancel()
	return answer(ctx, a, (*control.Client).Status)
}
