package image

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Config is one config of an image.
type Config struct {
	*Section
	// Changed is the generation of last change: the one in which the section's
	// bytes last differed from those of the generation before it.
	Changed uint64
	// Revision is the source's revision that brought the section.
	Revision string
}

// Image is all configs of one generation, ready to be stored into a slot. It
// is immutable.
type Image struct {
	generation uint64
	revision   string
	published  time.Time
	configs    []Config // sorted by name
	directory  []uint64 // header, buckets, entries, revisions, padding
	size       int      // bytes
}

// Build makes the image of a generation out of its configs' sections, in any
// order. What is unchanged since the image of the generation before it, prev,
// keeps its generation of last change and its revision; prev is nil in a new
// region. revision is what the source calls this state of it.
//
// The work is in proportion to the number of configs: sections are neither
// copied nor hashed again.
func Build(generation uint64, revision string, sections []*Section, prev *Image) (*Image, error) {
	m := &Image{generation: generation, revision: revision, published: time.Now()}
	var twin *Image
	if prev != nil && m.follow(prev, sections) {
		twin = prev
	} else if err := m.gather(sections); err != nil {
		return nil, err
	} else if prev != nil {
		m.carry(prev)
	}
	if err := m.layOut(twin); err != nil {
		return nil, err
	}
	return m, nil
}

// follow makes the sections the image's if they are the configs of prev, by the
// same names in the same order, which is how most changes of a source leave
// them. Of a section that is the very one of prev it looks at the pointer only.
func (m *Image) follow(prev *Image, sections []*Section) bool {
	if len(sections) != len(prev.configs) {
		return false
	}
	for i, s := range sections {
		if old := prev.configs[i].Section; s != old && s.name != old.name {
			return false
		}
	}
	m.configs = slices.Clone(prev.configs)
	for i, s := range sections {
		switch c := &m.configs[i]; {
		case s == c.Section:
		case s.Equal(c.Section):
			c.Section = s
		default:
			*c = Config{Section: s, Changed: m.generation, Revision: m.revision}
		}
	}
	return true
}

// gather makes the sections the image's, all of them new, and sorted by name.
func (m *Image) gather(sections []*Section) error {
	m.configs = make([]Config, len(sections))
	for i, s := range sections {
		m.configs[i] = Config{Section: s, Changed: m.generation, Revision: m.revision}
	}
	slices.SortFunc(m.configs, func(a, b Config) int { return cmp.Compare(a.name, b.name) })
	for i := 1; i < len(m.configs); i++ {
		if name := m.configs[i].name; name == m.configs[i-1].name {
			return fmt.Errorf("two configs have the name %s", name)
		}
	}
	return nil
}

// carry takes over what prev says of the configs that are unchanged. The
// sections stay the new ones: whoever hands out the same one again for an
// unchanged config, as the daemon's decoder does, has pointers compared.
func (m *Image) carry(prev *Image) {
	old := prev.configs
	for i := range m.configs {
		c := &m.configs[i]
		for len(old) > 0 && old[0].name < c.name {
			old = old[1:]
		}
		if len(old) > 0 && old[0].name == c.name && old[0].Equal(c.Section) {
			c.Changed, c.Revision = old[0].Changed, old[0].Revision
		}
	}
}

// layOut computes where everything goes, and writes the directory. An image
// that has configs of the same names, twin, has the same hash table, but for
// its sums; twin may be nil.
func (m *Image) layOut(twin *Image) error {
	lines := linesFor(len(m.configs))
	entries := headerWords + lines*lineWords
	revisions := entries + len(m.configs)*entryWords
	end := revisions
	records := map[string]int{} // where a revision's record is, in words
	last, at := m.revision, end // most configs have the one of the config before
	place := func(revision string) int {
		if revision == last && len(records) > 0 {
			return at
		}
		last = revision
		var ok bool
		if at, ok = records[revision]; !ok {
			at = end
			records[revision] = at
			end += recordWords(len(revision))
		}
		return at
	}
	place(m.revision)
	for i := range m.configs {
		place(m.configs[i].Revision)
	}
	sections := aligned(end)
	m.size = sections * wordBytes
	for i := range m.configs {
		m.size += m.configs[i].Size()
	}
	m.directory = make([]uint64, sections)

	for revision, at := range records {
		n := recordWords(len(revision))
		record := m.directory[at : at+n]
		record[0] = uint64(len(revision))
		copy(bytesOf(record[1:]), revision)
		record[n-1] = revisionSum(record[:n-1], m.generation, uint64(at*wordBytes))
	}
	seed, err := m.fill(twin, lines)
	if err != nil {
		return err
	}
	offset := sections * wordBytes
	for i := range m.configs {
		c := &m.configs[i]
		e := (*[entryWords]uint64)(m.directory[entries+i*entryWords:])
		e[entryName] = c.nameHash
		e[entryChanged] = c.Changed
		e[entryOffset] = uint64(offset)
		e[entryLength] = uint64(len(c.words) * wordBytes)
		e[entryKind] = uint64(c.kind)
		e[entryHash] = c.hash
		e[entryRevision] = uint64(place(c.Revision) * wordBytes)
		e[entrySum] = seededSum((*[7]uint64)(e[:7]), m.generation, uint64(i))
		offset += c.Size()
	}

	h := m.directory[:headerWords]
	h[headerMagic] = magic
	h[headerGeneration] = m.generation
	h[headerLength] = uint64(m.size)
	h[headerCounts] = uint64(len(m.configs)) | uint64(lines)<<32
	h[headerEntries] = uint64(entries * wordBytes)
	h[headerRevisions] = uint64(revisions * wordBytes)
	h[headerSections] = uint64(sections * wordBytes)
	h[headerRevision] = uint64(records[m.revision] * wordBytes)
	h[headerPublished] = uint64(m.published.UnixNano())
	h[headerSeed] = seed
	h[headerSum] = xxhash.Sum64(bytesOf(h[:headerSum]))
	return nil
}

