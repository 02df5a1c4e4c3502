package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// plain reports whether a terminal shows r and does nothing else about it.
func plain(r rune) bool { return r != utf8.RuneError && strconv.IsPrint(r) }

// escape is s with everything that is not plain as an escape, line ends
// included, so that no text can move the cursor or pass for another line.
func escape(s string) string { return escapeBut(s, "") }

// escapeLines is escape for a text of several lines.
func escapeLines(s string) string { return escapeBut(s, "\n\t") }

func escapeBut(s, allowed string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if plain(r) || strings.ContainsRune(allowed, r) {
			b.WriteString(s[:n])
		} else {
			quoted := strconv.Quote(s[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// escapeJSON is a JSON text of the same meaning in which all that is not plain,
// line ends excepted, is an escape. Outside of strings JSON has nothing else.
func escapeJSON(text []byte) []byte {
	return escapeRunes(text, func(dst []byte, r rune) []byte {
		for _, unit := range utf16.AppendRune(nil, r) {
			dst = fmt.Appendf(dst, `\u%04x`, unit)
		}
		return dst
	})
}

func escapeRunes(text []byte, escaped func(dst []byte, r rune) []byte) []byte {
	if !bytes.ContainsFunc(text, func(r rune) bool { return !plain(r) && r != '\n' }) {
		return text
	}
	dst := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if plain(r) || r == '\n' {
			dst = append(dst, text[:n]...)
		} else {
			dst = escaped(dst, r)
		}
		text = text[n:]
	}
	return dst
}

// printJSON prints a value of this program's own as JSON, on one line or
// indented.
func printJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escapeJSON(b.Bytes()))
	return err
}

// columns is the width of the terminal that a file leads to; 0 if it leads to none, or is
// not a file.
func columns(file any) int {
	f, ok := file.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return max(1, int(size.Col))
}

// isTerminal reports whether a file leads to a terminal, which is what has a size.
func isTerminal(file any) bool { return columns(file) > 0 }

// columns is how wide the terminal of the output is; 0 if it is none.
func (a *app) columns() int { return columns(a.stdout) }

// color is how a terminal is told one.
type color string

const (
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	bold   color = "1;"
)

// paint colors a text on a terminal, unless --no-color or NO_COLOR says that there are to
// be no colors.
func (a *app) paint(w io.Writer, c color, text string) string {
	if a.noColor || a.env("NO_COLOR") != "" || !isTerminal(w) {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// size words a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// span words a time that has passed, to a precision that people read.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		d = d.Round(100 * time.Millisecond)
	case d < time.Hour:
		d = d.Round(time.Second)
	default:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.String()
}

// count words a number of things: "1 config", "3 configs".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// digits is how many hexadecimal digits of a digest a table shows.
const digits = 12

// short is a revision with its digest cut, as people know it from Git.
func short(revision string) string {
	base, end := revision, ""
	if before, ok := strings.CutSuffix(revision, overridden); ok {
		base, end = before, overridden
	}
	at := len(base)
	for at > 0 && strings.IndexByte("0123456789abcdef", base[at-1]) >= 0 {
		at--
	}
	if len(base)-at <= 2*digits {
		return escape(revision)
	}
	return escape(base[:at+digits]) + end
}

// overridden ends the revision of a content that has overrides.
const overridden = "+override"
