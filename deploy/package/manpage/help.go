package main

import (
	"slices"
	"strings"
)

// page is one manual page: the parts of a command's help.
type page struct {
	name    string // "statesync get"
	section string // "1"
	short   string // the line beside the name

	prose []string // paragraphs, with their lines
	parts []part   // in the order of the help
}

// part is a part of the help with a heading: "Flags", "Exit codes".
type part struct {
	heading string
	lines   []string // without the indentation that all of them have
}

// row is a line of a part that explains a term: a flag, a command, a file.
type row struct{ term, text string }

// parse takes the text of a help apart. A line at the margin that is followed by
// an indented one is a heading, and everything indented is below it; the rest is
// prose.
func parse(name, section, text string) *page {
	p := &page{name: name, section: section}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	var paragraph []string
	end := func() {
		if len(paragraph) > 0 {
			p.prose = append(p.prose, strings.Join(paragraph, "\n"))
			paragraph = nil
		}
	}
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		switch {
		case line == "":
			end()
		case i+1 < len(lines) && indented(lines[i+1]):
			end()
			body := i + 1
			for i+1 < len(lines) && (lines[i+1] == "" || indented(lines[i+1])) {
				i++
			}
			p.parts = append(p.parts, part{strings.TrimSuffix(line, ":"), dedent(lines[body : i+1])})
		default:
			paragraph = append(paragraph, line)
		}
	}
	end()
	// The hint at the end is for users without the manual.
	if n := len(p.prose); n > 0 && strings.HasPrefix(p.prose[n-1], `Use "`) {
		p.prose = p.prose[:n-1]
	}
	// "statesync looks at …." is both a name and what it does.
	if len(p.prose) > 0 {
		sentence, _, _ := strings.Cut(strings.ReplaceAll(p.prose[0], "\n", " ")+" ", ". ")
		if does, ok := strings.CutPrefix(sentence, name+" "); ok {
			p.short = does
		}
	}
	return p
}

func indented(line string) bool { return strings.HasPrefix(line, "  ") }

// dedent takes from each line what all of them are indented by, and the empty
// lines from the end.
func dedent(lines []string) []string {
	least := -1
	for _, line := range lines {
		if line != "" {
			n := len(line) - len(strings.TrimLeft(line, " "))
			if least < 0 || n < least {
				least = n
			}
		}
	}
	var out []string
	for _, line := range lines {
		out = append(out, strings.TrimRight(line[min(least, len(line)):], " "))
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// rows are the lines of a part that is a table: terms, two spaces or more, and
// explanations in a column. A line that begins in that column continues with the
// one above it. A part that is none has no rows.
func (p part) rows() []row {
	column := -1
	for _, line := range p.lines {
		if term, text, ok := split(line); ok && strings.TrimSpace(term) != "" {
			column = len(line) - len(text)
			break
		}
	}
	if column < 0 {
		return nil
	}
	var rows []row
	for _, line := range p.lines {
		if len(line) <= column || line[column-1] != ' ' {
			return nil
		}
		term, text := strings.TrimSpace(line[:column]), line[column:]
		switch {
		case term != "":
			rows = append(rows, row{term, text})
		case len(rows) > 0:
			rows[len(rows)-1].text += " " + strings.TrimSpace(text)
		default:
			return nil
		}
	}
	return rows
}

// split parts a line at its first gap that is not its indentation.
func split(line string) (term, text string, ok bool) {
	start := len(line) - len(strings.TrimLeft(line, " "))
	term, text, ok = strings.Cut(line[start:], "  ")
	return term, strings.TrimLeft(text, " "), ok
}

// groups are the parts that list the commands below this one, under headings of
// the command's own: what is left of the parts after the usage.
func (p *page) groups() []part {
	known := []string{"Usage", "Aliases", "Examples", "Flags", "Global Flags", "Additional help topics"}
	usage := slices.IndexFunc(p.parts, func(part part) bool { return part.heading == "Usage" })
	return slices.DeleteFunc(slices.Clone(p.parts[usage+1:]), func(part part) bool {
		return usage < 0 || slices.Contains(known, part.heading)
	})
}

// commands are those of them that have a page.
func (p *page) commands() []row {
	var found []row
	for _, group := range p.groups() {
		found = append(found, group.rows()...)
	}
	return slices.DeleteFunc(found, func(r row) bool { return r.term == "help" })
}

// hyphenated is the page's name as man(1) wants it: statesync-get.
func (p *page) hyphenated() string { return strings.ReplaceAll(p.name, " ", "-") }

// file is the page's name on disk.
func (p *page) file() string { return p.hyphenated() + "." + p.section }
