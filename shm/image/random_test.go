package image

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCanonicalOfRandomText(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	accepted := 0
	for range 1000 {
		text := randomValue(random, 0)
		canonical, err := Canonical(text)
		why := refusal(text)
		if (err == nil) != (why == "") {
			t.Fatalf("%q: %v, and there is reason to refuse it: %q", text, err, why)
		}
		if err == nil {
			accepted++
			checkCanonical(t, text, canonical)
			if len(text) > 2 {
				exerciseTruncated(t, text)
			}
		}
	}
	if accepted < 300 {
		t.Fatalf("only %d texts were accepted", accepted)
	}
}

// exerciseTruncated makes sure that a part of an object or array is none.
func exerciseTruncated(t *testing.T, text []byte) {
	t.Helper()
	text = bytes.TrimSpace(text)
	for n := 0; n < len(text); n += 1 + n/8 {
		if _, err := Canonical(text[:n]); err == nil {
			t.Fatalf("the first %d bytes of %q are accepted", n, text)
		}
	}
}

// randomValue is a JSON text, an object or array at the top, with white space
// and escapes, and now and then with what no config may hold.
func randomValue(random *rand.Rand, depth int) []byte {
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	space := func() string { return pick("", "", "", " ", "\n", "\t\r ") }
	str := func() string {
		var b strings.Builder
		for range random.IntN(5) {
			b.WriteString(pick("a", "b", ".", "0", "é", "😀", "\x7f", `\n`, `\u0041`, `\ud83d\ude00`, `\"`, `\\`, `\/`, `\u0000`, `\u001F`))
		}
		if random.IntN(400) == 0 {
			b.WriteString(pick("\xff", `\ud83d`, `\ude00`))
		}
		return `"` + b.String() + `"`
	}
	number := func() string {
		switch random.IntN(6) {
		case 0:
			return strconv.FormatFloat(math.Float64frombits(random.Uint64()&^(1<<62)), pick("e", "f", "g")[0], -1, 64)
		case 1:
			return pick("-0", "-0.0", "1e5", "1E-7", "0.000001", "1e21", "123456789.125e3", "-1.50")
		case 2:
			return strconv.FormatUint(random.Uint64(), 10)
		case 3:
			return strconv.FormatInt(int64(random.Uint64()), 10)
		case 4:
			if random.IntN(60) == 0 {
				return pick("18446744073709551616", "-9223372036854775809", "1e309", "-1e400")
			}
		}
		return strconv.Itoa(random.IntN(100))
	}
	var b bytes.Buffer
	kind := random.IntN(8)
	if depth == 0 {
		kind %= 2
	} else if depth > 4 {
		kind = 2 + kind%6
	}
	b.WriteString(space())
	switch kind {
	case 0, 1:
		b.WriteByte("{["[kind])
		n := random.IntN(6)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			if kind == 0 {
				b.WriteString(space() + str() + space() + ":")
			}
			b.Write(randomValue(random, depth+1))
		}
		b.WriteString(space())
		b.WriteByte("}]"[kind])
	case 2, 3:
		b.WriteString(str())
	case 4:
		b.WriteString(pick("null", "true", "false"))
	default:
		b.WriteString(number())
	}
	b.WriteString(space())
	return b.Bytes()
}

// refusal says why a text is no config, with nothing of this package's: ""
// where it is one.
func refusal(text []byte) string {
	switch trimmed := bytes.TrimLeft(text, " \t\r\n"); {
	case len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[':
		return "top level"
	case !utf8.Valid(text):
		return "UTF-8"
	case loneSurrogate(text):
		return "surrogate"
	}
	type level struct {
		object, value bool // value: the next token of the object is one, and no key
		keys          map[string]bool
	}
	var levels []level
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			if !json.Valid(text) {
				return "syntax"
			}
			return ""
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].object {
			top := &levels[n-1]
			if top.value = !top.value; top.value {
				if top.keys[token.(string)] {
					return "twice"
				}
				top.keys[token.(string)] = true
				continue
			}
		}
		switch token := token.(type) {
		case json.Delim:
			levels = append(levels, level{object: token == '{', keys: map[string]bool{}})
			if len(levels) > MaxDepth {
				return "deep"
			}
		case json.Number:
			if strings.ContainsAny(token.String(), ".eE") {
				if _, err := token.Float64(); err != nil {
					return "float64"
				}
			} else if i, _ := new(big.Int).SetString(token.String(), 10); !i.IsInt64() && !i.IsUint64() {
				return "64 bits"
			}
		}
	}
}

// loneSurrogate says whether an escape sequence stands for half a pair.
func loneSurrogate(text []byte) bool {
	unit := func(at int) (uint64, bool) {
		if at+6 > len(text) || text[at] != '\\' || text[at+1] != 'u' {
			return 0, false
		}
		u, err := strconv.ParseUint(string(text[at+2:at+6]), 16, 16)
		return u, err == nil
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		u, ok := unit(i)
		switch {
		case !ok:
			i++
		case u >= 0xd800 && u < 0xdc00:
			low, ok := unit(i + 6)
			if !ok || low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 11
		case u >= 0xdc00 && u < 0xe000:
			return true
		default:
			i += 5
		}
	}
	return false
}
