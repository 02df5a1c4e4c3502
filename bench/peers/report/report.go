// Package report is what the sections of the comparison have in common: how a
// section says what it is, measures and words its results, and how all of them
// become one document with its charts.
//
// Raw results are kept beside the document, in results.json. A run measures
// what it was asked for, and the document is worded from everything that is in
// there and keeps the sections that are not, so that a part can be measured anew
// without the others.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Section is one question that the comparison answers.
type Section interface {
	// Name is what --only takes: a lower-case word.
	Name() string
	// Title heads the section in the document.
	Title() string
	// Contestants are the names of what is compared, which --only takes, too.
	Contestants() []string
	// Measure runs what run.Wants, and returns the section's raw results as
	// JSON. Where not everything is wanted, what was measured before is in old
	// and is carried over; old is nil when there is nothing.
	Measure(ctx context.Context, run *Run, old json.RawMessage) (json.RawMessage, error)
	// Render words raw results that Measure returned, of this or an earlier run.
	Render(raw json.RawMessage) (Page, error)
}

// Page is a section of the document.
type Page struct {
	Markdown string   // what follows the section's title; its own headings begin at ###
	Charts   []Chart  // which Markdown refers to as charts/NAME.svg
	Loses    []string // sentences, each about where this project loses to a peer
}

// Chart is a picture beside the document.
type Chart struct {
	Name string // of the file, without .svg
	SVG  []byte
}

// Run is what a user asked for.
type Run struct {
	Only    []string // names of contestants; empty is all
	Rounds  int      // how often each figure is taken; the document has the medians
	Updates int      // how many changes, over all rounds, a time from change to visible comes from
	Dir     string   // a folder for this run's files and sockets, on a real file system
	Shm     string   // a folder for this run's files in shared memory
	Log     io.Writer
	Begun   time.Time
}

// Wants reports whether a contestant is to be measured.
func (r *Run) Wants(name string) bool { return len(r.Only) == 0 || slices.Contains(r.Only, name) }

// Say tells the user how far the run is.
func (r *Run) Say(format string, args ...any) {
	fmt.Fprintf(r.Log, "%7s  %s\n", time.Since(r.Begun).Round(100*time.Millisecond), fmt.Sprintf(format, args...))
}
