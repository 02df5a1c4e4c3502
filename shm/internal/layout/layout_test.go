package layout

import (
	"errors"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
)

func someIdentity() Identity {
	i := Identity{Geometry: Geometry{Slots: 4, SlotSize: 3 * SlotAlign}, Created: time.Unix(1700000000, 123)}
	for n := range i.ID {
		i.ID[n] = byte(n + 1)
	}
	return i
}

// sum makes an identity's sum right again.
func sum(w [IdentityWords]uint64) [IdentityWords]uint64 {
	w[IdentitySum] = xxhash.Sum64(seqlock.BytesOf(w[:IdentitySum]))
	return w
}

func TestIdentityRoundTrip(t *testing.T) {
	want := someIdentity()
	got, err := DecodeIdentity(want.Encode(), want.FileSize())
	if err != nil {
		t.Fatal(err)
	}
	if got.Geometry != want.Geometry || got.ID != want.ID || !got.Created.Equal(want.Created) {
		t.Errorf("%+v became %+v", want, got)
	}
	if got.Encode() != want.Encode() {
		t.Error("encoded again it differs")
	}
	if string(seqlock.BytesOf(append([]uint64{}, want.Encode()[0])))[:8] != "SSYNCRGN" {
		t.Error("the magic is not in the file as it reads")
	}
}

// A flip of any bit of the identity is detected.
func TestIdentityBitFlips(t *testing.T) {
	i := someIdentity()
	for bit := range IdentityWords * 64 {
		w := i.Encode()
		w[bit/64] ^= 1 << (bit % 64)
		if _, err := DecodeIdentity(w, i.FileSize()); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLayout) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
	}
}

func TestIdentityRefusals(t *testing.T) {
	i := someIdentity()
	for name, c := range map[string]struct {
		change func(w *[IdentityWords]uint64)
		grow   int64
		want   error
	}{
		"as it is":             {change: func(*[IdentityWords]uint64) {}},
		"compatible feature":   {change: func(w *[IdentityWords]uint64) { w[IdentityCompatible] = 1 << 63 }},
		"incompatible feature": {change: func(w *[IdentityWords]uint64) { w[IdentityIncompatible] = 1 << 63 }, want: ErrLayout},
		"version 2":            {change: func(w *[IdentityWords]uint64) { w[IdentityVersion]++ }, want: ErrLayout},
		"version 0":            {change: func(w *[IdentityWords]uint64) { w[IdentityVersion]-- }, want: ErrLayout},
		"another header size":  {change: func(w *[IdentityWords]uint64) { w[IdentityVersion] += 1 << 32 }, want: ErrCorrupt},
		"another magic":        {change: func(w *[IdentityWords]uint64) { w[IdentityMagic]++ }, want: ErrCorrupt},
		"one slot":             {change: func(w *[IdentityWords]uint64) { w[IdentitySlots] = 1 }, grow: -3 * 3 * SlotAlign, want: ErrCorrupt},
		"no slots":             {change: func(w *[IdentityWords]uint64) { w[IdentitySlots] = 0 }, grow: -4 * 3 * SlotAlign, want: ErrCorrupt},
		"33 slots":             {change: func(w *[IdentityWords]uint64) { w[IdentitySlots] = 33 }, grow: 29 * 3 * SlotAlign, want: ErrCorrupt},
		"2^63 slots":           {change: func(w *[IdentityWords]uint64) { w[IdentitySlots] = 1 << 63 }, want: ErrCorrupt},
		"empty slots":          {change: func(w *[IdentityWords]uint64) { w[IdentitySlotSize] = 0 }, grow: -4 * 3 * SlotAlign, want: ErrCorrupt},
		"odd slots":            {change: func(w *[IdentityWords]uint64) { w[IdentitySlotSize] += 8 }, grow: 4 * 8, want: ErrCorrupt},
		"huge slots":           {change: func(w *[IdentityWords]uint64) { w[IdentitySlotSize] = MaxSlotSize + SlotAlign }, grow: 4 * (MaxSlotSize - 2*SlotAlign), want: ErrCorrupt},
		"overflowing slots":    {change: func(w *[IdentityWords]uint64) { w[IdentitySlotSize] = 1 << 63 }, want: ErrCorrupt},
		"one more slot":        {change: func(w *[IdentityWords]uint64) { w[IdentitySlots]++ }, want: ErrCorrupt},
		"larger slots":         {change: func(w *[IdentityWords]uint64) { w[IdentitySlotSize] += SlotAlign }, want: ErrCorrupt},
		"a byte short":         {change: func(*[IdentityWords]uint64) {}, grow: -1, want: ErrCorrupt},
		"a byte too long":      {change: func(*[IdentityWords]uint64) {}, grow: 1, want: ErrCorrupt},
		"a slot too long":      {change: func(*[IdentityWords]uint64) {}, grow: 3 * SlotAlign, want: ErrCorrupt},
	} {
		w := i.Encode()
		c.change(&w)
		_, err := DecodeIdentity(sum(w), i.FileSize()+c.grow)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Another version is named as such, whatever follows it in the file.
func TestAnotherVersionHasAnotherSum(t *testing.T) {
	w := someIdentity().Encode()
	for i := range w {
		if i != IdentityMagic {
			w[i] = ^uint64(0)
		}
	}
	w[IdentityVersion] = 7
	if _, err := DecodeIdentity(w, 1<<30); !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
}

// The parts of a region neither overlap nor leave the file.
func TestLayoutParts(t *testing.T) {
	for _, slots := range []int{2, 4, 32} {
		i := someIdentity()
		i.Slots, i.SlotSize = slots, SlotAlign
		words := make([]uint64, i.FileSize()/WordBytes)
		l := New(i, words)
		mark := func(what string, part []uint64) {
			for n := range part {
				if part[n] != 0 {
					t.Fatalf("%d slots: %s overlaps another part", slots, what)
				}
				part[n] = 1
			}
		}
		mark("identity", words[:IdentityWords])
		mark("hot", words[HotAt/WordBytes:][:1])
		mark("status", l.Status())
		for n := range slots {
			mark("sequence", words[(TableAt+n*TableStride)/WordBytes:][:1])
			mark("length", words[(TableAt+n*TableStride)/WordBytes+1:][:1])
			mark("slot", l.Slot(n))
		}
		if *l.HotWord() != 1 || *l.Length(slots - 1) != 1 || words[len(words)-1] != 1 {
			t.Errorf("%d slots: a part was not found", slots)
		}
		if l.HotWord() != &words[0x80/8] || &l.Status()[0] != &words[0x2000/8] || &l.Slot(0)[0] != &words[0x8000/8] {
			t.Errorf("%d slots: a part is not where it belongs", slots)
		}
	}
}
