package image

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// View reads an image in memory that may change at any moment: a slot. Each
// method copies a part before it uses it, and verifies the part's sum. What it
// returns is valid only if the slot's sequence is unchanged afterwards.
//
// The methods neither block nor make a syscall, and fault where the memory
// does. Only Entries, Section, Revision and SectionRevision allocate.
type View struct {
	words      []uint64
	generation uint64
	seed       uint64 // of the bucket lines
	lines      uint64 // how many, at least 1
	entries    uint64 // how many
	entriesAt  uint64 // in words; lines and entries end within words
	sectionsAt uint64 // in words; at most len(words)
	revision   uint64 // byte offset of the image's own revision's record, unchecked
	published  int64  // nanoseconds since 1970
}

// Open verifies the header of the image of generation g that fills words. A
// stale image copied whole into a slot still verifies; only its generation
// reveals it.
func Open(words []uint64, g uint64) (View, error) {
	if len(words) < headerWords {
		return View{}, corrupt("image of words", uint64(len(words)), "shorter than its header")
	}
	var h [headerWords]uint64
	seqlock.LoadWords(h[:], words)
	if h[headerMagic] != magic {
		return View{}, corrupt("image of words", uint64(len(words)), "no image begins here")
	}
	if xxhash.Sum64(seqlock.BytesOf(h[:headerSum])) != h[headerSum] {
		return View{}, corrupt("header of generation", h[headerGeneration], "its sum does not match")
	}
	v := View{
		words:      words,
		generation: h[headerGeneration],
		entries:    h[headerCounts] & 0xffffffff,
		lines:      h[headerCounts] >> 32,
		entriesAt:  h[headerEntries] / wordBytes,
		sectionsAt: h[headerSections] / wordBytes,
		revision:   h[headerRevision],
		published:  int64(h[headerPublished]),
		seed:       h[headerSeed],
	}
	// None of these overflows: counts have 32 bits, and after the last case
	// offsets are at most the length.
	size := uint64(len(words))
	switch {
	case v.generation != g:
		return View{}, corrupt("header of generation", v.generation, fmt.Sprintf("its place is that of generation %d", g))
	case h[headerLength] != size*wordBytes:
		return View{}, corrupt("header of generation", v.generation, "its length is not that of the image")
	case v.lines == 0 || v.entriesAt != headerWords+v.lines*lineWords:
		return View{}, corrupt("header of generation", v.generation, "its bucket lines do not end where its entries begin")
	case h[headerRevisions]/wordBytes != v.entriesAt+v.entries*entryWords:
		return View{}, corrupt("header of generation", v.generation, "its entries do not end where its revisions begin")
	case h[headerRevisions]/wordBytes > v.sectionsAt || v.sectionsAt > size:
		return View{}, corrupt("header of generation", v.generation, "its parts are out of bounds")
	}
	return v, nil
}

// Generation is the image's generation.
func (v *View) Generation() uint64 { return v.generation }

// Len is the number of configs.
func (v *View) Len() int { return int(v.entries) }

// Published is when the image was built.
func (v *View) Published() time.Time { return time.Unix(0, v.published) }

// Revision is what the source calls the state that the image was built from.
func (v *View) Revision() (string, error) { return v.record(v.revision) }

// Entry is a config's entry in the directory.
type Entry struct {
	// Changed is the generation of last change. Within one region id, a config
	// of the same name with the same Changed has the same content.
	Changed uint64

	name     uint64 // its hash
	offset   uint64
	length   uint64
	hash     uint64
	revision uint64
}

// Sums reports whether the entry's sum is that of a section.
func (e Entry) Sums(s *Section) bool { return e.hash == s.hash }

