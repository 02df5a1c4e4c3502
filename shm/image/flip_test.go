package image

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm/shmtest"
)

// flips is an image of 40 configs from several generations, with what its
// lookups have to give.
type flips struct {
	t        *testing.T
	image    *Image
	words    []uint64
	entries  map[string]Entry
	absent   []string
	sections []*Section
	touched  map[int][]string // which names' lookups look at which 64 bytes of the directory

	flipped, found, notFound, listed, refused, loaded, notLoaded int
}

func newFlips(t *testing.T) *flips {
	f := &flips{t: t, entries: map[string]Entry{}, touched: map[int][]string{}}
	for g := range uint64(4) { // of which each brings ten
		for i := range 10 {
			name := fmt.Sprintf("config-%d-%d", g, i)
			f.sections = append(f.sections, document(t, name, fmt.Sprintf(`{"n":%d}`, i)))
		}
		f.image = build(t, g+1, fmt.Sprintf("revision %d", g), f.sections, f.image)
	}
	f.words = flatten(f.image)
	v := open(t, f.words)
	for _, s := range f.sections {
		e, err := v.Find(HashName(s.Name()))
		if err != nil {
			t.Fatal(err)
		}
		f.entries[s.Name()] = e
	}
	// For each line, a name that is absent and at home there.
	homes := make([]bool, v.lines)
	for i := 0; slices.Contains(homes, false); i++ {
		name := fmt.Sprintf("absent-%d", i)
		if home := lineHome(HashName(name), v.lines); !homes[home] {
			homes[home] = true
			f.absent = append(f.absent, name)
		}
	}
	f.trace(v)
	return f
}

// trace fills touched.
func (f *flips) trace(v View) {
	note := func(name string, at, words uint64) {
		for part := at / lineWords; part <= (at+words-1)/lineWords; part++ {
			f.touched[int(part)] = append(f.touched[int(part)], name)
		}
	}
	walk := func(name string) {
		for line := lineHome(HashName(name), v.lines); ; line = (line + 1) % v.lines {
			at := headerWords + line*lineWords
			if note(name, at, lineWords); v.words[at+lineCells-1] == 0 {
				return
			}
		}
	}
	for i := range v.Len() {
		e, err := v.Entry(i)
		if err != nil {
			f.t.Fatal(err)
		}
		name := f.image.configs[i].name
		walk(name)
		note(name, v.entriesAt+uint64(i)*entryWords, entryWords)
		note(name, e.revision/wordBytes, uint64(recordWords(len(f.image.configs[i].Revision))))
	}
	for _, name := range f.absent {
		walk(name)
	}
}

// refuse reports whether err is a refusal; any other error is a wrong answer.
func (f *flips) refuse(what string, err error) bool {
	if err != nil && !errors.Is(err, ErrCorrupt) {
		f.t.Fatalf("flip %d: %s: a wrong answer: %v", f.flipped, what, err)
	}
	if err != nil {
		f.refused++
	}
	return err != nil
}

// check looks names up; each answer is right, or a refusal.
func (f *flips) check(names ...string) {
	v, err := openAny(f.words)
	if f.refuse("header", err) {
		return
	}
	if revision, err := v.Revision(); !f.refuse("the image's revision", err) && revision != f.image.Revision() {
		f.t.Fatalf("flip %d: the image's revision is %q", f.flipped, revision)
	}
	for _, name := range names {
		e, err := v.Find(HashName(name))
		want, present := f.entries[name]
		switch {
		case !present && errors.Is(err, ErrNotFound):
			f.notFound++
			continue
		case f.refuse(name, err):
			continue
		case !present:
			f.t.Fatalf("flip %d: %s is found", f.flipped, name)
		case e != want:
			f.t.Fatalf("flip %d: %s: found the entry %v instead of %v", f.flipped, name, e, want)
		}
		f.found++
		i, _ := slices.BinarySearchFunc(f.image.configs, name, func(c Config, name string) int { return strings.Compare(c.name, name) })
		c := f.image.configs[i]
		if e.Changed != c.Changed {
			f.t.Fatalf("flip %d: %s: found as changed in %d instead of %d", f.flipped, name, e.Changed, c.Changed)
		}
		if s, err := v.Section(e); !f.refuse(name, err) && !s.Equal(c.Section) {
			f.t.Fatalf("flip %d: %s: found %q", f.flipped, name, s.Content())
		}
		if revision, err := v.SectionRevision(e); !f.refuse(name, err) && revision != c.Revision {
			f.t.Fatalf("flip %d: %s: found with the revision %q", f.flipped, name, revision)
		}
	}
}

