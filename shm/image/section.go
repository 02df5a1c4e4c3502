package image

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

// MaxName is the greatest length of a config's name in bytes.
const MaxName = 255

// MaxSection is the greatest size of one config in its flat form, in bytes.
const MaxSection = 1 << 30

// CheckName returns an error if name is not a valid name of a config: 1 to 255
// bytes of UTF-8 in parts that slashes separate, no part empty, "." or "..", and
// no control characters.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a config's name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("the config's name %.40q… is %d bytes long; at most %d are allowed", name, len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("the config's name %q is not UTF-8", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the config's name %q has the part %q", name, part)
		}
	}
	if i := strings.IndexFunc(name, unicode.IsControl); i >= 0 {
		return fmt.Errorf("the config's name %q has a control character", name)
	}
	return nil
}

// Section is one config in its flat form: its name, its content and, for a
// document, the index of its keys. It is immutable, and safe for any number of
// goroutines.
type Section struct {
	kind  Kind
	seed  uint8    // of the cells
	cut   bool     // there are keys that are not in the index
	words []uint64 // the whole section, private, made by newWords
	hash  uint64   // xxhash64 of words

	// These are views into words. cells and keys passed checkIndex.
	cells    []uint32 // none, or a power of two
	keys     []Key
	name     string
	nameHash uint64
}

// The section's header, as 32-bit numbers.
const (
	sectionName      = iota // length in bytes
	sectionKind             //
	sectionContent          // length in bytes
	sectionKeys             // how many
	sectionKeyBytes         // length in bytes of the keys that the content does not have
	sectionCells            // how many: a power of two, or 0
	sectionFlags            // flagCut, and the table's seed
	sectionReserved         // zero, as are other flags, if no later version wrote them
	sectionHeaderEnd        //
)

const (
	flagCut   = 1
	seedShift = 8 // a byte

	knownFlags = flagCut | 0xff<<seedShift
)

var _ = [1]struct{}{}[sectionHeaderEnd*4-sectionHeaderWords*wordBytes]

// NewDocument returns the section of a config whose content is canonical JSON. The
// error is a *SyntaxError, *DuplicateKeyError or *CrowdedKeyError, or matches
// ErrTooLarge: an index can be many times its content.
func NewDocument(name string, canonical []byte) (*Section, error) {
	index, err := indexKeys(canonical)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", name, err)
	}
	return newSection(name, Document, canonical, index)
}

// NewOpaque returns the section of a config of any bytes.
func NewOpaque(name string, data []byte) (*Section, error) {
	return newSection(name, Opaque, data, &keyIndex{})
}

func newSection(name string, kind Kind, content []byte, index *keyIndex) (*Section, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	keys := len(index.keys) / keyWords
	cells := cellsFor(keys)
	contentAt := sectionHeaderWords + wordsFor(len(name))
	cellsAt := contentAt + wordsFor(len(content))
	keysAt := cellsAt + cells/2
	textAt := keysAt + len(index.keys)
	size := textAt + wordsFor(len(index.text))
	if size > MaxSection/wordBytes {
		return nil, fmt.Errorf("config %s: %d bytes with its index: %w: a config has at most %d",
			name, size*wordBytes, ErrTooLarge, MaxSection)
	}
	words := newWords(size)
	header := seqlock.BytesOf(words)
	put := func(field, n int) { binary.LittleEndian.PutUint32(header[4*field:], uint32(n)) }
	put(sectionName, len(name))
	put(sectionKind, int(kind))
	put(sectionContent, len(content))
	put(sectionKeys, keys)
	put(sectionKeyBytes, len(index.text))
	put(sectionCells, cells)
	put(sectionFlags, index.flags)
	copy(seqlock.BytesOf(words[sectionHeaderWords:]), name)
	copy(seqlock.BytesOf(words[contentAt:]), content)
	copy(seqlock.BytesOf(words[textAt:]), index.text)
	for n := 0; n < len(index.keys); n += keyWords {
		from, to := index.keys[n:][:keyWords], words[keysAt+n:]
		path := wordBytes * contentAt
		if from[keyPath]&math.MaxUint32 >= uint64(len(content)) {
			path = wordBytes*textAt - len(content)
		}
		to[keyBits], to[keyPath], to[keyText] = from[keyBits], from[keyPath]+uint64(path), from[keyText]+uint64(wordBytes*contentAt)
	}
	s, err := parseSection(words, 0)
	if err == nil {
		err = s.writeCells()
	}
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", name, err)
	}
	s.hash = xxhash.Sum64(seqlock.BytesOf(words))
	return &s, nil
}

