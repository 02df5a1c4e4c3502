package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/shm"
)

// printReport prints a report for people.
func (a *app) printReport(s *report) error {
	for _, what := range s.chosen() {
		word, rest, _ := strings.Cut(what, ":")
		if _, err := fmt.Fprintf(a.stdout, "%s:%s\n\n", a.paint(a.stdout, bold+yellow, word), rest); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", label, escape(fmt.Sprintf(format, args...)))
	}
	line("region", "%s", s.Path)
	line("", "id %s, layout %d, %d slots of %s", s.RegionID, s.Layout, s.Slots, size(s.SlotSize))
	if s.Configs == nil {
		line("generation", "%d, which can't be read", s.Generation)
	} else {
		line("generation", "%d, published %s: %s, %s", s.Generation, s.age(), count(*s.Configs, "config"), size(int64(*s.ImageSize)))
		line("revision", "%s", *s.Revision)
		if s.Observed != nil && *s.Observed != "" && *s.Observed != *s.Revision {
			line("observed", "%s, with the same content", *s.Observed)
		}
	}
	source := "never valid"
	if s.SourceAge != nil {
		source = "valid " + ago(s.SourceAge) + " ago"
	}
	line("source", "%s", source)
	if len(s.Layers) > 1 {
		for _, l := range s.Layers {
			line("  "+l.Name, "%s", l.words())
		}
	}
	line("daemon", "%s", s.daemon())
	if err := w.Flush(); err != nil {
		return err
	}
	for _, what := range s.wrong() {
		word, rest, _ := strings.Cut(what, ":")
		if _, err := fmt.Fprintf(a.stdout, "\n%s:%s\n", a.paint(a.stdout, bold+red, word), rest); err != nil {
			return err
		}
	}
	return nil
}

// chosen says what operators hold back or override, and what a guard refused, with what
// waits behind it and how to let it pass.
func (s *report) chosen() []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	switch {
	case s.Pin != nil:
		add("HELD: %s.\n%s", escape(heldText(s.Pin)), s.behind())
	case s.Held != nil && *s.Held:
		add("HELD: an operator holds back what the sources bring; the daemon, which knows more,\ndoes not answer.")
	}
	for _, o := range s.Overrides {
		word := "OVERRIDE"
		if o.Suspended {
			word = "OVERRIDE, SUSPENDED BY THE PIN"
		}
		add("%s: %s", word, escape(overrideText(&o)))
	}
	if s.guarded() {
		text := fmt.Sprintf("GUARDED: a newer revision takes away too much, and generation %d stays:\n%s", s.Generation, s.findings())
		if w := s.Waiting; w != nil {
			text += fmt.Sprintf("It would bring %s; statesync diff waiting shows it.\n", escape(changesText(w.Changes)))
			if !strings.Contains(text, w.Digest) { // it was cut
				text += "To let it pass, run statesync accept " + w.Digest
			}
		}
		add("%s", strings.TrimRight(text, "\n"))
	}
	return all
}

// behind says what waits behind the pin.
func (s *report) behind() string {
	if s.Waiting == nil {
		return "Nothing waits behind it; statesync unpin follows the sources again."
	}
	return fmt.Sprintf("Revision %s waits behind it. statesync unpin would bring %s;\nstatesync diff waiting shows it.",
		short(s.Waiting.Revision), escape(changesText(s.Waiting.Changes)))
}

// guarded reports whether it was a guard that refused the newest revision.
func (s *report) guarded() bool {
	return s.Problem != "" && len(s.Problems) > 0 && daemon.Reason(s.Problems[0].Reason) == daemon.ReasonGuard
}

// words say how a layer is doing.
func (l *layerReport) words() string {
	switch {
	case l.Problem != "":
		return "the newest is not in use: " + l.Problem
	case l.Age == nil:
		return "never used"
	}
	return "used " + ago(l.Age) + " ago: " + short(l.Version)
}

// age words how old the generation is.
func (s *report) age() string {
	if s.Age == nil {
		return s.Published.Local().Format(time.DateTime) + ", which is yet to come by this machine's clock"
	}
	return ago(s.Age) + " ago"
}

// daemon words how the daemon is doing.
func (s *report) daemon() string {
	if s.WriterPID == nil {
		return "its status cannot be read"
	}
	words := []string{s.WriterState}
	if !s.WriterAlive && s.WriterState == shm.Running.String() {
		words[0] = "silent"
	}
	words = append(words, fmt.Sprintf("pid %d", *s.WriterPID), "started "+s.WriterStarted.Local().Format(time.DateTime))
	if s.HeartbeatAge == nil {
		return strings.Join(append(words, "no heartbeat since the machine started"), ", ")
	}
	return strings.Join(append(words, "last heartbeat "+ago(s.HeartbeatAge)+" ago"), ", ")
}

// wrong says what is wrong, and what to do about each.
func (s *report) wrong() []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if s.Damage != "" {
		add("DAMAGED: %s", escape(s.Damage))
	}
	if s.Retired {
		add("RETIRED: the daemon has begun to replace this region, and programs keep reading\n"+
			"it. If it stays like this, %s.", s.unit.start())
	}
	switch {
	case s.WriterAlive || s.WriterPID == nil:
	case s.WriterState == shm.Stopped.String():
		add("STOPPED: the daemon was stopped in good order; programs keep reading\n"+
			"generation %d. To follow the source again, %s.", s.Generation, s.unit.start())
	default:
		add("DEAD: the daemon sends no heartbeat: it died, hangs, or is stopped; programs keep\n"+
			"reading generation %d. Look at its log%s, and %s.", s.Generation, s.unit.log(), s.unit.start())
	}
	if s.Problem != "" && !s.guarded() {
		add("REFUSED: a newer revision is not published, and generation %d stays, because of\n%s%s",
			s.Generation, s.findings(), s.remedy())
	}
	return all
}

// findings are a line for each problem, and one for those that there is no room for.
func (s *report) findings() string {
	var b strings.Builder
	for _, f := range s.Problems {
		p := plan.Problem{Layer: f.Layer, File: f.File, Line: f.Line, Column: f.Column, Key: f.Key, What: f.Message}
		fmt.Fprintf(&b, "  %s\n", escape(p.InLayer()))
	}
	if len(s.Problems) == 0 { // it takes long, say
		for line := range strings.Lines(s.Problem) {
			fmt.Fprintf(&b, "  %s\n", escape(strings.TrimRight(line, "\n")))
		}
	}
	if more := s.ProblemsFound - len(s.Problems); more > 0 {
		fmt.Fprintf(&b, "  and %d more: see the daemon's log%s, or run statesync check DIR\n", more, s.unit.log())
	}
	return b.String()
}

// remedy says what to do about what is refused.
func (s *report) remedy() string {
	reason := ""
	if len(s.Problems) > 0 {
		reason = s.Problems[0].Reason
	}
	switch daemon.Reason(reason) {
	case daemon.ReasonSource:
		return "It is published as soon as the source can be read."
	case daemon.ReasonNoSpace, daemon.ReasonTooLarge:
		return "It is published as soon as there is room for it."
	case daemon.ReasonRegion:
		return "It is published as soon as the region can be written."
	case daemon.ReasonCrash:
		return "Any other revision is tried at once."
	case daemon.ReasonOverride:
		return "Run statesync override --clear NAME KEY, or correct the source."
	case daemon.ReasonInvalid:
		return "Fix this and it will be published automatically. Run statesync check DIR to see\n" +
			"beforehand what the daemon would reject."
	}
	return "It is published as soon as this is over."
}
