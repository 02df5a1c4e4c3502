//go:build unix

package writer

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// TestPublishStoresWhatChanged has a mark left in the memory of each part, to
// see which of them a publication stores.
func TestPublishStoresWhatChanged(t *testing.T) {
	const slots = 2
	w := created(t, regionIn(t), Options{Slots: slots, MaxImage: 1 << 20, Group: -1}, 1)
	part := func(first, n uint64) []uint64 {
		words := make([]uint64, n)
		for i := range words {
			words[i] = first + uint64(i)
		}
		return words
	}
	a, b, c := part(1000, 8), part(2000, 16), part(3000, 8)
	a2, b2, longer := part(1100, 8), part(2100, 16), part(4000, 9)

	const mark = 1 << 40
	g := generation(t, w)
	for _, step := range []struct {
		what   string
		image  [][]uint64
		stored []bool
	}{
		{"nothing is known of the slot", [][]uint64{a, b, c}, []bool{true, true, true}},
		{"all is there", [][]uint64{a, b, c}, []bool{false, false, false}},
		{"one part is new", [][]uint64{a, b2, c}, []bool{false, true, false}},
		{"two change", [][]uint64{a2, b, c}, []bool{true, true, false}},
		{"equal words, but other memory", [][]uint64{slices.Clone(a2), b, c}, []bool{true, false, false}},
		{"a part moves all behind it", [][]uint64{longer, b, c}, []bool{true, true, true}},
		{"an empty part is none", [][]uint64{nil, longer, {}, b, c}, []bool{false, false, false, false, false}},
		{"the last is gone", [][]uint64{longer, b}, []bool{false, false}},
		{"what was behind the end is not known", [][]uint64{longer, b, c}, []bool{false, false, true}},
		{"the start of a part", [][]uint64{longer, b[:8], c}, []bool{false, true, true}},
		{"in another order", [][]uint64{c, longer, b[:8]}, []bool{true, true, true}},
	} {
		for range slots { // the same slot again
			g++
			if g%slots != 0 {
				must(t, w.Publish(g, proofs(g, 4)))
				continue
			}
			slot := w.l.Slot(w.l.Ring.Slot(g))
			at := 0
			for _, p := range step.image {
				if len(p) > 0 {
					slot[at] += mark
				}
				at += len(p)
			}
			must(t, w.Publish(g, step.image))
			at = 0
			kept := false
			for i, p := range step.image {
				if len(p) == 0 {
					continue
				}
				stored := slot[at] == p[0]
				kept = kept || !stored
				if !stored {
					slot[at] -= mark
				}
				if stored != step.stored[i] {
					t.Errorf("%s: part %d stored: %v", step.what, i, stored)
				}
				if !slices.Equal(slot[at:at+len(p)], p) {
					t.Fatalf("%s: part %d is not in the slot", step.what, i)
				}
				at += len(p)
			}
			if w.Kept() != kept {
				t.Errorf("%s: Kept is %v, want %v", step.what, w.Kept(), kept)
			}
		}
	}
}

// TestAttachKnowsNothing has a writer write a slot that another one filled:
// whatever that holds, everything is stored.
func TestAttachKnowsNothing(t *testing.T) {
	dir := regionIn(t)
	o := Options{Slots: 2, MaxImage: 1 << 20, Group: -1}
	w := created(t, dir, o, 1)
	image := proofs(0, 64)
	must(t, w.Publish(2, image))
	must(t, w.Publish(3, image))
	die(t, w)

	w = attached(t, dir, o)
	slot := w.l.Slot(w.l.Ring.Slot(4))
	slot[1]++
	must(t, w.Publish(4, image))
	if slot[1] != image[1][0] {
		t.Fatal("a writer that did not fill the slot relied on what it holds")
	}
}

// TestInventoryKeepsNothingAlive publishes parts that nothing else keeps: memory that
// is handed out again is not taken for what was stored from it before.
func TestInventoryKeepsNothingAlive(t *testing.T) {
	w := created(t, regionIn(t), Options{Slots: 2, MaxImage: 1 << 20, Group: -1}, 1)
	addresses := map[string]bool{}
	again := 0
	for g := uint64(2); g < 4000; g++ {
		part := make([]uint64, 512)
		for i := range part {
			part[i] = g
		}
		address := fmt.Sprintf("%p", &part[0])
		if addresses[address] {
			again++
		}
		addresses[address] = true
		must(t, w.Publish(g, [][]uint64{part}))
		if slot := w.l.Slot(w.l.Ring.Slot(g)); slot[0] != g || slot[511] != g {
			t.Fatalf("generation %d is not in its slot", g)
		}
		if g%64 == 0 {
			runtime.GC()
		}
	}
	if again == 0 {
		t.Error("no memory was handed out twice, so that nothing was tried")
	}
}
