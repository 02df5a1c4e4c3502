package image

import (
	"errors"
	"slices"
	"testing"
)

// laterVersion sets everything reserved in an image, as a writer of a compatible
// later version might.
func laterVersion(t *testing.T, m *Image) []uint64 {
	words := flatten(m)
	for i := headerReserved; i < headerSum; i++ {
		words[i] = 0xabcdef00 + uint64(i)
	}
	v := open(t, flatten(m))
	for i := range uint64(m.Len()) {
		entry := words[v.entriesAt+i*entryWords:]
		entry[entryKind] |= 7 << 32
		section := words[entry[entryOffset]/wordBytes:]
		section[sectionFlags/2] |= 0xffff_fffe &^ (0xff << seedShift)
		section[sectionReserved/2] |= 9 << 32
	}
	seal(words)
	return words
}

func TestReservedWordsAreIgnored(t *testing.T) {
	m := build(t, 4, "r4", []*Section{document(t, "a", `{"n": 1, "list": [1, "x"]}`), opaque(t, "b", "x")}, nil)
	later := laterVersion(t, m)
	if slices.Equal(later[:headerWords], flatten(m)[:headerWords]) {
		t.Fatal("nothing is set")
	}
	v := open(t, later)
	e, err := v.Find(HashName("a"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.Section(e)
	if err != nil {
		t.Fatal(err)
	}
	if value, err := lookup(&s, "list.1"); err != nil || value.Str() != "x" {
		t.Error(value, err)
	}
	loaded, err := loadAny(later)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(flatten(loaded), later) {
		t.Error("an image of a later version is not kept as it is")
	}
	// This version's writer continues from there.
	next := build(t, 5, "r5", []*Section{loaded.Sections()[0], opaque(t, "b", "y")}, loaded)
	again, err := loadAny(flatten(next))
	if err != nil {
		t.Fatal(err)
	}
	if got := linesOf(again); got["a"] != (line{4, "r4"}) || got["b"] != (line{5, "r5"}) {
		t.Error(got)
	}
	written := flatten(next)
	kind := written[written[headerEntries]/wordBytes+entryKind] // of a, which did not change
	if slices.Max(written[headerReserved:headerSum]) != 0 || kind != uint64(Document) {
		t.Error("a writer of this version writes what it does not know")
	}
}

func TestPaddingIsRefused(t *testing.T) {
	m := build(t, 1, "revision", []*Section{document(t, "abc", `{"a.b": [1]}`)}, nil)
	intact := flatten(m)
	v := open(t, intact)
	e, err := v.Find(HashName("abc"))
	if err != nil {
		t.Fatal(err)
	}
	record := v.revision/wordBytes + uint64(recordWords(len("revision")))
	for what, at := range map[string]uint64{
		"after the revisions":         record,
		"before the sections":         v.sectionsAt - 1,
		"after a section's name":      e.offset/wordBytes + sectionHeaderWords,
		"after a section's key bytes": (e.offset + e.length - 1) / wordBytes,
	} {
		words := slices.Clone(intact)
		words[at] |= 1 << 63
		seal(words)
		if _, err := loadAny(words); !errors.Is(err, ErrCorrupt) {
			t.Errorf("padding %s: %v", what, err)
		}
	}
}
