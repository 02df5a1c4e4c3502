package image

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// MaxDepth is how deep objects and arrays of a config may be nested in one
// another.
const MaxDepth = 100

const hexDigits = "0123456789abcdef"

// AppendString appends s, which must be valid UTF-8, as canonical JSON: only
// the quote, the backslash and the control characters below 0x20 are escaped.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AppendFloat appends the finite f as canonical JSON: the shortest digits that
// read back as f, always with a '.' or an 'e', so that a float stays one.
func AppendFloat(dst []byte, f float64) []byte {
	start := len(dst)
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if !bytes.ContainsAny(dst[start:], ".e") {
		dst = append(dst, '.', '0')
	}
	return dst
}

// Canonical turns a JSON text into canonical form: no white space, keys sorted
// by their bytes, integers exact and apart from floats. It refuses, with a
// *SyntaxError, what no config may hold: duplicate keys, integers beyond 64
// bits, numbers beyond a float64, strings that are not UTF-8, lone surrogates,
// nesting past MaxDepth, and a top level that is neither object nor array.
func Canonical(text []byte) ([]byte, error) {
	p := parser{in: text, out: make([]byte, 0, len(text))}
	p.space()
	if c := p.peek(); c != '{' && c != '[' {
		return nil, p.fail("a config is an object or an array at its top")
	}
	if err := p.value(0); err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(p.in) {
		return nil, p.fail("something follows the end of the value")
	}
	return p.out, nil
}

// parser reads any JSON text from in and appends its canonical form to out.
type parser struct {
	in  []byte
	pos int
	out []byte
}

func (p *parser) fail(reason string) error { return &SyntaxError{Offset: p.pos, Reason: reason} }

// peek is the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return 0
}

