package image

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
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
	configs    []Config   // sorted by name, no name twice
	sections   []*Section // of the configs
	parts      [][]uint64 // the directory and the padded sections
	directory  []uint64   // header, bucket lines, entries, revisions, padding
	size       int        // of the directory and all padded sections, in bytes
}

// Build makes the image of a generation out of its configs' sections, in any
// order. A section that equals the one of the same name in prev, the image of
// the generation before, keeps its generation of last change and its revision;
// prev is nil in a new region. revision is what the source calls this state.
//
// The work is in proportion to the number of configs: sections are neither
// copied nor hashed again.
func Build(generation uint64, revision string, sections []*Section, prev *Image) (*Image, error) {
	m := &Image{generation: generation, revision: revision, published: time.Now()}
	sameNames := prev != nil && prev.hasNames(sections)
	if sameNames {
		sections = slices.Clone(sections)
	} else {
		sections = slices.SortedFunc(slices.Values(sections), byName)
		for i := 1; i < len(sections); i++ {
			if sections[i].name == sections[i-1].name {
				return nil, fmt.Errorf("two configs have the name %s", sections[i].name)
			}
		}
	}
	m.sections = sections
	if sameNames {
		m.changeConfigs(prev)
	} else {
		m.setConfigs(prev)
		prev = nil
	}
	if err := m.layOut(prev, 0); err != nil {
		return nil, err
	}
	return m, nil
}

func byName(a, b *Section) int { return cmp.Compare(a.name, b.name) }

// hasNames reports whether the sections are the configs of m by name and order,
// as most changes of a source leave them. Of a section that is also in m, it
// compares the pointer only.
func (m *Image) hasNames(sections []*Section) bool {
	return slices.EqualFunc(sections, m.sections, func(a, b *Section) bool { return a == b || a.name == b.name })
}

// setConfigs makes configs of the sections, and takes from prev what it says of the
// unchanged ones. The sections stay the new ones: a caller that passes the same
// section again for an unchanged config has pointers compared and not bytes.
func (m *Image) setConfigs(prev *Image) {
	var old []Config // those of prev that are still to be compared
	if prev != nil {
		old = prev.configs
	}
	m.configs = make([]Config, 0, len(m.sections))
	for _, s := range m.sections {
		for len(old) > 0 && old[0].Section != s && old[0].name < s.name {
			old = old[1:]
		}
		if len(old) > 0 && (s == old[0].Section || s.Equal(old[0].Section)) {
			m.configs = append(m.configs, Config{Section: s, Changed: old[0].Changed, Revision: old[0].Revision})
			old = old[1:]
		} else {
			m.configs = append(m.configs, Config{Section: s, Changed: m.generation, Revision: m.revision})
		}
	}
}

// changeConfigs is setConfigs where prev has configs of the same names. It touches no
// section that is the same: 10,000 of them are in no cache.
func (m *Image) changeConfigs(prev *Image) {
	m.configs = slices.Clone(prev.configs)
	m.parts = slices.Clone(prev.parts)
	for i, s := range m.sections {
		old := prev.sections[i]
		if s == old {
			continue
		}
		m.parts[1+i] = s.padded()
		if m.configs[i].Section = s; !s.Equal(old) {
			m.configs[i].Changed, m.configs[i].Revision = m.generation, m.revision
		}
	}
}

