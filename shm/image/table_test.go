package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
)

// Two names with one hash. XXH64 does not resist a search for them:
// a difference in the first eight bytes is taken back by one in the fifth.
const (
	twin      = "CAm8Pwfn-and-the-rest-is-equal--KjHK3uNc--up-to-the-end-of-names"
	otherTwin = "4MTONSvf-and-the-rest-is-equal--9F1kbK78--up-to-the-end-of-names"
)

func TestNamesWithOneHash(t *testing.T) {
	if HashName(twin) != HashName(otherTwin) {
		t.Fatal("the hash has changed")
	}
	a, b := document(t, twin, `{"n": 1}`), document(t, otherTwin, `{"n": 2}`)
	_, err := Build(1, "r", []*Section{a, document(t, "m", `[]`), b}, nil)
	if err == nil || !strings.Contains(err.Error(), twin) || !strings.Contains(err.Error(), otherTwin) {
		t.Fatalf("two names with one hash: %v", err)
	}
	// With one of them there, a search for the other one leads to it. That the
	// name is another one is for the caller to see.
	v := open(t, flatten(build(t, 1, "r", []*Section{a}, nil)))
	e, err := v.Find(HashName(otherTwin))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := v.Section(e); err != nil || s.Name() != twin {
		t.Fatal(s, err)
	}
	// A successor of the same hash is a change, though one entry has the
	// other's place.
	next := build(t, 2, "r", []*Section{b}, build(t, 1, "r", []*Section{a}, nil))
	v = open(t, flatten(next))
	if e, err := v.Find(HashName(twin)); err != nil || e.Changed != 2 {
		t.Fatal(e, err)
	}
}

// TestSectionsWithOneHash makes two contents of one hash, as it did the names:
// an equal hash is not an unchanged config.
func TestSectionsWithOneHash(t *testing.T) {
	const prime1, prime2 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
	round := func(acc, lane uint64) uint64 { return bits.RotateLeft64(acc+lane*prime2, 31) * prime1 }
	inverse := uint64(prime2) // by Newton's method
	for range 6 {
		inverse *= 2 - prime2*inverse
	}
	content := make([]byte, 7*wordBytes)
	first := opaque(t, "a", string(content))
	// The hash's second lane takes the second word of the section, which is in
	// its header, and then content[0] and content[4].
	acc := round(prime2, first.words[1])
	binary.LittleEndian.PutUint64(content, 1)
	binary.LittleEndian.PutUint64(content[4*wordBytes:], (round(acc, 0)-round(acc, 1))*inverse)
	second := opaque(t, "a", string(content))
	if first.hash != second.hash || string(first.Content()) == string(second.Content()) {
		t.Fatal("the two contents have not one hash")
	}
	if first.Equal(second) {
		t.Error("two contents of one hash are equal")
	}
	m := build(t, 1, "r1", []*Section{first}, nil)
	if m.Same([]*Section{second}) {
		t.Error("a content of the same hash is the same")
	}
	v := open(t, flatten(build(t, 2, "r2", []*Section{second}, m)))
	if e, err := v.Find(HashName("a")); err != nil || e.Changed != 2 {
		t.Error("a content of the same hash is not a change", err)
	}
}

func TestKeysWithOneHash(t *testing.T) {
	s := document(t, "c", `{"`+twin+`": 1, "`+otherTwin+`": 2, "x": 3}`)
	for key, want := range map[string]int64{twin: 1, otherTwin: 2, "x": 3} {
		if v, err := lookup(s, key); err != nil || v.Int() != want {
			t.Errorf("%s: %v, %v", key, v, err)
		}
	}
	if v, err := lookup(document(t, "c", `{"`+twin+`": 1}`), otherTwin); err != ErrNotFound {
		t.Errorf("another key of the same hash: %v, %v", v, err)
	}
}

// namesWhere are the first n names of a series for which ok holds.
func namesWhere(n int, ok func(hash uint64) bool) []string {
	var names []string
	for i := 0; len(names) < n; i++ {
		if name := fmt.Sprintf("name-%d", i); ok(HashName(name)) {
			names = append(names, name)
		}
	}
	return names
}

