package seqlock

import "sync/atomic"

// The least and the greatest number of slots in a ring. One slot would have to
// be overwritten while it is the current one.
const (
	MinSlots = 2
	MaxSlots = 32
)

// MaxGeneration is the last generation that a ring can hold: the sequences of
// all generations up to it fit in 64 bits. At a thousand publications a second
// it is a hundred million years away.
const MaxGeneration = 1<<62 - 1

// Hot is a value of the hot word: the current generation, and whether the
// region has been retired, so that readers must look for its successor.
type Hot uint64

// Generation is the current generation; 0 before the first one was committed.
func (h Hot) Generation() uint64 { return uint64(h) >> 1 }

// Retired says that nothing will be committed in this ring any more.
func (h Hot) Retired() bool { return h&1 != 0 }

// Ring is the protocol over one hot word and the sequences of K slots. Each
// method is one step of the protocol: it makes one load or one store (Retire
// makes both), never blocks, allocates nothing and makes no syscall. It faults
// if its memory does.
//
// Readers may use a Ring from any number of goroutines; there is one writer.
type Ring struct {
	hot       *uint64
	sequences []*uint64
}

// NewRing is the ring over a hot word and its slots' sequence words, which
// must be aligned to 8 bytes. There must be MinSlots to MaxSlots of them.
func NewRing(hot *uint64, sequences []*uint64) Ring {
	if len(sequences) < MinSlots || len(sequences) > MaxSlots {
		panic("seqlock: a ring has 2 to 32 slots")
	}
	return Ring{hot: hot, sequences: sequences}
}

// Slot is the number of the slot that generation g lives in.
func (r Ring) Slot(g uint64) int { return int(g % uint64(len(r.sequences))) }

// Hot loads the hot word: a reader's step 1.
func (r Ring) Hot() Hot { return Hot(atomic.LoadUint64(r.hot)) }

// Whole loads the sequence of g's slot and says whether the slot holds g,
// whole: a reader's steps 2 and 4. What was copied between two calls that both
// returned true belongs to g.
func (r Ring) Whole(g uint64) bool {
	return atomic.LoadUint64(r.sequences[r.Slot(g)]) == 2*g+2
}

// Begin marks g's slot as being written: the writer's step 1. g must be the
// hot word's generation plus 1, in a ring that has held a generation; only the
// first generation of a new ring may be any.
func (r Ring) Begin(g uint64) { atomic.StoreUint64(r.sequences[r.Slot(g)], 2*g+1) }

// Complete marks g's slot as holding g whole: the writer's step 3.
func (r Ring) Complete(g uint64) { atomic.StoreUint64(r.sequences[r.Slot(g)], 2*g+2) }

// Commit makes g the current generation: the writer's step 4, and the only
// one that a reader can see.
func (r Ring) Commit(g uint64) { atomic.StoreUint64(r.hot, g<<1) }

// Retire marks the ring as finished. Its current generation stays readable. A
// writer must not publish into a retired ring: Commit would clear the mark, and
// readers have gone to the successor.
func (r Ring) Retire() { atomic.StoreUint64(r.hot, uint64(r.Hot())|1) }