// layOut gives each part its place, and writes the directory. sameNames is an
// image that has configs of the same names, and therefore the same bucket lines
// but for their sums; nil if there is none. The sections begin at the word sections,
// if that is not 0 and a place where they can begin.
func (m *Image) layOut(sameNames *Image, sections int) error {
	lines := linesFor(len(m.configs))
	entries := headerWords + lines*lineWords
	revisions := entries + len(m.configs)*entryWords
	records, end := m.placeRevisions(revisions)
	if sections < end || sections != aligned(sections) {
		sections = m.placeSections(end)
	}

	m.directory = make([]uint64, sections)
	if m.parts == nil {
		m.parts = make([][]uint64, 1, 1+len(m.sections))
		for _, s := range m.sections {
			m.parts = append(m.parts, s.padded())
		}
	}
	m.parts[0] = m.directory
	seed, err := m.writeLines(m.directory[headerWords:entries], sameNames)
	if err != nil {
		return err
	}
	m.size = m.writeEntries(m.directory[entries:revisions], records, sections*wordBytes, sameNames)
	for revision, at := range records {
		record := m.directory[at:][:recordWords(len(revision))]
		record[0] = uint64(len(revision))
		copy(seqlock.BytesOf(record[1:]), revision)
		last := len(record) - 1
		record[last] = revisionSum(record[:last], m.generation, uint64(at*wordBytes))
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
	h[headerSum] = xxhash.Sum64(seqlock.BytesOf(h[:headerSum]))
	return nil
}

// placeRevisions returns the word at which the record of each revision begins,
// the image's own first, and where the last one ends.
func (m *Image) placeRevisions(at int) (records map[string]int, end int) {
	records = map[string]int{m.revision: at}
	end = at + recordWords(len(m.revision))
	last := m.revision // most configs have the one of the config before
	for i := range m.configs {
		revision := m.configs[i].Revision
		if revision == last {
			continue
		}
		last = revision
		if _, ok := records[revision]; !ok {
			records[revision] = end
			end += recordWords(len(revision))
		}
	}
	return records, end
}

// placeSections returns the word at which the sections begin, when the revisions end at
// the word end. Where there are many configs, it leaves room: the record of another
// revision would else move all sections, so that a publication had to store them all. On
// average that is at most a thirty-second of the size of the entries.
func (m *Image) placeSections(end int) int {
	align := sectionAlign
	for 2*align*sectionRoom <= len(m.configs)*entryWords {
		align *= 2
	}
	return roundUp(end, align)
}

// recordWords is the size of a revision's record: length, bytes, sum.
func recordWords(length int) int { return 1 + wordsFor(length) + 1 }

// writeEntries writes an entry for each config, whose sections begin at offset,
// and returns where the last one ends, in bytes. What an entry says of a section that
// sameNames has, too, is taken from there.
func (m *Image) writeEntries(words []uint64, records map[string]int, offset int, sameNames *Image) (size int) {
	last, at := m.revision, records[m.revision]
	var old []uint64
	if sameNames != nil {
		old = sameNames.entries()
	}
	for i := range m.configs {
		c := &m.configs[i]
		if c.Revision != last {
			last, at = c.Revision, records[c.Revision]
		}
		e := (*[entryWords]uint64)(words[i*entryWords:])
		if old != nil && sameNames.sections[i] == c.Section {
			*e = [entryWords]uint64(old[i*entryWords:])
			e[entryKind] &= math.MaxUint32 // without what a later version wrote
		} else {
			e[entryName] = c.nameHash
			e[entryLength] = uint64(len(c.words) * wordBytes)
			e[entryKind] = uint64(c.kind)
			e[entryHash] = c.hash
		}
		e[entryChanged] = c.Changed
		e[entryOffset] = uint64(offset)
		e[entryRevision] = uint64(at * wordBytes)
		e[entrySum] = seededSum((*[7]uint64)(e[:7]), m.generation, uint64(i))
		offset += aligned(int(e[entryLength])/wordBytes) * wordBytes
	}
	return offset
}

// entries are the words of the entries.
func (m *Image) entries() []uint64 {
	return m.directory[m.directory[headerEntries]/wordBytes:][:len(m.configs)*entryWords]
}

// linesFor is the number of bucket lines for n configs: a little over half
// full, so that a search seldom needs a second line and always finds an end.
func linesFor(n int) int { return 1 + n/4 }

// lineReach is how many lines a search for a name reads at most.
const lineReach = 4

// nameTable is the table of names with so many lines.
func nameTable(lines int) table {
	return table{
		homes: lines, width: lineCells, reach: lineReach * lineCells, mean: 3,
		home: func(hash uint64) uint64 { return lineHome(hash, uint64(lines)) },
	}
}

// lineHome is the line at which the search for a name begins, and lineTag the
// part of its hash that a cell keeps.
func lineHome(hash uint64, lines uint64) uint64 { return hash >> 32 * lines >> 32 }
func lineTag(hash uint64) uint64                { return hash & 0xffffffff }

// writeLines writes the bucket lines, and returns their seed.
func (m *Image) writeLines(words []uint64, sameNames *Image) (seed uint64, err error) {
	if sameNames != nil {
		copy(words, sameNames.directory[headerWords:])
		seed = sameNames.directory[headerSeed]
	} else if seed, err = m.writeCells(words); err != nil {
		return 0, err
	}
	for at := 0; at < len(words); at += lineWords {
		line := words[at:][:lineWords]
		line[lineCells] = seededSum((*[7]uint64)(line), m.generation, uint64(at/lineWords))
	}
	return seed, nil
}

// writeCells writes the cells of the bucket lines: tag | (entry number + 1) << 32.
// Two equal hashes have the same home, and meet there.
func (m *Image) writeCells(words []uint64) (seed uint64, err error) {
	hashes := make([]uint64, len(m.configs))
	for n := range hashes {
		hashes[n] = m.configs[n].nameHash
	}
	t := nameTable(len(words) / lineWords)
	seed, next, crowded := t.arrange(hashes)
	if crowded >= 0 {
		return 0, &NameError{Name: m.configs[crowded].name}
	}
	cell := func(n uint64) *uint64 {
		n %= uint64(t.homes) * lineCells
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
				return 0, &NameError{Name: m.configs[n].name, Twin: m.configs[other>>32-1].name}
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

// Sections lists the configs' sections, sorted by name. The list must not be changed.
func (m *Image) Sections() []*Section { return m.sections }

// Same reports whether the sections, in any order, are exactly what the image
// holds, so that a publication would change nothing.
func (m *Image) Same(sections []*Section) bool {
	if len(sections) != len(m.configs) {
		return false
	}
	if !m.hasNames(sections) {
		sections = slices.SortedFunc(slices.Values(sections), byName)
	}
	return slices.EqualFunc(sections, m.sections, (*Section).Equal)
}

// Words are the image's parts in the order in which they are stored, one
// directly after the other. Neither they nor the list may be changed. A config that
// is the same section in two images is the same memory in both.
func (m *Image) Words() [][]uint64 { return m.parts }
