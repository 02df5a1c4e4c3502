package image

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// MaxElements is how many elements of an array have keys in the index. Keys of
// later elements are found by walking the content, which is slower.
const MaxElements = 1024

// MaxKey is the greatest length of a dotted key in the index, in bytes. Longer
// keys are found by walking as well, so the index of a small document stays small.
const MaxKey = 1024

// Type is the type of a key's value.
type Type uint8

// The types of values.
const (
	Null   Type = iota
	Bool        // Bits is 0 or 1
	Int         // Bits is an int64
	Uint        // Bits is a uint64 beyond an int64
	Float       // Bits are those of a float64
	String      // Text is a JSON string
	Array       // Text is canonical JSON
	Object      // Text is canonical JSON
	types       // how many there are
)

func (t Type) String() string {
	if t >= types {
		return "unknown type"
	}
	return [types]string{"null", "bool", "int", "uint", "float", "string", "array", "object"}[t]
}

// Value is what a dotted key leads to.
type Value struct {
	Type Type
	// Escaped says of a String that its text differs from its characters.
	Escaped bool
	Bits    uint64
	// Text is the value's canonical JSON, a view into its section that must
	// not be changed.
	Text []byte
}

// Key is a key of a section's index with its value, as the section has it: a view
// that must not be changed. A Value has the same and the value's text.
type Key [keyWords]uint64

// Type is the type of the key's value.
func (k *Key) Type() Type { return Type(k[keyPath] >> typeShift & typeMask) }

// Bits is what Value.Bits is.
func (k *Key) Bits() uint64 { return k[keyBits] }

// Bool is a Bool's value.
func (v Value) Bool() bool { return v.Bits != 0 }

// Int is an Int's value.
func (v Value) Int() int64 { return int64(v.Bits) }

// Float is a Float's value.
func (v Value) Float() float64 { return math.Float64frombits(v.Bits) }

// Str is a String's value: a view into the section, or a copy if the text has
// escapes. It is empty for other types.
func (v Value) Str() string {
	if len(v.Text) <= 2 {
		return ""
	}
	if v.Escaped {
		s, _, _ := unquote(v.Text)
		return s
	}
	return unsafe.String(&v.Text[1], len(v.Text)-2)
}

// A key's words: its value's bits; where its dotted form is, and its value's
// type; where its value's text is. Offsets are in bytes from the section's
// start.
const (
	keyBits = iota
	keyPath // offset | length<<32 | type<<typeShift | escapedFlag
	keyText // offset | length<<32
)

const (
	pathLength  = 1<<24 - 1
	typeShift   = 32 + 24
	typeMask    = 0x7f
	escapedFlag = 1 << 63
)

// A cell is a tag<<numberBits | key number + 1; 0 is an empty one.
const (
	numberBits = 24
	numberMask = 1<<numberBits - 1
	maxKeys    = numberMask
	cellBytes  = 4
)

// keyIndex is what indexKeys makes of a content. Offsets in keys count from the
// start of the content; those at or past its end are in text.
type keyIndex struct {
	keys  []uint64
	text  []byte // the dotted keys that the content does not have in one piece
	flags int
}

// cellsFor is the number of cells for n keys. They are at most half full, so a
// search reads one or two.
func cellsFor(n int) int {
	if n == 0 {
		return 0
	}
	cells := 2
	for cells < 2*n {
		cells *= 2
	}
	return cells
}

// keyReach is how many cells a search for a key reads at most.
const keyReach = 16

// keyTable is the table of keys with so many cells.
func keyTable(cells int) table {
	return table{
		homes: cells, width: 1, reach: keyReach, mean: 1,
		home: func(hash uint64) uint64 { return hash & uint64(cells-1) },
	}
}

// cellTag is the part of a key's hash that a cell keeps.
func cellTag(hash uint64) uint32 { return uint32(hash >> (32 + numberBits)) }

