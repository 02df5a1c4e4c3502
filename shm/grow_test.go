//go:build unix

package shm

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// An image that outgrows its slot goes into a larger file, with the id of the
// one before it and the next generation.
func TestPublishGrowsRegion(t *testing.T) {
	dir := regionIn(t)
	o := WriterOptions{Slots: 3, MaxImage: 4 << 20, Group: -1}
	w := created(t, dir, o, 1)
	id := w.ID()
	files := 1
	for g := uint64(2); g < 40; g++ {
		before, size := open(t, dir), w.SlotSize
		words := int(g) * (3 << 20) / 40 / wordBytes
		must(t, w.Publish(g, proofs(g, words)))
		after := open(t, dir)
		wantGeneration(t, after, g)
		if after.ID() != id {
			t.Fatalf("at generation %d the id is another one", g)
		}
		if grown := w.SlotSize != size; grown != before.Retired() || grown != before.Replaced() {
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
	wantError(t, w.Publish(40, proofs(40, 4<<20/wordBytes+8)), ErrTooLarge)

	// It does not shrink, and the next writer goes on with it.
	size := w.SlotSize
	publish(t, w, 8)
	must(t, w.Close())
	w = attached(t, dir, o)
	publish(t, w, 8)
	if w.SlotSize != size || w.ID() != id {
		t.Errorf("after a small image the slots have %d bytes, and had %d", w.SlotSize, size)
	}
}

// A writer whose replacement failed after the old file was retired does not
// publish into that: it would take the mark away.
func TestPublishAfterFailedCreate(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	must(t, w.retire())
	wantError(t, w.Publish(2, proofs(2, 8)), ErrLost, "retired")
	if !r.Retired() {
		t.Fatal("the mark is gone")
	}
	wantError(t, w.Check(), ErrLost)
	must(t, w.Create(2, proofs(2, 8)))
	wantGeneration(t, open(t, dir), 2)
}

// What a later version of this layout may add, readers and writers of this one
// pass over: bits of compatible features, and reserved words.
func TestRegionOfLaterVersion(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	publish(t, w, 100)
	id := [identityWords]uint64(w.words[:identityWords])
	id[identityCompatible] = 1 << 40
	for i := identityReserved; i < identitySum; i++ {
		id[i] = 42
	}
	id = sum(id)
	copy(w.words, id[:])
	for i := hotAt/wordBytes + 1; i < tableAt/wordBytes; i++ { // the rest of the hot word's line, and what is reserved
		w.words[i] = 42
	}
	for n := range w.Slots {
		for i := slotLength + 1; i < tableStride/wordBytes; i++ {
			w.words[(tableAt+n*tableStride)/wordBytes+i] = 42
		}
	}
	die(t, w)

	r := open(t, dir)
	wantGeneration(t, r, 2)
	w = attached(t, dir, small())
	for range 2 * w.Slots {
		wantGeneration(t, r, publish(t, w, 100))
		must(t, w.Check())
	}
	if got := [identityWords]uint64(r.words[:identityWords]); got != id {
		t.Error("a writer of this version changed the identity")
	}
}

// A directory without a region.v1 may say why.
func TestOpenSaysWhyThereIsNoRegion(t *testing.T) {
	dir := openTemp(t)
	_, err := Open(dir, Trust{})
	wantError(t, err, ErrNoRegion)
	must(t, os.WriteFile(dir+"/region.v2", nil, 0o644))
	_, err = Open(dir, Trust{})
	wantError(t, err, ErrLayout, "region.v2", "region.v1")
	must(t, os.Remove(dir+"/region.v2"))

	// What a container sees whose mount is of a directory that was made anew.
	needRoot(t)
	mount := openTemp(t)
	if err := unix.Mount(dir, mount, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("mounting: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	must(t, os.Remove(dir))
	must(t, os.Mkdir(dir, 0o755))
	_, err = Open(mount, Trust{})
	wantError(t, err, ErrNoRegion, "removed", "mount")
}
