package tree

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/internal/plain"
)

// Clip shortens s to about n bytes.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// DottedKey joins a path for a message, where only its beginning is of use.
func DottedKey(path []string) string {
	var key strings.Builder
	for i, part := range path {
		if i > 0 {
			key.WriteByte('.')
		}
		key.WriteString(Clip(part, 200))
		if key.Len() > 200 {
			break
		}
	}
	return Clip(key.String(), 200)
}

// Shown is a number, a word or another bare token of a file, for a message.
func Shown(s string) string { return plain.Text(Clip(s, 60)) }

// Quoted is a key or a string of a file, for a message.
func Quoted(s string) string { return strconv.Quote(Clip(s, 60)) }

// What a message quotes of a file's values stands between two characters that no
// printable text has. A Report takes them out.
const (
	valueBegins = '\ue000'
	valueEnds   = '\ue001'
)

// Value is Shown for a value, which Problem.Plain leaves out.
func Value(s string) string { return mark(Shown(s)) }

// QuotedValue is Quoted for a value, which Problem.Plain leaves out.
func QuotedValue(s string) string { return mark(Quoted(s)) }

// AboutValue is a text of a library that may quote a value, which Problem.Plain leaves
// out.
func AboutValue(s string) string { return mark(plain.Text(Clip(s, 200))) }

func mark(s string) string { return string(valueBegins) + s + string(valueEnds) }

// withValues is a message with its values, and without their marks.
func withValues(what string) string {
	return strings.Map(func(r rune) rune {
		if r == valueBegins || r == valueEnds {
			return -1
		}
		return r
	}, what)
}

// withoutValues is a message in which "the value" stands for each of its values.
func withoutValues(what string) string {
	var plain strings.Builder
	for {
		before, rest, ok := strings.Cut(what, string(valueBegins))
		plain.WriteString(before)
		if !ok {
			return plain.String()
		}
		plain.WriteString("the value")
		_, what, _ = strings.Cut(rest, string(valueEnds))
	}
}