// writeCells writes the cells of a section whose keys are written, and their
// seed. Two equal keys have the same home, and meet there. What checkIndex found
// stays true: each cell gets the number of a key.
func (s *Section) writeCells() error {
	hashes := make([]uint64, len(s.keys))
	for n := range hashes {
		hashes[n] = HashName(s.key(n))
	}
	t := keyTable(len(s.cells))
	seed, next, crowded := t.arrange(hashes)
	if crowded >= 0 {
		return &CrowdedKeyError{Key: strings.Clone(s.key(crowded))}
	}
	s.seed = uint8(seed)
	s.words[sectionFlags/2] |= seed << seedShift
	mask := uint64(len(s.cells) - 1)
	for n, hash := range hashes {
		hash = reseed(hash, seed)
		tag, i := cellTag(hash), t.home(hash)
		at := i + uint64(next[i])
		next[i]++
		for ; i < at; i++ {
			cell := s.cells[i&mask]
			if cell != 0 && cell>>numberBits == tag && s.key(int(cell&numberMask-1)) == s.key(n) {
				return &DuplicateKeyError{Key: strings.Clone(s.key(n))}
			}
		}
		s.cells[at&mask] = tag<<numberBits | uint32(n+1)
	}
	return nil
}

// key is the dotted key with number n. The section's index must be valid: it was
// made here or verified.
func (s *Section) key(n int) string {
	path := s.keys[n][keyPath]
	return s.text()[path&math.MaxUint32:][:path>>32&pathLength]
}

// indexKeys walks canonical JSON and lists its keys.
func indexKeys(canonical []byte) (*keyIndex, error) {
	b := indexer{scanner: scanner{text: canonical}}
	if len(canonical) == 0 || canonical[0] != '{' && canonical[0] != '[' {
		return nil, &SyntaxError{Reason: "a config is an object or an array at its top"}
	}
	if err := b.walk(0); err != nil {
		return nil, err
	}
	if b.pos != len(canonical) {
		return nil, &SyntaxError{Offset: b.pos, Reason: "something follows the end of the value"}
	}
	return &b.index, nil
}

type indexer struct {
	scanner
	index keyIndex
	path  []byte // the dotted key of the value at pos
}

// walk indexes what is in the value at pos, and leaves pos behind it.
func (b *indexer) walk(depth int) error {
	text := b.text
	open := text[b.pos]
	if open != '{' && open != '[' {
		_, err := b.scalar()
		return err
	}
	if depth == MaxDepth {
		return b.fail("nested more than 100 deep")
	}
	b.pos++
	base := len(b.path)
	for n := 0; ; n++ {
		done, err := b.next(open, n)
		if done || err != nil {
			return err
		}
		at := -1 // where the content has the dotted key
		if base > 0 || depth > 0 {
			b.path = append(b.path[:base], '.')
		}
		if open == '{' {
			start := b.pos + 1
			key, err := b.key()
			if err != nil {
				return err
			}
			b.path = append(b.path, key...)
			// A key without escapes is in the content just as it is.
			if len(b.path) == len(key) && b.pos-start == len(key)+len(`":`) {
				at = start
			}
		} else {
			if n == MaxElements {
				b.index.flags |= flagCut
				b.path = b.path[:base]
				return b.skipOpen(1)
			}
			b.path = strconv.AppendInt(b.path, int64(n), 10)
		}
		if err := b.add(depth, at); err != nil {
			return err
		}
		b.path = b.path[:base]
	}
}

// add indexes the value at pos under path, which is in the content too where
// at is not negative, and then what is in it.
func (b *indexer) add(depth, at int) error {
	x := &b.index
	if len(b.path) > MaxKey {
		x.flags |= flagCut
		return b.skip()
	}
	if at < 0 {
		at = len(b.text) + len(x.text)
		x.text = append(x.text, b.path...)
	}
	n, start := len(x.keys), b.pos
	x.keys = append(x.keys, 0, uint64(at)|uint64(len(b.path))<<32, 0)
	if len(x.keys)*wordBytes+len(x.text) > MaxSection || n/keyWords == maxKeys {
		return fmt.Errorf("its index: %w: more than %d bytes, or %d keys", ErrTooLarge, MaxSection, maxKeys)
	}
	var v Value
	switch b.peek() {
	case '{':
		v.Type = Object
	case '[':
		v.Type = Array
	}
	var err error
	if v.Type == 0 {
		v, err = b.scalar()
	} else {
		err = b.walk(depth + 1)
	}
	if err != nil {
		return err
	}
	x.keys[n+keyBits] = v.Bits
	x.keys[n+keyPath] |= uint64(v.Type) << typeShift
	if v.Escaped {
		x.keys[n+keyPath] |= escapedFlag
	}
	x.keys[n+keyText] = uint64(start) | uint64(b.pos-start)<<32
	return nil
}

