package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// document is the section of a config from any JSON.
func document(t testing.TB, name, json string) *Section {
	t.Helper()
	canonical, err := Canonical([]byte(json))
	if err != nil {
		t.Fatalf("%.60s: %v", json, err)
	}
	s, err := NewDocument(name, canonical)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opaque(t testing.TB, name, data string) *Section {
	t.Helper()
	s, err := NewOpaque(name, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func build(t testing.TB, generation uint64, revision string, sections []*Section, prev *Image) *Image {
	t.Helper()
	m, err := Build(generation, revision, sections, prev)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// flatten is the image as it would lie in a slot.
func flatten(m *Image) []uint64 {
	var words []uint64
	for _, part := range m.Words() {
		words = append(words, part...)
	}
	return words
}

func open(t testing.TB, words []uint64) View {
	t.Helper()
	v, err := openAny(words)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// openAny and loadAny take an image by the generation that it says it is of.
func openAny(words []uint64) (View, error)   { return Open(words, generationOf(words)) }
func loadAny(words []uint64) (*Image, error) { return Load(words, generationOf(words)) }

func generationOf(words []uint64) uint64 {
	if len(words) < headerWords {
		return 0
	}
	return words[headerGeneration]
}

// sectionOver is parseSection into a new Section, whose hash is not known.
func sectionOver(words []uint64) (*Section, error) {
	s, err := parseSection(words, 0)
	return &s, err
}

// lookup is Lookup by value.
func lookup(s *Section, key string) (v Value, err error) {
	err = s.Lookup(&v, key)
	return v, err
}

// wordsOf is a byte sequence as an image's words; what is over is dropped.
func wordsOf(b []byte) []uint64 {
	words := make([]uint64, len(b)/wordBytes)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[i*wordBytes:])
	}
	return words
}

func TestRoundTrip(t *testing.T) {
	var sections []*Section
	for i := range 300 {
		name := fmt.Sprintf("team/config-%d", i)
		if i%10 == 0 {
			sections = append(sections, opaque(t, name, fmt.Sprintf("\x00\xff%d", i)))
			continue
		}
		sections = append(sections, document(t, name,
			fmt.Sprintf(`{"n": %d, "f": 1.0, "s": "a\"b", "a": [true, null, {"x": -1}]}`, i)))
	}
	m := build(t, 7, "dir@sha256:abc", sections, nil)
	words := flatten(m)
	if len(words)*wordBytes != m.Size() {
		t.Fatalf("the parts have %d words, and the size is %d bytes", len(words), m.Size())
	}
	loaded, err := loadAny(words)
	if err != nil {
		t.Fatal(err)
	}
	if !loaded.Same(sections) || loaded.Generation() != 7 || loaded.Revision() != "dir@sha256:abc" ||
		!loaded.Published().Equal(m.Published()) || loaded.Size() != m.Size() || loaded.Len() != 300 {
		t.Fatal("what was loaded is not what was built")
	}
	if !slices.Equal(flatten(loaded), words) {
		t.Fatal("what was loaded has other words than what was built")
	}

	v := open(t, words)
	if v.Generation() != 7 || v.Len() != 300 || !v.Published().Equal(m.Published()) {
		t.Fatal("the view's header is not that of the image")
	}
	if revision, err := v.Revision(); err != nil || revision != "dir@sha256:abc" {
		t.Fatal(revision, err)
	}
	for _, want := range sections {
		e, err := v.Find(HashName(want.Name()))
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.Section(e)
		if err != nil {
			t.Fatal(err)
		}
		if !s.Equal(want) || s.Name() != want.Name() || s.Kind() != want.Kind() ||
			string(s.Content()) != string(want.Content()) {
			t.Fatalf("%s is not what was put in: %q", want.Name(), s.Content())
		}
	}
	for i := range 3000 {
		if _, err := v.Find(HashName(fmt.Sprintf("absent-%d", i))); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
}

// TestViewIsPrivate makes sure that what a view handed out does not change with
// the memory behind it.
func TestViewIsPrivate(t *testing.T) {
	words := flatten(build(t, 1, "r", []*Section{document(t, "a", `{"k": "some text"}`)}, nil))
	v := open(t, words)
	e, err := v.Find(HashName("a"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.Section(e)
	if err != nil {
		t.Fatal(err)
	}
	clear(words)
	value, err := lookup(&s, "k")
	if err != nil || value.Str() != "some text" || s.Name() != "a" || string(s.Content()) != `{"k":"some text"}` {
		t.Fatal(value, err, s.Name(), string(s.Content()))
	}
}

func TestFewConfigs(t *testing.T) {
	for n := range 30 {
		var sections []*Section
		for i := range n {
			sections = append(sections, document(t, fmt.Sprintf("c%d", i), fmt.Sprintf(`[%d]`, i)))
		}
		words := flatten(build(t, 3, "", sections, nil))
		m, err := loadAny(words)
		if err != nil {
			t.Fatalf("%d configs: %v", n, err)
		}
		if m.Len() != n || !m.Same(sections) || m.Revision() != "" {
			t.Fatalf("%d configs were put in, and others came out", n)
		}
		v := open(t, words)
		if _, err := v.Find(HashName("d")); !errors.Is(err, ErrNotFound) {
			t.Fatalf("%d configs: %v", n, err)
		}
		if _, err := v.Entry(n); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("entry %d of %d: %v", n, n, err)
		}
	}
}
