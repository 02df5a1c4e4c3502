package seqlock

import (
	"fmt"
	"strings"
)

// This file has the memory and the actors of the explorer in explore_test.go:
// the package's real steps over real words, and what a writer and a reader
// keep in their heads between them.

const (
	slotWords   = 2 // the fewest that can be torn
	mostSlots   = 3
	mostReaders = 2
)

// memory is the shared memory: words under a ring.
type memory struct {
	ring      Ring
	hot       uint64
	sequences [mostSlots]uint64
	words     [mostSlots][slotWords]uint64
}

func newMemory(slots uint8) *memory {
	m := &memory{}
	var sequences []*uint64
	for i := range slots {
		sequences = append(sequences, &m.sequences[i])
	}
	m.ring = NewRing(&m.hot, sequences)
	return m
}

// slot is the words of the slot that a generation lives in.
func (m *memory) slot(generation uint8) []uint64 {
	return m.words[m.ring.Slot(uint64(generation))][:]
}

// saved is a memory between two steps, in bytes: the explorer keeps very many
// of them, and none of its words grows beyond a byte.
type saved struct {
	hot       uint8
	sequences [mostSlots]uint8
	words     [mostSlots][slotWords]uint8
}

func (m *memory) restore(s *saved) {
	m.hot = uint64(s.hot)
	for i := range m.sequences {
		m.sequences[i] = uint64(s.sequences[i])
		for j := range m.words[i] {
			m.words[i][j] = uint64(s.words[i][j])
		}
	}
}

func (m *memory) save(s *saved) {
	s.hot = uint8(m.hot)
	for i := range m.sequences {
		s.sequences[i] = uint8(m.sequences[i])
		for j := range m.words[i] {
			s.words[i][j] = uint8(m.words[i][j])
		}
	}
}

// word is the value that a writer stores: it tells apart generations, writers
// and places.
func word(generation, incarnation uint8, index int) uint8 {
	return generation<<3 | incarnation<<1 | uint8(index)
}

// whole reports whether words are all those that one writer stored for one
// generation.
func whole(words [slotWords]uint8, generation, incarnation uint8) bool {
	for i, w := range words {
		if w != word(generation, incarnation, i) {
			return false
		}
	}
	return true
}

// sameOrigin reports whether words are all of one writer and one generation,
// whichever.
func sameOrigin(words [slotWords]uint8) bool {
	return whole(words, words[0]>>3, words[0]>>1&3)
}

// origin tells where words come from, for messages.
func origin(words [slotWords]uint8) string {
	var parts []string
	for _, w := range words {
		part := "a word that was never stored"
		if w != 0 {
			part = fmt.Sprintf("a word of generation %d by writer %d", w>>3, w>>1&3)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " and ")
}

// writer is what a writer knows. Its incarnation is the number of writers that
// died before it.
type writer struct {
	step        uint8
	generation  uint8
	incarnation uint8
	finished    bool // the ring is retired
}

// reader is what a reader knows, and what its copies are judged by.
type reader struct {
	step       uint8
	generation uint8
	copied     [slotWords]uint8
	committer  uint8 // the writer that committed the generation being read
	accepted   uint8 // the generation of the last copy
}

// outcome is what a step means for a reader's pass.
type outcome uint8

const (
	onward outcome = iota // to the next step; behind the last one the copy is accepted
	again                 // overtaken: back to the first step
	empty                 // nothing was committed yet: the pass is over
	wait                  // the same step once more, which the protocol never asks for
)

// A writerStep and a readerStep make one access to the memory.
type (
	writerStep struct {
		name string
		do   func(m *memory, w *writer)
	}
	readerStep struct {
		name string
		do   func(m *memory, r *reader) outcome
	}
)

// protocol is the actors' steps in their order, and how a writer finds its
// next generation. A mutation replaces some of it.
type protocol struct {
	publish []writerStep
	read    []readerStep

	// next is the generation after one that was committed, attach the one
	// that the successor of a dead writer continues at, if it may continue.
	next   func(generation, slots uint8) uint8
	attach func(hot Hot, slots uint8) (generation uint8, ok bool)
}

// asBuilt is the protocol of the package comment.
func asBuilt() protocol {
	return protocol{
		publish: []writerStep{begin, store(0), store(1), complete, commit},
		read:    []readerStep{hot, look, load(0), load(1), look},
		next: func(generation, _ uint8) uint8 {
			return generation + 1
		},
		attach: func(h Hot, _ uint8) (uint8, bool) {
			return uint8(h.Generation()) + 1, !h.Retired()
		},
	}
}

var (
	begin    = writerStep{"Begin", func(m *memory, w *writer) { m.ring.Begin(uint64(w.generation)) }}
	complete = writerStep{"Complete", func(m *memory, w *writer) { m.ring.Complete(uint64(w.generation)) }}
	commit   = writerStep{"Commit", func(m *memory, w *writer) { m.ring.Commit(uint64(w.generation)) }}
)

func store(i int) writerStep {
	return writerStep{fmt.Sprintf("StoreWords[%d]", i), func(m *memory, w *writer) {
		StoreWords(m.slot(w.generation)[i:], []uint64{uint64(word(w.generation, w.incarnation, i))})
	}}
}

var (
	hot = readerStep{"Hot", func(m *memory, r *reader) outcome {
		r.generation = uint8(m.ring.Hot().Generation())
		if r.generation == 0 {
			return empty
		}
		return onward
	}}
	look = readerStep{"Whole", func(m *memory, r *reader) outcome {
		if !m.ring.Whole(uint64(r.generation)) {
			return again
		}
		return onward
	}}
)

func load(i int) readerStep {
	return readerStep{fmt.Sprintf("LoadWords[%d]", i), func(m *memory, r *reader) outcome {
		var private [1]uint64
		LoadWords(private[:], m.slot(r.generation)[i:])
		r.copied[i] = uint8(private[0])
		return onward
	}}
}

// The rest of a pass that was overtaken right after its first look, and one
// whole pass: more steps than that a reader never makes while the writer
// pauses.
var promptSteps = len(asBuilt().read[2:]) + len(asBuilt().read)
