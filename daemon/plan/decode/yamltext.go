package decode

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// maxDirectives bounds the time for %TAG directives, which are compared with one
// another.
const maxDirectives = 100

var versionYAML = regexp.MustCompile(`^%YAML[ \t]+1\.[0-9]+[ \t]*([ \t]#.*)?$`)

// isJSON reports whether a text is one JSON object or array. It costs no memory, and
// little time for a text that is not: YAML outside of JSON rarely gets far.
func isJSON(text []byte) bool {
	start := bytes.TrimLeft(text, " \t\r\n")
	return len(start) > 0 && (start[0] == '{' || start[0] == '[') && json.Valid(text)
}

// textLines yields the lines of a text. A line ends with LF, CR LF or CR.
type textLines struct {
	text             []byte
	start, end, next int   // the line is text[start:end], and the one after it begins at next
	line             int32 // from 1
	feed             int   // where the next LF is, if not before next
}

func (l *textLines) scan() bool {
	if l.next >= len(l.text) {
		return false
	}
	l.start, l.line = l.next, l.line+1
	if l.feed < l.start || l.line == 1 { // it is not searched for at each CR anew
		l.feed = len(l.text)
		if i := bytes.IndexByte(l.text[l.start:], '\n'); i >= 0 {
			l.feed = l.start + i
		}
	}
	l.end, l.next = l.feed, min(l.feed+1, len(l.text))
	if i := bytes.IndexByte(l.text[l.start:l.feed], '\r'); i >= 0 {
		l.end = l.start + i
		if l.end+1 < l.feed || l.feed == len(l.text) {
			l.next = l.end + 1
		}
	}
	return true
}

func (l *textLines) content() []byte { return l.text[l.start:l.end] }

// textLine is the line of that number and where it begins.
func textLine(text []byte, number int) (content []byte, start int) {
	l := textLines{text: text}
	for l.scan() {
		if int(l.line) == number {
			return l.content(), l.start
		}
	}
	return nil, len(text)
}

// yamlText is what the library parses of a file: its first document, without the byte
// order marks and the directives that the library takes wrongly. Lines keep their
// numbers and characters their columns. second is where a second document begins, zero
// if none does.
//
// Lines that begin with --- or ... are never part of a value in YAML, so that documents
// are told apart without parsing them.
func (b *builder) yamlText(text []byte) (document []byte, second tree.Pos, ok bool) {
	lines := textLines{text: text}
	head, rest, ok := b.yamlHead(&lines)
	if !ok {
		return nil, second, false
	}
	document = text[rest:]
	if head != nil {
		document = append(head, document...)
	} else {
		document = text
	}
	behind := 0 // how many bytes are behind the document
	for ended := false; lines.scan(); {
		line := lines.content()
		if ended {
			if !isIdle(withoutMark(line)) && !isMarker(line, "...") {
				return document[:len(document)-behind], tree.Pos{Line: lines.line, Column: 1}, true
			}
			continue
		}
		if isMarker(line, "---") && lines.start > rest {
			return document[:len(document)-len(text)+lines.start], tree.Pos{Line: lines.line, Column: 1}, true
		}
		if !b.yamlCharacters(line, lines.line) {
			return nil, second, false
		}
		if ended = isMarker(line, "..."); ended {
			behind = len(text) - lines.next
		}
	}
	return document[:len(document)-behind], second, true
}

// yamlHead reads the lines above a document: comments, directives, byte order marks.
// head has them as the library gets them, nil if that is as they are. The document
// begins at rest, with the line that is scanned next.
func (b *builder) yamlHead(lines *textLines) (head []byte, rest int, ok bool) {
	changed, directives, version := false, 0, false
	for {
		before := *lines
		if !lines.scan() {
			break
		}
		line := lines.content()
		plain := withoutMark(line)
		at := tree.Pos{Line: lines.line, Column: 1}
		marked := len(plain) < len(line)
		changed = changed || marked
		switch {
		case isIdle(plain) || isMarker(plain, "..."):
			if !b.yamlCharacters(plain, lines.line) {
				return nil, 0, false
			}
		case plain[0] == '%':
			keep, ok := b.directive(at, plain, version)
			if !ok {
				return nil, 0, false
			}
			if directives++; directives > maxDirectives {
				b.stop(at, "more than %d directives (lines that begin with %%); remove them", maxDirectives)
				return nil, 0, false
			}
			version = version || bytes.HasPrefix(plain, []byte("%YAML"))
			if !keep { // a comment takes its place
				changed = true
				head = append(append(head, '#'), plain[1:]...)
				head = append(head, lines.text[lines.end:lines.next]...)
				continue
			}
		default:
			if directives > 0 && !isMarker(plain, "---") {
				b.stop(at, "a line --- has to be between directives (lines that begin with %%) and the document; add it, or remove them")
				return nil, 0, false
			}
			*lines = before
			rest = lines.next
			if marked {
				rest += len(byteOrderMark)
				lines.next = rest
			}
			if !changed {
				head = nil
			}
			return head, rest, true
		}
		head = append(append(head, plain...), lines.text[lines.end:lines.next]...)
	}
	if !changed {
		head = nil
	}
	return head, len(lines.text), true
}

// directive says whether the library gets a directive.
func (b *builder) directive(at tree.Pos, line []byte, version bool) (keep, ok bool) {
	name, _, _ := strings.Cut(strings.ReplaceAll(string(line), "\t", " "), " ")
	switch {
	case name == "%TAG":
		return true, true
	case name != "%YAML":
		b.report.Warning(b.place(at), "", "the directive "+tree.Shown(name)+" is not known and has no effect; remove the line")
		return false, true
	case version:
		b.stop(at, "a second %%YAML directive; keep one of them")
	case !versionYAML.Match(line):
		b.stop(at, "the directive is not %%YAML 1.2 or an earlier version; correct it, or remove the line")
	default:
		return false, true
	}
	return false, false
}

// yamlCharacters refuses what cannot stand in YAML: control characters, and a byte order
// mark inside a document. It refuses as well what ends a line in YAML 1.1 but not in 1.2.
func (b *builder) yamlCharacters(line []byte, number int32) bool {
	for i := 0; i < len(line); i++ {
		if c := line[i]; c >= ' ' && c < utf8.RuneSelf || c == '\t' {
			continue
		}
		r, n := utf8.DecodeRune(line[i:])
		what := ""
		switch {
		case r == '\ufeff':
			what = `a byte order mark (U+FEFF) inside the document; remove it, or write it as \ufeff in double quotes`
		case r == '\u0085' || r == '\u2028' || r == '\u2029':
			what = `a line separator (%U) that YAML 1.1 and 1.2 take differently; remove it, or write it as \u%04x in double quotes`
		case r < ' ' || r == '\ufffe' || r == '\uffff':
			what = `a control character (%U); remove it, or write it as \u%04x in double quotes`
		default:
			i += n - 1
			continue
		}
		at := tree.Pos{Line: number, Column: int32(utf8.RuneCount(line[:i])) + 1}
		if strings.Contains(what, "%U") {
			b.stop(at, what, r, r)
		} else {
			b.stop(at, "%s", what)
		}
		return false
	}
	return true
}

// isIdle reports whether a line is empty or a comment.
func isIdle(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	return len(line) == 0 || line[0] == '#'
}

// isMarker reports whether a line begins with --- or ..., which is of three characters.
func isMarker(line []byte, marker string) bool {
	return bytes.HasPrefix(line, []byte(marker)) && (len(line) == 3 || line[3] == ' ' || line[3] == '\t')
}
