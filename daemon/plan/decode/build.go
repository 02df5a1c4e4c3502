package decode

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

const maxMarkup = 4 << 20 // bytes of a YAML or TOML file: their parsers take up to 150 times the memory, see Memory

// builder makes a file's tree, and checks what holds for all formats. A format
// adds values in the order of the file. After stop has been called the tree is
// of no use and the format returns as soon as it can; other errors are
// collected on the way.
type builder struct {
	report *tree.Report
	doc    uint16 // the document's number in report
	wide   bool   // see Source
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
	return tree.DottedKey(parts)
}

func (b *builder) place(at tree.Pos) tree.Place { return tree.Place{Pos: at, Doc: b.doc} }

// stop reports an error after which it cannot continue.
func (b *builder) stop(at tree.Pos, format string, args ...any) {
	b.report.Error(b.place(at), b.key(), fmt.Sprintf(format, args...))
}

// errorf reports an error about the value at hand.
func (b *builder) errorf(at tree.Pos, format string, args ...any) {
	if b.muted == 0 {
		b.report.Error(b.place(at), b.key(), fmt.Sprintf(format, args...))
	}
}

// warnf reports a warning about the value at hand.
func (b *builder) warnf(at tree.Pos, format string, args ...any) {
	if b.muted == 0 {
		b.report.Warning(b.place(at), b.key(), fmt.Sprintf(format, args...))
	}
}

// open begins a mapping or list. It is false when that is one too many inside
// each other.
func (b *builder) open(at tree.Pos) bool {
	b.depth++
	if b.depth > image.MaxDepth {
		b.stop(at, tree.TooDeep)
		return false
	}
	return true
}

// count takes a value, and the bytes of a key or string, from what a config may
// have. It is false when that is used up.
func (b *builder) count(at tree.Pos, values, text int) bool {
	b.values += values
	b.text += text
	switch {
	case b.values > tree.MaxValues:
		b.stop(at, "%s", tree.TooMany)
	case b.text > tree.MaxText:
		b.stop(at, "%s", tree.TooMuch)
	default:
		return true
	}
	return false
}

func (b *builder) null(at tree.Pos) *tree.Node {
	return &tree.Node{Kind: tree.Null, Doc: b.doc, At: at}
}

func (b *builder) bool(at tree.Pos, v bool) *tree.Node {
	n := &tree.Node{Kind: tree.Bool, Doc: b.doc, At: at}
	if v {
		n.Bits = 1
	}
	return n
}

func (b *builder) string(at tree.Pos, s string) *tree.Node {
	if !utf8.ValidString(s) {
		b.errorf(at, "the string is not UTF-8; write it in UTF-8, or encode it")
		s = ""
	}
	return &tree.Node{Kind: tree.String, Doc: b.doc, At: at, Text: s}
}

// integer reads digits of the given base, 0 to see it from their prefix.
func (b *builder) integer(at tree.Pos, digits string, base int) *tree.Node {
	if i, err := strconv.ParseInt(digits, base, 64); err == nil {
		return &tree.Node{Kind: tree.Int, Doc: b.doc, At: at, Bits: uint64(i)}
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), base, 64); err == nil {
		return &tree.Node{Kind: tree.Uint, Doc: b.doc, At: at, Bits: u}
	}
	if f, err := strconv.ParseFloat(digits, 64); err == nil && b.wide {
		return &tree.Node{Kind: tree.Float, Doc: b.doc, At: at, Bits: math.Float64bits(f)}
	}
	b.errorf(at, "%s does not fit in 64 bits; write it as a string", tree.Value(digits))
	return b.null(at)
}

func (b *builder) float(at tree.Pos, text string) *tree.Node {
	if word := strings.ToLower(strings.TrimLeft(text, "+-")); word == "inf" || word == "nan" {
		b.errorf(at, "%s has no counterpart in JSON; leave the key out, or write a string", tree.Value(text))
		return b.null(at)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		b.errorf(at, "%s is beyond a 64-bit float; write it as a string", tree.Value(text))
		return b.null(at)
	}
	return &tree.Node{Kind: tree.Float, Doc: b.doc, At: at, Bits: math.Float64bits(f)}
}

func (b *builder) list(at tree.Pos, items []*tree.Node) *tree.Node {
	return &tree.Node{Kind: tree.List, Doc: b.doc, At: at, Items: items}
}

// mapping sorts the fields, which are in the order of the file, and refuses
// keys that are there twice.
func (b *builder) mapping(at tree.Pos, fields []tree.Field) *tree.Node {
	slices.SortStableFunc(fields, func(x, y tree.Field) int { return strings.Compare(x.Key, y.Key) })
	unique := fields[:0]
	for i, f := range fields {
		if i > 0 && f.Key == fields[i-1].Key {
			b.twice(f.Key, f.At, unique[len(unique)-1].At)
			continue
		}
		unique = append(unique, f)
	}
	if b.muted == 0 {
		tree.CaseClashes(unique, func(f, other tree.Field) {
			b.enter(f.Key)
			b.warnf(f.At, "%s", b.report.CaseClash(b.place(f.At), &other))
			b.leave()
		})
	}
	return &tree.Node{Kind: tree.Map, Doc: b.doc, At: at, Fields: unique}
}

// twice reports a key that the mapping at hand has a second time.
func (b *builder) twice(key string, at, first tree.Pos) {
	b.enter(key)
	b.errorf(at, "the key is already defined at %v; keep one of them", first)
	b.leave()
}