// linesFor is the number of bucket lines for n configs: a little over half
// full, so that a search seldom needs a second line and always finds an end.
func linesFor(n int) int { return 1 + n/4 }

// lineReach is how many lines a search for a name looks at.
const lineReach = 4

// nameTable is the table of names with so many lines.
func nameTable(lines int) table {
	return table{
		homes: lines, width: lineCells, reach: lineReach * lineCells, mean: 3,
		home: func(hash uint64) uint64 { return lineHome(hash, uint64(lines)) },
	}
}

// lineHome is the line where the search for a name begins, lineTag the part of
// its hash that a cell keeps.
func lineHome(hash uint64, lines uint64) uint64 { return hash >> 32 * lines >> 32 }
func lineTag(hash uint64) uint64                { return hash & 0xffffffff }

// recordWords is the size of a revision's record: length, bytes, sum.
func recordWords(length int) int { return 1 + wordsFor(length) + 1 }

// fill writes the bucket lines, and returns their seed. A cell is
// tag | (entry number + 1) << 32.
func (m *Image) fill(twin *Image, lines int) (seed uint64, err error) {
	words := m.directory[headerWords:][:lines*lineWords]
	if twin != nil {
		copy(words, twin.directory[headerWords:])
		seed = twin.directory[headerSeed]
	} else if seed, err = m.place(words, lines); err != nil {
		return 0, err
	}
	for line := range uint64(lines) {
		part := words[line*lineWords:][:lineWords]
		part[lineCells] = seededSum((*[7]uint64)(part), m.generation, line)
	}
	return seed, nil
}

// place puts the names into the cells of bucket lines. Two equal hashes have
// the same home, and meet there.
func (m *Image) place(words []uint64, lines int) (uint64, error) {
	hashes := make([]uint64, len(m.configs))
	for n := range hashes {
		hashes[n] = m.configs[n].nameHash
	}
	t := nameTable(lines)
	seed, next, crowded := t.arrange(hashes)
	if crowded >= 0 {
		return 0, fmt.Errorf("the hash of the config's name %s is like those of too many others; rename it", m.configs[crowded].name)
	}
	cell := func(n uint64) *uint64 {
		n %= uint64(lines) * lineCells
		return &words[n/lineCells*lineWords+n%lineCells]
	}
	for n, hash := range hashes {
		hash = reseed(hash, seed)
		tag, home := lineTag(hash), t.home(hash)
		i := home * lineCells
		at := i + uint64(next[home])
		next[home]++
		for ; i < at; i++ {
			if other := *cell(i); other != 0 && lineTag(other) == tag && hashes[other>>32-1] == hashes[n] {
				return 0, fmt.Errorf("the names of the configs %s and %s have the same hash; rename one of them",
					m.configs[other>>32-1].name, m.configs[n].name)
			}
		}
		*cell(at) = tag | uint64(n+1)<<32
	}
	return seed, nil
}

// Generation is the generation that the image was built for.
func (m *Image) Generation() uint64 { return m.generation }

// Revision is what the source calls the state that the image was built from.
func (m *Image) Revision() string { return m.revision }

// Published is when the image was built.
func (m *Image) Published() time.Time { return m.published }

// Size is the image's length in bytes.
func (m *Image) Size() int { return m.size }

// Len is the number of configs.
func (m *Image) Len() int { return len(m.configs) }

// Configs yields the configs, sorted by name.
func (m *Image) Configs() iter.Seq[Config] { return slices.Values(m.configs) }

// Sections lists the configs' sections, sorted by name.
func (m *Image) Sections() []*Section {
	sections := make([]*Section, len(m.configs))
	for i := range m.configs {
		sections[i] = m.configs[i].Section
	}
	return sections
}

// Same says whether the sections, in any order, are just what the image holds,
// in which case a publication would change nothing.
func (m *Image) Same(sections []*Section) bool {
	sorted := slices.SortedFunc(slices.Values(sections), func(a, b *Section) int { return cmp.Compare(a.name, b.name) })
	return slices.EqualFunc(sorted, m.configs, func(s *Section, c Config) bool { return s.Equal(c.Section) })
}

// Words are the image's parts in the order in which they are to be stored, one
// directly after the other. They must not be changed. A config that is the same
// section in two images is the same memory in both.
func (m *Image) Words() [][]uint64 {
	parts := make([][]uint64, 0, 1+len(m.configs))
	parts = append(parts, m.directory)
	for i := range m.configs {
		parts = append(parts, m.configs[i].padded())
	}
	return parts
}
