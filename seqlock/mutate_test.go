package seqlock

import (
	"errors"
	"testing"
)

// mutations are mistakes in the protocol, and the promises that each breaks.
var mutations = []struct {
	name   string
	mutate func(*protocol)
	breaks []property
}{
	{
		"the writer leaves out the odd sequence",
		publishing(store(0), store(1), complete, commit),
		[]property{unmixed, committed},
	},
	{
		"a word passes the odd sequence, as a plain store may on arm64",
		publishing(store(0), begin, store(1), complete, commit),
		[]property{unmixed, committed},
	},
	{
		"the writer commits before the sequence is even",
		publishing(begin, store(0), store(1), commit, complete),
		[]property{wholeHot, prompt},
	},
	{
		"the writer commits before the words are stored",
		publishing(begin, complete, commit, store(0), store(1)),
		[]property{unmixed, committed, wholeHot},
	},
	{
		"the writer jumps by the number of slots",
		func(p *protocol) { p.next = func(generation, slots uint8) uint8 { return generation + slots } },
		[]property{wholeHot, prompt},
	},
	{
		"a successor jumps by the number of slots",
		attaching(func(current, slots uint8) uint8 { return current + slots }),
		[]property{wholeHot, prompt},
	},
	{
		"a successor publishes the current generation again",
		attaching(func(current, _ uint8) uint8 { return max(current, 1) }),
		[]property{unmixed, committed, wholeHot, prompt},
	},
	{
		"a successor starts over",
		attaching(func(_, _ uint8) uint8 { return 1 }),
		[]property{unmixed, committed, forward},
	},
	{
		"a successor continues in a retired ring",
		attaching(func(current, _ uint8) uint8 { return current + 1 }),
		[]property{finalRetire},
	},
	{
		"the reader leaves out the second look",
		reading(hot, look, load(0), load(1)),
		[]property{unmixed, committed},
	},
	{
		"the second look passes a word, as a plain load may on arm64",
		reading(hot, look, load(0), look, load(1)),
		[]property{unmixed, committed},
	},
	{
		"the reader only looks whether the sequence is even",
		reading(hot, even, load(0), load(1), even),
		[]property{unmixed, committed},
	},
	{
		"the reader reads ahead of the hot word",
		reading(ahead, look, load(0), load(1), look),
		[]property{unmixed, committed},
	},
	{
		"the reader waits for the slot to become whole again",
		reading(hot, waitingLook, load(0), load(1), look),
		[]property{prompt},
	},
	{
		"the reader leaves a mark",
		reading(hot, mark, load(0), load(1), look),
		[]property{noMarks},
	},
}

var (
	even = readerStep{"is the sequence even?", func(m *memory, r *reader) outcome {
		if m.sequences[m.ring.Slot(uint64(r.generation))]%2 != 0 {
			return again
		}
		return onward
	}}
	ahead = readerStep{"the generation behind Hot", func(m *memory, r *reader) outcome {
		r.generation = uint8(m.ring.Hot().Generation()) + 1
		return onward
	}}
	waitingLook = readerStep{"wait for Whole", func(m *memory, r *reader) outcome {
		if !m.ring.Whole(uint64(r.generation)) {
			return wait
		}
		return onward
	}}
	mark = readerStep{"leave a mark", func(m *memory, r *reader) outcome {
		m.slot(r.generation)[0]++
		return onward
	}}
)

// publishing is the steps of a publication in another order, or without one.
func publishing(steps ...writerStep) func(*protocol) {
	return func(p *protocol) { p.publish = steps }
}

// reading is the steps of a pass in another order, or without one.
func reading(steps ...readerStep) func(*protocol) {
	return func(p *protocol) { p.read = steps }
}

// attaching is a successor that continues at another generation than the one
// after the current one, and that does not care whether the ring is retired.
func attaching(at func(current, slots uint8) uint8) func(*protocol) {
	return func(p *protocol) {
		p.attach = func(h Hot, slots uint8) (uint8, bool) { return at(uint8(h.Generation()), slots), true }
	}
}

// TestMistakesAreFound is the test of TestEveryInterleaving: it can fail, for
// each of its properties.
func TestMistakesAreFound(t *testing.T) {
	var broken property
	for _, c := range mutations {
		t.Run(c.name, func(t *testing.T) {
			p := asBuilt()
			c.mutate(&p)
			for _, property := range c.breaks {
				broken |= property
				for slots := uint8(2); slots <= mostSlots; slots++ {
					b := bounds{slots: slots, first: 1, last: slots + 3, deaths: 2, readers: 1}
					_, err := explore(p, b, property)
					var v *violation
					if !errors.As(err, &v) {
						t.Errorf("not found with %v", b)
						continue
					}
					t.Logf("%d slots: %v", slots, v)
				}
			}
		})
	}
	if broken != allProperties {
		t.Errorf("only the properties %07b of %07b are broken by a mistake", broken, allProperties)
	}
}
