//go:build unix

package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// Reason is why a revision is not published.
type Reason string

// The reasons.
const (
	ReasonSource   Reason = "source"    // it cannot be read, or keeps changing
	ReasonInvalid  Reason = "invalid"   // a file of it cannot be used
	ReasonTooLarge Reason = "too_large" // its image is larger than max-image
	ReasonNoSpace  Reason = "no_space"  // memory to decode it, or pages for its image, are not available
	ReasonRegion   Reason = "region"    // the region cannot be written
	ReasonCrash    Reason = "crash"     // the daemon died while it decoded it
	ReasonGuard    Reason = "guard"     // it takes away too much of what is live
	ReasonOverride Reason = "override"  // an override does not fit it
)

var reasons = []Reason{ReasonSource, ReasonInvalid, ReasonTooLarge, ReasonNoSpace, ReasonRegion, ReasonCrash, ReasonGuard, ReasonOverride}

// refusal is everything that keeps a revision from being published.
type refusal struct {
	reason   Reason
	revision string          // empty when it could not be read
	problems []*plan.Problem // the first maxLines; at least one, and no warnings
	count    int             // of all problems
	key      string          // equal when there is nothing new to say
	waits    bool            // it is most likely over in a moment
}

// String is the first problem, and how many there are. A nil refusal is "".
func (f *refusal) String() string {
	if f == nil {
		return ""
	}
	return f.text(f.problems[0])
}

// place is String without values of the files.
func (f *refusal) place() string {
	if f == nil {
		return ""
	}
	return f.text(f.problems[0].WithoutValues())
}

func (f *refusal) text(first *plan.Problem) string {
	if f.count == 1 {
		return first.InLayer()
	}
	return fmt.Sprintf("%s (and %d more)", first.InLayer(), f.count-1)
}

// add adds a problem. same is what tells it from others; it leaves out what is
// different each time.
func (f *refusal) add(p *plan.Problem, same string) {
	if f.count++; len(f.problems) == maxLines {
		return // a revision may have 50,000
	}
	f.problems = append(f.problems, p)
	f.key += "\n" + p.Layer + " " + p.File + ": " + same
}

// unreadable is the refusal of a source that could not be read.
func unreadable(layer string, err error) *refusal {
	f := &refusal{reason: ReasonSource, key: string(ReasonSource)}
	if errors.Is(err, headroom.ErrFull) {
		f.reason, f.key = ReasonNoSpace, string(ReasonNoSpace)
		f.add(&plan.Problem{Layer: layer, What: err.Error()}, "") // bytes are others each time
		return f
	}
	var panicked *source.PanicError
	if errors.As(err, &panicked) {
		f.add(&plan.Problem{Layer: layer, What: fmt.Sprintf("%v\n%s", err, panicked.Stack)}, err.Error())
		return f
	}
	f.waits = true
	for _, p := range causes(err) { // a source joins some 30 at most
		p.Layer = layer
		f.waits = f.waits && strings.Contains(p.What, source.ErrUnstable.Error())
		same := p.What
		if errors.Is(err, source.ErrUnstable) && strings.Contains(same, source.ErrUnstable.Error()) {
			same = source.ErrUnstable.Error() // the rest says since when
		}
		f.add(p, same)
	}
	if f.waits {
		f.key = "waits" // one file after the other may be written
	}
	return f
}

// invalid is the refusal of a plan by the errors among its problems; nil if there are
// none.
func invalid(p *plan.Plan) *refusal {
	var errs []*plan.Problem
	for _, problem := range p.Problems {
		if !problem.Warning {
			errs = append(errs, problem)
		}
	}
	return undecodable(p.Version, errs, len(errs))
}

// unused is the refusal of a layer's newest snapshot, in whose place a plan uses an
// older one; nil if it uses the newest.
func unused(u *plan.Used, version string) *refusal {
	return undecodable(version, u.Problems, u.Count)
}

// undecodable is the refusal of a revision for count problems, of which the first are
// given; nil for none.
func undecodable(revision string, problems []*plan.Problem, count int) *refusal {
	if count == 0 {
		return nil
	}
	f := &refusal{reason: ReasonInvalid, revision: revision, key: string(ReasonInvalid) + revision}
	for _, p := range problems[:min(len(problems), maxLines)] {
		f.add(p, p.InLayer())
	}
	f.count = count
	f.key += fmt.Sprint("\n", count)
	return f
}

// crowded is the refusal of a revision that does not fit into memory for decoding.
func crowded(revision string, err error) *refusal {
	f := &refusal{reason: ReasonNoSpace, revision: revision, key: string(ReasonNoSpace) + revision}
	f.add(&plan.Problem{What: "the memory to decode it is not available: " + err.Error()}, string(ReasonNoSpace)) // bytes are others each time
	return f
}

// hanging is the refusal of a source that does not answer.
func hanging(layer string, since time.Duration) *refusal {
	f := &refusal{reason: ReasonSource, key: "hangs"}
	f.add(&plan.Problem{Layer: layer, What: fmt.Sprintf(
		"the source has not answered for %s: it hangs in the file system or the network", since.Round(time.Second))}, "")
	return f
}

// deadly is the refusal of a revision that the daemon died over.
func deadly(revision, why string) *refusal {
	f := &refusal{reason: ReasonCrash, revision: revision, key: string(ReasonCrash) + revision}
	f.add(&plan.Problem{What: why}, why)
	return f
}

