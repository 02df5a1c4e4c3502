package shm

import (
	"encoding/hex"
	"fmt"
	"os"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// DefaultDir is the directory of the region that everything uses unless told
// otherwise.
const DefaultDir = "/dev/shm/statesync/default"

// The files in a region's directory.
const (
	FileName = "region.v1"
	LockName = "lock"
	tempName = ".region.v1.new"
)

// Bounds of a region's geometry.
const (
	SlotAlign    = 64 << 10 // a slot's size is a multiple of it, in bytes
	MaxSlotSize  = 1 << 40
	DefaultSlots = 4
)

// A slot is made for images of slotRoom times the size of the one that it is
// made for, and not smaller than minSlot bytes. So a region grows five times on
// the way from 64 KiB to 64 MiB, and a process that locks its memory, or
// touches all of its mapping, takes a small multiple of the image.
const (
	slotRoom = 4
	minSlot  = 256 << 10
)

// LayoutVersion is the layout that this package reads and writes. It is in the
// file's name.
const LayoutVersion = 1

const (
	magic     = 0x4e4752434e595353 // "SSYNCRGN"
	wordBytes = 8
)

// Where things are in the file, in bytes.
const (
	identityAt = 0x0000
	hotAt      = 0x0080
	tableAt    = 0x1000
	statusAt   = 0x2000
	slotsAt    = 0x8000

	tableStride = 128
)

// The identity's words.
const (
	identityMagic        = iota
	identityVersion      // layout version | header size in bytes << 32
	identityIncompatible // feature bits: a reader that does not know one refuses
	identityCompatible   // feature bits: a reader may ignore them
	identitySlots        // K
	identitySlotSize     // bytes
	identityID           // two words
	identityCreated      = identityID + 2
	identityReserved     = identityCreated + 1 // zero up to the sum
	identitySum          = 15
	identityWords        = 16
)

// A slot table entry's words; the rest is zero.
const (
	slotSequence = 0
	slotLength   = 1 // of the image, in bytes
)

// The status begins with these words. The rest of its head is reserved.
const (
	statusSequence    = iota // odd while the status is being written
	statusState              // a State
	statusPID                //
	statusIncarnation        // random, another one at each start
	statusHeartbeat          // CLOCK_BOOTTIME, nanoseconds
	statusSourceGood         // CLOCK_BOOTTIME, nanoseconds; 0: never
	statusStarted            // nanoseconds since 1970, for people
	statusFields             // bytes of fields behind the head; a multiple of 8
	statusReserved           // zero up to the fields
	statusHead        = 16   // the first field's word
	statusWords       = (slotsAt - statusAt) / wordBytes
)

// A field of the status is a word, tag | length in bytes << 32, and its bytes,
// filled up to whole words. Readers skip fields whose tag they do not know.
const (
	fieldObserved = 1
	fieldProblem  = 2
)

// How many bytes of a text the status holds.
const (
	maxObserved = 1024
	maxProblem  = 2560
)

// The layout holds at compile time or the package does not build.
var (
	_ = [1]struct{}{}[identityAt+identityWords*wordBytes-hotAt]
	_ = [1]struct{}{}[tableAt+seqlock.MaxSlots*tableStride-statusAt]
	_ = [statusWords - statusHead - (2 + (maxObserved+maxProblem)/wordBytes)]struct{}{} // both texts fit
	_ = [1]struct{}{}[statusReserved-8]
)

// ID names a region: 128 random bits, new with each file.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Geometry is how a region's file is divided. It is fixed for the file's life.
type Geometry struct {
	Slots    int
	SlotSize int64 // bytes
}

// CheckLimits says what is wrong with a number of slots, or with a limit on the
// size of an image in bytes.
func CheckLimits(slots int, maxImage int64) error {
	if slots < seqlock.MinSlots || slots > seqlock.MaxSlots {
		return fmt.Errorf("%d slots: there must be %d to %d", slots, seqlock.MinSlots, seqlock.MaxSlots)
	}
	if maxImage <= 0 || maxImage > MaxSlotSize {
		return fmt.Errorf("an image of at most %d bytes: it must be from 1 to %d", maxImage, int64(MaxSlotSize))
	}
	return nil
}

// geometryFor is the geometry of a file that is made for an image of size
// bytes: the least power of two with room to grow, but no slot is larger than
// an image may be.
func geometryFor(slots int, size, maxImage int64) Geometry {
	slot := int64(minSlot)
	for slot < slotRoom*size {
		slot *= 2
	}
	return Geometry{Slots: slots, SlotSize: min(slot, (maxImage+SlotAlign-1)/SlotAlign*SlotAlign)}
}

// FileSize is the length of the region's file in bytes, most of it a hole.
func (g Geometry) FileSize() int64 { return slotsAt + int64(g.Slots)*g.SlotSize }

// identity is what the file's first 128 bytes say.
type identity struct {
	Geometry
	id      ID
	created time.Time
	raw     [identityWords]uint64 // as it is in the file, with what this version does not know
}

func (i identity) encode() [identityWords]uint64 {
	var w [identityWords]uint64
	w[identityMagic] = magic
	w[identityVersion] = LayoutVersion | slotsAt<<32
	w[identitySlots] = uint64(i.Slots)
	w[identitySlotSize] = uint64(i.SlotSize)
	copy(bytesOf(w[identityID:identityID+2]), i.id[:])
	w[identityCreated] = uint64(i.created.UnixNano())
	w[identitySum] = xxhash.Sum64(bytesOf(w[:identitySum]))
	return w
}

// decodeIdentity verifies the words, and that a file of size bytes is what
// they speak of.
func decodeIdentity(w [identityWords]uint64, size int64) (identity, error) {
	version := w[identityVersion] & 0xffffffff
	switch {
	case w[identityMagic] != magic:
		return identity{}, fmt.Errorf("%w: it does not begin as a region does", ErrCorrupt)
	case version != LayoutVersion:
		return identity{}, fmt.Errorf("%w: version %d, known is %d", ErrLayout, version, LayoutVersion)
	case xxhash.Sum64(bytesOf(w[:identitySum])) != w[identitySum]:
		return identity{}, fmt.Errorf("%w: the identity's sum does not match", ErrCorrupt)
	case w[identityVersion]>>32 != slotsAt:
		return identity{}, fmt.Errorf("%w: a header of %d bytes instead of %d", ErrCorrupt, w[identityVersion]>>32, slotsAt)
	case w[identityIncompatible] != 0:
		return identity{}, fmt.Errorf("%w: unknown features %#x", ErrLayout, w[identityIncompatible])
	}
	slots, slotSize := w[identitySlots], w[identitySlotSize]
	if slots < seqlock.MinSlots || slots > seqlock.MaxSlots ||
		slotSize == 0 || slotSize > MaxSlotSize || slotSize%SlotAlign != 0 {
		return identity{}, fmt.Errorf("%w: %d slots of %d bytes are impossible", ErrCorrupt, slots, slotSize)
	}
	i := identity{
		Geometry: Geometry{Slots: int(slots), SlotSize: int64(slotSize)},
		created:  time.Unix(0, int64(w[identityCreated])),
		raw:      w,
	}
	copy(i.id[:], bytesOf(w[identityID:identityID+2]))
	if size != i.FileSize() {
		return identity{}, fmt.Errorf("%w: the file has %d bytes instead of %d", ErrCorrupt, size, i.FileSize())
	}
	return i, nil
}

// bytesOf is the memory of words as bytes.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*wordBytes)
}

