package decode

import (
	"fmt"
	"strings"
	"testing"
)

func TestTextLines(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"a":                 "1a",
		"a\n":               "1a",
		"\n\r\r\n\n":        "1 2 3 4",
		"a\r\nb\rc\nd":      "1a 2b 3c 4d",
		"a\r\rb\r\n\r\nc\r": "1a 2 3b 4 5c",
	} {
		var got []string
		for l := (textLines{text: []byte(text)}); l.scan(); {
			got = append(got, fmt.Sprintf("%d%s", l.line, l.content()))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %s", text, got, want)
		}
	}
}
