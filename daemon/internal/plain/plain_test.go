package plain

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"a.yaml:3:1: größer", 100, "a.yaml:3:1: größer"},
		{"READY=1\nMAINPID=1\x00\x1b[2J\u202e", 100, "READY=1\ufffdMAINPID=1\ufffd\ufffd[2J\ufffd"},
		{"\xff\xfea", 100, "\ufffd\ufffda"},
		{"0123456789", 10, "0123456789"},
		{"0123456789a", 10, "0123456…"},
		{"012345ßßßß", 10, "012345…"}, // the second byte of ß has no room
		{strings.Repeat("\n", 5), 10, "\ufffd\ufffd…"},
	} {
		got := Line(c.text, c.limit)
		if got != c.want || len(got) > c.limit || !utf8.ValidString(got) {
			t.Errorf("%q in %d bytes: %q of %d, want %q", c.text, c.limit, got, len(got), c.want)
		}
	}
}

func TestText(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/app":      "/etc/app",
		"":              "",
		"Ünï code.yaml": "Ünï code.yaml",
		"/etc/app\n":    `"/etc/app\n"`,
		"a\xff.yaml":    `"a\xff.yaml"`,
		"\u202e":        `"\u202e"`,
	} {
		if got := Text(path); got != want {
			t.Errorf("Text(%q) is %s, want %s", path, got, want)
		}
	}
}
