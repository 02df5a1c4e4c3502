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
	const KiB, MiB = 1 << 10, 1 << 20
	for _, c := range []struct {
		size, max, want int64
	}{
		{0, 1, SlotAlign},
		{0, 64 * MiB, 256 * KiB},
		{64 * KiB, 64 * MiB, 256 * KiB},
		{64*KiB + 64, 64 * MiB, 512 * KiB},
		{256*KiB + 64, 64 * MiB, 2 * MiB},
		{13 * MiB, 64 * MiB, 64 * MiB},
		{13 * MiB, 20*MiB + 1, 20*MiB + SlotAlign},
		{64 * MiB, 64 * MiB, 64 * MiB},
		{SlotAlign, SlotAlign, SlotAlign},
		{MaxSlotSize, MaxSlotSize, MaxSlotSize},
	} {
		if g := geometryFor(4, c.size, c.max); g.Slots != 4 || g.SlotSize != c.want || g.FileSize() != slotsAt+4*c.want {
			t.Errorf("an image of %d bytes, of at most %d: %+v", c.size, c.max, g)
		}
	}
}

// On the way from 64 KiB to 64 MiB there are five replacements, however the
// image grows.
func TestGrowthIsRare(t *testing.T) {
	const limit = 64 << 20
	for _, step := range []float64{1.0001, 1.3, 2, 3.9} {
		g, grown := geometryFor(4, 64<<10, limit), 0
		for size := float64(64 << 10); size <= limit; size *= step {
			if int64(size) > g.SlotSize {
				g = geometryFor(4, int64(size), limit)
				grown++
			}
		}
		if grown > 5 {
			t.Errorf("an image that grows by %v grew its region %d times", step, grown)
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