// Find finds the config whose name has a hash, HashName. ErrNotFound is proven:
// the sums of all lines that the search read match.
//
// At most one config of an image has that hash. Its name may be another one than
// the caller's, so the caller compares the section's.
func (v *View) Find(hash uint64) (Entry, error) {
	seeded := reseed(hash, v.seed)
	tag, line := lineTag(seeded), lineHome(seeded, v.lines)
	for range min(v.lines, lineReach) {
		var cells [lineWords]uint64
		seqlock.LoadWords(cells[:], v.words[headerWords+line*lineWords:])
		if seededSum((*[7]uint64)(cells[:]), v.generation, line) != cells[lineCells] {
			return Entry{}, corrupt("bucket line", line, "its sum does not match")
		}
		for _, cell := range cells[:lineCells] {
			if cell == 0 {
				return Entry{}, ErrNotFound
			}
			if lineTag(cell) != tag {
				continue
			}
			e, err := v.entry(cell>>32 - 1)
			if err != nil || e.name == hash {
				return e, err
			}
		}
		if line++; line == v.lines {
			line = 0
		}
	}
	return Entry{}, ErrNotFound
}

// Entry is the i-th entry, in the order of the names.
func (v *View) Entry(i int) (Entry, error) { return v.entry(uint64(i)) }

func (v *View) entry(n uint64) (Entry, error) {
	if n >= v.entries {
		return Entry{}, corrupt("entry", n, "there are fewer")
	}
	var e [entryWords]uint64
	seqlock.LoadWords(e[:], v.words[v.entriesAt+n*entryWords:])
	if seededSum((*[7]uint64)(e[:]), v.generation, n) != e[entrySum] {
		return Entry{}, corrupt("entry", n, "its sum does not match")
	}
	return Entry{
		Changed: e[entryChanged], name: e[entryName], offset: e[entryOffset], length: e[entryLength],
		hash: e[entryHash], revision: e[entryRevision],
	}, nil
}

// SameSum reports whether two entries of one name have sections of the same sum
// and length.
func (e Entry) SameSum(other Entry) bool { return e.hash == other.hash && e.length == other.length }

// NamedEntry is a config's entry with its name.
type NamedEntry struct {
	Entry
	Name string // a copy
}

// Entries yields the entries whose names begin with prefix, sorted by name, or an
// error that matches ErrCorrupt, with which it ends. Each entry is verified by its
// sum, and each name by the hash that the entry has of it. No section is copied or
// verified; Section does that with what Entries yields.
//
// The entries of an image are sorted by name, so Entries searches for the first one
// in a time that grows with the logarithm of the number of configs, and then reads
// one more than it yields. It relies on the order in what it passes over, and
// verifies it in what it yields. It allocates one name per entry that it yields,
// and ends after as many as the header has, whatever the memory holds meanwhile.
func (v *View) Entries(prefix string) iter.Seq2[NamedEntry, error] {
	return func(yield func(NamedEntry, error) bool) {
		var buf nameBuffer
		n, err := v.search(prefix, &buf)
		for last := ""; err == nil && n < v.entries; n++ {
			var e NamedEntry
			if e, err = v.named(n, &buf); err != nil {
				break
			}
			if e.Name <= last {
				err = corrupt("entry", n, "the entries are not sorted by name")
				break
			}
			if !strings.HasPrefix(e.Name, prefix) {
				return
			}
			e.Name = strings.Clone(e.Name)
			if last = e.Name; !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(NamedEntry{}, err)
		}
	}
}

// search is the number of the first entry whose name is not less than name.
func (v *View) search(name string, buf *nameBuffer) (uint64, error) {
	if name == "" {
		return 0, nil
	}
	from, to := uint64(0), v.entries
	for from < to {
		middle := from + (to-from)/2
		e, err := v.named(middle, buf)
		if err != nil {
			return 0, err
		}
		if e.Name < name {
			from = middle + 1
		} else {
			to = middle
		}
	}
	return from, nil
}

// nameBuffer has room for the longest name.
type nameBuffer [(MaxName + wordBytes - 1) / wordBytes]uint64

