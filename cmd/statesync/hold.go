package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/statesync/statesync/daemon/control"
)

func (a *app) rollbackCommand() *cobra.Command {
	return a.askingCommand(&cobra.Command{
		Use:   "rollback [GENERATION]",
		Short: "Go back to the content of an earlier generation, and hold it",
		Long: `Publish the content of an earlier generation anew, byte for byte, under a new
generation, and hold it until statesync unpin, whatever the sources bring
meanwhile. Without a GENERATION it takes the newest one whose content is not
what is live, so that a second rollback goes further back.

It suspends the overrides that exist; unpin puts them in force again.`,
		Example: `  statesync rollback --why "elo is wrong"
  statesync rollback 41 --yes
  statesync rollback --dry-run`,
		Args:              arguments(0, 1),
		ValidArgsFunction: a.completeGeneration,
	}, func(s control.Status, args []string) (o order, err error) {
		o = order{command: "rollback", question: "Go back and hold it?", taken: "the rollback is stored"}
		if len(args) == 1 {
			var ok bool
			if o.body.To, ok = number(args[0]); !ok {
				return o, usageError{fmt.Errorf("%q is not the number of a generation; statesync log lists them", args[0])}
			}
		}
		o.intro = func(p control.Reply) []string {
			lines := []string{fmt.Sprintf("Generation %d is live. The content of generation %d would take its place and be held.", s.Generation, p.Record)}
			if n := len(s.Overrides); n > 0 {
				lines = append(lines, count(n, "override")+" would be suspended.")
			}
			return lines
		}
		o.settle = func(body *control.Command, p control.Reply) { body.To = p.Record }
		o.done = func(r control.Reply) string {
			return fmt.Sprintf("generation %d is live: the content of generation %d, held until statesync unpin", r.Generation, r.Record)
		}
		return o, nil
	})
}

func (a *app) pinCommand() *cobra.Command {
	return a.askingCommand(&cobra.Command{
		Use:   "pin",
		Short: "Hold what is live, whatever the sources bring",
		Long: `Hold the live generation until statesync unpin. What the sources bring meanwhile
is read and checked, and waits: statesync status and statesync diff waiting show
it. A held host is healthy.`,
		Example: `  statesync pin --why "no changes during the final"
  statesync pin --yes`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(s control.Status, _ []string) (order, error) {
		return order{
			command: "pin", question: "Hold it?", taken: "the pin is stored",
			intro: func(control.Reply) []string {
				return []string{fmt.Sprintf("Generation %d is live, and would be held whatever the sources bring.", s.Generation)}
			},
			done: func(r control.Reply) string {
				return fmt.Sprintf("generation %d is live: the content of generation %d, held until statesync unpin", r.Generation, r.Record)
			},
		}, nil
	})
}

func (a *app) unpinCommand() *cobra.Command {
	return a.askingCommand(&cobra.Command{
		Use:   "unpin",
		Short: "End a pin or a rollback, and follow the sources again",
		Long: `End what statesync pin or rollback began: what waits behind it is published, and
the sources are followed again. Overrides that a rollback suspended are in force
again, those whose time is over excepted.`,
		Example: `  statesync unpin --dry-run      # what would it bring?
  statesync unpin --why "fixed in the source"`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}, func(s control.Status, _ []string) (order, error) {
		return order{
			command: "unpin", question: "Follow the sources again?", taken: "nothing is held any more",
			intro: func(control.Reply) (lines []string) {
				if s.Pin != nil {
					lines = append(lines, heldText(s.Pin)+".")
				}
				if s.Waiting != nil {
					lines = append(lines, fmt.Sprintf("Revision %s waits.", short(s.Waiting.Revision)))
				}
				return lines
			},
			done: func(r control.Reply) string {
				return fmt.Sprintf("generation %d is live: the sources are followed again", r.Generation)
			},
		}, nil
	})
}

// heldText says what is held, by which user, since when and why.
func heldText(p *control.Pin) string {
	return fmt.Sprintf("The content of generation %d is held since %s by %s%s", p.Generation, stamp(p.Time), p.By.Name(), because(p.Why))
}