// checkList lists the configs of one generation; the list is right, or a refusal.
func (f *flips) checkList() {
	v, err := openAny(f.words)
	if f.refuse("header", err) {
		return
	}
	names, entries, err := list(&v, "config-2-")
	if f.refuse("the list", err) {
		return
	}
	f.listed++
	if len(names) != 10 {
		f.t.Fatalf("flip %d: the list is %q", f.flipped, names)
	}
	for i, name := range names {
		if want, ok := f.entries[name]; !ok || entries[i] != want {
			f.t.Fatalf("flip %d: the list is %q", f.flipped, names)
		}
	}
}

// checkAll looks up everything.
func (f *flips) checkAll() {
	f.t.Helper()
	f.check(slices.Collect(maps.Keys(f.entries))...)
	f.check(f.absent...)
}

// load is what a daemon does that attaches.
func (f *flips) load() {
	m, err := loadAny(f.words)
	if f.refuse("load", err) {
		f.notLoaded++
		return
	}
	f.loaded++
	if m.Generation() != f.image.Generation() || m.Revision() != f.image.Revision() || !m.Published().Equal(f.image.Published()) ||
		!slices.EqualFunc(m.configs, f.image.configs, func(a, b Config) bool {
			return a.Changed == b.Changed && a.Revision == b.Revision && a.Equal(b.Section)
		}) {
		f.t.Fatalf("flip %d: another image was loaded", f.flipped)
	}
}

// revisionAt reports whether a bit is in the 64 bytes of the image's own revision,
// which each check looks at.
func (f *flips) revisionAt(bit int) bool {
	v := f.image.directory[headerRevision] / wordBytes / lineWords
	return bit/64/lineWords == int(v)
}

func (f *flips) flip(bit int) { f.words[bit/64] ^= 1 << (bit % 64) }

func TestEveryBitFlipOfADirectory(t *testing.T) {
	f := newFlips(t)
	f.checkAll()
	f.checkList()
	f.load()
	if f.refused > 0 {
		t.Fatal("the image is refused as it is")
	}
	v := open(t, f.words)
	every := shmtest.Times(1, 3)
	for bit := rand.IntN(every); bit < int(v.sectionsAt)*64; bit += every {
		f.flipped++
		f.flip(bit)
		// The lookups that look at the flipped bit, and one present and one absent
		// that need not.
		touched := f.touched[bit/64/lineWords]
		f.check(touched...)
		f.checkList()
		for _, name := range []string{f.sections[f.flipped%len(f.sections)].Name(), f.absent[f.flipped%len(f.absent)]} {
			before := f.refused
			if f.check(name); f.refused > before && !slices.Contains(touched, name) && bit >= headerWords*64 && !f.revisionAt(bit) {
				t.Fatalf("flip %d: %s is refused for damage that its look-up has no business with", f.flipped, name)
			}
		}
		if bit%5 == 0 || bit < headerWords*64 {
			f.load()
		}
		f.flip(bit)
	}
	t.Logf("%d flips: %d found, %d not found, %d listed, %d refused; %d images loaded, %d not", f.flipped, f.found, f.notFound, f.listed, f.refused, f.loaded, f.notLoaded)
	if f.found == 0 || f.listed == 0 || f.listed == f.flipped || f.notFound == 0 || f.refused < f.flipped || f.notLoaded == 0 {
		t.Error("these counts are impossible")
	}
}

