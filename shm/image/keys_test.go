package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestLookupTypes(t *testing.T) {
	s := document(t, "c", `{
		"null": null, "yes": true, "no": false,
		"zero": 0, "minus": -1, "least": -9223372036854775808, "most": 9223372036854775807,
		"uint": 9223372036854775808, "greatest": 18446744073709551615, "past53": 9007199254740993,
		"float": 1.0, "negzero": -0.0, "tiny": 5e-324, "huge": 1e21,
		"text": "plain", "none": "", "escaped": "a\"b\\\u0000\n", "unicode": "é\ud83d\ude00",
		"array": [1, [2.5, {"deep": "x"}], "s"], "empty": [], "object": {"b": 1, "a": {}}}`)
	for _, test := range []struct {
		key  string
		want Type
		text string
		bits uint64
		str  string
	}{
		{key: "null", want: Null, text: `null`},
		{key: "yes", want: Bool, text: `true`, bits: 1},
		{key: "no", want: Bool, text: `false`},
		{key: "zero", want: Int, text: `0`},
		{key: "minus", want: Int, text: `-1`, bits: math.MaxUint64},
		{key: "least", want: Int, text: `-9223372036854775808`, bits: 1 << 63},
		{key: "most", want: Int, text: `9223372036854775807`, bits: math.MaxInt64},
		{key: "uint", want: Uint, text: `9223372036854775808`, bits: 1 << 63},
		{key: "greatest", want: Uint, text: `18446744073709551615`, bits: math.MaxUint64},
		{key: "past53", want: Int, text: `9007199254740993`, bits: 9007199254740993},
		{key: "float", want: Float, text: `1.0`, bits: math.Float64bits(1)},
		{key: "negzero", want: Float, text: `-0.0`, bits: 1 << 63},
		{key: "tiny", want: Float, text: `5e-324`, bits: 1},
		{key: "huge", want: Float, text: `1e+21`, bits: math.Float64bits(1e21)},
		{key: "text", want: String, text: `"plain"`, str: "plain"},
		{key: "none", want: String, text: `""`},
		{key: "escaped", want: String, text: `"a\"b\\\u0000\n"`, str: "a\"b\\\x00\n"},
		{key: "unicode", want: String, text: `"é😀"`, str: "é😀"},
		{key: "array", want: Array, text: `[1,[2.5,{"deep":"x"}],"s"]`},
		{key: "array.0", want: Int, text: `1`, bits: 1},
		{key: "array.1", want: Array, text: `[2.5,{"deep":"x"}]`},
		{key: "array.1.0", want: Float, text: `2.5`, bits: math.Float64bits(2.5)},
		{key: "array.1.1", want: Object, text: `{"deep":"x"}`},
		{key: "array.1.1.deep", want: String, text: `"x"`, str: "x"},
		{key: "array.2", want: String, text: `"s"`, str: "s"},
		{key: "empty", want: Array, text: `[]`},
		{key: "object", want: Object, text: `{"a":{},"b":1}`},
		{key: "object.a", want: Object, text: `{}`},
		{key: "object.b", want: Int, text: `1`, bits: 1},
	} {
		v, err := lookup(s, test.key)
		if err != nil || v.Type != test.want || string(v.Text) != test.text || v.Bits != test.bits {
			t.Errorf("%s: %v %s %x, %v", test.key, v.Type, v.Text, v.Bits, err)
			continue
		}
		if k := s.Find(test.key); k == nil || k.Type() != test.want || k.Bits() != test.bits {
			t.Errorf("%s: the index has %v", test.key, k)
		}
		switch v.Type {
		case Bool:
			if v.Bool() != (test.bits == 1) {
				t.Errorf("%s: %v", test.key, v.Bool())
			}
		case Int:
			if strconv.FormatInt(v.Int(), 10) != test.text {
				t.Errorf("%s: %d", test.key, v.Int())
			}
		case Float:
			if math.Float64bits(v.Float()) != test.bits {
				t.Errorf("%s: %v", test.key, v.Float())
			}
		case String:
			if v.Str() != test.str || v.Escaped != strings.Contains(test.text, `\`) {
				t.Errorf("%s: %q", test.key, v.Str())
			}
		}
	}
	for _, key := range []string{
		"", ".", "nul", "null.", ".null", "null.0", "NULL", "array.3", "array.-1", "array.00", "array.01", "array.", "array..0",
		"array.1.1.deep.x", "empty.0", "object.", "object.c", "text.0", "0", "array\x00", strings.Repeat("x", 100000),
	} {
		if v, err := lookup(s, key); err != ErrNotFound {
			t.Errorf("%.20q: %v, %v", key, v, err)
		}
		if k := s.Find(key); k != nil {
			t.Errorf("%.20q: the index has %v", key, k)
		}
	}
	if allocated := testing.AllocsPerRun(100, func() { _, _ = lookup(s, "array.1.1.deep") }); allocated != 0 {
		t.Errorf("a look-up allocates %v times", allocated)
	}
}

// TestKeysOfAllLengths has, of each length, two keys that differ in one byte only,
// at each of its places.
func TestKeysOfAllLengths(t *testing.T) {
	for n := range 70 {
		key := bytes.Repeat([]byte("k"), n)
		s := document(t, "c", string(keysDocument([]string{string(key)})))
		if s.Find(string(key)) == nil {
			t.Errorf("a key of %d bytes is not found", n)
		}
		// With every cell leading to the key, the comparison alone tells them apart.
		for at := range n {
			key[at] = 'x'
			other := *s
			other.cells = slices.Repeat([]uint32{cellTag(HashName(string(key)))<<numberBits | 1}, 2)
			if k := other.Find(string(key)); k != nil {
				t.Errorf("a key of %d bytes is found as one that differs in byte %d", n, at)
			}
			key[at] = 'k'
		}
		// And so does the length alone: x follows a nested key in the key bytes.
		nested := document(t, "c", `{"a": {"`+string(key)+`": 1, "x": 2}}`)
		for _, text := range []string{"a." + string(key) + "a", ("a." + string(key))[:n+1]} {
			other := *nested
			other.cells = slices.Repeat([]uint32{cellTag(HashName(text))<<numberBits | 2}, 2)
			if k := other.Find(text); k != nil {
				t.Errorf("a key of %d bytes is found as one of %d", n+2, len(text))
			}
		}
	}
}

func TestOddKeys(t *testing.T) {
	for json, want := range map[string]map[string]string{
		`{"": 1}`:                                   {"": `1`},
		`{"": {"": {"": 1}}}`:                       {"": `{"":{"":1}}`, ".": `{"":1}`, "..": `1`},
		`{"": {"a": 1}, "b": {"": 2}}`:              {".a": `1`, "b.": `2`, "b": `{"":2}`},
		`{"a.b": {"c": 1}, "a": 2}`:                 {"a.b.c": `1`, "a.b": `{"c":1}`, "a": `2`},
		`{"a": {"b": 1}, "a.c": 2}`:                 {"a.b": `1`, "a.c": `2`},
		`{".": 1, "..": 2}`:                         {".": `1`, "..": `2`},
		`{"0": {"1": 2}}`:                           {"0.1": `2`},
		`[[1], {"0": 2}]`:                           {"0.0": `1`, "1.0": `2`, "0": `[1]`, "1": `{"0":2}`},
		`{"k\n\"\u0000": {"é\ud83d\ude00": 1}}`:     {"k\n\"\x00.é😀": `1`},
		`{"` + strings.Repeat("k", 70000) + `": 1}`: {strings.Repeat("k", 70000): `1`},
		`[]`: {}, `{}`: {},
	} {
		s := document(t, "c", json)
		for key, text := range want {
			if v, err := lookup(s, key); err != nil || string(v.Text) != text {
				t.Errorf("%.50s: %.50q: %s, %v", json, key, v.Text, err)
			}
		}
		if _, err := lookup(s, "absent"); err != ErrNotFound {
			t.Errorf("%.50s: %v", json, err)
		}
	}
}

func TestDuplicateKeysAreRefused(t *testing.T) {
	for text, key := range map[string]string{
		`{"a.b": 1, "a": {"b": 2}}`:               "a.b",
		`{"a": {"b.c": 1, "b": {"c": 1}}}`:        "a.b.c",
		`{"a.0": 1, "a": [2]}`:                    "a.0",
		`{"": {"": 1}, ".": 2}`:                   ".",
		`{"a": {"": 1}, "a.": 2}`:                 "a.",
		`{"x": {"a.b": {"c": 1}, "a": {"b": 2}}}`: "x.a.b",
		`[{"a.b": 1, "a": {"b": 1}}]`:             "0.a.b",
	} {
		canonical, err := Canonical([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewDocument("team/c", canonical)
		duplicate := (*DuplicateKeyError)(nil)
		if !errors.As(err, &duplicate) || duplicate.Key != key || !strings.Contains(err.Error(), "team/c") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// eachKey yields all dotted keys of a JSON text with their values' JSON, with
// nothing of this package's.
func eachKey(t testing.TB, text json.RawMessage, prefix string, yield func(key string, value json.RawMessage)) {
	t.Helper()
	switch bytes.TrimSpace(text)[0] {
	case '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		for key, value := range members {
			yield(prefix+key, value)
			eachKey(t, value, prefix+key+".", yield)
		}
	case '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(text, &elements); err != nil {
			t.Fatal(err)
		}
		for i, value := range elements {
			key := prefix + strconv.Itoa(i)
			yield(key, value)
			eachKey(t, value, key+".", yield)
		}
	}
}

// expected is what a look-up should give.
type expected struct {
	Value        // without its text
	text  string // canonical JSON
}

func (e expected) is(v Value) bool {
	return v.Type == e.Type && v.Bits == e.Bits && v.Escaped == e.Escaped && string(v.Text) == e.text
}

// want is what a look-up should give for a value's JSON.
func want(t testing.TB, value json.RawMessage) expected {
	t.Helper()
	canonical, err := Canonical(slices.Concat([]byte("["), value, []byte("]")))
	if err != nil {
		t.Fatal(err)
	}
	v := expected{text: string(canonical[1 : len(canonical)-1])}
	switch text := v.text; text[0] {
	case 'n':
		v.Type = Null
	case 't':
		v.Type, v.Bits = Bool, 1
	case 'f':
		v.Type = Bool
	case '"':
		v.Type, v.Escaped = String, strings.Contains(text, `\`)
	case '[':
		v.Type = Array
	case '{':
		v.Type = Object
	default:
		if strings.ContainsAny(text, ".e") {
			f, _ := strconv.ParseFloat(text, 64)
			v.Type, v.Bits = Float, math.Float64bits(f)
		} else if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			v.Type, v.Bits = Int, uint64(i)
		} else {
			v.Type = Uint
			v.Bits, _ = strconv.ParseUint(text, 10, 64)
		}
	}
	return v
}

// keysInOrder lists all dotted keys of a JSON text in its order, with nothing of
// this package's.
func keysInOrder(t testing.TB, text []byte) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	var keys []string
	var walk func(prefix string)
	walk = func(prefix string) {
		token, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		open, ok := token.(json.Delim)
		if !ok {
			return
		}
		for n := 0; d.More(); n++ {
			key := prefix + strconv.Itoa(n)
			if open == '{' {
				name, err := d.Token()
				if err != nil {
					t.Fatal(err)
				}
				key = prefix + name.(string)
			}
			keys = append(keys, key)
			walk(key + ".")
		}
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
	}
	walk("")
	return keys
}

func TestAllIsInTheOrderOfTheContent(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	documents := 0
	for range 300 {
		canonical, err := Canonical(randomValue(random, 0))
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewDocument("c", canonical)
		if err != nil {
			continue // two paths to one key
		}
		documents++
		var keys []string
		for key, v := range s.All() {
			keys = append(keys, key)
			if found, err := lookup(s, key); err != nil || !reflect.DeepEqual(found, v) {
				t.Fatalf("%q: %q: All has %v, Lookup %v, %v", canonical, key, v, found, err)
			}
		}
		if want := keysInOrder(t, canonical); !slices.Equal(keys, want) {
			t.Fatalf("%q: %q instead of %q", canonical, keys, want)
		}
	}
	if documents < 75 {
		t.Fatalf("only %d documents", documents)
	}
}

func TestAllCanBeLeft(t *testing.T) {
	s := document(t, "c", `{"a": [1, 2], "b": "x"}`)
	for key := range s.All() {
		if key == "a.0" {
			break
		}
		if key != "a" {
			t.Errorf("%s comes before a.0", key)
		}
	}
	for key := range opaque(t, "c", "a").All() {
		t.Errorf("an opaque config has the key %q", key)
	}
	n := 0
	if allocated := testing.AllocsPerRun(100, func() {
		for key, v := range s.All() {
			n += len(key) + len(v.Text)
		}
	}); allocated != 0 {
		t.Errorf("%d keys take %v allocations", s.KeyCount(), allocated)
	}
}

// TestAllKeysOfRandomDocuments holds index and walk against encoding/json.
func TestAllKeysOfRandomDocuments(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	documents, keys := 0, 0
	for range 600 {
		text := randomValue(random, 0)
		canonical, err := Canonical(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		checkCanonical(t, text, canonical)
		s, err := NewDocument("c", canonical)
		all := map[string]json.RawMessage{}
		twice := false
		eachKey(t, canonical, "", func(key string, value json.RawMessage) {
			_, ok := all[key]
			twice = twice || ok
			all[key] = value
		})
		if duplicate := (*DuplicateKeyError)(nil); twice != errors.As(err, &duplicate) {
			t.Fatalf("%q: %v, and a key is there twice: %v", text, err, twice)
		}
		if err != nil {
			continue
		}
		documents++
		if s.KeyCount() != len(all) {
			t.Fatalf("%q: %d keys instead of %d", text, s.KeyCount(), len(all))
		}
		for key, value := range all {
			keys++
			want := want(t, value)
			if v, err := lookup(s, key); err != nil || !want.is(v) {
				t.Fatalf("%q: %q: %v, %v instead of %v", text, key, v, err, want)
			}
			if v, err := walkTo(canonical, key); err != nil || !want.is(v) {
				t.Fatalf("%q: %q: a walk finds %v, %v instead of %v", text, key, v, err, want)
			}
			for _, absent := range []string{key + ".", key + "x", "x" + key, key + ".x"} {
				if _, ok := all[absent]; ok {
					continue
				}
				if v, err := lookup(s, absent); err != ErrNotFound {
					t.Fatalf("%q: %q: %v, %v", text, absent, v, err)
				}
				if v, err := walkTo(canonical, absent); err != ErrNotFound {
					t.Fatalf("%q: %q: a walk finds %v, %v", text, absent, v, err)
				}
			}
		}
	}
	if documents < 150 || keys < 1000 {
		t.Fatalf("only %d documents with %d keys", documents, keys)
	}
}
