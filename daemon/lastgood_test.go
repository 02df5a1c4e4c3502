//go:build unix

package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/statesync/statesync/shm/image"
)

// flat is a saved image as the file has it.
func flat(t testing.TB, generation uint64, configs ...string) []byte {
	t.Helper()
	var sections []*image.Section
	for i, c := range configs {
		section, err := image.NewOpaque(fmt.Sprintf("config-%d", i), []byte(c))
		if err != nil {
			t.Fatal(err)
		}
		sections = append(sections, section)
	}
	m, err := image.Build(generation, "revision", sections, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := headerOf(m)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.Write(h.encode())
	if err := writeWords(&b, m.Words()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDamagedLastGood(t *testing.T) {
	const limit = 1 << 20
	read := func(b []byte) (*image.Image, error) { return readLastGood(bytes.NewReader(b), int64(len(b)), limit) }
	file := flat(t, 7, "one", "two")
	if m, err := read(file); err != nil || m.Generation() != 7 || m.Len() != 2 || m.Revision() != "revision" {
		t.Fatal(m, err)
	}
	for n := range len(file) {
		if _, err := read(file[:n]); !errors.Is(err, errDamaged) {
			t.Fatalf("cut off at %d bytes: %v", n, err)
		}
		for bit := range 8 {
			flipped := bytes.Clone(file)
			flipped[n] ^= 1 << bit
			if _, err := read(flipped); err == nil {
				t.Fatalf("bit %d of byte %d was flipped unnoticed", bit, n)
			}
		}
	}
	if _, err := read(append(bytes.Clone(file), 0)); !errors.Is(err, errDamaged) {
		t.Errorf("one byte more: %v", err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		junk := make([]byte, random.IntN(200))
		for i := range junk {
			junk[i] = byte(random.Uint32())
		}
		if _, err := read(junk); err == nil {
			t.Fatalf("%x is an image", junk)
		}
	}
	// A header whose sum is right may say anything.
	for _, length := range []uint64{0, 8, 1 << 20, 1<<20 + 8, 1 << 40, 1<<64 - 8} {
		b := append(header{generation: 1, length: length}.encode(), make([]byte, 64)...)
		if _, err := read(b); err == nil {
			t.Fatalf("a length of %d bytes was accepted", length)
		}
	}
}

// Damaged state is logged, and the daemon starts without it.
func TestDamagedStateAtStart(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	s.loseRegion()
	s.remove("a.yaml")
	good, err := os.ReadFile(s.stateFile(lastGoodFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.stateFile(lastGoodFile), good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	d := s.run()
	s.logs("the last good image cannot be used")
	d.reconciled(t, 3)
	if n := len(s.journal.find("the last good image cannot be used")); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	mustNotExist(t, s.file())
	s.put("a.yaml", "x: 2\n")
	p := s.sees(map[string]string{"a": `{"x":2}`})
	if p.generation != reserveBlock+1 {
		t.Errorf("generation %d", p.generation)
	}
	d.stop(t)

	// The last good image stands in for reserved generations that can't be read.
	for _, text := range []string{"", "12", "-1\n", "1e3\n", "18446744073709551615\n", "7\nseven\n", "x\n"} {
		if err := os.WriteFile(s.stateFile(generationFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.loseRegion()
		if err := s.once(); err != nil {
			t.Fatal(err)
		}
		now := s.look()
		if now.generation <= p.generation {
			t.Errorf("%q: generation %d came after %d", text, now.generation, p.generation)
		}
		p = now
	}
	if len(s.journal.find("the reserved generations cannot be read")) != 7 {
		t.Errorf("damage was said %d times", len(s.journal.find("the reserved generations cannot be read")))
	}
	if err := os.Remove(s.stateFile(generationFile)); err != nil {
		t.Fatal(err)
	}
	s.loseRegion()
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if now := s.look(); now.generation <= p.generation {
		t.Errorf("without the file: generation %d came after %d", now.generation, p.generation)
	}
}

// Images that come fast are saved seldom, and the last one always.
func TestSavesTheNewest(t *testing.T) {
	s := newSetup(t)
	st, err := openState(context.Background(), s.opt.StateDir, s.opt.Log)
	if err != nil {
		t.Fatal(err)
	}
	const images = 2000
	for g := uint64(1); g <= images; g++ {
		m, err := image.Build(g, "revision", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		st.save(m)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	if n := len(s.journal.find("saved the last good image")); n == 0 || n > images/20 {
		t.Errorf("%d images were saved %d times", images, n)
	}
	st, err = openState(context.Background(), s.opt.StateDir, s.opt.Log)
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.lastGood(1 << 20)
	if err != nil || m == nil || m.Generation() != images {
		t.Error(m, err)
	}
	saved := len(s.journal.find("saved the last good image"))
	st.save(m) // it is there already
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	if n := len(s.journal.find("saved the last good image")); n != saved {
		t.Error("the same image was saved again")
	}
}