func (p *parser) space() {
	for p.pos < len(p.in) {
		switch p.in[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) error {
	switch c := p.peek(); {
	case c == '{' || c == '[':
		if depth == MaxDepth {
			return p.fail("nested more than 100 deep")
		}
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case c == '"':
		s, err := p.str()
		if err != nil {
			return err
		}
		p.out = AppendString(p.out, s)
		return nil
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, word := range []string{"null", "true", "false"} {
		if bytes.HasPrefix(p.in[p.pos:], []byte(word)) {
			p.pos += len(word)
			p.out = append(p.out, word...)
			return nil
		}
	}
	return p.fail("no JSON value here")
}

func (p *parser) object(depth int) error {
	type member struct {
		key      string
		from, to int // of "key":value in out
	}
	var members []member
	p.pos++
	p.out = append(p.out, '{')
	start := len(p.out)
	for p.space(); p.peek() != '}'; p.space() {
		if len(members) > 0 {
			if p.peek() != ',' {
				return p.fail("',' or '}' expected")
			}
			p.pos++
			p.space()
			p.out = append(p.out, ',')
		}
		if p.peek() != '"' {
			return p.fail("a key in quotes expected")
		}
		key, err := p.str()
		if err != nil {
			return err
		}
		p.space()
		if p.peek() != ':' {
			return p.fail("':' expected")
		}
		p.pos++
		p.space()
		from := len(p.out)
		p.out = append(AppendString(p.out, key), ':')
		if err := p.value(depth); err != nil {
			return err
		}
		members = append(members, member{key, from, len(p.out)})
	}
	p.pos++
	byKey := func(a, b member) int { return strings.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(members, byKey) {
		slices.SortFunc(members, byKey)
		unsorted := slices.Clone(p.out[start:])
		p.out = p.out[:start]
		for i, m := range members {
			if i > 0 {
				p.out = append(p.out, ',')
			}
			p.out = append(p.out, unsorted[m.from-start:m.to-start]...)
		}
	}
	for i := 1; i < len(members); i++ {
		if key := members[i].key; key == members[i-1].key {
			return p.fail("the object that ends here has the key " + strconv.Quote(shorten(key)) + " twice")
		}
	}
	p.out = append(p.out, '}')
	return nil
}

func (p *parser) array(depth int) error {
	p.pos++
	p.out = append(p.out, '[')
	first := true
	for p.space(); p.peek() != ']'; p.space() {
		if !first {
			if p.peek() != ',' {
				return p.fail("',' or ']' expected")
			}
			p.pos++
			p.space()
			p.out = append(p.out, ',')
		}
		first = false
		if err := p.value(depth); err != nil {
			return err
		}
	}
	p.pos++
	p.out = append(p.out, ']')
	return nil
}

// digits passes over a run of digits and says how many there were.
func (p *parser) digits() int {
	start := p.pos
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.pos++
	}
	return p.pos - start
}

func (p *parser) number() error {
	start, float := p.pos, false
	if p.peek() == '-' {
		p.pos++
	}
	zero := p.peek() == '0'
	if n := p.digits(); n == 0 || zero && n > 1 {
		return p.fail("a number's digits expected, without leading zeros")
	}
	if p.peek() == '.' {
		float = true
		p.pos++
		if p.digits() == 0 {
			return p.fail("digits expected after '.'")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		float = true
		p.pos++
		if c := p.peek(); c == '+' || c == '-' {
			p.pos++
		}
		if p.digits() == 0 {
			return p.fail("digits expected in the exponent")
		}
	}
	text := string(p.in[start:p.pos])
	if float {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return &SyntaxError{Offset: start, Reason: shorten(text) + " is beyond a float64"}
		}
		p.out = AppendFloat(p.out, f)
		return nil
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		p.out = strconv.AppendInt(p.out, i, 10)
		return nil
	}
	u, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return &SyntaxError{Offset: start, Reason: shorten(text) + " does not fit in 64 bits"}
	}
	p.out = strconv.AppendUint(p.out, u, 10)
	return nil
}

// shorten keeps a message readable whose text comes from outside.
func shorten(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// str reads a string with any of JSON's escapes.
func (p *parser) str() (string, error) {
	s, n, reason := unquote(p.in[p.pos:])
	if reason != "" {
		p.pos += n
		return "", p.fail(reason)
	}
	p.pos += n
	return s, nil
}

// unquote reads the JSON string at the start of b, and says how many bytes of
// b it took; or, with a reason, how many were good. A string without escapes
// is a view into b.
func unquote(b []byte) (s string, n int, reason string) {
	end := 1
	for ; end < len(b) && b[end] != '"' && b[end] != '\\' && b[end] >= 0x20; end++ {
	}
	if end < len(b) && b[end] == '"' { // the common case: nothing is escaped
		if !utf8.Valid(b[1:end]) {
			return "", 1, "the string is not UTF-8"
		}
		return unsafe.String(&b[1], end-1), end + 1, ""
	}
	out := append([]byte(nil), b[1:min(end, len(b))]...)
	for end < len(b) {
		switch c := b[end]; {
		case c == '"':
			if !utf8.Valid(out) {
				return "", 1, "the string is not UTF-8"
			}
			return string(out), end + 1, ""
		case c < 0x20:
			return "", end, "a control character in a string must be escaped"
		case c != '\\':
			out = append(out, c)
			end++
		default:
			r, size := unescape(b[end:])
			if size == 0 {
				return "", end, "not an escape that JSON has, or half a surrogate pair"
			}
			out = utf8.AppendRune(out, r)
			end += size
		}
	}
	return "", len(b), "the string does not end"
}

// unescape reads the escape sequence at the start of b; size is 0 where it is
// none.
func unescape(b []byte) (r rune, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	if i := bytes.IndexByte([]byte(`"\/bfnrt`), b[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), 2
	}
	r = hex4(b)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if r = utf16.DecodeRune(r, hex4(b[6:])); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 reads \u and four hexadecimal digits at the start of b; -1 where it is not
// that.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	v, err := strconv.ParseUint(string(b[2:6]), 16, 32)
	if err != nil {
		return -1
	}
	return rune(v)
}
