package writer

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
	"golang.org/x/sys/unix"
)

func init() {
	// touch DIR: touches each page of a region's mapping once, says so, and goes
	// on with it again and again until it is killed.
	roles["touch"] = func(args []string) error {
		l, err := mapped(filepath.Join(args[0], shm.FileName))
		if err != nil {
			return err
		}
		for first := true; ; first = false {
			_ = touchAll(l) // on a full file system a page may not be there
			if first {
				fmt.Println("touched")
			}
		}
	}
}

// touchAll touches every page of a reader's mapping.
func touchAll(l *layout.Layout) (err error) {
	for at := 0; at < len(l.Words); at += page / layout.WordBytes {
		err = errors.Join(err, l.Guarded(func() error { atomic.LoadUint64(&l.Words[at]); return nil }))
	}
	return err
}

func allocated(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// Pages that a reader makes by touching holes of the file are given back by
// the next Check, whichever writer filled the slots.
func TestTouchedHolesAreGivenBack(t *testing.T) {
	dir := filepath.Join(tmpfs(t, 8<<20), "region")
	o := Options{Slots: 3, MaxImage: 1 << 20, Group: -1}
	w := roomy(t, dir, o, 3000)
	for range 2 {
		before := allocated(t, w.Path())
		r := open(t, dir)
		must(t, touchAll(mapping(t, dir)))
		if got := allocated(t, w.Path()); got != w.l.FileSize() {
			t.Fatalf("the reader took %d bytes, and the file has %d", got, w.l.FileSize())
		}
		must(t, w.Check())
		if got := allocated(t, w.Path()); got != before {
			t.Errorf("the file takes %d bytes, and took %d", got, before)
		}
		for g := generation(t, w); g > generation(t, w)-3; g-- {
			must(t, r.ReadGeneration(g, verifyCopy))
		}
		// A writer that finds them at its start gives them back as well.
		must(t, touchAll(mapping(t, dir)))
		die(t, w)
		w = attached(t, dir, o)
		must(t, w.Check())
		if got := allocated(t, w.Path()); got > before {
			t.Errorf("after a restart the file takes %d bytes, and took %d", got, before)
		}
		publish(t, w, 3000)
		publish(t, w, 8)
		publish(t, w, 8)
		publish(t, w, 8)
	}
}

// A writer knows which pages its slots have when it attaches.
func TestAttachLearnsPages(t *testing.T) {
	dir := filepath.Join(tmpfs(t, 8<<20), "region")
	o := Options{Slots: 4, MaxImage: 1 << 20, Group: -1}
	w := own(t, dir, o)
	must(t, w.Create(1, proofs(1, 9000)))
	publish(t, w, 2000)
	publish(t, w, 600)
	die(t, w)
	w = attached(t, dir, o)
	for g, words := range map[uint64]int64{1: 9000, 2: 2000, 3: 600, 4: 0} {
		if got, want := w.reserved[w.l.Ring.Slot(g)], wholePages(words*layout.WordBytes); got != want {
			t.Errorf("the slot of generation %d has %d bytes of pages, and is said to have %d", g, want, got)
		}
	}
}

// On a full file system, what readers have touched is taken back before a
// revision is refused, and a refusal says what the region itself holds.
func TestTouchedHolesAndFullFileSystem(t *testing.T) {
	root := tmpfs(t, 8<<20)
	dir := filepath.Join(root, "region")
	o := Options{Slots: 2, MaxImage: 2 << 20, Group: -1}
	const words = 1 << 20 / layout.WordBytes
	w := roomy(t, dir, o, words)
	r := open(t, dir)
	must(t, touchAll(mapping(t, dir)))
	leave(t, root, 0)
	wantGeneration(t, r, publish(t, w, words))

	// In a larger file, too, for which the old one gives back what it has.
	must(t, touchAll(mapping(t, dir)))
	g := generation(t, w)
	must(t, w.Create(g+1, proofs(g+1, words)))
	wantGeneration(t, open(t, dir), g+1)
}

// A process that touches all of the region again and again holds no
// publication up, also where the region could fill its file system.
func TestHostileTouching(t *testing.T) {
	root := tmpfs(t, 5<<20)
	dir := filepath.Join(root, "region")
	o := Options{Slots: 4, MaxImage: 2 << 20, Group: -1}
	const words = 1 << 20 / layout.WordBytes
	w := roomy(t, dir, o, words) // 8 MiB, which could fill the file system
	r := open(t, dir)
	toucher := start(t, "touch", dir)
	if line := toucher.Line(); line != "touched" {
		t.Fatal(line)
	}
	var worst time.Duration
	publications := tries(t, 24)
	for n := range publications {
		size := words
		if n%4 == 3 {
			size = 8
		}
		begin := shm.Boottime()
		wantGeneration(t, r, publish(t, w, size))
		worst = max(worst, shm.Boottime()-begin)
		if n%10 == 0 {
			must(t, w.Check())
		}
	}
	t.Logf("the slowest of %d publications took %v", publications, worst)
}
