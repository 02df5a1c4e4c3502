package decode

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// explainYAML is the place of a syntax error, what is wrong, and what to do. The library
// says what it expected and where it stopped; the mistake is often where the construct
// began, or above.
func explainYAML(text []byte, err error) (at tree.Pos, what string) {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return tree.Pos{}, tree.AboutValue(err.Error())
	}
	m := yamlMistake{
		text: text, message: e.Message, context: e.ContextMsg,
		at:    tree.Pos{Line: int32(e.Mark.Line), Column: int32(e.Mark.Column)},
		began: tree.Pos{Line: int32(e.ContextMark.Line), Column: int32(e.ContextMark.Column)},
	}
	m.line, m.start = textLine(text, e.Mark.Line)
	m.ended = len(bytes.TrimSpace(text[min(m.start+len(m.before()), len(text)):])) == 0
	at, what = m.explain()
	return within(text, at), what
}

// within is a place, or the end of the text if the library counted on behind it.
func within(text []byte, at tree.Pos) tree.Pos {
	lines := textLines{text: text}
	end := tree.Pos{Line: 1, Column: 1}
	for lines.scan() {
		end = tree.Pos{Line: lines.line, Column: int32(utf8.RuneCount(lines.content())) + 1}
	}
	if at.Line > end.Line {
		return end
	}
	return at
}

// yamlMistake is an error of the library.
type yamlMistake struct {
	text             []byte
	message, context string
	at, began        tree.Pos // began: where the construct did that context names
	line             []byte   // that at is in
	start            int      // of line in text
	ended            bool     // nothing but space follows
}

const continues = "the line does not continue what is above it; check its indentation"

func (m *yamlMistake) explain() (at tree.Pos, what string) {
	says := func(part string) bool { return strings.Contains(m.message, part) }
	while := func(part string) bool { return strings.Contains(m.context, part) }
	switch {
	case says("exceeded max depth"):
		return m.at, tree.TooDeep
	case says("found unexpected end of stream"):
		return m.began, "the quoted string that begins here does not end; close it"
	case says("found unexpected document indicator"):
		return m.began, fmt.Sprintf("the quoted string that begins here does not end before line %d; close it", m.at.Line)
	case says("tab character") || says("cannot start any token") && m.token() == '\t' || says("mixed spaces and tabs"):
		return m.at, "a tab in the indentation; indent with spaces"
	case says("cannot start any token"):
		return m.at, fmt.Sprintf("a value cannot begin with %q; quote it", m.token())
	case says("did not find expected ',' or"):
		return m.unclosed()
	case says("mapping values are not allowed"):
		return m.colon()
	case says("could not find expected ':'"):
		return m.began, "no ':' after the key; write KEY: VALUE"
	case says("unknown anchor '"):
		name := strings.TrimSuffix(strings.TrimPrefix(m.message, "unknown anchor '"), "' referenced")
		return m.at, fmt.Sprintf("%s is an alias, and no anchor of that name stands above it; define the anchor, or quote the value", tree.Value("*"+name))
	case says("found undefined tag handle"):
		return m.at, "the tag's handle is defined by no %TAG directive; remove the tag, or quote a value that begins with !"
	case while("%TAG directive") || says("%TAG"):
		return tree.Pos{Line: m.at.Line, Column: 1}, "a malformed or second %TAG directive; remove the line"
	case while("a tag"):
		return m.began, "a malformed tag; remove it, or quote a value that begins with !"
	case (while("an alias") || while("an anchor")) && m.token() >= utf8.RuneSelf:
		return m.at, fmt.Sprintf("%q in the name of an alias or anchor, which can only be ASCII here; rename it, or quote the value", m.token())
	case while("an alias") || while("an anchor"):
		return m.began, fmt.Sprintf("a name has to follow the %q of an alias or anchor; add it, or quote the value", m.character(m.began))
	case while("block scalar"):
		return m.blockScalar()
	case while("quoted scalar"):
		return m.escape()
	case says("comment without preceding whitespace"):
		return m.at, "a '#' follows the value without a space; put a space before a comment, or quote the value"
	case says("block sequence entries"):
		return m.at, "a list cannot begin behind its key; begin its first '- ' on the next line, or quote the value"
	case says("mapping keys are not allowed"):
		return m.at, "a '?' begins a key here, where none can be; quote a value that begins with it"
	case says("after document-end marker"):
		return m.at, "text behind the ... that ends the document; remove it"
	case says("did not find expected node content") && m.ended:
		return m.at, "the file ends where a value should be; write the value, and close the brackets that are open"
	case says("did not find expected node content"):
		return m.at, fmt.Sprintf("%s where a value should be; write the value, or quote it", m.shown())
	case says("did not find expected '-' indicator") && m.first():
		return m.at, "the line does not continue the list above it; begin it with '- ', or check its indentation"
	case says("did not find expected key"), says("did not find expected <document start>"), says("did not find expected '-'"):
		return m.rest()
	default:
		return m.at, "not YAML (" + tree.AboutValue(m.message) + "); correct it, or quote the value"
	}
}

// unclosed explains that a list or mapping in brackets goes on in another way. Within a
// line that is the mistake; beyond it, the bracket is more likely not closed.
func (m *yamlMistake) unclosed() (tree.Pos, string) {
	closing := m.message[len(m.message)-2]
	switch {
	case m.ended:
		return m.began, fmt.Sprintf("the bracket that opens here is not closed; add the '%c'", closing)
	case m.at.Line != m.began.Line:
		return m.began, fmt.Sprintf("the bracket that opens here is not closed before %v; add the '%c', or the missing comma", m.at, closing)
	default:
		return m.at, fmt.Sprintf("%s where ',' or '%c' should be; add it, or quote the value", m.shown(), closing)
	}
}