func TestEveryBitFlipOfASection(t *testing.T) {
	section := document(t, "matchmaker", `{"weights": {"elo": 1500, "ping": 0.5}, "pools": [{"name": "eu\nwest"}, null]}`)
	words := flatten(build(t, 1, "r", []*Section{opaque(t, "a", "x"), section, opaque(t, "z", "y")}, nil))
	v := open(t, words)
	e, err := v.Find(HashName("matchmaker"))
	if err != nil {
		t.Fatal(err)
	}
	for bit := int(e.offset) * 8; bit < int(e.offset+e.length)*8; bit++ {
		words[bit/64] ^= 1 << (bit % 64)
		if s, err := v.Section(e); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d of the section: %v, %v", bit-int(e.offset)*8, s, err)
		}
		if names, _, err := list(&v, ""); err == nil && !slices.Equal(names, []string{"a", "matchmaker", "z"}) || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("bit %d of the section: the names are %q, %v", bit-int(e.offset)*8, names, err)
		}
		if bit%50 == 0 {
			if _, err := loadAny(words); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d of the section: the image is loaded: %v", bit-int(e.offset)*8, err)
			}
		}
		words[bit/64] ^= 1 << (bit % 64)
	}
	if s, err := v.Section(e); err != nil || !s.Equal(section) {
		t.Fatal(err)
	}
}

// TestPartsOfOtherGenerations puts parts of one generation's image into that
// of another: what a write that never reached memory leaves behind.
func TestPartsOfOtherGenerations(t *testing.T) {
	f := newFlips(t)
	old := slices.Clone(f.words)
	f.image = build(t, f.image.Generation()+1, f.image.Revision(), f.sections, f.image)
	f.words = flatten(f.image)
	if len(old) != len(f.words) {
		t.Fatal("the images differ in more than their sums")
	}
	v := open(t, f.words)
	for at := headerWords; at < int(v.sectionsAt); at += lineWords {
		f.flipped++
		fresh := slices.Clone(f.words[at : at+lineWords])
		copy(f.words[at:], old[at:at+lineWords])
		if at < int(v.entriesAt)+v.Len()*entryWords && slices.Equal(fresh, f.words[at:at+lineWords]) {
			t.Errorf("line %d is the same in two generations", at/lineWords)
		}
		before := f.refused
		f.checkAll()
		f.load()
		if f.refused == before && !slices.Equal(fresh, f.words[at:at+lineWords]) {
			t.Errorf("line %d is of another generation, and nothing shows it", at/lineWords)
		}
		copy(f.words[at:], fresh)
	}
	// A part in another's place.
	for _, table := range [][2]int{{headerWords, int(v.entriesAt)}, {int(v.entriesAt), int(v.entriesAt) + v.Len()*entryWords}} {
		for at := table[0]; at+lineWords < table[1]; at += lineWords {
			f.flipped++
			here, next := f.words[at:at+lineWords], f.words[at+lineWords:at+2*lineWords]
			kept := slices.Clone(f.words[at : at+2*lineWords])
			copy(here, kept[lineWords:])
			copy(next, kept[:lineWords])
			before := f.refused
			f.checkAll()
			if f.refused == before {
				t.Errorf("the lines %d and %d were exchanged, and nothing shows it", at/lineWords, at/lineWords+1)
			}
			copy(f.words[at:], kept)
		}
	}
}

// TestRevisionsInOthersPlaces exchanges two records of one length.
func TestRevisionsInOthersPlaces(t *testing.T) {
	f := newFlips(t)
	v := open(t, f.words)
	record := func(name string) []uint64 {
		e, err := v.Find(HashName(name))
		if err != nil {
			t.Fatal(err)
		}
		return f.words[e.revision/wordBytes:][:recordWords(len("revision 0"))]
	}
	a, b := record("config-0-0"), record("config-1-0")
	kept := slices.Clone(a)
	copy(a, b)
	copy(b, kept)
	f.check("config-0-0", "config-1-0", "config-2-0")
	if f.refused != 2 {
		t.Fatalf("two revisions were exchanged, and %d were refused", f.refused)
	}
}

func TestEveryTruncation(t *testing.T) {
	f := newFlips(t)
	whole := f.words
	for n := range whole {
		f.words = whole[:n:n]
		if _, err := openAny(f.words); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("the first %d words are an image: %v", n, err)
		}
		if _, err := loadAny(f.words); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("the first %d words can be loaded: %v", n, err)
		}
		// And the same with a header that knows it.
		f.flipped = n
		f.words = slices.Clone(f.words)
		if n >= headerWords {
			f.words[headerLength] = uint64(n * wordBytes)
			f.words[headerSum] = headerSumOf(f.words)
		}
		f.checkAll()
		if _, err := loadAny(f.words); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("the first %d words can be loaded when the header says so: %v", n, err)
		}
	}
	f.words = append(slices.Clone(whole), 0)
	if _, err := openAny(f.words); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a word too many: %v", err)
	}
}
