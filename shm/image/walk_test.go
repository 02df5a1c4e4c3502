package image

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// long is a document with arrays beyond what the index follows: one that is, one
// in its last indexed element, one past it, and one that is just not too long.
func long() string {
	var b strings.Builder
	numbers := func(n int) string {
		b.Reset()
		for i := range n {
			fmt.Fprintf(&b, ",%d", i*i)
		}
		return "[" + strings.TrimPrefix(b.String(), ",") + "]"
	}
	just, past := numbers(MaxElements), numbers(MaxElements+1)
	b.Reset()
	for i := range MaxElements + 30 {
		switch i {
		case MaxElements - 1:
			fmt.Fprintf(&b, `,{"in": %s, "dotted.key": 1}`, past)
		case MaxElements + 1:
			fmt.Fprintf(&b, `,{"in": %s, "dotted.key": {"x": "a\nb"}, "dotted": {"other": [null, 1.5]}, "": {"": true}}`, past)
		default:
			fmt.Fprintf(&b, `,{"name": "n%d"}`, i)
		}
	}
	return `{"just": ` + just + `, "past": [` + strings.TrimPrefix(b.String(), ",") + `], "zlast": 1}`
}

func TestElementsPastTheIndex(t *testing.T) {
	text := long()
	s := document(t, "c", text)
	if !s.cut {
		t.Fatal("the index claims to be complete")
	}
	indexed := map[string]bool{}
	for n := range s.KeyCount() {
		indexed[s.key(n)] = true
	}
	walked := 0
	eachKey(t, json.RawMessage(text), "", func(key string, value json.RawMessage) {
		past := false
		for part := range strings.SplitSeq(key, ".") {
			n, err := strconv.Atoi(part)
			past = past || err == nil && n >= MaxElements
		}
		if past == indexed[key] {
			t.Fatalf("%s is in the index: %v", key, indexed[key])
		}
		if past == (s.Find(key) != nil) {
			t.Fatalf("%s is found in the index: %v", key, !past)
		}
		if past {
			walked++
			// A walk takes its time, and most elements here are alike.
			if n := len(key); n > 12 && walked%50 != 0 && !strings.Contains(key, "dotted") && !strings.Contains(key, "..") {
				return
			}
		}
		want := want(t, value)
		if v, err := lookup(s, key); err != nil || !want.is(v) {
			t.Fatalf("%s: %v, %v instead of %v", key, v, err, want)
		}
	})
	if walked < 1000 {
		t.Fatalf("only %d keys are past the index", walked)
	}
	for _, key := range []string{
		"past.1054", "past.01025", "past.1025.in.1025", "past.1025.dotted", "past.1025.dotted.key.x.", "past.1025.", "past.1026.names",
		"past.1026.name.0", "absent", "just.1024", "zlast.0", "",
	} {
		if v, err := lookup(s, key); key == "past.1025.dotted" || key == "past.1025." {
			if err != nil || v.Type != Object {
				t.Errorf("%s: %v, %v", key, v, err)
			}
		} else if err != ErrNotFound {
			t.Errorf("%q: %v, %v", key, v, err)
		}
	}
	if s := document(t, "c", `{"just": [`+strings.Repeat("0,", MaxElements-1)+`0]}`); s.cut || s.KeyCount() != 1+MaxElements {
		t.Error("an index that follows an array to its end claims not to be complete")
	}
}

// TestKeysTooLongForTheIndex has keys at its end and past it, among others.
func TestKeysTooLongForTheIndex(t *testing.T) {
	just, past := strings.Repeat("j", MaxKey), strings.Repeat("p", MaxKey+1)
	text := `{"a":1,"` + just + `":{"x":2},"` + past + `":[3,{"y":4}],"z":5}`
	s := document(t, "c", text)
	if !s.Cut() || s.KeyCount() != 3 {
		t.Errorf("%d keys, and not all: %v", s.KeyCount(), s.Cut())
	}
	eachKey(t, json.RawMessage(text), "", func(key string, value json.RawMessage) {
		want := want(t, value)
		if v, err := lookup(s, key); err != nil || !want.is(v) {
			t.Errorf("%.20s…, %d bytes: %v, %v instead of %v", key, len(key), v, err, want)
		}
	})
	if v, err := lookup(s, past+".2"); err != ErrNotFound {
		t.Errorf("an element too many: %v, %v", v, err)
	}
	if s := document(t, "c", `{"a":1,"`+just+`":2}`); s.Cut() || s.KeyCount() != 2 {
		t.Error("an index of all keys claims not to be complete")
	}
}

// TestLoadWithACutIndex makes sure that a whole image with such an index loads.
func TestLoadWithACutIndex(t *testing.T) {
	m := build(t, 1, "r", []*Section{document(t, "a", long())}, nil)
	loaded, err := loadAny(flatten(m))
	if err != nil || !loaded.Same(m.Sections()) {
		t.Fatal(err)
	}
}

func TestWalkIsNotDeep(t *testing.T) {
	nested := newCut(t, strings.Repeat(`{"a":`, 300)+"1"+strings.Repeat("}", 300))
	if v, err := lookup(nested, "a"+strings.Repeat(".a", 98)); err != nil || v.Type != Object {
		t.Errorf("within bounds: %v, %v", v, err)
	}
	if v, err := lookup(nested, "a"+strings.Repeat(".a", 299)); err == nil {
		t.Errorf("deeper than a document can be: %v", v)
	}
}

// newCut is a section whose index says of itself that it is not complete.
func newCut(t testing.TB, content string) *Section {
	t.Helper()
	s, err := newSection("c", Document, []byte(content), &keyIndex{flags: flagCut})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
