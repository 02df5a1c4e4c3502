//go:build unix

package writer

import (
	"testing"

	"github.com/statesync/statesync/shm/internal/layout"
)

// An image that outgrows its slot goes into a larger file, with the id of the
// one before it and the next generation.
func TestPublishGrowsRegion(t *testing.T) {
	dir := regionIn(t)
	o := Options{Slots: 3, MaxImage: 4 << 20, Group: -1}
	w := created(t, dir, o, 1)
	id := w.ID()
	files := 1
	const end = 20
	for g := uint64(2); g < end; g++ {
		before, size := open(t, dir), w.l.SlotSize
		words := int(g) * (3 << 20) / end / layout.WordBytes
		must(t, w.Publish(g, proofs(g, words)))
		after := open(t, dir)
		wantGeneration(t, after, g)
		if after.ID() != id {
			t.Fatalf("at generation %d the id is another one", g)
		}
		if grown := w.l.SlotSize != size; grown != before.Retired() || grown != before.Replaced() {
			t.Fatalf("grown: %v, the old file is retired: %v, replaced: %v", grown, before.Retired(), before.Replaced())
		} else if grown {
			files++
			wantGeneration(t, before, g-1)
			must(t, before.ReadGeneration(g-1, verifyCopy))
		}
	}
	if files != 3 {
		t.Errorf("the region was in %d files", files)
	}
	wantError(t, w.Publish(end, proofs(end, 4<<20/layout.WordBytes+8)), ErrTooLarge)

	// It does not shrink, and the next writer continues with it.
	size := w.l.SlotSize
	publish(t, w, 8)
	must(t, w.Close())
	w = attached(t, dir, o)
	publish(t, w, 8)
	if w.l.SlotSize != size || w.ID() != id {
		t.Errorf("after a small image the slots have %d bytes, and had %d", w.l.SlotSize, size)
	}
}

// A writer whose replacement failed after the old file was retired does not
// publish into that: it would take the mark away.
func TestPublishAfterFailedCreate(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	must(t, retire(w.l))
	wantError(t, w.Publish(2, proofs(2, 8)), ErrLost, "retired")
	if !r.Retired() {
		t.Fatal("the mark is gone")
	}
	wantError(t, w.Check(), ErrLost)
	must(t, w.Create(2, proofs(2, 8)))
	wantGeneration(t, open(t, dir), 2)
}

// Readers and writers ignore what a later version of this layout may add: bits of
// compatible features, and reserved words.
func TestRegionOfLaterVersion(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	publish(t, w, 100)
	id := [layout.IdentityWords]uint64(w.l.Words[:layout.IdentityWords])
	id[layout.IdentityCompatible] = 1 << 40
	for i := layout.IdentityReserved; i < layout.IdentitySum; i++ {
		id[i] = 42
	}
	id = sum(id)
	copy(w.l.Words, id[:])
	for i := layout.HotAt/layout.WordBytes + 1; i < layout.TableAt/layout.WordBytes; i++ { // the rest of the hot word's line, and what is reserved
		w.l.Words[i] = 42
	}
	for n := range w.l.Slots {
		for i := layout.SlotLength + 1; i < layout.TableStride/layout.WordBytes; i++ {
			w.l.Words[(layout.TableAt+n*layout.TableStride)/layout.WordBytes+i] = 42
		}
	}
	die(t, w)

	r := open(t, dir)
	wantGeneration(t, r, 2)
	w = attached(t, dir, small())
	for range 2 * w.l.Slots {
		wantGeneration(t, r, publish(t, w, 100))
		must(t, w.Check())
	}
	if got := [layout.IdentityWords]uint64(w.l.Words[:layout.IdentityWords]); got != id {
		t.Error("a writer of this version changed the identity")
	}
}
