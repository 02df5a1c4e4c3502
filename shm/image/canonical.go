package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
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

// Canonical returns the canonical form of a JSON text as encoding/json reads it:
// of a key that occurs twice the last value counts. It is for programs that
// make configs out of their own values, as tests do; daemon/plan reads files,
// and refuses such texts with a place. Integers stay exact and apart from
// floats. Canonical refuses text that is not UTF-8, integers beyond 64 bits and
// numbers beyond a float64; NewDocument refuses nesting past MaxDepth, and a top
// level that is neither object nor array.
func Canonical(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the JSON text is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the end of the JSON value")
	}
	return appendValue(make([]byte, 0, len(text)), v)
}

// appendValue appends what encoding/json makes of a value with UseNumber.
func appendValue(dst []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return AppendString(dst, v), nil
	case json.Number:
		return appendNumber(dst, v.String())
	case []any:
		dst = append(dst, '[')
		for i, element := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendValue(dst, element); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case map[string]any:
		dst = append(dst, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendValue(append(AppendString(dst, key), ':'), v[key]); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	}
	return append(dst, "null"...), nil
}

// appendNumber appends a number in any of JSON's forms.
func appendNumber(dst []byte, text string) ([]byte, error) {
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("the number %s is beyond a float64", shorten(text))
		}
		return AppendFloat(dst, f), nil
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return strconv.AppendInt(dst, i, 10), nil
	}
	u, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %s does not fit in 64 bits", shorten(text))
	}
	return strconv.AppendUint(dst, u, 10), nil
}

// shorten keeps a message short if it quotes text from outside.
func shorten(s string) string {
	if len(s) > 60 {
		return strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