// colon explains a ':' where no key can be: behind another one, below a value, or below
// a key that has none of its own.
func (m *yamlMistake) colon() (tree.Pos, string) {
	before := m.before()
	if hasColon(before) {
		return m.at, "a second ':' in the line; quote the value, or write its keys on lines of their own"
	}
	var flow *yaml.LoadError // a bracket that the lines above leave open
	if _, err := loadYAML(m.text[:m.start]); errors.As(err, &flow) && strings.Contains(flow.Message, "did not find expected ',' or") {
		return tree.Pos{Line: int32(flow.ContextMark.Line), Column: int32(flow.ContextMark.Column)},
			fmt.Sprintf("the bracket that opens here is not closed before line %d; add the '%c', or the missing comma", m.at.Line, flow.Message[len(flow.Message)-2])
	}
	above, top := tree.Pos{}, tree.Pos{} // the key above, and the first line between it and this one
	for lines := (textLines{text: m.text[:m.start]}); lines.scan(); {
		line := lines.content()
		begins := tree.Pos{Line: lines.line, Column: int32(len(line)-len(bytes.TrimLeft(line, " -"))) + 1}
		switch {
		case len(bytes.TrimSpace(line)) == 0:
		case isIdle(line) || isMarker(line, "---"):
			above, top = tree.Pos{}, tree.Pos{}
		case hasColon(line):
			above, top = begins, tree.Pos{}
		case top.Line == 0:
			top = begins
		}
	}
	here := tree.Pos{Line: m.at.Line, Column: int32(len(before)-len(bytes.TrimLeft(before, " -"))) + 1}
	switch {
	case top.Line > 0 && (above.Line == 0 || top.Column <= above.Column):
		return top, "no ':' after the key; write KEY: VALUE"
	case above.Line > 0 && here.Column > above.Column:
		return here, fmt.Sprintf("a key inside the value of the key in line %d; check the indentation, or quote the value", above.Line)
	default:
		return m.at, "a ':' where it has no meaning; quote the text before or after it"
	}
}

// hasColon reports whether a ':' ends a key in a line.
func hasColon(line []byte) bool {
	line = bytes.TrimRight(line, " \t")
	return bytes.HasSuffix(line, []byte(":")) || bytes.Contains(line, []byte(": ")) || bytes.Contains(line, []byte(":\t"))
}

// rest explains what stands where a line should end or another key should begin.
func (m *yamlMistake) rest() (tree.Pos, string) {
	token := m.token()
	switch {
	case token == '}' || token == ']':
		return m.at, fmt.Sprintf("the bracket '%c' closes none; remove it, or quote the value", token)
	case m.first():
		return m.at, continues
	case token == '&' || token == '!':
		return m.at, fmt.Sprintf("a second tag or anchor (%q) before one value; remove it, or quote the value", token)
	case bytes.ContainsRune(m.before(), '\''):
		return m.at, fmt.Sprintf("%s behind the end of the value; remove it, or quote the whole value (in single quotes, write ' as '')", m.shown())
	default:
		return m.at, fmt.Sprintf("%s behind the end of the value; remove it, or quote the whole value", m.shown())
	}
}

func (m *yamlMistake) blockScalar() (tree.Pos, string) {
	if strings.Contains(m.message, "indentation indicator") {
		return m.at, "the digit behind | or > says how far the text is indented, 1 to 9; correct or remove it"
	}
	return m.at, "text behind | or >; begin it on the next line"
}

// escape explains an escape sequence in double quotes. The library stops at it, or
// behind its first two characters.
func (m *yamlMistake) escape() (tree.Pos, string) {
	at := m.at
	switch {
	case strings.Contains(m.message, "unknown escape"):
		at.Column++
		escaped := tree.Quoted(string(m.character(at)))
		return m.at, `double quotes have no escape for ` + escaped + `; write a backslash as \\, or use single quotes`
	case strings.Contains(m.message, "hexadecimal"):
		at.Column -= 2
		return at, `\x needs two hexadecimal digits, \u four and \U eight; complete it, or write a backslash as \\`
	case strings.Contains(m.message, "escape code"):
		at.Column -= 2
		return at, `the escape is no character, or half of a surrogate pair; write the character itself, or \U and eight hexadecimal digits`
	default:
		return at, "not YAML (" + tree.AboutValue(m.message) + "); correct it, or quote the value"
	}
}

// before is what stands in the line before the place of the error.
func (m *yamlMistake) before() []byte {
	rest := m.line
	for n := int32(1); n < m.at.Column && len(rest) > 0; n++ {
		_, size := utf8.DecodeRune(rest)
		rest = rest[size:]
	}
	return m.line[:len(m.line)-len(rest)]
}

// first reports whether the place of the error is where its line begins.
func (m *yamlMistake) first() bool { return len(bytes.TrimSpace(m.before())) == 0 }

// token is the character at the place of the error, 0 at the end of a line.
func (m *yamlMistake) token() rune {
	rest := m.line[len(m.before()):]
	if len(rest) == 0 {
		return 0
	}
	r, _ := utf8.DecodeRune(rest)
	return r
}

// character is the one at a place of the text, 0 at the end of a line.
func (m *yamlMistake) character(at tree.Pos) rune {
	other := yamlMistake{at: at}
	other.line, _ = textLine(m.text, int(at.Line))
	return other.token()
}

func (m *yamlMistake) shown() string {
	if token := m.token(); token != 0 {
		return fmt.Sprintf("%q", token)
	}
	return "the line's end"
}
