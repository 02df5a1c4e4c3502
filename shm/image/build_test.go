package image

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/shmtest"
)

// line is what TestBuildCarries says of a config: its generation of last
// change and its revision.
type line struct {
	changed  uint64
	revision string
}

func linesOf(m *Image) map[string]line {
	lines := map[string]line{}
	for c := range m.Configs() {
		lines[c.Name()] = line{c.Changed, c.Revision}
	}
	return lines
}

func TestBuildCarries(t *testing.T) {
	a1, a2 := document(t, "a", `{"n": 1}`), document(t, "a", `{"n": 2}`)
	a1again := document(t, "a", `{"n": 1}`)
	b, c := document(t, "b", `{"n": 1}`), opaque(t, "c", "x")
	cDocument := document(t, "c", `["x"]`)

	var m *Image
	for _, step := range []struct {
		what     string
		sections []*Section
		want     map[string]line
	}{
		{"new", []*Section{b, a1}, map[string]line{"a": {1, "r1"}, "b": {1, "r1"}}},
		{"one is new", []*Section{a1again, b, c}, map[string]line{"a": {1, "r1"}, "b": {1, "r1"}, "c": {2, "r2"}}},
		{"one changes", []*Section{c, b, a2}, map[string]line{"a": {3, "r3"}, "b": {1, "r1"}, "c": {2, "r2"}}},
		{"and goes back", []*Section{a1, b, c}, map[string]line{"a": {4, "r4"}, "b": {1, "r1"}, "c": {2, "r2"}}},
		{"one is deleted", []*Section{a1, c}, map[string]line{"a": {4, "r4"}, "c": {2, "r2"}}},
		{"and comes back", []*Section{a1, b, c}, map[string]line{"a": {4, "r4"}, "b": {6, "r6"}, "c": {2, "r2"}}},
		{"another kind", []*Section{a1, b, cDocument}, map[string]line{"a": {4, "r4"}, "b": {6, "r6"}, "c": {7, "r7"}}},
		{"all are deleted", nil, map[string]line{}},
		{"all come back", []*Section{a1, b}, map[string]line{"a": {9, "r9"}, "b": {9, "r9"}}},
	} {
		g := uint64(1)
		if m != nil {
			g = m.Generation() + 1
		}
		m = build(t, g, fmt.Sprintf("r%d", g), step.sections, m)
		if got := linesOf(m); !maps.Equal(got, step.want) {
			t.Fatalf("%s: %v instead of %v", step.what, got, step.want)
		}
		// What was loaded carries on as what was built does, and both say the
		// same in their bytes.
		words := flatten(m)
		loaded, err := loadAny(words)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := linesOf(loaded); !maps.Equal(got, step.want) {
			t.Fatalf("%s: %v was loaded instead of %v", step.what, got, step.want)
		}
		v := open(t, words)
		for name, want := range step.want {
			e, err := v.Find(HashName(name))
			if err != nil {
				t.Fatalf("%s: %s: %v", step.what, name, err)
			}
			revision, err := v.SectionRevision(e)
			if err != nil || (line{e.Changed, revision}) != want {
				t.Fatalf("%s: %s: the view has %d and %q instead of %v: %v", step.what, name, e.Changed, revision, want, err)
			}
		}
		m = loaded
	}
}

// TestBuildHoldsTheNewSections is about equal sections: a caller that
// passes the same one again has pointers compared and not bytes.
func TestBuildHoldsTheNewSections(t *testing.T) {
	m := build(t, 1, "r1", []*Section{document(t, "a", `{"n": 1}`)}, nil)
	given := []*Section{document(t, "a", `{"n": 1}`), document(t, "b", `[]`)}
	if m = build(t, 2, "r2", given, m); !slices.Equal(m.Sections(), given) {
		t.Fatal("the image holds other sections than it was given")
	}
}

func TestBuildIsInTheOrderOfNames(t *testing.T) {
	names := []string{"z", "a/b", "a", "a.b", "ü", "A", "a b"}
	var sections []*Section
	for _, name := range names {
		sections = append(sections, document(t, name, `[]`))
	}
	m := build(t, 1, "r", sections, nil)
	slices.Reverse(sections)
	again := build(t, 1, "r", sections, nil)
	slices.Sort(names)
	var got []string
	for c := range m.Configs() {
		got = append(got, c.Name())
	}
	if !slices.Equal(got, names) {
		t.Fatalf("%q instead of %q", got, names)
	}
	// Only the time of the publication, and with it the header's sum, may differ.
	if !slices.Equal(flatten(m)[headerWords:], flatten(again)[headerWords:]) {
		t.Fatal("the bytes depend on the order in which the sections were given")
	}
	v := open(t, flatten(m))
	for i, name := range names {
		e, err := v.Entry(i)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := v.Section(e); err != nil || s.Name() != name {
			t.Fatalf("entry %d is not that of %s: %v", i, name, err)
		}
	}
}

