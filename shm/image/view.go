package image

import (
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// View looks things up in an image that lies in memory which may change at any
// moment: a slot. Each of its methods copies a part before it looks at it, and
// verifies the part's sum. In a slot, everything that it says counts only if
// the slot's sequence is still the same afterwards.
//
// Its methods neither block nor make a syscall, and fault where the memory
// does. Only Section and Revision allocate.
type View struct {
	words      []uint64
	generation uint64
	entries    uint64 // how many
	lines      uint64
	entriesAt  uint64 // in words
	sectionsAt uint64
	revision   uint64 // byte offset of the image's own revision's record
	published  int64
}

// OpenGeneration is Open of the image that a slot of generation g is to hold.
// Sums are of an image's own generation, so that an older one that was copied
// whole into the slot is to be told by its generation alone.
func OpenGeneration(words []uint64, g uint64) (View, error) {
	v, err := Open(words)
	if err == nil && v.generation != g {
		return View{}, fmt.Errorf("%w: the slot of generation %d holds an image of %d", ErrCorrupt, g, v.generation)
	}
	return v, err
}

// Open verifies the header of the image that fills words.
func Open(words []uint64) (View, error) {
	if len(words) < headerWords {
		return View{}, corrupt("image of words", uint64(len(words)), "shorter than its header")
	}
	var h [headerWords]uint64
	seqlock.LoadWords(h[:], words)
	if h[headerMagic] != magic {
		return View{}, corrupt("image of words", uint64(len(words)), "no image begins here")
	}
	if xxhash.Sum64(bytesOf(h[:headerSum])) != h[headerSum] {
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
	}
	// None of these can overflow: counts have 32 bits, and offsets are no
	// greater than the length once the last line has been compared.
	size := uint64(len(words))
	switch {
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

// Entry is a config's line in the directory.
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

// Find looks a config up. ErrNotFound is proven: all lines that the search
// walked are whole.
//
// The entry is that of the only config whose name has the hash of this one. It
// may be another name all the same, and the caller compares the section's.
func (v *View) Find(name string) (Entry, error) { return v.FindHash(HashName(name)) }

// HashName is the hash of a config's name, for FindHash.
func HashName(name string) uint64 { return hashName(name) }

// FindHash is Find for a name whose hash is known.
func (v *View) FindHash(hash uint64) (Entry, error) {
	tag, line := lineTag(hash), lineHome(hash, v.lines)
	for range v.lines {
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

// Section copies and verifies the section that an entry leads to.
func (v *View) Section(e Entry) (*Section, error) {
	s := new(Section)
	if err := v.SectionTo(s, e); err != nil {
		return nil, err
	}
	return s, nil
}

// SectionTo is Section into one of the caller's, whose allocation is thereby
// the caller's too. After an error it means nothing.
func (v *View) SectionTo(s *Section, e Entry) error {
	size := uint64(len(v.words)) * wordBytes
	switch {
	case e.offset%wordBytes != 0 || e.length%wordBytes != 0 || e.length > MaxSection:
		return corrupt("section at byte", e.offset, "its place or its length is impossible")
	case e.offset < v.sectionsAt*wordBytes || e.offset > size || e.length > size-e.offset:
		return corrupt("section at byte", e.offset, "it is out of bounds")
	}
	words := newWords(int(e.length / wordBytes))
	seqlock.LoadWords(words, v.words[e.offset/wordBytes:])
	if xxhash.Sum64(bytesOf(words)) != e.hash {
		return corrupt("section at byte", e.offset, "its hash does not match")
	}
	if err := s.parse(words, e.hash); err != nil {
		return err
	}
	if s.nameHash != e.name {
		return corrupt("section at byte", e.offset, "it is not the config that its entry names")
	}
	return nil
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
	return unsafe.String(&bytesOf(body[1:])[0], int(length[0])), nil // of memory that is nobody else's
}

// Load copies and verifies a whole image: every line, entry, revision and
// section, and that they belong to each other. A daemon that attaches to a
// region does so, and so do tools.
func Load(words []uint64) (*Image, error) {
	v, err := Open(words)
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
		c := Config{Changed: e.Changed}
		if c.Section, err = v.Section(e); err != nil {
			return nil, err
		}
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
		m.configs = append(m.configs, c)
	}
	// The configs leave no choice in how they are laid out. So where each
	// section is, and that each name's search ends at its entry, is one
	// comparison, and its time does not depend on what a table claims.
	directory, size := m.directory, m.size
	if err := m.layOut(nil); err != nil || m.size != size || !slices.Equal(m.directory, directory) {
		return nil, corrupt("directory of generation", v.generation, "it is not the one that its configs make")
	}
	return m, nil
}

// verifyKeys makes the section again from its content: whatever differs is
// damage that its hash was computed over, or a writer's mistake.
func (s *Section) verifyKeys() error {
	made, err := NewOpaque(s.name, s.content)
	if s.kind == Document {
		made, err = NewDocument(s.name, s.content)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", corrupt("section of words", uint64(len(s.words)), "its content is impossible"), err)
	}
	if !s.Equal(made) {
		return corrupt("section of words", uint64(len(s.words)), "its key index is not that of its content")
	}
	return nil
}
