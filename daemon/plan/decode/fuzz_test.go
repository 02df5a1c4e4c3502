package decode

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v4"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

// fuzzed decodes data as a file, checks what holds for all formats, and returns
// the canonical JSON, or nil.
func fuzzed(t *testing.T, file string, data []byte) ([]byte, []*tree.Problem) {
	content, problems := canonical(file, data)
	for _, p := range problems {
		if strings.Contains(p.What, "the parser failed") || strings.ContainsAny(p.Error(), "\n\x00") || p.File != file {
			t.Errorf("problem %q", p.Error())
		}
		if n := bytes.Count(data, []byte("\n")) + 1; p.Line > n+bytes.Count(data, []byte("\r")) || p.Line == 0 && p.Column > 0 {
			t.Errorf("problem in line %d of %d", p.Line, n)
		}
	}
	if content == nil {
		if !tree.HasError(problems) {
			t.Error("neither a config nor an error")
		}
		return nil, problems
	}
	again, err := image.Canonical(content)
	if err != nil || !bytes.Equal(again, content) {
		t.Errorf("%q is not canonical: %q, %v", content, again, err)
	}
	if _, err := image.NewDocument("c", content); err != nil {
		t.Errorf("no section of %q: %v", content, err)
	}
	return content, problems
}

func addAll(f *testing.F, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
}

// FuzzJSON compares with encoding/json.
func FuzzJSON(f *testing.F) {
	addAll(f, "{}", "[]", " [1, 2.5e-3, -0, -0.0, 1e999]", `{"a":{"b":[null,true,false,"\u00e9\ud83d\ude00\\"]}}`,
		`{"a":1,"a":2}`, `{"a.b":1,"a":{"b":2}}`, `["\ud800"]`, `[18446744073709551615,18446744073709551616]`,
		"\ufeff{}", "[1,]", "{'a':1}", "/* */[]", `{"K":1,"k":2}`, "[[[[[[[[]]]]]]]]", "[\"\xff\"]")
	f.Fuzz(func(t *testing.T, data []byte) {
		content, problems := fuzzed(t, "c.json", data)
		data = bytes.TrimPrefix(data, []byte("\ufeff"))
		why := refusal(data)
		if content == nil {
			if why == "" && !strings.Contains(problems[len(problems)-1].What, "joins to the same dotted key") {
				t.Errorf("refused without a reason: %v", problems[0])
			}
			return
		}
		if why != "" {
			t.Errorf("not refused, and there is reason to: %s", why)
		}
		canonical, err := image.Canonical(data)
		if !bytes.Equal(content, canonical) {
			t.Errorf("decoded to %q, but canonical is %q, %v", content, canonical, err)
		}
		if got, want := decodeJSON(t, content), decodeJSON(t, data); !sameValue(got, want) {
			t.Errorf("decoded to %q, which is not what encoding/json reads", content)
		}
	})
}

func decodeJSON(t *testing.T, data []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Errorf("encoding/json refuses %q: %v", data, err)
	}
	return v
}

// sameValue compares values of encoding/json: integers exactly, floats as
// float64, and the two are not the same.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		if !ok {
			return false
		}
		if float := strings.ContainsAny(string(a), ".eE"); float != strings.ContainsAny(string(b), ".eE") {
			return false
		} else if float {
			x, _ := a.Float64()
			y, _ := b.Float64()
			return math.Float64bits(x) == math.Float64bits(y)
		}
		x, _ := new(big.Int).SetString(string(a), 10)
		y, _ := new(big.Int).SetString(string(b), 10)
		return x.Cmp(y) == 0
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameValue(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			if v, ok := b[k]; !ok || !sameValue(a[k], v) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(a, b)
	}
}