// checkIndex verifies that every cell that is not empty leads to a key, that every
// key's path and text lie in the section, that its type is known, and that a
// string has its quotes. The index may come out of shared memory, so a right hash
// says nothing about it. It does not verify that a search finds every key.
//
// Its time is linear in the index. It runs once, in parseSection, before the
// section is returned; Find and value rely on it and check nothing again.
func (s *Section) checkIndex() error {
	keys := int64(len(s.keys))
	wrong := int64(0) // negative once a cell leads nowhere
	for _, cell := range s.cells {
		// About half of the cells are empty, in no order that a processor could
		// predict, so the loop has no branch. The first term is negative if the
		// number is too great, the second if it is missing and the cell not empty.
		number := int64(cell & numberMask)
		wrong |= keys - number | (number-1)&^(int64(cell)-1)
	}
	if wrong < 0 {
		return corrupt("table of cells", uint64(len(s.cells)), "one of them leads to no key")
	}
	all := s.text()
	size := uint64(len(all))
	for i := range s.keys {
		k, n := &s.keys[i], uint64(i)
		path, pathBytes := k[keyPath]&math.MaxUint32, k[keyPath]>>32&pathLength
		from, length := k[keyText]&math.MaxUint32, k[keyText]>>32
		switch typ := k.Type(); {
		// An offset at the end is out of bounds even with no bytes behind it: at
		// makes a pointer of it.
		case path >= size || path+pathBytes > size:
			return corrupt("key", n, "its name is out of bounds")
		case from >= size || from+length > size:
			return corrupt("key", n, "its value is out of bounds")
		case typ >= types:
			return corrupt("key", n, "its type is unknown")
		case typ == String && (length < 2 || all[from] != '"' || all[from+length-1] != '"'):
			return corrupt("key", n, "its value is not a string")
		}
	}
	return nil
}

// Lookup finds a dotted key ("weights.elo", "pools.0.name") and stores its value
// into v, which on the hot path is then not copied from hand to hand. The error
// is ErrNotFound, or matches ErrCorrupt if a walk meets content that is not JSON; v
// means nothing then. It allocates nothing, unless it has to walk an array's
// elements past MaxElements.
func (s *Section) Lookup(v *Value, key string) error {
	if k := s.Find(key); k != nil {
		s.value(v, k)
		return nil
	}
	err := ErrNotFound
	if s.cut {
		*v, err = walkTo(s.Content(), key)
	}
	return err
}

// Find finds a dotted key in the index. It is nil if the key is not there, which
// proves that the section does not have the key, unless it is Cut. It costs less
// than Lookup, which stores a whole Value.
//
// The accesses without bounds checks stay in the section because checkIndex
// passed: the cells are a power of two, a cell's number is 0 only if the cell is,
// and is at most the number of keys, and a key's path lies in the section.
func (s *Section) Find(key string) *Key {
	n := len(key)
	p, at := unsafe.Pointer(unsafe.StringData(key)), 0
	hash := uint64(prime5) + uint64(n)
	if n >= stripe {
		hash = HashName(key)
	} else { // HashName inlined by hand: its call costs a tenth of the look-up
		for ; at+8 <= n; at += 8 {
			hash = mix8(hash, unsafe.Add(p, at))
		}
		if n&4 != 0 {
			hash = mix4(hash, unsafe.Add(p, at))
			at += 4
		}
		for ; at < n; at++ {
			hash = mix1(hash, unsafe.Add(p, at))
		}
		hash = avalanche(hash)
	}
	hash = reseed(hash, uint64(s.seed))
	tag := cellTag(hash)
	cells := unsafe.Pointer(unsafe.SliceData(s.cells))
	mask := uint64(len(s.cells) - 1)
	for range min(len(s.cells), keyReach) {
		cell := *(*uint32)(unsafe.Add(cells, hash&mask*cellBytes))
		if cell == 0 {
			break
		}
		if cell>>numberBits == tag {
			k := (*Key)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.keys)), uint64(cell&numberMask-1)*keyWords*wordBytes))
			path := k[keyPath]
			if path>>32&pathLength == uint64(n) && hasText(unsafe.Pointer(s.at(path&math.MaxUint32)), key) {
				return k
			}
		}
		hash++
	}
	return nil
}

