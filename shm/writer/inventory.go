//go:build unix

package writer

import "weak"

// inventory is what a slot holds, part by part. A part of the next image that
// is the same memory at the same place is there already, so that a publication
// stores in proportion to what changed, and readers keep the lines of the rest
// in their caches.
//
// It does not keep old images alive: a weak pointer never equals one to memory
// that was handed out again.
type inventory []holding

// holding is where in a slot a part is, in words, and which memory it was
// stored from.
type holding struct {
	from       weak.Pointer[uint64]
	begin, end int
}

// has says whether part number i is in the slot, at begin. A part has words.
func (v inventory) has(i, begin int, part []uint64) bool {
	return i < len(v) && v[i].begin == begin && v[i].end == begin+len(part) && v[i].from.Value() == &part[0]
}

// put takes down that part number i was stored at begin. Parts are put in order.
func (v *inventory) put(i, begin int, part []uint64) {
	h := holding{weak.Make(&part[0]), begin, begin + len(part)}
	if i < len(*v) {
		(*v)[i] = h
	} else {
		*v = append(*v, h)
	}
}
