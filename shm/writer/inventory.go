//go:build unix

package writer

import "weak"

// inventory lists the parts that a slot holds. A part of the next image that is
// the same memory at the same place need not be stored again: a publication stores
// in proportion to what changed, and readers keep the rest in their caches.
//
// It does not keep old images alive: a weak pointer never equals one to memory
// that was allocated again.
type inventory []storedPart

// storedPart is a part's place in the slot, in words, and the memory that it was
// stored from.
type storedPart struct {
	from       weak.Pointer[uint64]
	begin, end int
}

// has reports whether part number i is in the slot, at begin. A part has words.
func (v inventory) has(i, begin int, part []uint64) bool {
	return i < len(v) && v[i].begin == begin && v[i].end == begin+len(part) && v[i].from.Value() == &part[0]
}

// put records that part number i was stored at begin. Parts are put in order.
func (v *inventory) put(i, begin int, part []uint64) {
	h := storedPart{weak.Make(&part[0]), begin, begin + len(part)}
	if i < len(*v) {
		(*v)[i] = h
	} else {
		*v = append(*v, h)
	}
}
