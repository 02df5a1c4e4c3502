package image

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
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
			e[entryHash] = xxhash.Sum64(bytesOf(s))
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

func headerSumOf(words []uint64) uint64 { return xxhash.Sum64(bytesOf(words[:headerSum])) }

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
	m, err := loadAny(words)
	if !check(err) {
		return
	}
	again, err := loadAny(flatten(m))
	if err != nil || !again.Same(m.Sections()) || again.Revision() != m.Revision() {
		t.Fatalf("what could be loaded can't be loaded from its own words: %v", err)
	}
}

// exerciseSection does all that a reader can do with a section.
func exerciseSection(t *testing.T, s *Section, keys ...string) {
	t.Helper()
	for n := range min(s.Keys(), 100) {
		path := s.keys[n*keyWords+keyPath]
		if from, length := path&math.MaxUint32, path>>32&pathLength; from+length <= uint64(len(s.text)) {
			keys = append(keys, s.key(n))
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