// wordsOf is the memory of a mapping, which is aligned to pages, as words.
func wordsOf(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/wordBytes)
}

// layout finds a region's parts in the words of its file.
type layout struct {
	identity
	words []uint64
	ring  seqlock.Ring
}

func newLayout(i identity, words []uint64) layout {
	l := layout{identity: i, words: words}
	sequences := make([]*uint64, i.Slots)
	for n := range sequences {
		sequences[n] = l.sequence(n)
	}
	l.ring = seqlock.NewRing(l.hot(), sequences)
	return l
}

// hot is the hot word, for waiting on it.
func (l *layout) hot() *uint64 { return &l.words[hotAt/wordBytes] }

// sequence is where the sequence of slot n is.
func (l *layout) sequence(n int) *uint64 {
	return &l.words[(tableAt+n*tableStride)/wordBytes+slotSequence]
}

// length is where the length of the image in slot n is.
func (l *layout) length(n int) *uint64 {
	return &l.words[(tableAt+n*tableStride)/wordBytes+slotLength]
}

// wholePages rounds a number of bytes up to pages.
func wholePages(n int64) int64 {
	page := int64(os.Getpagesize())
	return (n + page - 1) / page * page
}

// slotOffset is where slot n begins, in bytes.
func (l *layout) slotOffset(n int) int64 { return slotsAt + int64(n)*l.SlotSize }

// slot is the memory of slot n.
func (l *layout) slot(n int) []uint64 {
	from := l.slotOffset(n) / wordBytes
	return l.words[from : from+l.SlotSize/wordBytes]
}

// statusBlock is the memory of the status.
func (l *layout) statusBlock() []uint64 {
	return l.words[statusAt/wordBytes:][:statusWords]
}
