package decode

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// parseJSON reads a JSON text. It is a parser of its own because encoding/json
// gives no places, and silently repairs what is to be refused: keys that are
// there twice, lone surrogates, text that is not UTF-8.
func parseJSON(b *builder, text []byte) *tree.Node {
	p := jsonParser{builder: b, in: text, cur: newCursor(text)}
	p.space()
	if p.pos == len(p.in) {
		b.stop(tree.Pos{Line: 1, Column: 1}, tree.EmptyFile)
		return nil
	}
	root, ok := p.value()
	if !ok {
		return nil
	}
	p.space()
	if p.pos < len(p.in) {
		p.unexpected("the end of the file")
		return nil
	}
	return root
}

// jsonParser reads from in at tree.Pos. Its methods are false after a stop.
type jsonParser struct {
	*builder
	in  []byte
	pos int
	cur cursor
}

func (p *jsonParser) here() tree.Pos { return p.cur.at(p.pos) }

// peek is the next byte, 0 at the end.
func (p *jsonParser) peek() byte {
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return 0
}

func (p *jsonParser) space() {
	for p.pos < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.pos]) >= 0 {
		p.pos++
	}
}

// unexpected stops at what stands where something else should.
func (p *jsonParser) unexpected(want string) {
	rest := p.in[p.pos:]
	r, _ := utf8.DecodeRune(rest)
	switch {
	case len(rest) == 0:
		p.stop(p.here(), "the file ends where %s should be; is it cut off?", want)
	case r == '#' || r == '/' && len(rest) > 1 && (rest[1] == '/' || rest[1] == '*'):
		p.stop(p.here(), "JSON has no comments; remove it, or make the file a .yaml one")
	case r == '\'':
		p.stop(p.here(), "a single quote where %s should be; JSON's strings are in double quotes", want)
	default:
		p.stop(p.here(), "%q where %s should be", r, want)
	}
}

func (p *jsonParser) value() (*tree.Node, bool) {
	at := p.here()
	if !p.count(at, 1, 0) {
		return nil, false
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object(at)
	case c == '[':
		return p.array(at)
	case c == '"':
		s, ok := p.str()
		if !ok {
			return nil, false
		}
		return p.string(at, s), true
	case c == '-' || isDigit(c):
		return p.number(at)
	}
	switch rest := p.in[p.pos:]; {
	case bytes.HasPrefix(rest, []byte("null")):
		p.pos += 4
		return p.null(at), true
	case bytes.HasPrefix(rest, []byte("true")):
		p.pos += 4
		return p.bool(at, true), true
	case bytes.HasPrefix(rest, []byte("false")):
		p.pos += 5
		return p.bool(at, false), true
	}
	p.unexpected("a value")
	return nil, false
}

func (p *jsonParser) object(at tree.Pos) (*tree.Node, bool) {
	if !p.open(at) {
		return nil, false
	}
	p.pos++
	var fields []tree.Field
	for p.space(); p.peek() != '}'; p.space() {
		if len(fields) > 0 && !p.comma('}') {
			return nil, false
		}
		f := tree.Field{At: p.here()}
		if p.peek() != '"' {
			p.unexpected("a key in double quotes")
			return nil, false
		}
		var ok bool
		if f.Key, ok = p.str(); !ok {
			return nil, false
		}
		p.enter(f.Key)
		p.space()
		if p.peek() != ':' {
			p.unexpected("the ':' after the key")
			return nil, false
		}
		p.pos++
		p.space()
		if f.Value, ok = p.value(); !ok {
			return nil, false
		}
		p.leave()
		fields = append(fields, f)
	}
	p.pos++
	p.close()
	return p.mapping(at, fields), true
}

func (p *jsonParser) array(at tree.Pos) (*tree.Node, bool) {
	if !p.open(at) {
		return nil, false
	}
	p.pos++
	var items []*tree.Node
	for p.space(); p.peek() != ']'; p.space() {
		if len(items) > 0 && !p.comma(']') {
			return nil, false
		}
		p.enterItem(len(items))
		item, ok := p.value()
		if !ok {
			return nil, false
		}
		p.leave()
		items = append(items, item)
	}
	p.pos++
	p.close()
	return p.list(at, items), true
}

