package tree

import (
	"cmp"
	"fmt"
)

// Pos is a place in a file: a line and, in characters, a column, both from 1. The
// zero Pos is the whole file.
type Pos struct{ Line, Column int32 }

func (p Pos) String() string { return fmt.Sprintf("line %d, column %d", p.Line, p.Column) }

// Compare orders places of one file.
func (p Pos) Compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Place is a Pos in one of the documents that a config is made of.
type Place struct {
	Pos
	Doc uint16
}

// Compare orders places by document first.
func (p Place) Compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Doc, q.Doc), p.Pos.Compare(q.Pos))
}

// Doc is a document: a file of a layer.
type Doc struct{ Layer, File string }
