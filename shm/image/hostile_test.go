package image

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// seal makes all sums in an image's words right, as far as its parts are within
// bounds: what is left of the checks is what stands between a hostile writer
// and a reader.
func seal(words []uint64) {
	if len(words) < headerWords {
		return
	}
	words[headerMagic] = magic
	words[headerLength] = uint64(len(words) * wordBytes)
	words[headerSum] = headerSumOf(words)
	size, generation := uint64(len(words)), words[headerGeneration]
	part := func(at, n uint64) []uint64 {
		if at > size || n > size-at {
			return nil
		}
		return words[at : at+n]
	}
	record := func(offset uint64) {
		at := offset / wordBytes
		if length := part(at, 1); length != nil && length[0] < size*wordBytes {
			if r := part(at, uint64(recordWords(int(length[0])))); r != nil {
				r[len(r)-1] = revisionSum(r[:len(r)-1], generation, offset)
			}
		}
	}
	record(words[headerRevision])
	for i := range min(words[headerCounts]&0xffffffff, size) {
		e := part(words[headerEntries]/wordBytes+i*entryWords, entryWords)
		if e == nil {
			break
		}
		record(e[entryRevision])
		if s := part(e[entryOffset]/wordBytes, e[entryLength]/wordBytes); s != nil {
			e[entryHash] = xxhash.Sum64(seqlock.BytesOf(s))
		}
		e[entrySum] = seededSum((*[7]uint64)(e), generation, i)
	}
	for i := range min(words[headerCounts]>>32, size) {
		l := part(headerWords+i*lineWords, lineWords)
		if l == nil {
			break
		}
		l[lineCells] = seededSum((*[7]uint64)(l), generation, i)
	}
}

func headerSumOf(words []uint64) uint64 { return xxhash.Sum64(seqlock.BytesOf(words[:headerSum])) }

// exercise does all that a reader can do with an image of any bytes, and makes
// sure that it ends with an answer or an error of this package's.
func exercise(t *testing.T, words []uint64, names ...string) {
	t.Helper()
	check := func(err error) bool {
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
			t.Fatalf("neither corrupt nor not found: %v", err)
		}
		return err == nil
	}
	v, err := openAny(words)
	if !check(err) {
		return
	}
	_, err = v.Revision()
	check(err)
	follow := func(e Entry, err error) {
		if !check(err) {
			return
		}
		_, err = v.SectionRevision(e)
		check(err)
		if s, err := v.Section(e); check(err) {
			exerciseSection(t, &s, "n", "a.0", "")
		}
	}
	for _, name := range names {
		follow(v.Find(HashName(name)))
	}
	for i := range min(v.Len(), 100) {
		follow(v.Entry(i))
	}
	for _, prefix := range append([]string{"", "a"}, names...) {
		got, entries, err := list(&v, prefix)
		if !check(err) && len(got) > v.Len() || !slices.IsSorted(got) {
			t.Fatalf("%q: %q", prefix, got)
		}
		for i, e := range entries {
			if !strings.HasPrefix(got[i], prefix) {
				t.Fatalf("%q: %q", prefix, got)
			}
			if s, err := v.Section(e); check(err) && s.Name() != got[i] {
				t.Fatalf("the name is %q, and that of its section %q", got[i], s.Name())
			}
		}
	}
	m, err := loadAny(words)
	if !check(err) {
		return
	}
	again, err := loadAny(flatten(m))
	if err != nil || !again.Same(m.Sections()) || again.Revision() != m.Revision() {
		t.Fatalf("what was loaded is refused when it is stored again: %v", err)
	}
}

// exerciseSection does all that a reader can do with a section.
func exerciseSection(t *testing.T, s *Section, keys ...string) {
	t.Helper()
	for key, v := range s.All() {
		if len(keys) < 100 {
			keys = append(keys, key)
		}
		if v.Type >= types || len(key) > s.Size() || len(v.Text) > s.Size() {
			t.Fatalf("%.20q: the value %v cannot be", key, v)
		}
	}
	for _, key := range keys {
		v, err := lookup(s, key)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) {
				t.Fatalf("%q: neither corrupt nor not found: %v", key, err)
			}
			continue
		}
		if v.Type >= types {
			t.Fatalf("%q: found, with the type %d", key, v.Type)
		}
		_, _, _, _, _ = v.Bool(), v.Int(), v.Float(), v.Str(), v.Type.String()
	}
	_, _, _ = s.Name(), s.Content(), s.Size()
}

