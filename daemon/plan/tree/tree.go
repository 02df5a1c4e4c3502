// Package tree has what a document is while a plan is made: its values, each with
// its place, the canonical form of them, and the problems that are found in them.
//
// A Pos is a line and a column of one file. A Node remembers beside its Pos which
// of the documents of its config it comes from, by number; a Report has the
// layer and the file of each number. So a merged document still knows where each
// of its values was written, and a place costs a node ten bytes.
package tree

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/statesync/statesync/shm/image"
)

// Kind is the kind of a Node.
type Kind uint8

// The kinds, and what a node of each has.
const (
	Null    Kind = iota
	Bool         // Bits is 0 or 1
	Int          // Bits is an int64
	Uint         // Bits is a uint64 beyond an int64
	Float        // Bits are those of a finite float64
	String       // Text
	List         // Items
	Map          // Fields
	Deleted      // only while layers are merged: a higher layer deleted what was here
)

// Node is a value of a file, the same for all formats, with its place. It is
// not changed once its document is complete: merged documents share nodes with
// those that they are made of.
type Node struct {
	Kind   Kind
	Doc    uint16 // of the config's documents, the one that it comes from
	At     Pos
	Bits   uint64
	Text   string
	Items  []*Node
	Fields []Field // sorted by Key
}

// Field is one key of a mapping and its value. The key comes from the document
// that the value comes from.
type Field struct {
	Key   string
	At    Pos // of the key
	Value *Node
}

// Place is where the value begins.
func (n *Node) Place() Place { return Place{Pos: n.At, Doc: n.Doc} }

// Place is where the key begins.
func (f *Field) Place() Place { return Place{Pos: f.At, Doc: f.Value.Doc} }

// AppendCanonical appends the value as canonical JSON.
func (n *Node) AppendCanonical(dst []byte) []byte {
	switch n.Kind {
	case Bool:
		return strconv.AppendBool(dst, n.Bits != 0)
	case Int:
		return strconv.AppendInt(dst, int64(n.Bits), 10)
	case Uint:
		return strconv.AppendUint(dst, n.Bits, 10)
	case Float:
		return image.AppendFloat(dst, math.Float64frombits(n.Bits))
	case String:
		return image.AppendString(dst, n.Text)
	case List:
		dst = append(dst, '[')
		for i, item := range n.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.AppendCanonical(dst)
		}
		return append(dst, ']')
	case Map:
		dst = append(dst, '{')
		for i, f := range n.Fields {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(image.AppendString(dst, f.Key), ':')
			dst = f.Value.AppendCanonical(dst)
		}
		return append(dst, '}')
	default:
		return append(dst, "null"...)
	}
}

// Plain is the value in the types that encoding/json decodes into an any, but
// with exact integers.
func (n *Node) Plain() any {
	switch n.Kind {
	case Bool:
		return n.Bits != 0
	case Int:
		return int64(n.Bits)
	case Uint:
		return n.Bits
	case Float:
		return math.Float64frombits(n.Bits)
	case String:
		return n.Text
	case List:
		list := make([]any, len(n.Items))
		for i, item := range n.Items {
			list[i] = item.Plain()
		}
		return list
	case Map:
		m := make(map[string]any, len(n.Fields))
		for _, f := range n.Fields {
			m[f.Key] = f.Value.Plain()
		}
		return m
	default:
		return nil
	}
}

// Size is the number of values in n.
func (n *Node) Size() int {
	total := 1
	for _, item := range n.Items {
		total += item.Size()
	}
	for _, f := range n.Fields {
		total += f.Value.Size()
	}
	return total
}

// Field is the field of that key, or nil.
func (n *Node) Field(key string) *Field {
	i, ok := slices.BinarySearchFunc(n.Fields, key, func(f Field, key string) int {
		return strings.Compare(f.Key, key)
	})
	if !ok {
		return nil
	}
	return &n.Fields[i]
}

// Item is the item of that decimal index, or nil.
func (n *Node) Item(index string) *Node {
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 || i >= len(n.Items) || strconv.Itoa(i) != index {
		return nil
	}
	return n.Items[i]
}

// Locate is the value that the path leads to, or the last value on the way
// that exists.
func (n *Node) Locate(path []string) *Node {
	for _, step := range path {
		next := n.Item(step)
		if f := n.Field(step); f != nil {
			next = f.Value
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}
