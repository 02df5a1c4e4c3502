package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

func (a *app) acceptCommand() *cobra.Command {
	return a.askingCommand(&cobra.Command{
		Use:   "accept [DIGEST | SOURCE COMMIT]",
		Short: "Let pass what a guard refused, or a rewritten branch",
		Long: `Let a content pass the guards, which refuse a revision that takes away too much
of what is live: see --max-removed of statesyncd. The DIGEST is that of the
content, as statesync status and the daemon's log have it; it is the same on
every host, and no other content passes. Without it, it is the content that
waits now.

With SOURCE and COMMIT, a git: source with ff=only or verify= accepts that
commit although it does not descend from the last one. With verify= it must be
signed all the same. Later commits must descend from it. The commit is given
whole, as status has it.

For a fleet, let the acceptance travel with the source: statesync check
--accept-file.`,
		Example: `  statesync accept                 # shows what waits, and asks
  statesync accept --yes "$(statesync status -o json | jq -r .waiting.digest)"
  statesync accept git 0d1f4e0b2c6a0f7be5a0d5f4a3f2b1c0d9e8f7a6`,
		Args:              arguments(0, 2),
		ValidArgsFunction: a.completeDigest,
	}, func(s control.Status, args []string) (o order, err error) {
		if len(args) == 2 {
			return acceptCommit(args[0], args[1]), nil
		}
		digest, waiting := strings.Join(args, ""), ""
		if s.Waiting != nil {
			waiting = s.Waiting.Digest
		}
		if digest = cmp.Or(digest, waiting); digest == "" {
			return o, errors.New("nothing waits that could be accepted; name the digest of what is to pass when it comes")
		}
		waits := strings.HasPrefix(waiting, digest) && len(digest) >= len("sha256:")+digits
		if waits {
			digest = waiting
		}
		return order{
			command: "accept", body: control.Command{Digest: digest}, question: "Accept it?", taken: "it is accepted", blind: !waits,
			intro: func(control.Reply) []string {
				if !waits {
					return []string{digest + " is not what waits now. It would pass the guards when it comes."}
				}
				lines := []string{fmt.Sprintf("%s waits, of revision %s.", digest, short(s.Waiting.Revision))}
				if s.Pin != nil {
					lines = append(lines, heldText(s.Pin)+"; it would go on waiting behind that.")
				}
				return lines
			},
			done: func(r control.Reply) string {
				switch {
				case !waits:
					return fmt.Sprintf("generation %d is live: %s passes the guards when it comes", r.Generation, digest)
				case s.Pin != nil:
					return fmt.Sprintf("generation %d is live: %s passes the guards after statesync unpin", r.Generation, digest)
				}
				return fmt.Sprintf("generation %d is live: %s, accepted", r.Generation, digest)
			},
		}, nil
	})
}

// acceptCommit is the order that lets one rewrite of a branch pass.
func acceptCommit(source, commit string) order {
	return order{
		command: "accept", body: control.Command{Source: source, Commit: commit}, question: "Accept it?", taken: "it is accepted", blind: true,
		intro: func(control.Reply) []string {
			return []string{fmt.Sprintf("The source %s would accept the commit %s, whatever it accepted before.", source, commit)}
		},
		done: func(r control.Reply) string {
			return fmt.Sprintf("generation %d is live: the source %s accepts %s", r.Generation, source, commit)
		},
	}
}

func (a *app) reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon look at its sources now",
		Long: `Have the daemon look at all of its sources now, and return when what they have
is live, or refused. It does so by itself every --resync; this is for not
waiting. What is held stays held.

It is for root, the daemon's user and the members of the daemon's
--control-group.`,
		Example:           `  statesync reload`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	t := &acting{app: a}
	t.command(cmd, func(s control.Status, _ []string) (order, error) {
		return order{command: "reload", done: func(r control.Reply) string {
			text := fmt.Sprintf("generation %d is live: the sources were looked at", r.Generation)
			if s.Pin != nil {
				text += ", and the pin holds"
			}
			return text
		}}, nil
	})
	return cmd
}
