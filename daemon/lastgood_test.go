//go:build unix

package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/image"
)

// writeWords writes an image's parts as they are in memory.
func writeWords(w io.Writer, parts [][]uint64) error {
	for _, part := range parts {
		if _, err := w.Write(seqlock.BytesOf(part)); err != nil {
			return err
		}
	}
	return nil
}

func (h header) encode() []byte {
	b := make([]byte, 0, headerBytes)
	for _, word := range []uint64{lastGoodMagic, h.generation, h.length, h.sum} {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

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
	return saved(t, m)
}

// saved is an image as the file has it.
func saved(t testing.TB, m *image.Image) []byte {
	t.Helper()
	var words bytes.Buffer
	if err := writeWords(&words, m.Words()); err != nil {
		t.Fatal(err)
	}
	h := header{generation: m.Generation(), length: uint64(m.Size()), sum: xxhash.Sum64(words.Bytes())}
	return append(h.encode(), words.Bytes()...)
}

// asBefore leaves the state directory as an earlier version left it: with the image that
// the region holds, and without a history.
func (s *setup) asBefore() {
	s.Helper()
	held, _, err := readRegion(s.opt.Region)
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(s.stateFile(lastGoodFile), saved(s, held), 0o600); err != nil {
		s.Fatal(err)
	}
	if err := os.Remove(s.stateFile(historyFile)); err != nil {
		s.Fatal(err)
	}
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
	if err := os.Truncate(s.stateFile(historyFile), 3*4096); err != nil {
		t.Fatal(err)
	}
	d := s.run()
	s.logs("the history is damaged and begins anew; pins and overrides are lost")
	d.reconciled(t, 3)
	mustNotExist(t, s.file())
	s.put("a.yaml", "x: 2\n")
	p := s.sees(map[string]string{"a": `{"x":2}`})
	if p.generation != reserveBlock+1 {
		t.Errorf("generation %d", p.generation)
	}
	d.stop(t)

	// The newest record stands in for reserved generations that can't be read.
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
