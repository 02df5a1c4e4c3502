// Package layout has the places of everything in a region's file: its identity,
// hot word, slot table, status and slots. It also has the guard under which the
// mapping is accessed. docs/FORMAT.md has the same to the byte.
package layout

import (
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// Bounds of a region's geometry.
const (
	SlotAlign    = 64 << 10 // a slot's size is a multiple of it, in bytes
	MaxSlotSize  = 1 << 40
	DefaultSlots = 4
)

// Version is the layout that this package reads and writes. It is in the
// file's name.
const Version = 1

// WordBytes is the size of a word.
const WordBytes = seqlock.WordBytes

const magic = 0x4e4752434e595353 // "SSYNCRGN"

// Offsets in the file, in bytes.
const (
	identityAt = 0x0000
	HotAt      = 0x0080
	TableAt    = 0x1000
	StatusAt   = 0x2000
	SlotsAt    = 0x8000

	TableStride = 128
)

// The identity's words.
const (
	IdentityMagic        = iota
	IdentityVersion      // layout version | header size in bytes << 32
	IdentityIncompatible // feature bits: a reader that does not know one refuses
	IdentityCompatible   // feature bits: a reader may ignore them
	IdentitySlots        // K
	IdentitySlotSize     // bytes
	identityID           // two words
	identityCreated      = identityID + 2
	IdentityReserved     = identityCreated + 1 // zero up to the sum
	IdentitySum          = 15
	IdentityWords        = 16
)

// A slot table entry's words; the rest is zero.
const (
	SlotSequence = 0
	SlotLength   = 1 // of the image, in bytes
)

// The status begins with these words. The rest of its head is reserved.
const (
	StatusSequence    = iota // odd while the status is being written
	StatusState              // a State
	StatusPID                //
	statusIncarnation        // random, another one at each start
	StatusHeartbeat          // CLOCK_BOOTTIME, nanoseconds
	StatusSourceGood         // CLOCK_BOOTTIME, nanoseconds; 0: never
	statusStarted            // nanoseconds since 1970, for people
	StatusFields             // bytes of fields behind the head; a multiple of 8
	StatusReserved           // zero up to the fields
	StatusHead        = 16   // the first field's word
	StatusWords       = (SlotsAt - StatusAt) / WordBytes
)

// A field of the status is a word, tag | length in bytes << 32, and its bytes,
// filled up to whole words. Readers skip fields whose tag they do not know.
const (
	FieldObserved = 1
	FieldProblem  = 2
	FieldStanding = 3
	FieldLayer    = 4 // one for each layer, in their order
	FieldFinding  = 5 // one for each, as many as there is room for
)

// How many bytes of a text the status holds, and how many layers.
const (
	MaxObserved     = 1024
	MaxProblem      = 2560
	MaxLayers       = 16
	MaxLayerName    = 64
	MaxLayerVersion = 256
	MaxLayerProblem = 768

	maxLayer = layerHead + MaxLayerName + MaxLayerVersion + MaxLayerProblem
)

// The layout holds at compile time or the package does not build.
var (
	_ = [1]struct{}{}[identityAt+IdentityWords*WordBytes-HotAt]
	_ = [1]struct{}{}[TableAt+seqlock.MaxSlots*TableStride-StatusAt]
	_ = [StatusWords - StatusHead - (4 + (MaxObserved+MaxProblem)/WordBytes + MaxLayers*(1+maxLayer/WordBytes))]struct{}{} // all fields fit
	_ = [1]struct{}{}[StatusReserved-8]
)

// Errors about a region's bytes.
var (
	ErrLayout  = errors.New("unsupported region layout")
	ErrCorrupt = errors.New("corrupt region")
	ErrFault   = errors.New("region memory is gone")
)

// ID names a region: 128 random bits, new with each file.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Geometry is how a region's file is divided. It is fixed for the file's life.
type Geometry struct {
	Slots    int
	SlotSize int64 // bytes
}

// FileSize is the length of the region's file in bytes, most of it a hole.
func (g Geometry) FileSize() int64 { return SlotsAt + int64(g.Slots)*g.SlotSize }

// Identity is what the file's first 128 bytes say.
type Identity struct {
	Geometry
	ID      ID
	Created time.Time
	Raw     [IdentityWords]uint64 // as it is in the file, with what this version does not know
}

// Encode is the identity as it is to be in a new file.
func (i Identity) Encode() [IdentityWords]uint64 {
	var w [IdentityWords]uint64
	w[IdentityMagic] = magic
	w[IdentityVersion] = Version | SlotsAt<<32
	w[IdentitySlots] = uint64(i.Slots)
	w[IdentitySlotSize] = uint64(i.SlotSize)
	copy(seqlock.BytesOf(w[identityID:identityID+2]), i.ID[:])
	w[identityCreated] = uint64(i.Created.UnixNano())
	w[IdentitySum] = xxhash.Sum64(seqlock.BytesOf(w[:IdentitySum]))
	return w
}

// DecodeIdentity verifies the words, and that they describe a file of size bytes.
func DecodeIdentity(w [IdentityWords]uint64, size int64) (Identity, error) {
	version := w[IdentityVersion] & 0xffffffff
	switch {
	case w[IdentityMagic] != magic:
		return Identity{}, fmt.Errorf("%w: it does not begin with the magic of a region", ErrCorrupt)
	case version != Version:
		return Identity{}, fmt.Errorf("%w: version %d, known is %d", ErrLayout, version, Version)
	case xxhash.Sum64(seqlock.BytesOf(w[:IdentitySum])) != w[IdentitySum]:
		return Identity{}, fmt.Errorf("%w: the identity's sum does not match", ErrCorrupt)
	case w[IdentityVersion]>>32 != SlotsAt:
		return Identity{}, fmt.Errorf("%w: a header of %d bytes instead of %d", ErrCorrupt, w[IdentityVersion]>>32, SlotsAt)
	case w[IdentityIncompatible] != 0:
		return Identity{}, fmt.Errorf("%w: unknown features %#x", ErrLayout, w[IdentityIncompatible])
	}
	slots, slotSize := w[IdentitySlots], w[IdentitySlotSize]
	if slots < seqlock.MinSlots || slots > seqlock.MaxSlots ||
		slotSize == 0 || slotSize > MaxSlotSize || slotSize%SlotAlign != 0 {
		return Identity{}, fmt.Errorf("%w: %d slots of %d bytes are impossible", ErrCorrupt, slots, slotSize)
	}
	i := Identity{
		Geometry: Geometry{Slots: int(slots), SlotSize: int64(slotSize)},
		Created:  time.Unix(0, int64(w[identityCreated])),
		Raw:      w,
	}
	copy(i.ID[:], seqlock.BytesOf(w[identityID:identityID+2]))
	if size != i.FileSize() {
		return Identity{}, fmt.Errorf("%w: the file has %d bytes instead of %d", ErrCorrupt, size, i.FileSize())
	}
	return i, nil
}

// WordsOf is the memory of a mapping, which is aligned to pages, as words.
func WordsOf(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/WordBytes)
}

