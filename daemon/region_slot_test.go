//go:build unix

package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// TestOlderSlotDamaged damages a config in slots that are not the current one.
// A publication leaves there what did not change, and so makes the damage
// current: the heartbeat finds that, a minute after the last comparison.
func TestOlderSlotDamaged(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "word: harmless\n")
	d := New(s.opt)
	ctx := context.Background()
	if err := d.start(ctx, false); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	publish := func(b string) {
		t.Helper()
		s.put("b.yaml", b)
		step(t, d)
	}
	for round := range 2 * shm.DefaultSlots { // until each slot is this daemon's
		publish("x: " + string(rune('a'+round)) + "\n")
	}
	if err := d.tend(ctx); err != nil {
		t.Fatal(err)
	}
	before := s.look()

	file, err := os.ReadFile(s.file())
	if err != nil {
		t.Fatal(err)
	}
	slotSize := (len(file) - 0x8000) / shm.DefaultSlots
	damaged := 0
	for slot := range shm.DefaultSlots {
		if slot == int(before.generation)%shm.DefaultSlots {
			continue
		}
		begin := 0x8000 + slot*slotSize
		at := bytes.Index(file[begin:begin+slotSize], []byte("harmless"))
		if at < 0 {
			t.Fatalf("slot %d does not have the config", slot)
		}
		if err := overwrite(s.file(), int64(begin+at), []byte("x")); err != nil {
			t.Fatal(err)
		}
		damaged++
	}
	if err := d.tend(ctx); err != nil {
		t.Fatal(err)
	}
	if p := s.look(); p.id != before.id {
		t.Fatalf("damage in %d slots that are not read made a new region", damaged)
	}
	publish("x: last\n")
	if p, err := s.read(); !errors.Is(err, image.ErrCorrupt) {
		t.Fatalf("the publication itself repaired it, and nothing is tried here: %+v, %v", p, err)
	}
	d.region.verified = d.region.verified.Add(-verifyInterval)
	if err := d.tend(ctx); err != nil {
		t.Fatal(err)
	}
	after := s.look()
	if after.id == before.id || after.generation != before.generation+2 {
		t.Errorf("generation %d of region %s followed %d of %s", after.generation, after.id, before.generation, before.id)
	}
	if after.configs["a"] != `{"word":"harmless"}` || after.configs["b"] != `{"x":"last"}` {
		t.Errorf("the new region holds %v", after.configs)
	}
}
