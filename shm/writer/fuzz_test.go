//go:build unix

package writer

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
)

// FuzzAttach puts arbitrary bytes anywhere over the first 8 KiB of a region's
// file. Whatever they are, nothing panics or hangs: neither a reader nor the writer that
// attaches. With mend the identity's sum is made right, so that what it protects
// is tried, too.
func FuzzAttach(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "region")
	o := Options{Slots: 2, MaxImage: layout.SlotAlign, Group: -1}
	w := created(f, dir, o, 1)
	for range 3 {
		publish(f, w, 100)
	}
	path := w.Path()
	must(f, w.Close())
	whole, err := os.ReadFile(path)
	must(f, err)

	const ones = ^uint64(0)
	for _, seed := range []struct {
		at    int
		words []uint64
	}{
		{0, nil},
		{0, make([]uint64, layout.SlotsAt/layout.WordBytes)},
		{layout.HotAt, []uint64{0}},
		{layout.HotAt, []uint64{4<<1 | 1}},
		{layout.HotAt, []uint64{5 << 1}},
		{layout.HotAt, []uint64{ones}},
		{layout.HotAt, []uint64{ones - 1}},
		{layout.HotAt, append([]uint64{ones - 1}, make([]uint64, (layout.SlotsAt-layout.HotAt)/layout.WordBytes-1)...)},
		{layout.TableAt, []uint64{2*4 + 1}},
		{layout.TableAt, []uint64{0}},
		{layout.TableAt, []uint64{2*4 + 2, ones}},
		{layout.TableAt, []uint64{2*4 + 2, layout.SlotAlign + 8}},
		{layout.TableAt, []uint64{2*4 + 2, 7}},
		{layout.StatusAt, []uint64{1}},
		{layout.StatusAt, []uint64{2, ones, ones, ones, ones, ones, ones, ones, ones}},
		{layout.StatusAt, append(make([]uint64, layout.StatusHead-1), ones, layout.FieldObserved|9<<32, ones, ones, layout.FieldProblem|ones&^0xffffffff)},
		{layout.IdentityMagic * layout.WordBytes, []uint64{1}},
		{layout.IdentityVersion * layout.WordBytes, []uint64{2}},
		{layout.IdentityIncompatible * layout.WordBytes, []uint64{1}},
		{layout.IdentitySlots * layout.WordBytes, []uint64{3}},
		{layout.IdentitySlots * layout.WordBytes, []uint64{33, layout.SlotAlign}},
		{layout.IdentitySlotSize * layout.WordBytes, []uint64{ones}},
	} {
		f.Add(uint16(seed.at), seqlock.BytesOf(seed.words), false)
		f.Add(uint16(seed.at), seqlock.BytesOf(seed.words), true)
	}
	f.Fuzz(func(t *testing.T, at uint16, b []byte, mend bool) {
		file := slices.Clone(whole)
		copy(file[at%layout.SlotsAt:layout.SlotsAt], b)
		if mend {
			binary.LittleEndian.PutUint64(file[layout.IdentitySum*layout.WordBytes:], xxhash.Sum64(file[:layout.IdentitySum*layout.WordBytes]))
		}
		must(t, os.WriteFile(path, file, 0o644))
		readAnything(t, dir)
		writeAnything(t, dir, o)
	})
}

func readAnything(t *testing.T, dir string) {
	r, err := shm.Open(dir, shm.Trust{})
	if err != nil {
		if !anyOf(err, shm.ErrCorrupt, shm.ErrLayout) {
			t.Errorf("opening: %v", err)
		}
		return
	}
	hot, err := r.Hot()
	must(t, err)
	if _, err := r.Read(verifyCopy); err != nil && !anyOf(err, shm.ErrCorrupt, shm.ErrBusy, errTorn) {
		t.Errorf("reading: %v", err)
	}
	for _, g := range []uint64{0, hot.Generation() - 1, hot.Generation(), hot.Generation() + 1} {
		if err := r.ReadGeneration(g, verifyCopy); err != nil && !anyOf(err, shm.ErrCorrupt, shm.ErrExpired, errTorn) {
			t.Errorf("reading generation %d: %v", g, err)
		}
	}
	if s, err := r.Status(); err != nil && !anyOf(err, shm.ErrBusy) || len(s.Observed) > layout.MaxObserved || len(s.Problem) > layout.MaxProblem {
		t.Errorf("the status is %+v, %v", s, err)
	}
	r.Beating()
	must(t, r.Wait(hot, 0))
	if r.Replaced() || r.Retired() != hot.Retired() {
		t.Errorf("replaced %v, retired %v", r.Replaced(), r.Retired())
	}
}

func writeAnything(t *testing.T, dir string, o Options) {
	w := own(t, dir, o)
	defer w.Close()
	if err := attachAndCheck(w); err != nil {
		must(t, w.Create(10, proofs(10, 5)))
		wantGeneration(t, open(t, dir), 10)
		return
	}
	if err := w.Current(func(uint64, []uint64) error { return nil }); err != nil && !anyOf(err, shm.ErrCorrupt) {
		t.Errorf("the current image: %v", err)
	}
	g := publish(t, w, 5)
	wantGeneration(t, open(t, dir), g)
	must(t, w.Check())
}

func attachAndCheck(w *Writer) error {
	if err := w.Attach(); err != nil {
		return err
	}
	return w.Check()
}

// FuzzStatus lays arbitrary bytes over the status, its sequence included,
// under a reader that has it mapped. What is read of it is bounded and harms
// no reader, and the next heartbeat overwrites it.
func FuzzStatus(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "region")
	w := created(f, dir, Options{Slots: 2, MaxImage: layout.SlotAlign, Group: -1}, 1)
	r, err := shm.Open(dir, shm.Trust{})
	must(f, err)
	const ones = ^uint64(0)
	for _, words := range [][]uint64{
		{},
		{1},
		append([]uint64{2, uint64(shm.Running), 7, 8, 9, 10, 11, 40, 15: 0}, layout.FieldObserved|8<<32, ones, 77, layout.FieldProblem|8<<32, ones),
		{2, uint64(shm.Stopped), ones, ones, ones, ones, ones, ones, ones},
		append([]uint64{2, ones, 0, 0, 1 << 63, 1 << 63, 1 << 63, ones, 15: 0}, layout.FieldObserved|1025<<32),
	} {
		f.Add(seqlock.BytesOf(words))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		copy(seqlock.BytesOf(w.l.Status()), b)
		s, err := r.Status()
		odd := w.l.Status()[layout.StatusSequence]%2 != 0
		switch {
		case odd != (err != nil) || err != nil && !anyOf(err, shm.ErrBusy):
			t.Errorf("the sequence is odd: %v, and the error %v", odd, err)
		case len(s.Observed) > layout.MaxObserved || len(s.Problem) > layout.MaxProblem:
			t.Errorf("texts of %d and %d bytes", len(s.Observed), len(s.Problem))
		}
		_, _, _ = s.State.String(), s.Alive(), r.Beating()
		wantGeneration(t, r, 1)

		w.Observe(shm.Observation{Observed: "revision", SourceGood: 5, Problem: "problem"})
		must(t, w.Beat())
		s, err = r.Status()
		must(t, err)
		if s.State != shm.Running || s.Observed != "revision" || s.Problem != "problem" || s.SourceGood != 5 {
			t.Errorf("after a heartbeat the status is %+v", s)
		}
	})
}
