package decode

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// explain is where in the text a syntax error is, what is wrong, and what to do. The
// library highlights a byte.
func (t *tomlReader) explain(text []byte, err error) (offset int, what string) {
	var e *unstable.ParserError
	if !errors.As(err, &e) {
		return 0, "not TOML (" + tree.AboutValue(err.Error()) + ")"
	}
	offset = int(t.parser.Range(e.Highlight).Offset)
	if len(e.Highlight) == 0 {
		offset = len(text)
	}
	says := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(e.Message, part) {
				return true
			}
		}
		return false
	}
	const (
		bareKeys = "quote a key that has other characters than A-Z, a-z, 0-9, - and _"
		aString  = "put a string in quotes, and write bools as true or false"
	)
	ends := characterAt(text, offset) == lineEnd
	switch {
	case says("nested more than"):
		return offset, tree.TooDeep
	case says("unterminated", "not terminated", "cannot have new lines", "need a character after"),
		says("invalid escape") && characterAt(text, offset+1) == lineEnd:
		return openTOML(text[:offset]), `the string that begins here does not end; close it (one of several lines is between """ and """)`
	case says("is incomplete"):
		return openTOML(text), "the bracket that opens here is not closed; close it"
	case says("reached end of input"):
		return len(bytes.TrimRight(text, " \t\r\n")), lineEnd + " where a key should be; write KEY = VALUE"
	case says("at start of key", "unexpected comma in inline table"):
		return offset, characterAt(text, offset) + " where a key should be; write KEY = VALUE, and " + bareKeys
	case says("expected '=' after key"):
		offset = behindKey(text, offset)
		return offset, characterAt(text, offset) + " where '=' should be; write KEY = VALUE, and " + bareKeys
	case says("not end of input"), says("at start of value") && ends:
		if offset < len(text) && text[offset] == '=' {
			offset++
		}
		offset += len(text[offset:]) - len(bytes.TrimLeft(text[offset:], " \t"))
		return offset, lineEnd + " where a value should be; write the value, or remove the key"
	case says("expected value"):
		return offset, characterAt(text, offset) + " where a value should be; write the value, or remove the comma"
	case says("at start of value", "strings must be quoted", "expected keyword"):
		return offset, characterAt(text, offset) + " where a value should be; " + aString
	case says("to close"):
		return offset, "the name of the table is not closed; write [NAME], or [[NAME]] for one of a list, and " + bareKeys
	case says("carriage return"), says("expected newline") && ends:
		return offset, "a carriage return without a line feed; end lines with LF or CR LF"
	case says("expected newline"):
		return offset, characterAt(text, offset) + " behind the end of the value or name; begin a new line, or put the whole value in quotes"
	case says("expected ',' or ']'"):
		return offset, characterAt(text, offset) + " where ',' or ']' should be; add it, or put the value in quotes"
	case says("expected ',' or '}'"):
		return offset, characterAt(text, offset) + " where ',' or '}' should be; add it, or put the value in quotes"
	case says("leading zeroes"):
		return offset, "a number with a leading 0; remove the 0, or put the value in quotes"
	case says("underscores"):
		return offset, "an underscore in a number needs a digit on each side; remove it, or put the value in quotes"
	case says("sign is not allowed"):
		return offset, "a number with 0x, 0o or 0b has no sign; write it in decimal, or put it in quotes"
	case says("radix prefix"):
		return offset, "0x, 0o or 0b without a digit of that base; add it, or put the value in quotes"
	case says("decimal point", "exponent", "expected number", "expected digit", "expected \""):
		return offset, "an incomplete number; complete it, or put the value in quotes"
	case says("invalid escape"):
		return offset, "TOML has no escape for " + characterAt(text, offset+1) + `; write a backslash as \\, or use single quotes`
	case says("too short", "hexadecimal"):
		return bytes.LastIndexByte(text[:offset+1], '\\'), `\x needs two hexadecimal digits, \u four and \U eight; complete it, or write a backslash as \\`
	case says("code point"):
		return offset, `the escape is no character, or half of a surrogate pair; write the character itself, or \U and eight hexadecimal digits`
	case says("control characters"):
		return offset, "a control character (" + fmt.Sprintf("%U", text[offset]) + "); remove it, or write it as " + fmt.Sprintf(`\u%04x`, text[offset]) + " in double quotes"
	case says("too many quotes"):
		return offset, `more than two quotes before those that end the string; write a quote in it as \"`
	default:
		return offset, "not TOML (" + tree.AboutValue(e.Message) + "); correct it, or put the value in quotes"
	}
}

var keyEndTOML = regexp.MustCompile(`^[-_0-9A-Za-z"']$`)

// behindKey is where the '=' of the key that ends at offset is missing: the library
// stays on the key where the text ends.
func behindKey(text []byte, offset int) int {
	before := text[bytes.LastIndexByte(text[:offset], '\n')+1 : offset]
	start := bytes.TrimRight(before, " \t")
	another := len(start) < len(before) && len(start) > 0 && strings.IndexByte("{,.", start[len(start)-1]) < 0
	if !another && offset < len(text) && len(bytes.TrimSpace(text[offset+1:])) == 0 && keyEndTOML.Match(text[offset:offset+1]) {
		return offset + 1
	}
	return offset
}

const lineEnd = "the line's end"

// characterAt is the character at an offset, for a message.
func characterAt(text []byte, offset int) string {
	rest := text[min(offset, len(text)):]
	if r, _ := utf8.DecodeRune(rest); len(rest) > 0 && r != '\n' && r != '\r' {
		return fmt.Sprintf("%q", r)
	}
	return lineEnd
}

// openTOML is where the innermost string, array or inline table begins that is open at
// the end of a text.
func openTOML(text []byte) int {
	var brackets []int
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '#':
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case '"', '\'':
			n := stringTOML(text[i:])
			if n < 0 {
				return i
			}
			i += n - 1
		case '[', '{':
			brackets = append(brackets, i)
		case ']', '}':
			brackets = brackets[:max(0, len(brackets)-1)]
		}
	}
	if len(brackets) == 0 {
		return len(text)
	}
	return brackets[len(brackets)-1]
}

// stringTOML is the length of the string at the start of text, quotes included; -1 if it
// does not end.
func stringTOML(text []byte) int {
	quote := text[:1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(text, triple) {
		quote = triple
	}
	for i := len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote[0] == '"':
			i++
		case text[i] == '\n' && len(quote) == 1:
			return -1
		case bytes.HasPrefix(text[i:], quote):
			i += len(quote)
			for n := 0; len(quote) == 3 && n < 2 && i < len(text) && text[i] == quote[0]; n++ {
				i++ // up to two quotes may stand before the closing ones
			}
			return i
		}
	}
	return -1
}
