//go:build linux

package campaign

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/statesync/statesync/client"
)

var memoryFlips = flag.Int("memory.flips", 500, "how many bits of a region's header, tables and directory are flipped, evenly; 0 is every single one")

// The test flips the bits of a region's header, status, slot table and of the image's
// directory, one at a time, under a client that has the region and a client that
// opens it. The first keeps the last good revision and never goes back. The
// second gets an error, or a revision that was published and is whole: a flip
// in the hot word may name the one before. Neither is told that a config which
// exists does not.
func TestMemoryFlips(t *testing.T) {
	parent := memory(t)
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB", "--once", "--state-dir=")
	h.start()
	h.daemon.finish(t)
	h.publish(100)
	h.start()
	h.daemon.finish(t)
	_, g, err := h.look()
	ok(t, err)
	if g != 2 {
		t.Fatalf("it is generation %d", g)
	}
	slot := memorySlots + int64(g%2)*memorySlot
	const directory = 1024 // the image's header, lines, entries, revision, and some of its sections
	var bytes []int64
	for at := range int64(memorySlots) {
		bytes = append(bytes, at)
	}
	for at := range int64(directory) {
		bytes = append(bytes, slot+at)
	}
	bits := len(bytes) * 8
	stride := 1
	if *memoryFlips > 0 {
		stride = max(1, bits / *memoryFlips | 1) // odd, so that it comes to each bit of a byte
	}
	f, err := os.OpenFile(filepath.Join(h.region, "region.v1"), os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	c, err := client.Open(h.region)
	ok(t, err)
	defer c.Close()
	n, err := prove(c.Snapshot())
	ok(t, err)
	if n != h.number {
		t.Fatalf("revision %d", n)
	}
	tried, accepted, before, kinds := 0, 0, 0, map[string]int{}
	for bit := 0; bit < bits; bit += stride {
		at, mask := bytes[bit/8], byte(1)<<(bit%8)
		memoryXor(t, f, at, mask)
		tried++
		if n, err := prove(c.Snapshot()); err != nil || n != h.number {
			t.Fatalf("bit %d of byte %#x: a client that had the region has revision %d, %v", bit%8, at, n, err)
		}
		_ = c.Stats()
		switch n, err := memoryFresh(h.region); {
		case err == nil && n == h.number:
			accepted++
		case err == nil && n == h.number-1 && at >= memoryHot && at < memoryHot+8:
			before++
		case err == nil:
			t.Fatalf("bit %d of byte %#x: a new client accepts revision %d", bit%8, at, n)
		case memoryKind(err) == "" || errors.Is(err, client.ErrNotFound):
			t.Fatalf("bit %d of byte %#x: a new client is told %v", bit%8, at, err)
		default:
			kinds[memoryKind(err)]++
		}
		memoryXor(t, f, at, mask)
	}
	if n, err := memoryFresh(h.region); err != nil || n != h.number {
		t.Errorf("afterwards there is revision %d, %v", n, err)
	}
	report(t, "no flipped bit is accepted, nor taken for a config that is not there",
		fmt.Sprintf("%d of %d bits of header, status, slot table and directory; %d mean nothing to a reader, %d name the generation before, refused: %v",
			tried, bits, accepted, before, kinds), "nothing")
}

// memoryXor flips bits of a byte.
func memoryXor(t testing.TB, f *os.File, at int64, mask byte) {
	t.Helper()
	b := make([]byte, 1)
	_, err := f.ReadAt(b, at)
	ok(t, err)
	b[0] ^= mask
	_, err = f.WriteAt(b, at)
	ok(t, err)
}