func TestBuildRefusesEqualNames(t *testing.T) {
	_, err := Build(1, "r", []*Section{document(t, "b", `[]`), document(t, "a", `[1]`), opaque(t, "b", "x")}, nil)
	if err == nil || !strings.Contains(err.Error(), "name b") {
		t.Fatalf("two configs of one name: %v", err)
	}
}

func TestSame(t *testing.T) {
	a, b, c := document(t, "a", `{"n": 1}`), document(t, "b", `{"n": 1}`), document(t, "c", `{"n": 1}`)
	m := build(t, 1, "r1", []*Section{a, b}, nil)
	for _, test := range []struct {
		what     string
		sections []*Section
		want     bool
	}{
		{"the same", []*Section{a, b}, true},
		{"in another order", []*Section{b, a}, true},
		{"equal ones", []*Section{document(t, "a", `{ "n" : 1 }`), b}, true},
		{"one less", []*Section{a}, false},
		{"none", nil, false},
		{"one more", []*Section{a, b, c}, false},
		{"another name", []*Section{a, c}, false},
		{"another content", []*Section{a, document(t, "b", `{"n": 2}`)}, false},
		{"another type", []*Section{a, document(t, "b", `{"n": 1.0}`)}, false},
		{"another kind", []*Section{a, opaque(t, "b", `{"n":1}`)}, false},
		{"one twice", []*Section{a, a}, false},
	} {
		if got := m.Same(test.sections); got != test.want {
			t.Errorf("%s: %v", test.what, got)
		}
	}
	if !build(t, 1, "r", nil, nil).Same(nil) {
		t.Error("nothing is not the same as nothing")
	}
}

func TestRevisions(t *testing.T) {
	long := strings.Repeat("a revision of any length, and any bytes \x00\xff; ", 300)
	var m *Image
	want := map[string]line{}
	sections := []*Section{}
	for g, revision := range []string{"", "1234567", "12345678", "123456789", long, "", "ü"} {
		name := fmt.Sprintf("c%d", g)
		sections = append(sections, document(t, name, `[]`))
		m = build(t, uint64(g+1), revision, sections, m)
		want[name] = line{uint64(g + 1), revision}
	}
	loaded, err := loadAny(flatten(m))
	if err != nil {
		t.Fatal(err)
	}
	if got := linesOf(loaded); !maps.Equal(got, want) || loaded.Revision() != "ü" {
		t.Fatalf("%v instead of %v", got, want)
	}
	if n := strings.Count(string(seqlock.BytesOf(flatten(m))), long); n != 1 {
		t.Fatalf("a revision is %d times in the image", n)
	}
}

// TestSectionsStay is about revisions that come one after the other: the sections of a
// large image stay where they are, and so in the slot.
func TestSectionsStay(t *testing.T) {
	const n = 1000
	changes := shmtest.Times(60, 20)
	var sections []*Section
	for i := range n {
		sections = append(sections, document(t, fmt.Sprintf("c%04d", i), `{"n": 0}`))
	}
	sectionsAt := func(m *Image) uint64 { return m.directory[headerSections] }
	m := build(t, 1, "the first revision", sections, nil)
	moved := 0
	for i := range changes {
		at := sectionsAt(m)
		sections[i] = document(t, fmt.Sprintf("c%04d", i), `{"n": 1}`)
		m = build(t, uint64(2+i), fmt.Sprintf("revision %064d", i), sections, m)
		if sectionsAt(m) != at {
			moved++
		}
		if loaded, err := loadAny(flatten(m)); err != nil || !slices.Equal(flatten(loaded), flatten(m)) {
			t.Fatalf("after change %d: %v", i, err)
		}
	}
	if moved > changes/10 {
		t.Errorf("%d of %d changes moved the sections", moved, changes)
	}
	room := sectionsAt(m) - m.directory[headerRevisions]
	if most := uint64(changes*(64+16+8+16) + n*entryWords*wordBytes/sectionRoom); room > most {
		t.Errorf("the revisions and the room behind them have %d bytes, more than %d", room, most)
	}

	// Where the sections begin is the writer's decision: none leaves no room in a region
	// that an earlier version wrote, and one of a later version may leave more.
	_, end := m.placeRevisions(int(m.directory[headerRevisions] / wordBytes))
	for _, at := range []int{aligned(end), aligned(end) + 5*sectionAlign} {
		if err := m.layOut(nil, at); err != nil || sectionsAt(m) != uint64(at*wordBytes) {
			t.Fatalf("the sections are at word %d, want %d: %v", sectionsAt(m)/wordBytes, at, err)
		}
		words := flatten(m)
		if loaded, err := loadAny(words); err != nil || !slices.Equal(flatten(loaded), words) {
			t.Errorf("sections at word %d, behind revisions to word %d: %v", at, end, err)
		}
		if words[at-1] = 1; end < at {
			if _, err := loadAny(words); !errors.Is(err, ErrCorrupt) {
				t.Errorf("padding that is not zero: %v", err)
			}
		}
	}
}
