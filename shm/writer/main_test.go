//go:build unix

package writer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
	"github.com/statesync/statesync/shm/shmtest"
)

// Names of shmtest that most tests of this package use.
var (
	must       = shmtest.Must
	wantError  = shmtest.WantError
	eventually = shmtest.Eventually
	start      = shmtest.Start
	needRoot   = shmtest.NeedRoot
	openTemp   = shmtest.OpenTemp
	memoryTemp = shmtest.MemoryTemp
	regionIn   = shmtest.RegionIn
)

type child = shmtest.Child

// roles are what a child process can be. Each file adds its own.
var roles = shmtest.Roles{}

func TestMain(m *testing.M) {
	roles.Play()
	shmtest.Main(m)
}

// result is an error that comes out of a channel, in time.
func result(t testing.TB, from <-chan error) error {
	t.Helper()
	err, _ := shmtest.Within(t, "there is a result", from)
	return err
}

// page is the size of a page on the machines that the tests know, in bytes.
const page = 4096

// small are the options of most tests: a ring of four slots of 64 KiB.
func small() Options { return Options{Slots: 4, MaxImage: layout.SlotAlign, Group: -1} }

// own takes the lock of a region; the writer is closed at the end of the test.
func own(t testing.TB, dir string, o Options) *Writer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), shmtest.Patience)
	defer cancel()
	w, err := Own(ctx, dir, o)
	must(t, err)
	t.Cleanup(func() {
		if w.lock.Fd() != ^uintptr(0) { // not closed yet
			must(t, w.Close())
		}
	})
	return w
}

// created is a writer of a new region whose current generation is g.
func created(t testing.TB, dir string, o Options, g uint64) *Writer {
	t.Helper()
	w := own(t, dir, o)
	must(t, w.Create(g, proofs(g, 512)))
	return w
}

// roomy is a writer of a new region whose slots have room for images of so many
// words, and hold small ones.
func roomy(t testing.TB, dir string, o Options, words int) *Writer {
	t.Helper()
	w := own(t, dir, o)
	must(t, w.Create(1, proofs(1, words)))
	for range w.l.Slots {
		publish(t, w, 8)
	}
	return w
}

// attached is a writer that continues the region that is there.
func attached(t testing.TB, dir string, o Options) *Writer {
	t.Helper()
	w := own(t, dir, o)
	must(t, w.Attach())
	return w
}

// die releases everything that a writer has, as the kernel does when a process is
// killed.
func die(t testing.TB, w *Writer) {
	t.Helper()
	must(t, errors.Join(w.release(), w.lock.Close(), syscall.Close(w.dirFD)))
}

// publish publishes the next generation, and returns which it was.
func publish(t testing.TB, w *Writer, words int) uint64 {
	t.Helper()
	g := generation(t, w) + 1
	must(t, w.Publish(g, proofs(g, words)))
	return g
}

func generation(t testing.TB, w *Writer) uint64 {
	t.Helper()
	g, err := w.Generation()
	must(t, err)
	return g
}

func open(t testing.TB, dir string) *shm.Region {
	t.Helper()
	r, err := shm.Open(dir, shm.Trust{})
	must(t, err)
	return r
}

// mapped maps a region's file as a reader does.
func mapped(path string) (*layout.Layout, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	l, _, err := access.Map(int(file.Fd()), path, uint32(os.Geteuid()), shm.Trust{}, syscall.PROT_READ)
	return l, err
}

// mapping is mapped in a test, which unmaps it.
func mapping(t testing.TB, dir string) *layout.Layout {
	t.Helper()
	l, err := mapped(filepath.Join(dir, shm.FileName))
	must(t, err)
	t.Cleanup(func() { must(t, access.Unmap(l)) })
	return l
}

// sum makes an identity's sum right again.
func sum(w [layout.IdentityWords]uint64) [layout.IdentityWords]uint64 {
	w[layout.IdentitySum] = xxhash.Sum64(seqlock.BytesOf(w[:layout.IdentitySum]))
	return w
}

// wantGeneration fails the test unless the region's current generation is g,
// whole, and got in one pass.
func wantGeneration(t testing.TB, r *shm.Region, g uint64) {
	t.Helper()
	got, effort, err := readProofs(r, nil)
	must(t, err)
	if got != g {
		t.Fatalf("generation %d is current, and %d was expected", got, g)
	}
	if effort != (shm.Effort{}) {
		t.Fatalf("it took %+v to read what is not being written", effort)
	}
}

// proof is what word i of generation g must be: a word of another generation,
// from another place, or out of another length of the same slot is seen.
//
//go:norace
func proof(g uint64, i int) uint64 {
	return (g+1)*0x9e3779b97f4a7c15 ^ uint64(i)*0xc2b2ae3d27d4eb4f
}

// fill makes words the image of g. The first one is also their number.
//
// The race detector would take ten times as long as the rest of the tests that
// publish flat out, and has nothing to find in private words.
//
//go:norace
func fill(words []uint64, g uint64) []uint64 {
	for i := range words {
		words[i] = proof(g, i)
	}
	words[0] ^= uint64(len(words))
	return words
}

// proofs is an image of n words, in three parts, that proves its generation.
func proofs(g uint64, n int) [][]uint64 {
	words := fill(make([]uint64, n), g)
	return [][]uint64{words[:1], words[1 : n/2+1], words[n/2+1:]}
}

// errTorn is a reader's word for an image that is not one whole generation.
var errTorn = errors.New("torn image")

// verifyProofs reports whether words are the image of g.
//
//go:norace
func verifyProofs(g uint64, words []uint64) error {
	if len(words) == 0 || words[0]^proof(g, 0) != uint64(len(words)) {
		return fmt.Errorf("%w: generation %d has %d words", errTorn, g, len(words))
	}
	for i, word := range words[1:] {
		if word != proof(g, i+1) {
			return fmt.Errorf("%w: generation %d, word %d of %d", errTorn, g, i+1, len(words))
		}
	}
	return nil
}

// readProofs copies the current image into the buffer, as a reader does, and
// verifies the copy once it was accepted.
func readProofs(r *shm.Region, buffer []uint64) (g uint64, effort shm.Effort, err error) {
	effort, err = r.Read(func(hot seqlock.Hot, image []uint64) error {
		g = hot.Generation()
		buffer = append(buffer[:0], make([]uint64, len(image))...)
		seqlock.LoadWords(buffer, image)
		return nil
	})
	if err == nil {
		err = verifyProofs(g, buffer)
	}
	return g, effort, err
}

// verifyCopy is readProofs' half for Read and ReadGeneration: it verifies a
// copy while it is not known yet whether it counts.
func verifyCopy(hot seqlock.Hot, image []uint64) error {
	words := make([]uint64, len(image))
	seqlock.LoadWords(words, image)
	return verifyProofs(hot.Generation(), words)
}