// FuzzYAML compares with what the library decodes of the same document, and with
// encoding/json where the text is JSON.
func FuzzYAML(f *testing.F) {
	addAll(f, "a: 1\n", "- a\n- [b, {c: d}]\n", "a: &x {b: 1}\nc: {<<: *x, d: *x}\n", "a: |\n  x\nb: >-\n  y\n",
		"a: [0x10, 0o17, 0777, 1_000, 1e3, .5, .nan, ~, 2020-01-01, 18446744073709551616]\n", "? [a]\n: b\n",
		"--- !!map\na: !!str 1\n...\n", "a: 1\n---\nb: 2\n", "a: &a [*a]\n", "%TAG ! tag:x,2000:\n---\na: !b c\n",
		"a:\n\t- b\n", "a: 'x\n  y'\n", "\"\\u00e9\\x41\": *q\n", "{a: b, c: [d", "# c\n", "a: b: c\n", "A: 1\na: 2\n", "- _0\n- .5_0\n", "0:\n-0:\n",
		"\ufeff# c\n\ufeff%YAML 1.2\n%FOO\n--- {a:, ?b: ! 12}\n... # c\n", "{\"a\": \"\\ud83d\\ude00\\/\"}\n", "a: x\r\nb: [0b1, on, 08]\r", "a: \u2028\n",
		"a\nb: 1\n", "a: 'x' y\n", "a: \"\\q\\x\"\n", "%TAG\n---\n[*a, !<b]\n", "a: >1\n\tx\n", "a: [\n---\n", "[", "[-0]")
	f.Fuzz(func(t *testing.T, data []byte) {
		content, _ := fuzzed(t, "c.yaml", data)
		if content == nil {
			return
		}
		data = bytes.TrimPrefix(data, []byte("\ufeff"))
		if json.Valid(data) {
			if got, want := decodeJSON(t, content), decodeJSON(t, data); !sameValue(got, want) {
				t.Errorf("decoded to %q, which is not what encoding/json reads", content)
			}
			return
		}
		b := &builder{report: tree.NewReport("dir", "c")}
		document, _, _ := b.yamlText(data)
		var want any
		if err := yaml.Load(document, &want); err != nil {
			if !strings.Contains(err.Error(), "excessive aliasing") {
				t.Errorf("decoded to %q, but the library says %v", content, err)
			}
			return
		}
		if got := parseYAML(b, data).Plain(); !sameYAML(got, want) {
			t.Errorf("decoded to %q, but the library reads %#v", content, want)
		}
	})
}

// sameYAML compares with what the library decodes into an any. It is lenient
// where this package differs on purpose: dates, and integers as keys.
func sameYAML(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok || len(got) != len(want) {
			return false
		}
		for k := range want {
			if v, ok := got[k]; !ok || !sameYAML(v, want[k]) {
				return false
			}
		}
		return true
	case map[any]any:
		got, ok := got.(map[string]any)
		return ok && len(got) >= len(want) // 0 and -0
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return false
		}
		for i := range want {
			if !sameYAML(got[i], want[i]) {
				return false
			}
		}
		return true
	case int:
		return got == int64(want)
	case float64:
		if u, ok := got.(uint64); ok { // +18446744073709551615
			return float64(u) == want
		}
		if i, ok := got.(int64); ok { // -0
			return i == 0 && want == 0
		}
		return got == want
	case time.Time:
		_, ok := got.(string)
		return ok
	default:
		return got == want
	}
}

// FuzzTOML compares with the library's own decoder, which has its own idea of
// tables.
func FuzzTOML(f *testing.F) {
	addAll(f, "a = 1\n", "[a]\nb.c = 1\n[[d]]\n[[d]]\n[d.e]\n", "a = {b = 1, c.d = [1, 2.5, 'x']}\n", "a = 1979-05-27 07:32:00z\n",
		"a.b = 1\n[a]\n", "[a.b]\n[a]\nb.c = 1\n", "a = \"\"\"\nx\\u00e9\"\"\"\n", "a = [1, [2, {b = 3}],\n]\n", "a = 0xff\nb = 1_0\n",
		"[[a]]\n[a.b]\n[[a]]\n[a.b]\n", "a = inf\n", "\"a.b\" = 1\n", "a = 07:32\n", "[a]\n[a]\n", "a = [{}]\n[a.b]\n")
	f.Fuzz(func(t *testing.T, data []byte) {
		content, problems := fuzzed(t, "c.toml", data)
		var want map[string]any
		err := toml.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &want)
		if content == nil {
			for _, own := range []string{"empty: ", "joins to the same", "has no counterpart", "nested more than 100", "beyond a 64-bit float"} {
				if strings.Contains(problems[len(problems)-1].What, own) {
					return
				}
			}
			if err == nil {
				t.Errorf("refused, but the library reads %v: %v", want, problems)
			}
			return
		}
		if err != nil {
			if !strings.Contains(err.Error(), "too large to fit in a 64-bit signed integer") {
				t.Errorf("decoded to %q, but the library says %v", content, err)
			}
			return
		}
		b := &builder{report: tree.NewReport("dir", "c")}
		if got := parseTOML(b, bytes.TrimPrefix(data, []byte("\ufeff"))).Plain(); !sameTOML(got, want) {
			t.Errorf("decoded to %q, but the library reads %v", content, want)
		}
	})
}

func sameTOML(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok || len(got) != len(want) {
			return false
		}
		for k := range want {
			if v, ok := got[k]; !ok || !sameTOML(v, want[k]) {
				return false
			}
		}
		return true
	case []any:
		got, ok := got.([]any)
		if !ok || len(got) != len(want) {
			return false
		}
		for i := range want {
			if !sameTOML(got[i], want[i]) {
				return false
			}
		}
		return true
	case string, int64, float64, bool:
		return got == want
	default: // dates and times
		_, ok := got.(string)
		return ok
	}
}

// refusal says why a JSON text cannot be a config, with nothing of this package's:
// "" if it can.
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
			if len(levels) > image.MaxDepth {
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

// loneSurrogate reports whether an escape sequence stands for half a pair.
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