// TestHostileParts is about images that say one thing here and another there,
// with all sums right.
func TestHostileParts(t *testing.T) {
	sections := []*Section{opaque(t, "a", "x"), opaque(t, "b", "y"), opaque(t, "c", "z")}
	intact := flatten(build(t, 1, "r", sections, nil))
	at := int(open(t, intact).entriesAt) // where a's entry is
	find := func(words []uint64) error {
		v, err := openAny(words)
		if err != nil {
			return err
		}
		e, err := v.Find(HashName("a"))
		if err != nil {
			return err
		}
		if _, err := v.SectionRevision(e); err != nil {
			return err
		}
		_, err = v.Section(e)
		return err
	}
	if err := find(slices.Clone(intact)); err != nil {
		t.Fatal(err)
	}
	for what, damage := range map[string]func(words []uint64){
		"no lines": func(words []uint64) {
			words[headerCounts] &= 0xffffffff
			words[headerEntries], words[headerRevisions] = headerWords*wordBytes, headerWords*wordBytes+3*entryWords*wordBytes
		},
		"entries that overlap lines":     func(words []uint64) { words[headerEntries] -= entryWords * wordBytes },
		"revisions that overlap entries": func(words []uint64) { words[headerRevisions] -= wordBytes },
		"sections before revisions":      func(words []uint64) { words[headerSections] = headerWords * wordBytes },
		"sections past the end":          func(words []uint64) { words[headerSections] = words[headerLength] + 64 },
		"a section before the others":    func(words []uint64) { words[headerSections] += 64 },
		"a section that is not aligned":  func(words []uint64) { words[at+entryOffset] += 4 },
		"a section of half a word":       func(words []uint64) { words[at+entryLength] -= 4 },
		"a section of no bytes":          func(words []uint64) { words[at+entryLength] = 0 },
		"a section past the end":         func(words []uint64) { words[at+entryOffset] = words[headerLength] },
		"a section far past the end":     func(words []uint64) { words[at+entryOffset] = 1<<64 - 8 },
		"a section over the end":         func(words []uint64) { words[at+entryLength] = words[headerLength] },
		"a section of another config":    func(words []uint64) { copy(words[at+entryOffset:at+entryKind], words[at+entryWords+entryOffset:]) },
		"a revision among the entries":   func(words []uint64) { words[at+entryRevision] = uint64(at * wordBytes) },
		"a revision that is not aligned": func(words []uint64) { words[at+entryRevision] += 4 },
		"a revision among the sections":  func(words []uint64) { words[at+entryRevision] = words[headerSections] },
		"a revision that is too long":    func(words []uint64) { words[words[headerRevisions]/wordBytes] = 1000 },
		"a revision of 2^64 - 1 bytes":   func(words []uint64) { words[words[headerRevisions]/wordBytes] = 1<<64 - 1 },
		"an entry that is not there":     func(words []uint64) { words[headerWords] |= 100 << 32 },
		"an entry by the number 0":       func(words []uint64) { words[headerWords] &= 0xffffffff },
	} {
		words := slices.Clone(intact)
		damage(words)
		seal(words)
		if err := find(words); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := loadAny(words); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: it can be loaded: %v", what, err)
		}
	}
}

// samples are images of all that there is in the format.
func samples(t testing.TB) [][]uint64 {
	few := []*Section{
		document(t, "a", `{"n": 1, "s": "x\ny", "a": [0, 1.5, [], {}], "": {"": true}}`),
		opaque(t, "b", "\x00\x01\x02"),
	}
	m := build(t, 3, "revision 3", few, nil)
	changed := build(t, 4, "", []*Section{few[1], document(t, "c/d", `[18446744073709551615]`)}, m)
	return [][]uint64{flatten(build(t, 1, "r", nil, nil)), flatten(m), flatten(changed)}
}

func TestHostileImages(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	interesting := []uint64{0, 1, 7, 8, 63, 64, 255, 256, 1 << 20, 1 << 30, 1<<31 - 1, 1 << 32, 1<<32 - 1, 1 << 63, 1<<64 - 1}
	for _, intact := range samples(t) {
		exercise(t, intact, "a", "b", "absent")
		for range 2000 {
			words := slices.Clone(intact)
			for range 1 + random.IntN(3) {
				i := random.IntN(len(words))
				value := interesting[random.IntN(len(interesting))]
				switch random.IntN(5) {
				case 0:
					words[i] = value
				case 1:
					words[i] += value
				case 2:
					words[i] = words[i]&^0xffffffff | value&0xffffffff
				case 3:
					words[i] = words[i]&0xffffffff | value<<32
				case 4:
					words[i] = words[random.IntN(len(words))]
				}
			}
			if random.IntN(8) == 0 {
				words = words[:random.IntN(len(words))]
			}
			seal(words)
			exercise(t, words, "a", "b", "absent")
		}
	}
}

