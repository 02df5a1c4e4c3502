package image

import (
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// The image is read and written as 64-bit words in the machine's own order,
// which must be the format's.
const wordBytes = seqlock.WordBytes

// magic is "SSYNCIMG" as a little-endian word.
const magic = 0x474d49434e595353

// Sizes, in words unless they say bytes.
const (
	headerWords = 16 // 128 bytes
	lineWords   = 8  // 64 bytes: lineCells cells, then the sum
	lineCells   = lineWords - 1
	entryWords  = 8 // 64 bytes

	// Sections begin on a cache line of their own, since a reader fetches one
	// and not its neighbour.
	sectionAlign = 64 / wordBytes

	// The first one begins at a multiple of at most this part of the entries.
	sectionRoom = 16

	sectionHeaderWords = 4 // 32 bytes
	keyWords           = 3 // 24 bytes
)

// The header's words.
const (
	headerMagic = iota
	headerGeneration
	headerLength    // bytes, the whole image
	headerCounts    // entries | lines<<32
	headerEntries   // byte offsets from the image's start
	headerRevisions //
	headerSections  //
	headerRevision  // the image's own revision's record
	headerPublished // nanoseconds since 1970, for people
	headerSeed      // of the bucket lines
	headerReserved  // zero up to the sum, if no later version wrote them
	headerSum       = headerWords - 1
)

// An entry's words.
const (
	entryName     = iota // xxhash64 of the name
	entryChanged         // generation of last change
	entryOffset          // bytes from the image's start
	entryLength          // bytes
	entryKind            // a Kind; the upper half is reserved
	entryHash            // xxhash64 of the section
	entryRevision        // byte offset of the revision's record
	entrySum
)

// These hold at compile time or the package does not build.
var (
	_ = [1]struct{}{}[headerReserved-10]
	_ = [1]struct{}{}[entrySum-(entryWords-1)]
	_ = [1]struct{}{}[unsafe.Sizeof(uintptr(0))-wordBytes] // 64-bit machines only
)

// Kind is what a config's content is.
type Kind uint32

// The kinds of configs.
const (
	Document Kind = 1 // canonical JSON with a key index
	Opaque   Kind = 2 // bytes as the source has them
)

func (k Kind) String() string {
	switch k {
	case Document:
		return "document"
	case Opaque:
		return "opaque"
	}
	return "unknown kind"
}

// aligned rounds a number of words up to where a section can begin.
func aligned(n int) int { return roundUp(n, sectionAlign) }

// roundUp rounds n up to a multiple of a power of two.
func roundUp(n, multiple int) int { return (n + multiple - 1) &^ (multiple - 1) }

// wordsFor is how many words hold n bytes.
func wordsFor(n int) int { return (n + wordBytes - 1) / wordBytes }

// revisionSum is the sum of a revision's record, without the sum itself.
func revisionSum(record []uint64, generation, offset uint64) uint64 {
	buf := make([]uint64, 0, 64)
	buf = append(append(buf, record...), generation, offset)
	return xxhash.Sum64(seqlock.BytesOf(buf))
}
