package image

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/statesync/statesync/seqlock"
)

// maxFuzz bounds the inputs, in bytes: larger ones only take longer.
const maxFuzz = 1 << 16

// FuzzOpen reads arbitrary bytes as an image, once as they are and once with
// all sums made right.
func FuzzOpen(f *testing.F) {
	for _, words := range samples(f) {
		f.Add(seqlock.BytesOf(words), "a")
	}
	f.Add([]byte{}, "")
	f.Add(make([]byte, headerWords*wordBytes), "b")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		if len(data) > maxFuzz {
			return
		}
		words := wordsOf(data)
		exercise(t, words, name, "b")
		seal(words)
		exercise(t, words, name, "b")
	})
}

// reseeded is a document of keys that the first seed has no place for.
func reseeded(t testing.TB) *Section {
	cells := uint64(cellsFor(40))
	keys := namesWhere(40, func(hash uint64) bool { return hash%cells == 7 })
	s := document(t, "c", string(keysDocument(keys)))
	if s.seed == 0 {
		t.Fatal("the first seed has a place for them")
	}
	return s
}

// FuzzSection reads arbitrary bytes as a section whose hash was right.
func FuzzSection(f *testing.F) {
	for _, s := range []*Section{
		document(f, "c", `{"a": [1, -2, 1.5, "x", "y\n", null, true], "b": {"": {}}, "u": 18446744073709551615}`),
		document(f, "team/c", `[]`),
		opaque(f, "c", "\x00\xff"),
		newCut(f, `{"a": [{"x": 1}], "a.0": {"y": "z\u0000"}}`),
		reseeded(f),
	} {
		f.Add(seqlock.BytesOf(s.words), "a.0")
	}
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		if len(data) > maxFuzz {
			return
		}
		s, err := sectionOver(wordsOf(data))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		exerciseSection(t, s, key, "a", "a.0", "0", "")
		// As if its index were not complete.
		cut := *s
		cut.cut, cut.cells = true, nil
		exerciseSection(t, &cut, key, "a", "a.0", "0", "")
		_ = s.verifyKeys()
	})
}

// FuzzCanonical makes canonical JSON of arbitrary texts, and looks up its keys.
func FuzzCanonical(f *testing.F) {
	for _, text := range []string{
		`{"b": [1, -0, 1.0, 1e21, 18446744073709551615], "a": {"": null}}`, ` [ "\ud83d\ude00\u0041\/" , true,false ] `, `[1e999]`,
		`{"a":1,"\u0061":2}`, `["\ud83d"]`, "[\"\xff\"]", strings.Repeat("[", 101) + strings.Repeat("]", 101), `[-9223372036854775809]`, `1`, `[] []`,
		`{"a.b":1,"a":{"b":2}}`, `[-0.0,5e-324,0.000001,1E5]`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxFuzz {
			return
		}
		canonical, err := Canonical(text)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if c := canonical[0]; c != '{' && c != '[' || strings.Count(string(canonical), "[")+strings.Count(string(canonical), "{") > MaxDepth {
			_, _ = NewDocument("c", canonical) // refuses it, or not
			return
		}
		checkCanonical(t, text, canonical)
		s, err := NewDocument("c", canonical)
		if err != nil {
			return // two paths to one key, as checkCanonical made sure
		}
		elements := 0
		eachKey(t, json.RawMessage(canonical), "", func(key string, value json.RawMessage) {
			if elements++; elements > 50 {
				return
			}
			want := want(t, value)
			if v, err := lookup(s, key); err != nil || !want.is(v) {
				t.Fatalf("%q: %q: %v, %v instead of %v", text, key, v, err, want)
			}
		})
	})
}
