package tree

import (
	"fmt"

	"github.com/statesync/statesync/daemon/internal/plain"
)

// maxProblems is how many errors, and how many warnings, one Report keeps.
const maxProblems = 20

// Report collects the problems of one config, or of one file of it.
type Report struct {
	Docs     []Doc // what the numbers of places mean, from the lowest layer up
	problems []*Problem
	errors   int // how many there were, kept or not
	warnings int
}

// NewReport is a Report for one file.
func NewReport(layer, file string) *Report { return &Report{Docs: []Doc{{layer, file}}} }

// Error adds an error.
func (r *Report) Error(at Place, key, what string) {
	r.errors++
	if r.errors <= maxProblems {
		r.add(at, key, what, false)
	}
}

// Warning adds a warning.
func (r *Report) Warning(at Place, key, what string) {
	r.warnings++
	if r.warnings <= maxProblems {
		r.add(at, key, what, true)
	}
}

func (r *Report) add(at Place, key, what string, warning bool) {
	d := r.Docs[at.Doc]
	r.problems = append(r.problems, &Problem{
		Layer: d.Layer, File: d.File, Line: int(at.Line), Column: int(at.Column), Key: key,
		What: withValues(what), Plain: withoutValues(what), Warning: warning,
	})
}

// Errors is how many errors were added.
func (r *Report) Errors() int { return r.errors }

// Full reports whether a further error is only counted.
func (r *Report) Full() bool { return r.errors >= maxProblems }

// Uncounted adds errors that are not shown.
func (r *Report) Uncounted(errors int) { r.errors += errors }

// Other is a place for a message about another one: a line and a column in the
// same document, else with the layer and the file.
func (r *Report) Other(at, other Place) string {
	if at.Doc == other.Doc {
		return other.String()
	}
	d := r.Docs[other.Doc]
	return fmt.Sprintf("%s of %s in the layer %s", other.Pos, plain.Text(d.File), d.Layer)
}

// Done is what was collected, sorted, and how much was left out.
func (r *Report) Done() []*Problem {
	Sort(r.problems)
	last := Place{}
	if n := len(r.problems); n > 0 {
		p := r.problems[n-1]
		last.Pos = Pos{int32(p.Line), int32(p.Column)}
		for i, d := range r.Docs {
			if d == (Doc{p.Layer, p.File}) {
				last.Doc = uint16(i)
			}
		}
	}
	if n := r.errors - maxProblems; n > 0 {
		r.add(last, "", fmt.Sprintf("%d more errors of this file are not shown", n), false)
	}
	if n := r.warnings - maxProblems; n > 0 {
		r.add(last, "", fmt.Sprintf("%d more warnings of this file are not shown", n), true)
	}
	return r.problems
}
