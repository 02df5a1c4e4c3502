package tree

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
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

// Printable is s where it can stand in a log line as it is, else s quoted.
func Printable(s string) string {
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// Shown is a number, a word or another bare token of a file, for a message.
func Shown(s string) string { return Printable(Clip(s, 60)) }

// Quoted is a key or a string of a file, for a message.
func Quoted(s string) string { return strconv.Quote(Clip(s, 60)) }
