package image

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"a", "matchmaker", "team/matchmaker", "a/b/c", "A b", "..a", "a..", "...", "é", "a.b", "-", "~", strings.Repeat("x", MaxName),
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", "a/", "/a", "a//b", ".", "..", "a/.", "../a", "a/../b", "a\n", "\x00", "a\x7f", "\x1f", "\u0085", "\xff", "a\xc3",
		strings.Repeat("x", MaxName+1), strings.Repeat("x/", 10000),
	} {
		err := CheckName(name)
		if err == nil || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v", name, err)
		}
		for _, make := range []func() (*Section, error){
			func() (*Section, error) { return NewOpaque(name, nil) },
			func() (*Section, error) { return NewDocument(name, []byte("[]")) },
		} {
			if _, err := make(); err == nil {
				t.Errorf("%.20q: a section has this name", name)
			}
		}
	}
}

func TestSections(t *testing.T) {
	for n := range 30 { // all remainders of name and content
		name, content := strings.Repeat("n", n+1), strings.Repeat("\x00\xff", n)
		s := opaque(t, name, content)
		if s.Name() != name || string(s.Content()) != content || s.Kind() != Opaque || s.Keys() != 0 {
			t.Fatalf("%q %q %v %d", s.Name(), s.Content(), s.Kind(), s.Keys())
		}
		if s.Size()%64 != 0 || s.Size() < 32+n+1+2*n || s.Size() > 32+n+1+2*n+16+64 {
			t.Fatalf("%d bytes for a name of %d and a content of %d", s.Size(), n+1, 2*n)
		}
		if _, err := lookup(s, "n"); err != ErrNotFound {
			t.Fatal(err)
		}
		if cap(s.Content()) != len(s.Content()) {
			t.Fatal("an append to the content would go over what is behind it")
		}
	}
	if !opaque(t, "a", "x").Equal(opaque(t, "a", "x")) || opaque(t, "a", "x").Equal(opaque(t, "a", "y")) ||
		opaque(t, "a", "x").Equal(opaque(t, "b", "x")) || opaque(t, "a", "[]").Equal(document(t, "a", "[]")) {
		t.Fatal("Equal is wrong")
	}
}

func TestNewDocumentRefuses(t *testing.T) {
	for _, text := range []string{
		"", "1", `"a"`, "null", "[", "[1", "[1,", "{", `{"a"`, `{"a":`, `{"a":1`, "[1]]", "[] ", "[1]x", "[01]", "[-0]", "[1e5]", "[1.50]",
		"[+1]", "[0x1p-2]", "[Inf]", "[nan]", "[tru]", "[1_0]", `["a]`, `{1:2}`, `{"a"1}`, "[1 ]", "[.5]", "[18446744073709551616]", "[018446744073709551615]",
		strings.Repeat("[", 101) + strings.Repeat("]", 101),
	} {
		s, err := NewDocument("c", []byte(text))
		if err == nil {
			t.Errorf("%.20q: is %q", text, s.Content())
		}
		if syntax := (*SyntaxError)(nil); !errors.As(err, &syntax) || !strings.Contains(err.Error(), "config c") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	// The memory of the data is never touched, and so takes none.
	if _, err := NewOpaque("c", make([]byte, MaxSection-32)); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "config c") {
		t.Errorf("an opaque config of 1 GiB: %v", err)
	}
}

func TestStringsOfKindsAndTypes(t *testing.T) {
	if Document.String() != "document" || Opaque.String() != "opaque" || Kind(3).String() != "unknown kind" {
		t.Error("kinds have wrong names")
	}
	want := []string{"null", "bool", "int", "uint", "float", "string", "array", "object", "unknown type"}
	for i, name := range want {
		if Type(i).String() != name {
			t.Errorf("type %d is %s", i, Type(i))
		}
	}
}

func TestHostileLengths(t *testing.T) {
	const most = 1<<32 - 1
	for _, test := range []struct {
		what                                          string
		name, kind, content, keys, keyBytes, cells, n uint64 // n: words that are there beyond those, or below
		whole                                         bool
	}{
		{what: "opaque", name: 5, kind: 2, content: 9, whole: true},
		{what: "the longest name", name: 255, kind: 1, content: 2, whole: true},
		{what: "keys", name: 1, kind: 1, content: 100, keys: 2, keyBytes: 10, cells: 4, whole: true},
		{what: "a full table", name: 1, kind: 1, content: 100, keys: 4, keyBytes: 10, cells: 4, whole: true},
		{what: "no name", kind: 1, content: 2},
		{what: "a name that is too long", name: 256, kind: 1, content: 2},
		{what: "no kind", name: 1, content: 2},
		{what: "an unknown kind", name: 1, kind: 3, content: 2},
		{what: "keys without a table", name: 1, kind: 1, content: 2, keys: 1, keyBytes: 1},
		{what: "fewer cells than keys", name: 1, kind: 1, content: 2, keys: 3, keyBytes: 1, cells: 2},
		{what: "a table of three", name: 1, kind: 1, content: 2, keys: 3, keyBytes: 1, cells: 3},
		{what: "a word less", name: 1, kind: 1, content: 2, n: 1<<64 - 1},
		{what: "a word more", name: 1, kind: 1, content: 2, n: 1},
	} {
		inWords := func(bytes uint64) uint64 { return (bytes + 7) / 8 }
		size := 4 + inWords(test.name) + inWords(test.content) + test.cells/2 + 3*test.keys + inWords(test.keyBytes) + test.n
		words := make([]uint64, size)
		copy(words, []uint64{test.name | test.kind<<32, test.content | test.keys<<32, test.keyBytes | test.cells<<32})
		s, err := sectionOver(words)
		if test.whole {
			if err != nil || len(s.Name()) != int(test.name) || len(s.Content()) != int(test.content) || s.Keys() != int(test.keys) {
				t.Errorf("%s: %v, %v", test.what, s, err)
			}
			continue
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, %v", test.what, s, err)
		}
		for i := range 6 { // each of the lengths as great as it can be
			words[i/2] |= most << (i % 2 * 32)
			if s, err := sectionOver(words); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: with a length of 4 GiB: %v, %v", test.what, s, err)
			}
		}
	}
}

func TestHostileSections(t *testing.T) {
	intact := document(t, "name", `{"a": [1, "x\ny"], "b": 2.5}`)
	if _, err := sectionOver(intact.words); err != nil {
		t.Fatal(err)
	}
	for n := range len(intact.words) {
		if _, err := sectionOver(intact.words[:n:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the first %d words: %v", n, err)
		}
	}
	// Every bit flip that its hash would not show.
	words := append([]uint64(nil), intact.words...)
	for bit := range len(words) * 64 {
		words[bit/64] ^= 1 << (bit % 64)
		s, err := sectionOver(words)
		if err == nil {
			exerciseSection(t, s, "a", "a.0", "a.1", "b", "absent", "")
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		words[bit/64] ^= 1 << (bit % 64)
	}
}
