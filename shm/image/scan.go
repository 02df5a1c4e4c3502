package image

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// scanner steps over canonical JSON, value by value. The text may come out of
// shared memory, so every byte is hostile.
type scanner struct {
	text []byte
	pos  int
}

func (s *scanner) fail(reason string) error { return &SyntaxError{Offset: s.pos, Reason: reason} }

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

// next moves to member n of an object or array, or behind its closing bracket and
// returns done. The opening bracket and the members before n are behind pos.
func (s *scanner) next(open byte, n int) (done bool, err error) {
	switch c := s.peek(); {
	case c == open+2: // '}' or ']'
		s.pos++
		return true, nil
	case n == 0:
		return false, nil
	case c != ',':
		return false, s.fail("',' or a closing bracket expected")
	}
	s.pos++
	return false, nil
}

// key passes an object's key and its colon.
func (s *scanner) key() (string, error) {
	if s.peek() != '"' {
		return "", s.fail("a key in quotes expected")
	}
	key, n, reason := unquote(s.text[s.pos:])
	if reason != "" {
		return "", s.fail(reason)
	}
	s.pos += n
	if s.peek() != ':' {
		return "", s.fail("':' expected")
	}
	s.pos++
	return key, nil
}

// scalar passes a value that is neither object nor array. Its Text is left
// empty.
func (s *scanner) scalar() (Value, error) {
	start := s.pos
	if s.peek() == '"' {
		n, escaped := stringEnd(s.text[s.pos:])
		if n == 0 {
			return Value{}, s.fail("the string does not end")
		}
		s.pos += n
		return Value{Type: String, Escaped: escaped}, nil
	}
	for s.pos < len(s.text) && s.text[s.pos] != ',' && s.text[s.pos] != ']' && s.text[s.pos] != '}' {
		s.pos++
	}
	switch word := string(s.text[start:s.pos]); word {
	case "null":
		return Value{Type: Null}, nil
	case "true":
		return Value{Type: Bool, Bits: 1}, nil
	case "false":
		return Value{Type: Bool}, nil
	default:
		v, ok := number(word)
		if !ok {
			s.pos = start
			return Value{}, s.fail("no JSON value here")
		}
		return v, nil
	}
}

// number reads a canonical number.
func number(text string) (Value, bool) {
	if strings.ContainsAny(text, ".e") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return Value{}, false
		}
		var buf [32]byte
		return Value{Type: Float, Bits: math.Float64bits(f)}, text == string(AppendFloat(buf[:0], f))
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return Value{Type: Int, Bits: uint64(i)}, text == strconv.FormatInt(i, 10)
	}
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return Value{Type: Uint, Bits: u}, text == strconv.FormatUint(u, 10)
	}
	return Value{}, false
}

// stringEnd is the length of the JSON string at the start of b with its
// quotes, 0 where it does not end, and whether it has escapes.
func stringEnd(b []byte) (n int, escaped bool) {
	for n = 1; n < len(b); n++ {
		switch b[n] {
		case '"':
			return n + 1, escaped
		case '\\':
			escaped = true
			n++
		}
	}
	return 0, false
}

// skip passes any value.
func (s *scanner) skip() error {
	if c := s.peek(); c != '{' && c != '[' {
		_, err := s.scalar()
		return err
	}
	return s.skipOpen(0)
}

// skipOpen passes bytes until depth open brackets, and those that open on the
// way, are closed.
func (s *scanner) skipOpen(depth int) error {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case '"':
			n, _ := stringEnd(s.text[s.pos:])
			if n == 0 {
				return s.fail("the string does not end")
			}
			s.pos += n - 1
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.pos++
		if depth == 0 {
			return nil
		}
	}
	return s.fail("a closing bracket expected")
}

// unquote reads the canonical JSON string at the start of b and returns how many
// bytes of b it took; or, with a reason, how many of them are valid. A string
// without escapes is a view into b.
func unquote(b []byte) (s string, n int, reason string) {
	end := 1
	for end < len(b) && b[end] != '"' && b[end] != '\\' && b[end] >= ' ' {
		end++
	}
	end = min(end, len(b))
	out := b[1:end:end] // the first append copies it
	for end < len(b) && b[end] != '"' {
		c, size := b[end], 1
		if c < ' ' {
			return "", end, "a control character in a string must be escaped"
		}
		if c == '\\' {
			if c, size = unescape(b[end:]); size == 0 {
				return "", end, "not an escape of canonical JSON"
			}
		}
		out = append(out, c)
		end += size
	}
	if end >= len(b) {
		return "", len(b), "the string does not end"
	}
	if !utf8.Valid(out) {
		return "", 1, "the string is not UTF-8"
	}
	return unsafe.String(unsafe.SliceData(out), len(out)), end + 1, ""
}

// unescape reads the escape sequence at the start of b; size is 0 if it is not
// one of those that AppendString writes.
func unescape(b []byte) (c byte, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	if i := strings.IndexByte(`"\bfnrt`, b[1]); i >= 0 {
		return "\"\\\b\f\n\r\t"[i], 2
	}
	if len(b) < 6 || b[1] != 'u' || b[2] != '0' || b[3] != '0' {
		return 0, 0
	}
	high, low := strings.IndexByte(hexDigits[:2], b[4]), strings.IndexByte(hexDigits, b[5])
	if high < 0 || low < 0 {
		return 0, 0
	}
	return byte(high<<4 | low), 6
}