// unpublishable is the refusal of content that the region did not take.
func (o *Options) unpublishable(c *content, err error) *refusal {
	f := &refusal{reason: ReasonRegion, revision: c.revision}
	p := &plan.Problem{What: o.advise(err).Error()}
	var name *image.NameError
	switch {
	case errors.As(err, &name):
		f.reason = ReasonInvalid
		c.blame(p, name.Name)
	case errors.Is(err, writer.ErrTooLarge):
		f.reason = ReasonTooLarge
		c.blameLargest(p)
	case errors.Is(err, writer.ErrNoSpace):
		f.reason = ReasonNoSpace
	}
	f.key = string(f.reason) + c.revision
	f.add(p, string(f.reason)) // bytes that are left are others each time
	if f.reason == ReasonRegion {
		f.key += p.What
	}
	return f
}

// blame makes a problem one of the file of a config.
func (c *content) blame(p *plan.Problem, config string) {
	if c.plan == nil {
		return
	}
	for _, from := range c.plan.Configs {
		if from.Name == config {
			p.Layer, p.File = from.Layer, from.File
		}
	}
}

// blameLargest makes a problem with the size of all one of the config that
// takes the most of it.
func (c *content) blameLargest(p *plan.Problem) {
	if len(c.sections) == 0 {
		return
	}
	largest := slices.MaxFunc(c.sections, func(a, b *image.Section) int { return cmp.Compare(a.Size(), b.Size()) })
	c.blame(p, largest.Name())
	p.What += fmt.Sprintf("; the largest config is %s with %d bytes: make it smaller, or raise --max-image",
		largest.Name(), largest.Size())
}

// maxLines bounds how many lines of a kind one revision may add to the log, and how
// many problems a refusal remembers.
const maxLines = 100

// maxWaits is how long a source may be changed until that is an error.
const maxWaits = 30 * time.Second

// trouble is a refusal that lasts until an attempt succeeds. It logs each one once, and a
// source that is still being changed as an error only when that lasts.
type trouble struct {
	log    *slog.Logger
	values bool      // the log may quote them
	now    *refusal  // nil when all is well
	since  time.Time // when now.waits began
	quiet  bool      // it was not logged as an error
}

// set takes the refusal of the newest attempt, or nil. kept is the generation that
// readers keep.
func (t *trouble) set(f *refusal, kept uint64) {
	before := t.now
	t.now = f
	switch {
	case f == nil && before != nil:
		t.log.Info("recovered", "reason", before.reason, "was", before.place())
	case f != nil && (before == nil || before.key != f.key):
		t.since, t.quiet = time.Now(), f.waits
		t.say(kept)
	case f != nil && t.quiet && time.Since(t.since) > maxWaits:
		t.quiet = false
		t.say(kept)
	}
}

// say logs the refusal of now.
func (t *trouble) say(kept uint64) {
	level, f := slog.LevelError, t.now
	if t.quiet {
		level = slog.LevelInfo
	}
	lines(f.problems, f.count, t.values, func(a []any) {
		t.log.Log(context.Background(), level, "refused", append(a, "reason", f.reason, "revision", f.revision, "kept_generation", kept)...)
	})
}

// notices logs once what is worth knowing about files but does not refuse them.
type notices struct {
	log     *slog.Logger
	warned  map[string]bool
	skipped map[plan.Skipped]bool
}

// say logs the warnings and the skipped files that the plan before did not have.
func (n *notices) say(p *plan.Plan) {
	warned, skipped := map[string]bool{}, map[plan.Skipped]bool{}
	var fresh []*plan.Problem
	for _, problem := range p.Problems {
		if problem.Warning {
			text := problem.InLayer()
			if warned[text] = true; !n.warned[text] {
				fresh = append(fresh, problem)
			}
		}
	}
	lines(fresh, len(fresh), false, func(a []any) { n.log.Warn("warning", a...) })
	fresh = nil
	for _, s := range p.Skipped {
		if skipped[s] = true; !n.skipped[s] {
			fresh = append(fresh, &plan.Problem{
				Layer: s.Layer, File: s.Path,
				What: "neither a known format nor named by --opaque; give it a known extension, name it, or move it out of the source",
			})
		}
	}
	lines(fresh, len(fresh), false, func(a []any) { n.log.Warn("skipped", a...) })
	n.warned, n.skipped = warned, skipped
}

// lines calls say with the attributes of each of the first maxLines problems, and
// then with how many more there are. values lets them quote values of the files.
func lines(problems []*plan.Problem, count int, values bool, say func(attributes []any)) {
	problems = problems[:min(len(problems), maxLines)]
	for _, p := range problems {
		if !values {
			p = p.WithoutValues()
		}
		say(attributes(p))
	}
	if count > len(problems) {
		say([]any{"what", fmt.Sprintf("%d more are not shown", count-len(problems))})
	}
}

// attributes are a problem's parts, as far as it has them.
func attributes(p *plan.Problem) []any {
	var a []any
	if p.Layer != "" {
		a = append(a, "layer", p.Layer)
	}
	if p.File != "" {
		a = append(a, "file", p.File)
	}
	if p.Line > 0 {
		a = append(a, "line", p.Line)
	}
	if p.Column > 0 {
		a = append(a, "column", p.Column)
	}
	if p.Key != "" {
		a = append(a, "key", p.Key)
	}
	return append(a, "what", strings.TrimSpace(p.What))
}