func TestLoadRefusesWhatDoesNotBelongTogether(t *testing.T) {
	sections := []*Section{document(t, "a", `{"n": 1}`), document(t, "b", `{"n": 2}`), document(t, "c", `{"n": 3}`)}
	m := build(t, 5, "r", sections, nil)
	intact := flatten(m)
	v := open(t, intact)
	entry := func(words []uint64, n int) []uint64 {
		return words[int(v.entriesAt)+n*entryWords:][:entryWords]
	}
	section := func(words []uint64, n int) []uint64 {
		e := entry(words, n)
		return words[e[entryOffset]/wordBytes:][:e[entryLength]/wordBytes]
	}
	for what, damage := range map[string]func(words []uint64){
		"two entries change places": func(words []uint64) {
			a, b := [entryWords]uint64(entry(words, 0)), [entryWords]uint64(entry(words, 1))
			copy(entry(words, 0), b[:])
			copy(entry(words, 1), a[:])
		},
		"two entries lead to one section": func(words []uint64) {
			copy(entry(words, 1), entry(words, 0))
		},
		"two sections change places": func(words []uint64) {
			a, b := slices.Clone(section(words, 0)), slices.Clone(section(words, 1))
			copy(section(words, 0), b)
			copy(section(words, 1), a)
			e, f := entry(words, 0), entry(words, 1)
			e[entryOffset], f[entryOffset] = f[entryOffset], e[entryOffset]
		},
		"an entry is not in the table": func(words []uint64) {
			for i := range lineCells {
				if words[headerWords+i]>>32 == 2 {
					words[headerWords+i] ^= 0xff
				}
			}
		},
		"a section's index is not that of its content": func(words []uint64) {
			s := section(words, 2)
			s[len(s)-6]++ // the value's bits
		},
		"a section's content is not JSON": func(words []uint64) {
			s := section(words, 2)
			copy(seqlock.BytesOf(s)[sectionHeaderWords*wordBytes+wordBytes:], `{"n":}`)
		},
		"a section of a kind that is not known": func(words []uint64) {
			section(words, 2)[0] = 1 | 3<<32
		},
		"a section's name is not valid": func(words []uint64) {
			section(words, 0)[sectionHeaderWords] = '\n'
			entry(words, 0)[entryName] = HashName("\n")
		},
	} {
		words := slices.Clone(intact)
		damage(words)
		seal(words)
		if _, err := loadAny(words); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	unsorted := &Image{generation: 5, configs: slices.Clone(m.configs)}
	slices.Reverse(unsorted.configs)
	if err := unsorted.layOut(nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := loadAny(flatten(unsorted)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("entries that are not sorted: %v", err)
	}
	words := slices.Clone(intact)
	seal(words)
	if !slices.Equal(words, intact) {
		t.Error("seal does not compute the sums that are there")
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
		{what: "a table of no keys", name: 1, kind: 1, content: 2, cells: 2, whole: true},
		{what: "a word less", name: 1, kind: 1, content: 2, n: 1<<64 - 1},
		{what: "a word more", name: 1, kind: 1, content: 2, n: 1},
	} {
		inWords := func(bytes uint64) uint64 { return (bytes + 7) / 8 }
		size := 4 + inWords(test.name) + inWords(test.content) + test.cells/2 + 3*test.keys + inWords(test.keyBytes) + test.n
		words := make([]uint64, size)
		copy(words, []uint64{test.name | test.kind<<32, test.content | test.keys<<32, test.keyBytes | test.cells<<32})
		s, err := sectionOver(words)
		if test.whole {
			if err != nil || len(s.Name()) != int(test.name) || len(s.Content()) != int(test.content) || s.KeyCount() != int(test.keys) {
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

func TestHostileIndex(t *testing.T) {
	intact := document(t, "c", `{"a": "x\ny", "b": [1, 2]}`)
	key := func(words []uint64, n int) []uint64 { // key n's words
		at := len(words) - keyWords*intact.KeyCount() - 1 // a word of key bytes
		return words[at+n*keyWords:][:keyWords]
	}
	all := uint64(math.MaxUint32)
	end := uint64(len(intact.words) * wordBytes)
	for what, damage := range map[string]func(k []uint64){
		"the key's name is before the end by its offset": func(k []uint64) { k[keyPath] |= all },
		"the key's name is too long":                     func(k []uint64) { k[keyPath] |= pathLength << 32 },
		"the key's name is nothing, at the end":          func(k []uint64) { k[keyPath] = uint64(String)<<typeShift | end },
		"the value's text is beyond the content":         func(k []uint64) { k[keyText] = all | 1<<32 },
		"the value's text is too long":                   func(k []uint64) { k[keyText] = k[keyText]&all | all<<32 },
		"the value's text is nothing, at the end":        func(k []uint64) { k[keyPath] &^= typeMask << typeShift; k[keyText] = end },
		"a type that is not known":                       func(k []uint64) { k[keyPath] |= uint64(types) << typeShift },
		"the greatest type":                              func(k []uint64) { k[keyPath] |= typeMask << typeShift },
		"a string without quotes":                        func(k []uint64) { k[keyText] &= all },
		"a string of half a quote":                       func(k []uint64) { k[keyText] = k[keyText]&all | 1<<32 },
		"a string that begins late":                      func(k []uint64) { k[keyText]++ },
		"a string that ends early":                       func(k []uint64) { k[keyText] -= 1 << 32 },
	} {
		for n := range intact.KeyCount() {
			words := slices.Clone(intact.words)
			k := key(words, n)
			k[keyPath] = k[keyPath]&^(typeMask<<typeShift) | uint64(String)<<typeShift
			k[keyText] = key(words, 0)[keyText] // a string's
			if _, err := sectionOver(words); err != nil {
				t.Fatal(err)
			}
			damage(k)
			if _, err := sectionOver(words); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s, of key %d: %v", what, n, err)
			}
		}
	}
	for what, number := range map[string]uint32{
		"of no key":            0,
		"of the key past all":  uint32(intact.KeyCount()) + 1,
		"that is the greatest": numberMask,
	} {
		for i := range intact.cells {
			words := slices.Clone(intact.words)
			at := len(words) - 1 - keyWords*intact.KeyCount() - len(intact.cells)/2 + i/2
			words[at] = words[at]&^(all<<(i%2*32)) | uint64(1<<numberBits|number)<<(i%2*32)
			if _, err := sectionOver(words); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cell %d has the number %s: %v", i, what, err)
			}
		}
	}
	// Escapes in a number without text.
	words := slices.Clone(intact.words)
	k := key(words, 0)
	k[keyPath] = k[keyPath]&(1<<typeShift-1) | uint64(Int)<<typeShift | escapedFlag
	k[keyText] &= all
	s, err := sectionOver(words)
	if err != nil {
		t.Fatal(err)
	}
	v, err := lookup(s, "a")
	if text := v.Str(); err != nil || text != "" {
		t.Errorf("a number with escapes: %q, %v", text, err)
	}
	// A walk through content that is not JSON.
	for _, content := range []string{
		`{"a"`, `{"a":`, `{`, `[`, `{"a":1`, `[1,`, `{"a":"`, `{1:2}`, `{"a":[}`, strings.Repeat("[", 1000), `{"a":nul}`, `{"a":01}`,
		strings.Repeat(`{"a":`, 500),
	} {
		made := newCut(t, content)
		exerciseSection(t, made, "a", "a.a", "0", "0.0", strings.Repeat("a.", 300)+"a")
		if v, err := lookup(made, "b"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%.30q: the walk passes the damage: %v, %v", content, v, err)
		}
	}
}

// TestSearchesEndWithinReach puts what is looked for just where a search does
// not come any more, in tables without an empty cell.
func TestSearchesEndWithinReach(t *testing.T) {
	s, err := NewDocument("c", keysDocument(textsWhere(50, ordinary)))
	if err != nil {
		t.Fatal(err)
	}
	key := s.key(3)
	hash := HashName(key)
	for at, want := range map[uint64]error{keyReach - 1: nil, keyReach: ErrNotFound} {
		hostile, err := sectionOver(slices.Clone(s.words))
		if err != nil {
			t.Fatal(err)
		}
		for i := range hostile.cells {
			hostile.cells[i] = ^cellTag(hash)<<numberBits | 1
		}
		hostile.cells[(hash+at)%uint64(len(s.cells))] = cellTag(hash)<<numberBits | 4
		if _, err := lookup(hostile, key); err != want {
			t.Errorf("a key %d cells from home: %v", at, err)
		}
	}

	var sections []*Section
	for _, name := range textsWhere(50, ordinary) {
		sections = append(sections, opaque(t, name, ""))
	}
	intact := flatten(build(t, 1, "r", sections, nil))
	name := sections[0].Name()
	number, _ := slices.BinarySearch(slices.Sorted(slices.Values(textsWhere(50, ordinary))), name)
	lines := uint64(linesFor(len(sections)))
	for at, want := range map[uint64]error{lineReach - 1: nil, lineReach: ErrNotFound} {
		words := slices.Clone(intact)
		for line := range lines {
			for i := range uint64(lineCells) {
				words[headerWords+line*lineWords+i] = 1<<32 | ^lineTag(HashName(name))&0xffffffff
			}
		}
		line := (lineHome(HashName(name), lines) + at) % lines
		words[headerWords+line*lineWords] = uint64(number+1)<<32 | lineTag(HashName(name))
		seal(words)
		v := open(t, words)
		if _, err := v.Find(HashName(name)); err != want {
			t.Errorf("a name %d lines from home: %v", at, err)
		}
	}
}