// comma passes the comma between two members, after which a closing bracket
// can't come.
func (p *jsonParser) comma(closing byte) bool {
	if p.peek() != ',' {
		p.unexpected("',' or '" + string(rune(closing)) + "'")
		return false
	}
	at := p.here()
	p.pos++
	p.space()
	if p.peek() == closing {
		p.stop(at, "a comma before '%c'; JSON has no trailing commas, remove it", closing)
		return false
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// digits passes a run of digits and says whether there was one.
func (p *jsonParser) digits() bool {
	start := p.pos
	for isDigit(p.peek()) {
		p.pos++
	}
	return p.pos > start
}

func (p *jsonParser) number(at tree.Pos) (*tree.Node, bool) {
	start, float := p.pos, false
	if p.peek() == '-' {
		p.pos++
	}
	first := p.pos
	if !p.digits() {
		p.unexpected("a digit")
		return nil, false
	}
	if p.in[first] == '0' && p.pos > first+1 {
		p.stop(at, "%s has a leading zero; remove it, or write a string", tree.Value(string(p.in[start:p.pos])))
		return nil, false
	}
	if p.peek() == '.' {
		float = true
		p.pos++
		if !p.digits() {
			p.unexpected("a digit")
			return nil, false
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		float = true
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if !p.digits() {
			p.unexpected("a digit of the exponent")
			return nil, false
		}
	}
	text := string(p.in[start:p.pos])
	if float {
		return p.float(at, text), true
	}
	return p.integer(at, text, 10), true
}

// str reads a string at its opening quote.
func (p *jsonParser) str() (string, bool) {
	start := p.pos
	p.pos++
	var out []byte // only once there is an escape
	plain := p.pos // what begins here is not yet in out
	for p.pos < len(p.in) {
		switch c := p.in[p.pos]; {
		case c == '"':
			s := p.in[plain:p.pos]
			if out != nil {
				s = append(out, s...)
			}
			p.pos++
			return string(s), p.count(p.cur.at(start), 0, len(s))
		case c == '\\':
			out = append(out, p.in[plain:p.pos]...)
			r, n, reason := unescape(p.in[p.pos:])
			if reason != "" {
				p.stop(p.here(), "%s", reason)
				return "", false
			}
			out = utf8.AppendRune(out, r)
			p.pos += n
			plain = p.pos
		case c < 0x20:
			p.stop(p.here(), "a control character (0x%02x) in a string; write it as \\u%04x", c, c)
			return "", false
		default:
			p.pos++
		}
	}
	p.stop(p.cur.at(start), "the string that begins here does not end; is the file cut off?")
	return "", false
}

// unescape reads the escape sequence at the start of b, of n bytes.
func unescape(b []byte) (r rune, n int, reason string) {
	if len(b) < 2 {
		return 0, 0, `'\' at the end of the file; is it cut off?`
	}
	if i := strings.IndexByte(`"\/bfnrt`, b[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 2, ""
	}
	if b[1] != 'u' {
		c, _ := utf8.DecodeRune(b[1:])
		return 0, 0, `JSON has no escape for ` + tree.Quoted(string(c)) + `; write a backslash as \\`
	}
	r, ok := hex4(b)
	if !ok {
		return 0, 0, `\u needs four hexadecimal digits`
	}
	if !utf16.IsSurrogate(r) {
		return r, 6, ""
	}
	low, _ := hex4(b[6:])
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0, string(b[:6]) + " is half of a surrogate pair; write the character itself"
	}
	return r, 12, ""
}

// hex4 reads \u and four digits at the start of b.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		i := strings.IndexByte("0123456789abcdef", c|0x20)
		if i < 0 || c < '0' {
			return 0, false
		}
		r = r<<4 | rune(i)
	}
	return r, true
}
