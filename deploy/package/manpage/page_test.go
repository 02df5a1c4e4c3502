package main

import (
	"os/exec"
	"strings"
	"testing"
)

const toolHelp = `tool does one thing. It
does it well.

It never does: another.

Exit codes
  0  well
  1  not well

Usage:
  tool [command]

Examples:
  tool run    # now

  tool \n '.x'

The things:
  run         Run it
  walk        Walk it

Additional Commands:
  help        Help about any command

Flags:
  -h, --help           help for tool
      --speed number   how fast; 0 is not
                       at all (default 1)

Use "tool [command] --help" for more information about a command.
`

func TestParse(t *testing.T) {
	p := parse("tool", "1", toolHelp)
	if p.short != "does one thing" {
		t.Errorf("the line beside the name is %q", p.short)
	}
	if len(p.prose) != 2 || p.prose[1] != "It never does: another." {
		t.Errorf("the prose is %q", p.prose)
	}
	var headings []string
	for _, part := range p.parts {
		headings = append(headings, part.heading)
	}
	if got, want := strings.Join(headings, ", "), "Exit codes, Usage, Examples, The things, Additional Commands, Flags"; got != want {
		t.Errorf("the parts are %s, want %s", got, want)
	}
	if c := p.commands(); len(c) != 2 || c[0] != (row{"run", "Run it"}) || c[1] != (row{"walk", "Walk it"}) {
		t.Errorf("the commands are %q", c)
	}
	flags := p.parts[len(p.parts)-1].rows()
	if len(flags) != 2 || flags[1] != (row{"--speed number", "how fast; 0 is not at all (default 1)"}) {
		t.Errorf("the flags are %q", flags)
	}
}

func TestRoff(t *testing.T) {
	p := parse("tool", "1", toolHelp)
	run := parse("tool run", "1", "Run it.\n")
	run.short = "Run it"
	text := string(p.roff("1.2~3", "2026-01-31", []*page{p, run}))
	for _, want := range []string{
		".TH \"TOOL\" 1 2026-01-31 \"statesync 1.2\\(ti3\" StateSync\n",
		".SH NAME\ntool \\- does one thing\n",
		".SH \"SYNOPSIS\"\n",
		".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nwell\n",
		".SH \"EXAMPLES\"\n.nf\ntool run    # now\n\ntool \\(rsn \\(aq.x\\(aq\n.fi\n",
		".TP\n\\fB\\-\\-speed number\\fR\n",
		".SH SEE ALSO\n.BR tool\\-run (1)\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "for more information") {
		t.Errorf("the page has the hint of the help:\n%s", text)
	}
	if strings.Index(text, "EXAMPLES") < strings.Index(text, "EXIT STATUS") {
		t.Errorf("the examples are not at the end:\n%s", text)
	}
}

// A line that begins with a dot would be a request of roff's.
func TestEscape(t *testing.T) {
	if got, want := escape("see\n.yaml and \\"), "see\n\\&.yaml and \\(rs"; got != want {
		t.Errorf("escape gives %q, want %q", got, want)
	}
}

// man accepts the pages without complaint.
func TestManIsContent(t *testing.T) {
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("groff is missing: install Debian's groff-base")
	}
	p := parse("tool", "1", toolHelp)
	cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-z")
	cmd.Stdin = strings.NewReader(string(p.roff("1", "2026-01-31", nil)))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
}