// checkTable makes sure that all names are found and others are not.
func checkTable(t *testing.T, names, absent []string) View {
	t.Helper()
	var sections []*Section
	for i, name := range names {
		sections = append(sections, opaque(t, name, fmt.Sprintf("[%d]", i)))
	}
	words := flatten(build(t, 9, "r", sections, nil))
	if _, err := loadAny(words); err != nil {
		t.Fatal(err)
	}
	v := open(t, words)
	for i, name := range names {
		e, err := v.Find(HashName(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s, err := v.Section(e)
		if err != nil || s.Name() != name || string(s.Content()) != fmt.Sprintf("[%d]", i) {
			t.Fatalf("%s: %v, %v", name, s, err)
		}
	}
	for _, name := range absent {
		if _, err := v.Find(HashName(name)); !errors.Is(err, ErrNotFound) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return v
}

func TestNamesPastTheirHomeLine(t *testing.T) {
	const n, ofOneLine = 200, 20
	lines := uint64(linesFor(n))
	for _, home := range []uint64{0, 7, lines - 1} { // of the last line the search continues at the first
		there := namesWhere(ofOneLine+10, func(hash uint64) bool { return lineHome(hash, lines) == home })
		far := namesWhere(n-ofOneLine, func(hash uint64) bool {
			after := (lineHome(hash, lines) + lines - home) % lines
			return after >= lineReach
		})
		v := checkTable(t, slices.Concat(there[:ofOneLine], far), there[ofOneLine:])
		if v.lines != lines || v.seed != 0 {
			t.Fatalf("%d lines with the seed %d", v.lines, v.seed)
		}
		// An absent name's search rests on all the lines that it walks: damage in
		// the last one is not 'not found'.
		last := (home + ofOneLine/lineCells) % lines
		v.words[headerWords+last*lineWords] ^= 1
		if _, err := v.Find(HashName(there[ofOneLine])); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("line %d is damaged, and an absent name is %v", last, err)
		}
	}
}

func TestNamesWithOneTag(t *testing.T) {
	// Of the names name-0, name-1 …, these are the first whose hashes have the
	// same lower halves.
	pairs := [][2]string{{"name-117599", "name-132319"}, {"name-106459", "name-132793"}}
	for _, pair := range pairs {
		if lineTag(HashName(pair[0])) != lineTag(HashName(pair[1])) || HashName(pair[0]) == HashName(pair[1]) {
			t.Fatal("the hash has changed")
		}
	}
	// Few configs share one line, so that each search meets both cells.
	checkTable(t, []string{pairs[0][0], pairs[1][0], pairs[1][1]}, []string{pairs[0][1]})
	checkTable(t, []string{pairs[0][1], pairs[0][0]}, []string{pairs[1][0], pairs[1][1]})
	// In a full one as well.
	names := slices.Concat(pairs[0][:], pairs[1][:], namesWhere(50, func(uint64) bool { return true }))
	checkTable(t, names, []string{"absent"})
}

func TestManyConfigs(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 7, 8, 10000} {
		var names, absent []string
		for i := range n {
			names = append(names, fmt.Sprintf("team-%d/config-%d", i%7, i))
		}
		for i := range 200 {
			absent = append(absent, fmt.Sprintf("team-%d/absent-%d", i%7, i))
		}
		v := checkTable(t, names, absent)
		if v.Len() != n {
			t.Errorf("%d configs instead of %d", v.Len(), n)
		}
		// A table that is fuller than half, and no search that continues for long.
		walked := 0
		for _, name := range slices.Concat(names, absent) {
			line := lineHome(reseed(HashName(name), v.seed), v.lines)
			for v.words[headerWords+line*lineWords+lineCells-1] != 0 {
				walked++
				line = (line + 1) % v.lines
			}
		}
		if lines := int(v.lines); lines > 1+n/4 || walked > (n+200)/2 {
			t.Errorf("%d configs: %d lines, and %d more walked than one each", n, lines, walked)
		}
	}
}
