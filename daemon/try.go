//go:build unix

package daemon

import (
	"context"
	"errors"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// Trial is what publishing sources would come to.
type Trial struct {
	Layers   []plan.Layer
	Plan     *plan.Plan      // nil if a source cannot be read
	Image    *image.Image    // nil if the sources would be refused
	Problems []*plan.Problem // of sources, files and the whole; warnings included
	Refused  bool
}

// Try reads the sources once and goes the way of a revision up to its publication
// after the image before, which is nil for none. It writes nothing, and takes no lock.
// The error is of the options, or the context's.
func Try(ctx context.Context, o Options, before *image.Image) (*Trial, error) {
	return New(o).try(ctx, before)
}

func (d *Daemon) try(ctx context.Context, before *image.Image) (*Trial, error) {
	if err := writer.CheckLimits(d.opt.Writer.Slots, d.opt.Writer.MaxImage); err != nil {
		return nil, err
	}
	t := &Trial{}
	if err := d.readOnce(ctx, t); err != nil || t.Refused {
		return t, err
	}
	var err error
	if t.Plan, err = d.worker.maker.Make(ctx, t.Layers); err != nil {
		return nil, err
	}
	t.Problems = append(t.Problems, t.Plan.Problems...)
	if t.Refused = t.Plan.Refused(); t.Refused {
		return t, nil
	}
	c := contentOfPlan(t.Plan)
	var kept uint64
	if before != nil {
		kept = before.Generation()
	}
	t.Image, err = image.Build(kept+1, c.revision, c.sections, before)
	if err == nil {
		err = writer.CheckSize(int64(t.Image.Size()), d.opt.Writer.MaxImage)
	}
	if err != nil {
		t.Image, t.Refused = nil, true
		t.Problems = append(t.Problems, d.opt.unpublishable(c, err).problems...)
	}
	return t, nil
}

// readOnce reads every source.
func (d *Daemon) readOnce(ctx context.Context, t *Trial) error {
	for i, spec := range d.opt.Sources {
		src, err := d.open(spec, d.sourceOptions(spec, i, false))
		if err != nil {
			return err
		}
		snapshot, err := src.Fetch(ctx, nil)
		if closed := src.Close(); closed != nil && err == nil {
			err = closed
		}
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			for _, p := range causes(err) {
				p.Layer = d.label(spec.Name)
				t.Problems = append(t.Problems, p)
			}
			t.Refused = true
			continue
		}
		t.Layers = append(t.Layers, plan.Layer{Name: d.label(spec.Name), Newest: snapshot, Prefix: spec.Prefix, NoSchemas: spec.NoSchemas})
	}
	return nil
}

// label is a layer's name where it says something: where there are several.
func (d *Daemon) label(name string) string {
	if len(d.opt.Sources) == 1 {
		return ""
	}
	return name
}

// causes are what an error of a source joins, as problems of its files.
func causes(err error) (problems []*plan.Problem) {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, cause := range errs {
		p := &plan.Problem{What: cause.Error()}
		var of *source.FileError
		if errors.As(cause, &of) {
			p.File, p.What = of.Path, of.Err.Error()
			if p.File == "" {
				p.File = "."
			}
		}
		problems = append(problems, p)
	}
	return problems
}
