package shm

import (
	"errors"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

func someIdentity() identity {
	i := identity{Geometry: Geometry{Slots: 4, SlotSize: 3 * SlotAlign}, created: time.Unix(1700000000, 123)}
	for n := range i.id {
		i.id[n] = byte(n + 1)
	}
	return i
}

// sum makes an identity's sum right again.
func sum(w [identityWords]uint64) [identityWords]uint64 {
	w[identitySum] = xxhash.Sum64(bytesOf(w[:identitySum]))
	return w
}

func TestIdentityRoundTrip(t *testing.T) {
	want := someIdentity()
	got, err := decodeIdentity(want.encode(), want.FileSize())
	if err != nil {
		t.Fatal(err)
	}
	if got.Geometry != want.Geometry || got.id != want.id || !got.created.Equal(want.created) {
		t.Errorf("%+v became %+v", want, got)
	}
	if got.encode() != want.encode() {
		t.Error("encoded again it differs")
	}
	if string(bytesOf(append([]uint64{}, want.encode()[0])))[:8] != "SSYNCRGN" {
		t.Error("the magic is not in the file as it reads")
	}
}

// No bit of the identity can flip unseen.
func TestIdentityBitFlips(t *testing.T) {
	i := someIdentity()
	for bit := range identityWords * 64 {
		w := i.encode()
		w[bit/64] ^= 1 << (bit % 64)
		if _, err := decodeIdentity(w, i.FileSize()); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLayout) {
			t.Errorf("bit %d flipped: %v", bit, err)
		}
	}
}

func TestIdentityRefusals(t *testing.T) {
	i := someIdentity()
	for name, c := range map[string]struct {
		change func(w *[identityWords]uint64)
		grow   int64
		want   error
	}{
		"as it is":             {change: func(*[identityWords]uint64) {}},
		"compatible feature":   {change: func(w *[identityWords]uint64) { w[identityCompatible] = 1 << 63 }},
		"incompatible feature": {change: func(w *[identityWords]uint64) { w[identityIncompatible] = 1 << 63 }, want: ErrLayout},
		"version 2":            {change: func(w *[identityWords]uint64) { w[identityVersion]++ }, want: ErrLayout},
		"version 0":            {change: func(w *[identityWords]uint64) { w[identityVersion]-- }, want: ErrLayout},
		"another header size":  {change: func(w *[identityWords]uint64) { w[identityVersion] += 1 << 32 }, want: ErrCorrupt},
		"another magic":        {change: func(w *[identityWords]uint64) { w[identityMagic]++ }, want: ErrCorrupt},
		"one slot":             {change: func(w *[identityWords]uint64) { w[identitySlots] = 1 }, grow: -3 * 3 * SlotAlign, want: ErrCorrupt},
		"no slots":             {change: func(w *[identityWords]uint64) { w[identitySlots] = 0 }, grow: -4 * 3 * SlotAlign, want: ErrCorrupt},
		"33 slots":             {change: func(w *[identityWords]uint64) { w[identitySlots] = 33 }, grow: 29 * 3 * SlotAlign, want: ErrCorrupt},
		"2^63 slots":           {change: func(w *[identityWords]uint64) { w[identitySlots] = 1 << 63 }, want: ErrCorrupt},
		"empty slots":          {change: func(w *[identityWords]uint64) { w[identitySlotSize] = 0 }, grow: -4 * 3 * SlotAlign, want: ErrCorrupt},
		"odd slots":            {change: func(w *[identityWords]uint64) { w[identitySlotSize] += 8 }, grow: 4 * 8, want: ErrCorrupt},
		"huge slots":           {change: func(w *[identityWords]uint64) { w[identitySlotSize] = MaxSlotSize + SlotAlign }, grow: 4 * (MaxSlotSize - 2*SlotAlign), want: ErrCorrupt},
		"overflowing slots":    {change: func(w *[identityWords]uint64) { w[identitySlotSize] = 1 << 63 }, want: ErrCorrupt},
		"one more slot":        {change: func(w *[identityWords]uint64) { w[identitySlots]++ }, want: ErrCorrupt},
		"larger slots":         {change: func(w *[identityWords]uint64) { w[identitySlotSize] += SlotAlign }, want: ErrCorrupt},
		"a byte short":         {change: func(*[identityWords]uint64) {}, grow: -1, want: ErrCorrupt},
		"a byte too long":      {change: func(*[identityWords]uint64) {}, grow: 1, want: ErrCorrupt},
		"a slot too long":      {change: func(*[identityWords]uint64) {}, grow: 3 * SlotAlign, want: ErrCorrupt},
	} {
		w := i.encode()
		c.change(&w)
		_, err := decodeIdentity(sum(w), i.FileSize()+c.grow)
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Another version is named as such, whatever follows it in the file.
func TestAnotherVersionHasAnotherSum(t *testing.T) {
	w := someIdentity().encode()
	for i := range w {
		if i != identityMagic {
			w[i] = ^uint64(0)
		}
	}
	w[identityVersion] = 7
	if _, err := decodeIdentity(w, 1<<30); !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
}

func TestGeometryFor(t *testing.T) {
	for _, c := range []struct {
		slots     int
		max, want int64
	}{
		{2, 1, SlotAlign},
		{4, SlotAlign, SlotAlign},
		{4, SlotAlign + 1, 2 * SlotAlign},
		{32, 64 << 20, 64 << 20},
		{32, MaxSlotSize, MaxSlotSize},
	} {
		g, err := GeometryFor(c.slots, c.max)
		if err != nil || g.Slots != c.slots || g.SlotSize != c.want || g.FileSize() != slotsAt+int64(c.slots)*c.want {
			t.Errorf("%d slots for %d bytes: %+v, %v", c.slots, c.max, g, err)
		}
	}
}

// The parts of a region neither overlap nor leave the file.
func TestLayoutParts(t *testing.T) {
	for _, slots := range []int{2, 4, 32} {
		i := someIdentity()
		i.Slots, i.SlotSize = slots, SlotAlign
		words := make([]uint64, i.FileSize()/wordBytes)
		l := newLayout(i, words)
		mark := func(what string, part []uint64) {
			for n := range part {
				if part[n] != 0 {
					t.Fatalf("%d slots: %s overlaps another part", slots, what)
				}
				part[n] = 1
			}
		}
		mark("identity", words[:identityWords])
		mark("hot", words[hotAt/wordBytes:][:1])
		mark("status", l.statusBlock())
		for n := range slots {
			mark("sequence", words[(tableAt+n*tableStride)/wordBytes:][:1])
			mark("length", words[(tableAt+n*tableStride)/wordBytes+1:][:1])
			mark("slot", l.slot(n))
		}
		if *l.hot() != 1 || *l.length(slots - 1) != 1 || words[len(words)-1] != 1 {
			t.Errorf("%d slots: a part was not found", slots)
		}
		if l.hot() != &words[0x80/8] || &l.statusBlock()[0] != &words[0x2000/8] || &l.slot(0)[0] != &words[0x8000/8] {
			t.Errorf("%d slots: a part is not where it belongs", slots)
		}
	}
}
