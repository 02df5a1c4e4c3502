package seqlock

import (
	"slices"
	"strings"
	"testing"
)

// newTestRing is a ring over private memory, and that memory.
func newTestRing(slots int) (r Ring, hot *uint64, sequences []uint64) {
	hot, sequences = new(uint64), make([]uint64, slots)
	return NewRing(hot, pointers(sequences)), hot, sequences
}

func pointers(words []uint64) []*uint64 {
	list := make([]*uint64, len(words))
	for i := range words {
		list[i] = &words[i]
	}
	return list
}

func TestNewRingBounds(t *testing.T) {
	for slots := range MaxSlots + 3 {
		fits := slots >= MinSlots && slots <= MaxSlots
		func() {
			defer func() {
				message, _ := recover().(string)
				if panicked := message != ""; panicked == fits {
					t.Errorf("%d slots: panic %q", slots, message)
				}
				if !fits && !strings.Contains(message, "2 to 32 slots") {
					t.Errorf("%d slots: panic %q does not say how many there can be", slots, message)
				}
			}()
			newTestRing(slots)
		}()
	}
}

func TestSlot(t *testing.T) {
	for _, slots := range []int{MinSlots, 3, 4, MaxSlots} {
		r, _, _ := newTestRing(slots)
		for _, g := range []uint64{0, 1, 2, 3, 31, 32, 33, MaxGeneration - 1, MaxGeneration} {
			if got, want := r.Slot(g), int(g%uint64(slots)); got != want {
				t.Errorf("%d slots: generation %d lives in slot %d, want %d", slots, g, got, want)
			}
		}
		if r.Slot(7) == r.Slot(8) {
			t.Errorf("%d slots: a generation is written over its predecessor", slots)
		}
	}
}

// TestSteps looks at the memory after each of the writer's steps, at the first
// and the last generations that there can be.
func TestSteps(t *testing.T) {
	for _, g := range []uint64{1, 2, 1000, 1<<32 - 1, 1 << 32, MaxGeneration - 1, MaxGeneration} {
		r, hot, sequences := newTestRing(3)
		sequence := &sequences[g%3]
		expect := func(step string, wantSequence, wantHot uint64, whole bool) {
			t.Helper()
			if *sequence != wantSequence || *hot != wantHot {
				t.Errorf("generation %d, %s: sequence %d and hot word %d, want %d and %d",
					g, step, *sequence, *hot, wantSequence, wantHot)
			}
			if r.Whole(g) != whole {
				t.Errorf("generation %d, %s: Whole is %v", g, step, !whole)
			}
			if other := g - 3; g > 3 && r.Whole(other) {
				t.Errorf("generation %d, %s: its slot is said to hold %d", g, step, other)
			}
			for i := range sequences {
				if &sequences[i] != sequence && sequences[i] != 0 {
					t.Errorf("generation %d, %s: slot %d was touched", g, step, i)
				}
			}
		}
		expect("before", 0, 0, false)
		r.Begin(g)
		expect("Begin", 2*g+1, 0, false)
		r.Complete(g)
		expect("Complete", 2*g+2, 0, true)
		if r.Hot() != 0 {
			t.Errorf("generation %d: Hot is %d before Commit", g, r.Hot())
		}
		r.Commit(g)
		expect("Commit", 2*g+2, g<<1, true)
		if h := r.Hot(); h.Generation() != g || h.Retired() {
			t.Errorf("Hot after Commit(%d): generation %d, retired %v", g, h.Generation(), h.Retired())
		}
		for range 2 { // once more makes no difference
			r.Retire()
			expect("Retire", 2*g+2, g<<1|1, true)
			if h := r.Hot(); h.Generation() != g || !h.Retired() {
				t.Errorf("Hot after Retire of %d: generation %d, retired %v", g, h.Generation(), h.Retired())
			}
		}
	}
}

// TestSequencesGrow looks at one slot through the last generations that there
// can be.
func TestSequencesGrow(t *testing.T) {
	r, hot, sequences := newTestRing(MinSlots)
	for g := uint64(MaxGeneration - 9); g <= MaxGeneration; g++ {
		sequence, before := &sequences[r.Slot(g)], sequences[r.Slot(g)]
		r.Begin(g)
		begun := *sequence
		r.Complete(g)
		if begun <= before || *sequence <= begun {
			t.Errorf("generation %d: the sequences are %d, %d and %d", g, before, begun, *sequence)
		}
		current := *hot
		if r.Commit(g); *hot <= current {
			t.Errorf("generation %d: the hot word went from %d to %d", g, current, *hot)
		}
	}
}