// named is entry n with its name, which is a view into buf.
//
// Of the section, it reads the name's length and the name alone. The section's hash
// is not computed, so the name is verified by the entry's hash of it.
func (v *View) named(n uint64, buf *nameBuffer) (NamedEntry, error) {
	e, err := v.entry(n)
	if err == nil {
		err = v.checkPlace(e)
	}
	if err != nil {
		return NamedEntry{}, err
	}
	section := v.words[e.offset/wordBytes:][:e.length/wordBytes]
	if len(section) < sectionHeaderWords {
		return NamedEntry{}, corrupt("section at byte", e.offset, "it is shorter than its header")
	}
	var lengths [1]uint64 // the name's is in the lower half of the first word
	seqlock.LoadWords(lengths[:], section)
	length := int(lengths[0] & math.MaxUint32)
	if length == 0 || length > MaxName || wordsFor(length) > len(section)-sectionHeaderWords {
		return NamedEntry{}, corrupt("section at byte", e.offset, "its name is too short or too long")
	}
	seqlock.LoadWords(buf[:wordsFor(length)], section[sectionHeaderWords:])
	name := unsafe.String((*byte)(unsafe.Pointer(buf)), length)
	if HashName(name) != e.name {
		return NamedEntry{}, corrupt("section at byte", e.offset, "it is not the config that its entry names")
	}
	return NamedEntry{Entry: e, Name: name}, nil
}

// checkPlace verifies that an entry's section lies among the sections.
func (v *View) checkPlace(e Entry) error {
	size := uint64(len(v.words)) * wordBytes
	switch {
	case e.offset%wordBytes != 0 || e.length%wordBytes != 0 || e.length > MaxSection:
		return corrupt("section at byte", e.offset, "its place or its length is impossible")
	case e.offset < v.sectionsAt*wordBytes || e.offset > size || e.length > size-e.offset:
		return corrupt("section at byte", e.offset, "it is out of bounds")
	}
	return nil
}

// Section copies and verifies the section that an entry leads to.
func (v *View) Section(e Entry) (Section, error) {
	if err := v.checkPlace(e); err != nil {
		return Section{}, err
	}
	words := newWords(int(e.length / wordBytes))
	seqlock.LoadWords(words, v.words[e.offset/wordBytes:])
	if xxhash.Sum64(seqlock.BytesOf(words)) != e.hash {
		return Section{}, corrupt("section at byte", e.offset, "its hash does not match")
	}
	s, err := parseSection(words, e.hash)
	if err == nil && s.nameHash != e.name {
		return Section{}, corrupt("section at byte", e.offset, "it is not the config that its entry names")
	}
	return s, err
}

// SectionRevision is the source's revision that brought an entry's section.
func (v *View) SectionRevision(e Entry) (string, error) { return v.record(e.revision) }

// record reads the revision whose record is at a byte offset.
func (v *View) record(offset uint64) (string, error) {
	at := offset / wordBytes
	if offset%wordBytes != 0 || at < v.entriesAt+v.entries*entryWords || at >= v.sectionsAt {
		return "", corrupt("revision at byte", offset, "it is out of bounds")
	}
	var length [1]uint64
	seqlock.LoadWords(length[:], v.words[at:])
	if room := (v.sectionsAt - at) * wordBytes; length[0] > room || recordWords(int(length[0])) > int(room/wordBytes) {
		return "", corrupt("revision at byte", offset, "it does not end within its table")
	}
	record := make([]uint64, recordWords(int(length[0])))
	seqlock.LoadWords(record, v.words[at:])
	body := record[:len(record)-1]
	if record[0] != length[0] || revisionSum(body, v.generation, offset) != record[len(record)-1] {
		return "", corrupt("revision at byte", offset, "its sum does not match")
	}
	if length[0] == 0 {
		return "", nil
	}
	return unsafe.String(&seqlock.BytesOf(body[1:])[0], int(length[0])), nil // record is private and never changes
}

