package tree

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/internal/plain"
)

// Problem is one finding about a file. It is an error.
type Problem struct { //nolint:errname // it is named for what an operator reads, and may be a mere warning
	Layer   string // the name of the layer that File is in; empty where it is about none
	File    string // as in source.File.Path; empty where it is about none
	Line    int    // from 1; 0 where the finding is about the whole file
	Column  int    // from 1, in characters; 0 where it is not known
	Key     string // dotted; empty where it is about no key
	What    string // what is wrong, and what to do
	Plain   string // What without values of the file; empty: What has none
	Warning bool   // the file can be used all the same
}

// Error is the problem on one line:
//
//	matchmaker.yaml:12:3: weights.elo: 18446744073709551616 does not fit in 64 bits; write it as a string
//
// External text is quoted if it has unprintable characters. The layer is left out:
// where there are several, InLayer has it.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(plain.Text(p.File))
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Key != "" {
		b.WriteString(plain.Text(p.Key) + ": ")
	}
	b.WriteString(p.What)
	return b.String()
}

// InLayer is Error with the layer's name before it, if it is about one: "base: a.yaml:1:2: …".
func (p *Problem) InLayer() string {
	if p.Layer == "" {
		return p.Error()
	}
	return p.Layer + ": " + p.Error()
}

// WithoutValues is the problem without values of the file, which not all that may know
// of it may see.
func (p *Problem) WithoutValues() *Problem {
	if p.Plain == "" {
		return p
	}
	plain := *p
	plain.What = p.Plain
	return &plain
}

// Sort orders problems by layer, file and place.
func Sort(problems []*Problem) {
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		return cmp.Or(
			strings.Compare(a.Layer, b.Layer),
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
}

// HasError reports whether one of them is more than a warning.
func HasError(problems []*Problem) bool {
	return slices.ContainsFunc(problems, func(p *Problem) bool { return !p.Warning })
}
