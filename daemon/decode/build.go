package decode

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/statesync/statesync/shm/image"
)

const (
	maxValues = 1_000_000 // in one config, with aliases expanded
	maxText   = 64 << 20  // bytes of a config's keys and strings, with aliases expanded; and of a JSON file
	maxMarkup = 4 << 20   // bytes of a YAML or TOML file: their parsers take up to 150 times the memory, see Memory
)

const tooDeep = "nested more than 100 deep; flatten it"

var _ = [1]struct{}{}[image.MaxDepth-100] // as tooDeep says

// builder makes a file's tree, and checks what holds for all formats. A format
// adds values in the order of the file. After stop has been called the tree is
// of no use and the format returns as soon as it can; other errors are
// collected on the way.
type builder struct {
	report
	path   []step // to the value at hand
	depth  int    // mappings and lists that are open
	values int
	text   int
	muted  int // inside an alias: what is wrong there was said at its anchor
}

// step is one step of a path: a key, or an index.
type step struct {
	key   string
	index int // -1: key
}

func (b *builder) enter(key string) { b.path = append(b.path, step{key, -1}) }
func (b *builder) enterItem(i int)  { b.path = append(b.path, step{index: i}) }
func (b *builder) leave()           { b.path = b.path[:len(b.path)-1] }
func (b *builder) close()           { b.depth-- }

// key is the dotted key of the value at hand.
func (b *builder) key() string {
	parts := make([]string, len(b.path))
	for i, s := range b.path {
		parts[i] = s.key
		if s.index >= 0 {
			parts[i] = strconv.Itoa(s.index)
		}
	}
	return dottedKey(parts)
}

// stop reports an error after which it cannot continue.
func (b *builder) stop(at pos, format string, args ...any) {
	b.error(at, b.key(), fmt.Sprintf(format, args...))
}

// errorf reports an error about the value at hand.
func (b *builder) errorf(at pos, format string, args ...any) {
	if b.muted == 0 {
		b.error(at, b.key(), fmt.Sprintf(format, args...))
	}
}

func (b *builder) warnf(at pos, format string, args ...any) {
	if b.muted == 0 {
		b.warning(at, b.key(), fmt.Sprintf(format, args...))
	}
}

// open begins a mapping or list. It is false when that is one too many inside
// each other.
func (b *builder) open(at pos) bool {
	b.depth++
	if b.depth > image.MaxDepth {
		b.stop(at, tooDeep)
		return false
	}
	return true
}

// count takes a value, and the bytes of a key or string, from what a config may
// have. It is false when that is used up.
func (b *builder) count(at pos, values, text int) bool {
	b.values += values
	b.text += text
	switch {
	case b.values > maxValues:
		b.stop(at, "more than %d values, with aliases expanded; split the config, or make it an opaque one", maxValues)
	case b.text > maxText:
		b.stop(at, "more than %d MiB of keys and strings, with aliases expanded; split the config, or make it an opaque one", maxText>>20)
	default:
		return true
	}
	return false
}

func (b *builder) null(at pos) *node { return &node{kind: nullKind, at: at} }

func (b *builder) bool(at pos, v bool) *node {
	n := &node{kind: boolKind, at: at}
	if v {
		n.bits = 1
	}
	return n
}

func (b *builder) string(at pos, s string) *node {
	if !utf8.ValidString(s) {
		b.errorf(at, "the string is not UTF-8; write it in UTF-8, or encode it")
		s = ""
	}
	return &node{kind: stringKind, at: at, text: s}
}

// integer reads digits of the given base, 0 to see it from their prefix.
func (b *builder) integer(at pos, digits string, base int) *node {
	if i, err := strconv.ParseInt(digits, base, 64); err == nil {
		return &node{kind: intKind, at: at, bits: uint64(i)}
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), base, 64); err == nil {
		return &node{kind: uintKind, at: at, bits: u}
	}
	b.errorf(at, "%s does not fit in 64 bits; write it as a string", shown(digits))
	return b.null(at)
}

func (b *builder) float(at pos, text string) *node {
	if word := strings.ToLower(strings.TrimLeft(text, "+-")); word == "inf" || word == "nan" {
		b.errorf(at, "%s has no counterpart in JSON; leave the key out, or write a string", shown(text))
		return b.null(at)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		b.errorf(at, "%s is beyond a 64-bit float; write it as a string", shown(text))
		return b.null(at)
	}
	return &node{kind: floatKind, at: at, bits: math.Float64bits(f)}
}

func (b *builder) list(at pos, items []*node) *node {
	return &node{kind: listKind, at: at, items: items}
}

// mapping sorts the fields, which are in the order of the file, and refuses
// keys that are there twice.
func (b *builder) mapping(at pos, fields []field) *node {
	slices.SortStableFunc(fields, func(x, y field) int { return strings.Compare(x.key, y.key) })
	unique := fields[:0]
	for i, f := range fields {
		if i > 0 && f.key == fields[i-1].key {
			b.twice(f.key, f.at, unique[len(unique)-1].at)
			continue
		}
		unique = append(unique, f)
	}
	b.checkCase(unique)
	return &node{kind: mapKind, at: at, fields: unique}
}

// twice reports a key that the mapping at hand has a second time.
func (b *builder) twice(key string, at, first pos) {
	b.enter(key)
	b.errorf(at, "the key is already defined at %v; keep one of them", first)
	b.leave()
}

// checkCase warns of keys that differ only in case.
func (b *builder) checkCase(fields []field) {
	if b.muted > 0 || len(fields) < 2 || !slices.ContainsFunc(fields, func(f field) bool { return mixed(f.key) }) {
		return
	}
	seen := make(map[string]field, len(fields))
	for _, f := range fields {
		folded := fold(f.key)
		other, ok := seen[folded]
		if !ok {
			seen[folded] = f
			continue
		}
		if f.at.compare(other.at) < 0 {
			f, other = other, f
		}
		b.enter(f.key)
		b.warnf(f.at, "the key differs only in case from %s at %v, and encoding/json takes them for one; rename one of them",
			quoted(other.key), other.at)
		b.leave()
	}
}

// mixed reports whether a key is other than lower-case ASCII: two keys that differ
// only in case are not both of that kind.
func mixed(key string) bool {
	for i := 0; i < len(key); i++ {
		if c := key[i]; c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// fold maps keys that encoding/json takes for one to the same string.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, key)
}
