package decode

import (
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// cursor finds the places of offsets in a text. Going forward costs each byte
// once, which keeps a file of one long line cheap.
type cursor struct {
	text   []byte
	offset int
	place  tree.Pos
}

func newCursor(text []byte) cursor { return cursor{text: text, place: tree.Pos{Line: 1, Column: 1}} }

func (c *cursor) at(offset int) tree.Pos {
	offset = min(offset, len(c.text))
	if offset < c.offset {
		*c = newCursor(c.text)
	}
	for ; c.offset < offset; c.offset++ {
		switch b := c.text[c.offset]; {
		case b == '\n':
			c.place.Line++
			c.place.Column = 1
		case utf8.RuneStart(b):
			c.place.Column++
		}
	}
	return c.place
}