// newWords is memory for a section of n words, with zeros behind them to where
// the next one begins.
func newWords(n int) []uint64 { return make([]uint64, n, aligned(n)) }

// padded is the section with the zeros behind it.
func (s *Section) padded() []uint64 { return s.words[:aligned(len(s.words))] }

// parseSection returns the section over words, which it keeps, and whose hash
// the caller has computed or verified. It checks that the parts fill the words
// exactly, and the index (checkIndex), so a look-up has nothing left to check.
func parseSection(words []uint64, hash uint64) (Section, error) {
	if len(words) < sectionHeaderWords {
		return Section{}, corrupt("section of words", uint64(len(words)), "shorter than its header")
	}
	var field [sectionHeaderEnd]uint64
	for i := range field {
		field[i] = words[i/2] >> (i % 2 * 32) & 0xffffffff
	}
	inWords := func(n uint64) uint64 { return (n + wordBytes - 1) / wordBytes }
	var (
		name     = uint64(sectionHeaderWords)
		content  = name + inWords(field[sectionName])
		cells    = content + inWords(field[sectionContent])
		keys     = cells + field[sectionCells]/2
		keyText  = keys + field[sectionKeys]*keyWords
		end      = keyText + inWords(field[sectionKeyBytes])
		nameLen  = field[sectionName]
		kind     = Kind(field[sectionKind])
		cellsLen = field[sectionCells]
	)
	switch {
	case end != uint64(len(words)):
		return Section{}, corrupt("section of words", uint64(len(words)), "its parts do not fill it")
	case nameLen == 0 || nameLen > MaxName:
		return Section{}, corrupt("section of words", uint64(len(words)), "its name is too short or too long")
	case kind != Document && kind != Opaque:
		return Section{}, corrupt("section of words", uint64(len(words)), "its kind is unknown")
	case cellsLen&(cellsLen-1) != 0 || cellsLen == 1 || cellsLen < field[sectionKeys]:
		return Section{}, corrupt("section of words", uint64(len(words)), "its table of keys has a wrong size")
	}
	s := Section{
		words: words,
		hash:  hash,
		seed:  uint8(field[sectionFlags] >> seedShift),
		kind:  kind,
		cut:   field[sectionFlags]&flagCut != 0,
	}
	s.name = s.text()[name*wordBytes:][:nameLen]
	if cellsLen > 0 {
		s.cells = unsafe.Slice((*uint32)(unsafe.Pointer(&words[cells])), cellsLen)
	}
	if field[sectionKeys] > 0 {
		s.keys = unsafe.Slice((*Key)(words[keys:]), field[sectionKeys])
	}
	if err := s.checkIndex(); err != nil {
		return Section{}, err
	}
	s.nameHash = HashName(s.name)
	return s, nil
}

// Name is the config's name.
func (s *Section) Name() string { return s.name }

// Kind is what the content is.
func (s *Section) Kind() Kind { return s.kind }

// Content is a document's canonical JSON, or an opaque config's bytes. It must
// not be changed.
func (s *Section) Content() []byte {
	n := s.words[sectionContent/2] & math.MaxUint32
	at := sectionHeaderWords + wordsFor(len(s.name))
	return seqlock.BytesOf(s.words[at:])[:n:n]
}

// text is the whole section.
func (s *Section) text() string {
	return unsafe.String((*byte)(unsafe.Pointer(unsafe.SliceData(s.words))), len(s.words)*wordBytes)
}

// Size is how many bytes of an image the section takes.
func (s *Section) Size() int { return aligned(len(s.words)) * wordBytes }

// KeyCount is how many dotted keys are indexed.
func (s *Section) KeyCount() int { return len(s.keys) }

// All yields each indexed dotted key with its value, in the order of the content:
// an object or an array comes before what is in it. It allocates nothing per key;
// keys and values are views into the section. If the section is Cut, there are keys
// that All leaves out.
func (s *Section) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for n := range s.keys {
			var v Value
			s.value(&v, &s.keys[n])
			if !yield(s.key(n), v) {
				return
			}
		}
	}
}

// Cut reports whether the content has keys that are not indexed. Lookup finds
// them; Find and All do not.
func (s *Section) Cut() bool { return s.cut }

// Equal reports whether the two are the same config with the same content.
func (s *Section) Equal(other *Section) bool {
	return s == other || s.hash == other.hash && string(seqlock.BytesOf(s.words)) == string(seqlock.BytesOf(other.words))
}