// hasText reports whether the len(text) bytes at p, which must be there, are text.
// Keys are short: a call of the runtime's comparison would cost more than these
// loads, and have the search keep its state in memory.
func hasText(p unsafe.Pointer, text string) bool {
	q, left := unsafe.Pointer(unsafe.StringData(text)), len(text)-8
	if left < 0 {
		for i := range len(text) {
			if *(*byte)(unsafe.Add(p, i)) != text[i] {
				return false
			}
		}
		return true
	}
	for i := 0; i < left; i += 8 {
		if *(*uint64)(unsafe.Add(p, i)) != *(*uint64)(unsafe.Add(q, i)) {
			return false
		}
	}
	return *(*uint64)(unsafe.Add(p, left)) == *(*uint64)(unsafe.Add(q, left))
}

// at is the byte at an offset that checkIndex found to be in the section.
func (s *Section) at(offset uint64) *byte {
	return (*byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(s.words)), offset))
}

// value stores the value of a key into v. Its text lies in the section because
// checkIndex passed.
func (s *Section) value(v *Value, k *Key) {
	v.Type = k.Type()
	v.Escaped = k[keyPath]&escapedFlag != 0
	v.Bits = k[keyBits]
	v.Text = unsafe.Slice(s.at(k[keyText]&math.MaxUint32), k[keyText]>>32)
}

// walkTo finds a dotted key by walking canonical JSON. A part of the path is a
// prefix of the key up to one of its dots, or all of it: an object's own key
// may have dots in it.
func walkTo(content []byte, key string) (Value, error) {
	s := scanner{text: content}
	v, err := s.find(key, 0)
	if bad := (*SyntaxError)(nil); errors.As(err, &bad) {
		return Value{}, corrupt("content at byte", uint64(bad.Offset), bad.Reason)
	}
	return v, err
}

func (s *scanner) find(key string, depth int) (Value, error) {
	open := s.peek()
	if open != '{' && open != '[' || depth > MaxDepth {
		return Value{}, ErrNotFound
	}
	s.pos++
	for n := 0; ; n++ {
		done, err := s.next(open, n)
		if err != nil {
			return Value{}, err
		}
		if done {
			return Value{}, ErrNotFound
		}
		var part string
		if open == '{' {
			if part, err = s.key(); err != nil {
				return Value{}, err
			}
		} else {
			part = strconv.Itoa(n)
		}
		rest, ok := strings.CutPrefix(key, part)
		if !ok || rest != "" && rest[0] != '.' {
			if err := s.skip(); err != nil {
				return Value{}, err
			}
			continue
		}
		start := s.pos
		if rest == "" {
			return s.whole()
		}
		v, err := s.find(rest[1:], depth+1)
		if err != ErrNotFound { //nolint:errorlint // returned as it is, a few lines up
			return v, err
		}
		s.pos = start
		if err := s.skip(); err != nil {
			return Value{}, err
		}
	}
}

// whole is the value at pos with its text.
func (s *scanner) whole() (Value, error) {
	start := s.pos
	var v Value
	var err error
	switch s.peek() {
	case '{':
		v.Type, err = Object, s.skip()
	case '[':
		v.Type, err = Array, s.skip()
	default:
		v, err = s.scalar()
	}
	v.Text = bytes.Clone(s.text[start:s.pos])
	return v, err
}
