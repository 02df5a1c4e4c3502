//go:build unix

package shm

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// FuzzAttach puts arbitrary bytes over the first 8 KiB of a region's file.
// Whatever they are, nobody panics or hangs: neither who reads nor who goes on
// with it. With mend the identity's sum is made right, so that what it protects
// is tried, too.
func FuzzAttach(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "region")
	o := WriterOptions{Slots: 2, MaxImage: SlotAlign, Group: -1}
	w := created(f, dir, o, 1)
	for range 3 {
		publish(f, w, 100)
	}
	path := w.Path()
	must(f, w.Close())
	whole, err := os.ReadFile(path)
	must(f, err)

	edited := func(at int, words ...uint64) []byte {
		b := append([]byte{}, whole[:slotsAt]...)
		for i, word := range words {
			binary.LittleEndian.PutUint64(b[at+i*wordBytes:], word)
		}
		return b
	}
	const ones = ^uint64(0)
	for _, header := range [][]byte{
		nil,
		whole[:slotsAt],
		whole[:tableAt],
		make([]byte, slotsAt),
		edited(hotAt, 0),
		edited(hotAt, 4<<1|1),
		edited(hotAt, 5<<1),
		edited(hotAt, ones),
		edited(hotAt, ones-1),
		append(edited(hotAt, ones-1)[:tableAt], make([]byte, slotsAt-tableAt)...),
		edited(tableAt, 2*4+1),
		edited(tableAt, 0),
		edited(tableAt, 2*4+2, ones),
		edited(tableAt, 2*4+2, SlotAlign+8),
		edited(tableAt, 2*4+2, 7),
		edited(writerAt, 1),
		edited(writerAt, 2, ones, ones, ones, ones, ones, ones, ones, ones),
		edited(identitySlots*wordBytes, 3),
		edited(identitySlots*wordBytes, 33, SlotAlign),
		edited(identitySlotSize*wordBytes, ones),
		edited(identityIncompatible*wordBytes, 1),
		edited(identityVersion*wordBytes, 2),
	} {
		f.Add(header, false)
		f.Add(header, true)
	}
	f.Fuzz(func(t *testing.T, header []byte, mend bool) {
		b := append([]byte{}, whole...)
		copy(b[:slotsAt], header)
		if mend {
			binary.LittleEndian.PutUint64(b[identitySum*wordBytes:], xxhash.Sum64(b[:identitySum*wordBytes]))
		}
		must(t, os.WriteFile(path, b, 0o644))
		readAnything(t, dir)
		writeAnything(t, dir, o)
	})
}

func readAnything(t *testing.T, dir string) {
	r, err := Open(dir, Trust{})
	if err != nil {
		if !anyOf(err, ErrCorrupt, ErrLayout) {
			t.Errorf("opening: %v", err)
		}
		return
	}
	hot, err := r.Hot()
	must(t, err)
	if _, err := r.Read(verifyCopy); err != nil && !anyOf(err, ErrCorrupt, ErrBusy, errTorn) {
		t.Errorf("reading: %v", err)
	}
	for _, g := range []uint64{0, hot.Generation() - 1, hot.Generation(), hot.Generation() + 1} {
		if err := r.ReadGeneration(g, verifyCopy); err != nil && !anyOf(err, ErrCorrupt, ErrExpired, errTorn) {
			t.Errorf("reading generation %d: %v", g, err)
		}
	}
	if s, err := r.Status(); err != nil && !anyOf(err, ErrBusy) || len(s.Observed) > maxObserved || len(s.Problem) > maxProblem {
		t.Errorf("the status is %+v, %v", s, err)
	}
	r.Beating()
	must(t, r.Wait(hot, 0))
	if r.Replaced() || r.Retired() != hot.Retired() {
		t.Errorf("replaced %v, retired %v", r.Replaced(), r.Retired())
	}
}

func writeAnything(t *testing.T, dir string, o WriterOptions) {
	w := own(t, dir, o)
	defer w.Close()
	if err := w.Attach(); err != nil {
		must(t, w.Create(10, proofs(10, 5)))
		wantGeneration(t, open(t, dir), 10)
		return
	}
	must(t, w.Check())
	if err := w.Current(func(uint64, []uint64) error { return nil }); err != nil && !anyOf(err, ErrCorrupt) {
		t.Errorf("the current image: %v", err)
	}
	g := publish(t, w, 5)
	wantGeneration(t, open(t, dir), g)
	must(t, w.Check())
}