// Load copies and verifies the whole image of generation g: every line, entry,
// revision and section, and that they belong to each other. A daemon that
// attaches to a region does so, and so do tools.
func Load(words []uint64, g uint64) (*Image, error) {
	v, err := Open(words, g)
	if err != nil {
		return nil, err
	}
	m := &Image{generation: v.generation, size: len(words) * wordBytes, published: v.Published()}
	if m.revision, err = v.Revision(); err != nil {
		return nil, err
	}
	m.directory = make([]uint64, v.sectionsAt)
	seqlock.LoadWords(m.directory, words)
	for line := range v.lines {
		cells := m.directory[headerWords+line*lineWords:][:lineWords]
		if seededSum((*[7]uint64)(cells), v.generation, line) != cells[lineCells] {
			return nil, corrupt("bucket line", line, "its sum does not match")
		}
	}
	used := v.sectionsAt * wordBytes
	revisions := map[uint64]string{m.directory[headerRevision]: m.revision} // most configs share one
	for i := range v.Len() {
		e, err := v.Entry(i)
		if err != nil {
			return nil, err
		}
		if used += e.length; used > uint64(m.size) {
			return nil, corrupt("entry", uint64(i), "the sections are larger than the image")
		}
		s, err := v.Section(e)
		if err != nil {
			return nil, err
		}
		c := Config{Section: &s, Changed: e.Changed}
		revision, ok := revisions[e.revision]
		if !ok {
			if revision, err = v.SectionRevision(e); err != nil {
				return nil, err
			}
			revisions[e.revision] = revision
		}
		c.Revision = revision
		if i > 0 && m.configs[i-1].name >= c.name {
			return nil, corrupt("entry", uint64(i), "the entries are not sorted by name")
		}
		if err := c.verifyKeys(); err != nil {
			return nil, fmt.Errorf("config %s: %w", c.name, err)
		}
		m.configs, m.sections = append(m.configs, c), append(m.sections, c.Section)
	}
	// The layout follows from the configs and where the sections begin. So one
	// comparison proves the place of each section and that each name's search ends
	// at its entry, in a time that does not depend on what the tables claim.
	directory, size := m.directory, m.size
	if err := m.layOut(nil, len(directory)); err != nil || m.size != size || len(m.directory) != len(directory) {
		return nil, corrupt("directory of generation", v.generation, "it is not the one that its configs make")
	}
	m.adoptReserved(directory)
	if !slices.Equal(m.directory, directory) {
		return nil, corrupt("directory of generation", v.generation, "it is not the one that its configs make")
	}
	return m, nil
}

// adoptReserved copies what a later version may have written into the reserved
// words of a directory, and the sums that cover them, which are verified already.
func (m *Image) adoptReserved(from []uint64) {
	copy(m.directory[headerReserved:headerWords], from[headerReserved:])
	at := m.directory[headerEntries] / wordBytes
	for range m.configs {
		m.directory[at+entryKind] |= from[at+entryKind] &^ math.MaxUint32
		m.directory[at+entrySum] = from[at+entrySum]
		at += entryWords
	}
}

// verifyKeys builds the section again from its content. A difference is damage
// from before the hash was computed, or a writer's mistake.
func (s *Section) verifyKeys() error {
	made, err := NewOpaque(s.name, s.Content())
	if s.kind == Document {
		made, err = NewDocument(s.name, s.Content())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", corrupt("section of words", uint64(len(s.words)), "its content is impossible"), err)
	}
	if !s.equalButReserved(made) {
		return corrupt("section of words", uint64(len(s.words)), "its key index is not that of its content")
	}
	return nil
}

// equalButReserved is Equal except for what a later version may write.
func (s *Section) equalButReserved(made *Section) bool {
	const at = sectionFlags / 2 // and sectionReserved
	return len(s.words) == len(made.words) && slices.Equal(s.words[:at], made.words[:at]) &&
		s.words[at]&knownFlags == made.words[at] && slices.Equal(s.words[at+1:], made.words[at+1:])
}
