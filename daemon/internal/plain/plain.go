// Package plain makes one line of plain text of what came from outside, for
// places where a line's end or a terminal's escape would mean something.
package plain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const ellipsis = "…"

// Line is text as at most limit bytes of valid UTF-8, in which everything that
// is not printable, a line's end included, is replaced by U+FFFD. An ellipsis
// stands for what is cut off.
func Line(text string, limit int) string {
	var line strings.Builder
	whole := 0 // up to where there is room for the ellipsis
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if line.Len()+utf8.RuneLen(r) > limit {
			return line.String()[:whole] + ellipsis
		}
		line.WriteRune(r)
		if line.Len()+len(ellipsis) <= limit {
			whole = line.Len()
		}
	}
	return line.String()
}

// Text is a text as it is, such as a path, or quoted where that would not show it
// faithfully on one line.
func Text(text string) string {
	odd := strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) })
	if odd || !utf8.ValidString(text) {
		return strconv.Quote(text)
	}
	return text
}

// Quote quotes a text, of which it shows 200 bytes at most.
func Quote(text string) string {
	const most = 200
	if len(text) > most {
		return fmt.Sprintf("%.*q…", most, text)
	}
	return strconv.Quote(text)
}
