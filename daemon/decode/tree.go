package decode

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/statesync/statesync/shm/image"
)

// nodeKind is the kind of a node.
type nodeKind uint8

const (
	nullKind   nodeKind = iota
	boolKind            // bits is 0 or 1
	intKind             // bits is an int64
	uintKind            // bits is a uint64 beyond an int64
	floatKind           // bits are those of a finite float64
	stringKind          // text
	listKind            // items
	mapKind             // fields
)

// node is a value of a file, the same for all formats, with its place.
type node struct {
	kind   nodeKind
	at     pos
	bits   uint64
	text   string
	items  []*node
	fields []field // sorted by key
}

// field is one key of a mapping and its value.
type field struct {
	key   string
	at    pos // of the key
	value *node
}

// appendCanonical appends the value as canonical JSON.
func (n *node) appendCanonical(dst []byte) []byte {
	switch n.kind {
	case boolKind:
		return strconv.AppendBool(dst, n.bits != 0)
	case intKind:
		return strconv.AppendInt(dst, int64(n.bits), 10)
	case uintKind:
		return strconv.AppendUint(dst, n.bits, 10)
	case floatKind:
		return image.AppendFloat(dst, math.Float64frombits(n.bits))
	case stringKind:
		return image.AppendString(dst, n.text)
	case listKind:
		dst = append(dst, '[')
		for i, item := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.appendCanonical(dst)
		}
		return append(dst, ']')
	case mapKind:
		dst = append(dst, '{')
		for i, f := range n.fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(image.AppendString(dst, f.key), ':')
			dst = f.value.appendCanonical(dst)
		}
		return append(dst, '}')
	default:
		return append(dst, "null"...)
	}
}

// plain is the value in the types that encoding/json decodes into an any, but
// with exact integers.
func (n *node) plain() any {
	switch n.kind {
	case boolKind:
		return n.bits != 0
	case intKind:
		return int64(n.bits)
	case uintKind:
		return n.bits
	case floatKind:
		return math.Float64frombits(n.bits)
	case stringKind:
		return n.text
	case listKind:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.plain()
		}
		return list
	case mapKind:
		m := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			m[f.key] = f.value.plain()
		}
		return m
	default:
		return nil
	}
}

// size is the number of values in n.
func (n *node) size() int {
	total := 1
	for _, item := range n.items {
		total += item.size()
	}
	for _, f := range n.fields {
		total += f.value.size()
	}
	return total
}

// field is the field of that key, or nil.
func (n *node) field(key string) *field {
	i, ok := slices.BinarySearchFunc(n.fields, key, func(f field, key string) int {
		return strings.Compare(f.key, key)
	})
	if !ok {
		return nil
	}
	return &n.fields[i]
}

// item is the item of that decimal index, or nil.
func (n *node) item(index string) *node {
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(n.items) || strconv.Itoa(i) != index {
		return nil
	}
	return n.items[i]
}

// locate is the value that the path leads to, or the last value on the way
// that exists.
func (n *node) locate(path []string) *node {
	for _, step := range path {
		next := n.item(step)
		if f := n.field(step); f != nil {
			next = f.value
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}
