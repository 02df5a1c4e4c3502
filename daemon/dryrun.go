//go:build unix

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// DryRun reads the sources, and writes to out what publishing them would change: a
// line for the whole, and one for each config. It takes no lock and writes nothing
// else anywhere. ErrRefused says that the sources would be refused; the log has the
// reasons.
func (d *Daemon) DryRun(ctx context.Context, out io.Writer) error {
	now, geometry, absent := readRegion(d.opt.Region)
	var kept uint64
	if now != nil {
		kept = now.Generation()
	}
	t, err := d.try(ctx, now)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	if t.Plan != nil {
		d.notices.say(t.Plan)
	}
	if t.Refused {
		errs := slices.DeleteFunc(slices.Clone(t.Problems), func(p *plan.Problem) bool { return p.Warning })
		lines(errs, len(errs), d.opt.LogValues, func(a []any) { d.log.Error("refused", append(a, "kept_generation", kept)...) })
		return ErrRefused
	}
	next := t.Image
	report := &printer{out: out}
	report.line("%s: %s: %d configs, %d bytes", d.sourceTexts(), next.Revision(), next.Len(), next.Size())
	switch {
	case now == nil:
		report.line("a new region would be made: %v", absent)
	case geometry.Slots != d.opt.Writer.Slots:
		report.line("the region would be replaced: it has %d slots, and %d are wanted", geometry.Slots, d.opt.Writer.Slots)
	case now.Same(next.Sections()):
		report.line("nothing would be published: the region holds just that, as generation %d", kept)
	case int64(next.Size()) > geometry.SlotSize:
		report.line("generation %d would be published, and the region would grow: its slots have %d bytes", next.Generation(), geometry.SlotSize)
	default:
		report.line("generation %d would be published", next.Generation())
	}
	report.difference(now, next)
	// What an operator accepted on this host is in the state directory, which the daemon has.
	if f := d.opt.Guards.refuse(sectionsOf(now), contentOfPlan(t.Plan), nil); f != nil {
		lines(f.problems, f.count, d.opt.LogValues, func(a []any) { d.log.Error("refused", append(a, "kept_generation", kept)...) })
		return errors.Join(report.err, ErrRefused)
	}
	return report.err
}

// readRegion reads what a region holds. Without an image, the error says why.
func readRegion(dir string) (m *image.Image, g shm.Geometry, err error) {
	r, err := shm.Open(dir, shm.Trust{})
	if err != nil {
		return nil, g, err
	}
	_, err = r.Read(func(hot seqlock.Hot, words []uint64) (err error) {
		m, err = image.Load(words, hot.Generation())
		return err
	})
	if err != nil {
		return nil, g, err
	}
	return m, r.Geometry(), nil
}

// printer writes lines until one can't be written.
type printer struct {
	out io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// difference lists the configs that differ, by name. now may be nil.
func (p *printer) difference(now, next *image.Image) {
	diff.Walk(sectionsOf(now), next.Sections(), func(was, is *image.Section) {
		switch {
		case was == nil:
			p.line("added    %s", is.Name())
		case is == nil:
			p.line("removed  %s", was.Name())
		default:
			p.line("changed  %s", is.Name())
		}
	})
}