func TestEmptyRing(t *testing.T) {
	r, _, _ := newTestRing(4)
	if h := r.Hot(); h.Generation() != 0 || h.Retired() {
		t.Errorf("a new ring is at generation %d, retired %v", h.Generation(), h.Retired())
	}
	for g := range uint64(10) {
		if r.Whole(g) {
			t.Errorf("a new ring is said to hold generation %d", g)
		}
	}
	r.Retire()
	if h := r.Hot(); h.Generation() != 0 || !h.Retired() {
		t.Errorf("retired before its first generation: generation %d, retired %v", h.Generation(), h.Retired())
	}
}

// TestWords copies every length across the unrolled part of the loops, into
// memory that is as long or longer, and looks at what lies around it.
func TestWords(t *testing.T) {
	const around = 0xfeedfacecafebeef
	for _, c := range []struct {
		name string
		copy func(shared, private []uint64)

		sharedIsSource bool
	}{
		{"LoadWords", func(shared, private []uint64) { LoadWords(private, shared) }, true},
		{"StoreWords", func(shared, private []uint64) { StoreWords(shared, private) }, false},
	} {
		for n := range 41 {
			for _, longer := range []int{0, 1, 5} {
				// The private side says how much is copied; the shared side
				// may be longer.
				memory := slices.Repeat([]uint64{around}, 100)
				private := memory[1 : 1+n : 1+n]
				shared := memory[50 : 50+n+longer]
				source, target := private, shared
				if c.sharedIsSource {
					source, target = shared, private
				}
				for i := range source {
					source[i] = uint64(i)<<56 | uint64(n)<<8 | 1
				}
				want := slices.Clone(memory)
				copied := want[50 : 50+n]
				if c.sharedIsSource {
					copied = want[1 : 1+n]
				}
				copy(copied, source)
				c.copy(shared, private)
				if !slices.Equal(memory, want) {
					t.Errorf("%s of %d words beside %d: memory is\n%x, want\n%x", c.name, n, len(target), memory, want)
				}
			}
		}
	}
}

// TestWordsTooLong copies more than the shared side has. That is a mistake of
// the caller, and must not reach what lies behind.
func TestWordsTooLong(t *testing.T) {
	for name, do := range map[string]func(shared, private []uint64){
		"LoadWords":  func(shared, private []uint64) { LoadWords(private, shared) },
		"StoreWords": StoreWords,
	} {
		for n := range 12 {
			memory := make([]uint64, 20)
			private := slices.Repeat([]uint64{7}, n+1)
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: %d words, of which the shared side has %d: no panic", name, n+1, n)
					}
				}()
				do(memory[:n:n], private)
			}()
			if slices.Contains(memory, 7) {
				t.Errorf("%s: %d words, of which the shared side has %d: some were stored", name, n+1, n)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	r, _, _ := newTestRing(4)
	private, shared := make([]uint64, 1000), make([]uint64, 1000)
	var g uint64
	got := testing.AllocsPerRun(100, func() {
		g++
		r.Begin(g)
		StoreWords(shared, private)
		r.Complete(g)
		r.Commit(g)
		if h := r.Hot(); !r.Whole(h.Generation()) {
			t.Errorf("generation %d is not whole", h.Generation())
		}
		LoadWords(private, shared)
	})
	if got != 0 {
		t.Errorf("a publication and a pass of a reader allocate %v times", got)
	}
}

// BenchmarkLoadWords and BenchmarkStoreWords copy 1 MiB; BenchmarkCopy is the
// floor: what copying costs without a promise.
func BenchmarkLoadWords(b *testing.B)  { benchmarkWords(b, LoadWords) }
func BenchmarkStoreWords(b *testing.B) { benchmarkWords(b, StoreWords) }
func BenchmarkCopy(b *testing.B) {
	benchmarkWords(b, func(dst, src []uint64) { copy(dst, src) })
}

func benchmarkWords(b *testing.B, do func(dst, src []uint64)) {
	b.Helper()
	const size = 1 << 20
	dst, src := make([]uint64, size/8), make([]uint64, size/8)
	for i := range src {
		src[i] = uint64(i) // a page of its own, not the zero page
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		do(dst, src)
	}
}
