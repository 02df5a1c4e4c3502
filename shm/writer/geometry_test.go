package writer

import (
	"testing"

	"github.com/statesync/statesync/shm/internal/layout"
)

func TestGeometryFor(t *testing.T) {
	const KiB, MiB = 1 << 10, 1 << 20
	for _, c := range []struct {
		size, max, want int64
	}{
		{0, 1, layout.SlotAlign},
		{0, 64 * MiB, 256 * KiB},
		{64 * KiB, 64 * MiB, 256 * KiB},
		{64*KiB + 64, 64 * MiB, 512 * KiB},
		{256*KiB + 64, 64 * MiB, 2 * MiB},
		{13 * MiB, 64 * MiB, 64 * MiB},
		{13 * MiB, 20*MiB + 1, 20*MiB + layout.SlotAlign},
		{64 * MiB, 64 * MiB, 64 * MiB},
		{layout.SlotAlign, layout.SlotAlign, layout.SlotAlign},
		{layout.MaxSlotSize, layout.MaxSlotSize, layout.MaxSlotSize},
	} {
		if g := geometryFor(4, c.size, c.max); g.Slots != 4 || g.SlotSize != c.want || g.FileSize() != layout.SlotsAt+4*c.want {
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
