//go:build unix

package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/atomic"

	"github.com/statesync/statesync/seqlock"
)

// maxFuzz bounds the inputs, in bytes: larger ones only take longer.
const maxFuzz = 1 << 16

// mended is a last good image's file whose header has the right magic, length
// and sums, so that what they protect is tried, too.
func mended(file []byte) []byte {
	file = bytes.Clone(file)
	if len(file) < headerBytes {
		return file
	}
	file = file[:headerBytes+(len(file)-headerBytes)/8*8]
	body := file[headerBytes:]
	h := header{generation: binary.LittleEndian.Uint64(file[8:]), length: uint64(len(body)), sum: xxhash.Sum64(body)}
	copy(file, h.encode())
	return file
}

// FuzzLastGood reads arbitrary bytes as the last good image's file. What is
// accepted is what would be written again.
func FuzzLastGood(f *testing.F) {
	whole := flat(f, 7, "one", "two")
	f.Add(whole, false)
	f.Add(whole[:len(whole)-8], true)
	f.Add(flat(f, seqlock.MaxGeneration), false)
	f.Add([]byte{}, false)
	f.Add(header{generation: 1, length: 1<<64 - 8}.encode(), false)
	f.Add(make([]byte, 256), true)
	f.Fuzz(func(t *testing.T, file []byte, mend bool) {
		if len(file) > maxFuzz {
			return
		}
		if mend {
			file = mended(file)
		}
		m, err := readLastGood(bytes.NewReader(file), int64(len(file)), maxFuzz)
		if err != nil {
			if m != nil || len(err.Error()) > 1000 {
				t.Errorf("%v with %v", m, err)
			}
			return
		}
		again := &bytes.Buffer{}
		if err := writeWords(again, m.Words()); err != nil {
			t.Fatal(err)
		}
		// The padding between two sections may hold anything.
		if n, err := readLastGood(bytes.NewReader(mended(append(bytes.Clone(file[:headerBytes]), again.Bytes()...))), int64(len(file)), maxFuzz); err != nil ||
			again.Len() != len(file)-headerBytes || !n.Same(m.Sections()) || n.Revision() != m.Revision() {
			t.Errorf("an image of %d bytes was accepted, and is written as %d bytes that are others: %v", len(file)-headerBytes, again.Len(), err)
		}
	})
}

// FuzzStateDirectory opens a state directory whose files have arbitrary
// content. A daemon starts with it whatever that is, continues reserving, and the
// next one begins above what was reserved.
func FuzzStateDirectory(f *testing.F) {
	whole := flat(f, 7, "one")
	for _, text := range []string{"1024\n", "", "12", "-1\n", "1e3\n", "0007\n", "18446744073709551615\n", "7\nseven\n", "4611686018427386879\n"} {
		f.Add([]byte(text), whole, false)
	}
	f.Add([]byte("x"), whole[:headerBytes], false)
	f.Add([]byte("x"), header{generation: 1<<64 - 1, length: 8}.encode(), true)
	base := f.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "statesync-fuzz-"); err == nil { // where fsync costs nothing
		f.Cleanup(func() { _ = os.RemoveAll(dir) })
		base = dir
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, generation, lastGood []byte, mend bool) {
		if len(generation)+len(lastGood) > maxFuzz {
			return
		}
		if mend {
			lastGood = mended(lastGood)
		}
		dir := filepath.Join(base, "state")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{generationFile: generation, lastGoodFile: lastGood} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := openState(ctx, dir, &atomic.Uint64{}, log)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.lastGood(maxFuzz)
		if s.reserved > seqlock.MaxGeneration {
			t.Errorf("%q and %x reserve generations up to %d", generation, lastGood[:min(len(lastGood), headerBytes)], s.reserved)
		}
		reserved := s.reserved
		if next := reserved + 1; next < seqlock.MaxGeneration-2*reserveBlock {
			s.reserve(next)
			if s.reserved < next {
				t.Errorf("generation %d is not reserved: %s", next, s.trouble)
			}
			reserved = s.reserved
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		if s, err = openState(ctx, dir, &atomic.Uint64{}, log); err != nil {
			t.Fatal(err)
		}
		if s.reserved != reserved {
			t.Errorf("%d were reserved, and the next daemon finds %d", reserved, s.reserved)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	})
}
