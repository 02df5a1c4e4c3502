package decode

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Problem is one finding about a file. It is an error.
type Problem struct { //nolint:errname // it is named for what an operator reads, and may be a mere warning
	File    string // as in source.File.Path; empty where it is about none
	Line    int    // from 1; 0 where the finding is about the whole file
	Column  int    // from 1, in characters; 0 where it is not known
	Key     string // dotted; empty where it is about no key
	What    string // what is wrong, and what to do
	Warning bool   // the file can be used all the same
}

// Error is the problem on one line:
//
//	matchmaker.yaml:12:3: weights.elo: 18446744073709551616 does not fit in 64 bits; write it as a string
//
// External text is quoted if it has unprintable characters.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(printable(p.File))
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
		b.WriteString(printable(p.Key) + ": ")
	}
	b.WriteString(p.What)
	return b.String()
}

// sortProblems orders by file, then place.
func sortProblems(problems []*Problem) {
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		return cmp.Or(
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
}

// pos is a place in a file: a line and, in characters, a column, both from 1.
type pos struct{ line, column int32 }

func (p pos) String() string { return fmt.Sprintf("line %d, column %d", p.line, p.column) }

func (p pos) compare(q pos) int {
	return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
}

// maxProblems is how many errors, and how many warnings, of one file are kept.
const maxProblems = 20

// report collects the problems of one file.
type report struct {
	file     string
	problems []*Problem
	errors   int // how many there were, kept or not
	warnings int
}

func (r *report) error(at pos, key, what string) {
	r.errors++
	if r.errors <= maxProblems {
		r.add(at, key, what, false)
	}
}

func (r *report) warning(at pos, key, what string) {
	r.warnings++
	if r.warnings <= maxProblems {
		r.add(at, key, what, true)
	}
}

func (r *report) add(at pos, key, what string, warning bool) {
	r.problems = append(r.problems, &Problem{
		File: r.file, Line: int(at.line), Column: int(at.column), Key: key, What: what, Warning: warning,
	})
}

// done is what was collected, and how much was left out.
func (r *report) done() []*Problem {
	sortProblems(r.problems)
	last := pos{}
	if n := len(r.problems); n > 0 {
		last = pos{int32(r.problems[n-1].Line), int32(r.problems[n-1].Column)}
	}
	if n := r.errors - maxProblems; n > 0 {
		r.add(last, "", fmt.Sprintf("%d more errors of this file are not shown", n), false)
	}
	if n := r.warnings - maxProblems; n > 0 {
		r.add(last, "", fmt.Sprintf("%d more warnings of this file are not shown", n), true)
	}
	return r.problems
}

// cursor finds the places of offsets in a text. Going forward costs each byte
// once, which keeps a file of one long line cheap.
type cursor struct {
	text   []byte
	offset int
	place  pos
}

func newCursor(text []byte) cursor { return cursor{text: text, place: pos{1, 1}} }

func (c *cursor) at(offset int) pos {
	offset = min(offset, len(c.text))
	if offset < c.offset {
		*c = newCursor(c.text)
	}
	for ; c.offset < offset; c.offset++ {
		switch b := c.text[c.offset]; {
		case b == '\n':
			c.place.line++
			c.place.column = 1
		case utf8.RuneStart(b):
			c.place.column++
		}
	}
	return c.place
}

// clip shortens s to about n bytes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// dottedKey joins a path for a message, where only its beginning is of use.
func dottedKey(path []string) string {
	var key strings.Builder
	for i, part := range path {
		if i > 0 {
			key.WriteByte('.')
		}
		key.WriteString(clip(part, 200))
		if key.Len() > 200 {
			break
		}
	}
	return clip(key.String(), 200)
}

// printable is s where it can stand in a log line as it is, else s quoted.
func printable(s string) string {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// shown is a number, a word or another bare token of a file, for a message.
func shown(s string) string { return printable(clip(s, 60)) }

// quoted is a key or a string of a file, for a message.
func quoted(s string) string { return strconv.Quote(clip(s, 60)) }