// Layout finds a region's parts in the words of its file.
type Layout struct {
	Identity
	Words []uint64
	Ring  seqlock.Ring
}

// New is the layout of a file whose words are mapped.
func New(i Identity, words []uint64) Layout {
	l := Layout{Identity: i, Words: words}
	sequences := make([]*uint64, i.Slots)
	for n := range sequences {
		sequences[n] = l.Sequence(n)
	}
	l.Ring = seqlock.NewRing(l.HotWord(), sequences)
	return l
}

// HotWord is the hot word, for waiting on it.
func (l *Layout) HotWord() *uint64 { return &l.Words[HotAt/WordBytes] }

// Sequence is where the sequence of slot n is.
func (l *Layout) Sequence(n int) *uint64 {
	return &l.Words[(TableAt+n*TableStride)/WordBytes+SlotSequence]
}

// Length is where the length of the image in slot n is.
func (l *Layout) Length(n int) *uint64 {
	return &l.Words[(TableAt+n*TableStride)/WordBytes+SlotLength]
}

// SlotOffset is where slot n begins, in bytes.
func (l *Layout) SlotOffset(n int) int64 { return SlotsAt + int64(n)*l.SlotSize }

// Slot is the memory of slot n.
func (l *Layout) Slot(n int) []uint64 {
	from := l.SlotOffset(n) / WordBytes
	return l.Words[from : from+l.SlotSize/WordBytes]
}

// Image is the image in slot n, by the length that the slot table has.
func (l *Layout) Image(n int) ([]uint64, error) {
	length := atomic.LoadUint64(l.Length(n))
	if length > uint64(l.SlotSize) || length%WordBytes != 0 {
		return nil, fmt.Errorf("%w: slot %d has %d bytes", ErrCorrupt, n, length)
	}
	return l.Slot(n)[:length/WordBytes], nil
}

// Status is the memory of the status.
func (l *Layout) Status() []uint64 {
	return l.Words[StatusAt/WordBytes:][:StatusWords]
}
