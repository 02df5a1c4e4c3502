package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// headings are how manuals call some parts.
var headings = map[string]string{
	"Usage":      "SYNOPSIS",
	"Flags":      "OPTIONS",
	"Exit codes": "EXIT STATUS",
}

// roff is the page in the language of man(7). Its last part names the others of
// the pages.
func (p *page) roff(version, date string, pages []*page) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s %s %s %s StateSync\n", quote(strings.ToUpper(p.hyphenated())), p.section, date, quote("statesync "+version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(p.hyphenated()), escape(p.short))
	parts, groups := slices.Clone(p.parts), p.groups()
	take := func(heading string) {
		if i := slices.IndexFunc(parts, func(part part) bool { return part.heading == heading }); i >= 0 {
			parts[i].roff(&b)
			parts = slices.Delete(parts, i, i+1)
		}
	}
	take("Usage")
	for i, paragraph := range p.prose {
		macro := ".PP"
		if i == 0 {
			macro = ".SH DESCRIPTION"
		}
		fmt.Fprintf(&b, "%s\n%s\n", macro, escape(paragraph))
	}
	for _, group := range groups {
		take(group.heading)
	}
	take("Flags")
	take("Global Flags")
	slices.SortStableFunc(parts, func(a, b part) int { return last(a) - last(b) })
	for len(parts) > 0 {
		take(parts[0].heading)
	}
	var others []string
	for _, other := range pages {
		if other != p {
			others = append(others, fmt.Sprintf(".BR %s (%s)", escape(other.hyphenated()), other.section))
		}
	}
	if len(others) > 0 {
		fmt.Fprintf(&b, ".SH SEE ALSO\n%s\n", strings.Join(others, " ,\n"))
	}
	return b.Bytes()
}

// last sorts the examples behind everything that has no place of its own.
func last(p part) int {
	if p.heading == "Examples" {
		return 1
	}
	return 0
}

// roff writes a part: a table as a list of terms, anything else as it is.
func (p part) roff(b *bytes.Buffer) {
	heading, ok := headings[p.heading]
	if !ok {
		heading = strings.ToUpper(p.heading)
	}
	fmt.Fprintf(b, ".SH %s\n", quote(heading))
	if rows := p.rows(); rows != nil && p.heading != "Examples" {
		for _, r := range rows {
			fmt.Fprintf(b, ".TP\n\\fB%s\\fR\n%s\n", escape(r.term), escape(r.text))
		}
		return
	}
	fmt.Fprint(b, ".nf\n")
	for _, line := range p.lines {
		fmt.Fprintf(b, "%s\n", escape(line))
	}
	fmt.Fprint(b, ".fi\n")
}

// escape makes roff print lines as they are: what has a meaning there, and what
// a terminal would get a typographer's character for.
func escape(text string) string {
	lines := strings.Split(special.Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

var special = strings.NewReplacer(`\`, `\(rs`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`, `"`, `\(dq`)

// quote makes one argument of a macro.
func quote(text string) string { return `"` + escape(text) + `"` }
