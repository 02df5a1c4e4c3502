package writer

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
	"golang.org/x/sys/unix"
)

// mappings counts the mappings of files in a directory.
func mappings(t testing.TB, dir string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return strings.Count(string(maps), " "+dir+"/")
}

// descriptors lists what this process has open in a directory.
func descriptors(t testing.TB, dir string) (paths []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	for _, link := range links {
		if path, err := os.Readlink(link); err == nil && strings.HasPrefix(path, dir) {
			paths = append(paths, path)
		}
	}
	return paths
}

// A Region that nothing refers to is unmapped, and none has a descriptor.
func TestRegionsAreUnmapped(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	if got := descriptors(t, dir); len(got) != 3 {
		t.Errorf("a writer has %v open", got)
	}
	must(t, w.Close())
	if n := mappings(t, dir); n != 0 {
		t.Fatalf("%d mappings are there before", n)
	}

	const many = 50
	regions := make([]*shm.Region, many)
	for i := range regions {
		regions[i] = open(t, dir)
	}
	if n := mappings(t, dir); n != many {
		t.Errorf("%d Regions have %d mappings", many, n)
	}
	if got := descriptors(t, dir); len(got) != 0 {
		t.Errorf("readers have %v open", got)
	}
	for range 3 {
		runtime.GC() // takes none that is still referred to
	}
	for _, r := range regions {
		wantGeneration(t, r, 1)
	}
	keep := regions[7]
	clear(regions)
	eventually(t, "the others are unmapped", func() bool { runtime.GC(); return mappings(t, dir) == 1 })
	wantGeneration(t, keep, 1)
	runtime.KeepAlive(keep)
}

// A failed call leaves nothing open and nothing mapped.
func TestFailuresLeaveNothing(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "region")
	w := created(t, dir, small(), 1)
	must(t, w.Close())
	path := filepath.Join(dir, shm.FileName)
	whole, err := os.ReadFile(path)
	must(t, err)
	restore := func() error {
		return errors.Join(os.WriteFile(path, whole, 0o644), os.Chmod(path, 0o644), os.Chmod(dir, 0o755))
	}
	for name, spoil := range map[string]func() error{
		"mode":      func() error { return os.Chmod(dir, 0o777) },
		"file mode": func() error { return os.Chmod(path, 0o666) },
		"short":     func() error { return os.Truncate(path, 100) },
		"longer":    func() error { return os.Truncate(path, int64(len(whole))+1) },
		"identity":  func() error { return os.WriteFile(path, make([]byte, len(whole)), 0o644) },
		"hot word": func() error {
			b := append([]byte{}, whole...)
			copy(b[layout.HotAt:], make([]byte, layout.WordBytes))
			return os.WriteFile(path, b, 0o644)
		},
		"retired": func() error {
			b := append([]byte{}, whole...)
			b[layout.HotAt] |= 1
			return os.WriteFile(path, b, 0o644)
		},
	} {
		must(t, restore())
		must(t, spoil())
		for range 3 {
			if _, err := shm.Open(dir, shm.Trust{}); err == nil && name != "retired" {
				t.Errorf("%s: it was opened", name)
			}
			w, err := try(dir)
			if err != nil {
				continue
			}
			if err := w.Attach(); err == nil && name != "file mode" {
				t.Errorf("%s: it was attached", name)
			}
			must(t, w.Close())
		}
	}
	must(t, restore())
	w = own(t, dir, small())
	must(t, os.Mkdir(w.dir+"/"+access.TempName, 0o700))
	for range 3 {
		if err := w.Create(2, nil); err == nil {
			t.Error("it was created over a directory")
		}
	}
	must(t, os.Remove(w.dir+"/"+access.TempName))
	must(t, w.Attach())
	for g := range uint64(3) {
		must(t, w.Create(2+g, proofs(2+g, 5)))
	}
	eventually(t, "only the writer's mapping is left", func() bool { runtime.GC(); return mappings(t, dir) == 1 })
	must(t, w.Close())
	if _, err := Own(t.Context(), filepath.Join(dir, shm.FileName), small()); err == nil {
		t.Error("a file was owned")
	}
	eventually(t, "everything is unmapped", func() bool { runtime.GC(); return mappings(t, dir) == 0 })
	if got := descriptors(t, base); len(got) != 0 {
		t.Errorf("%v are still open", got)
	}
}

// A writer that attaches again releases what it had.
func TestAttachAgain(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	for range 3 {
		must(t, w.Attach())
		wantGeneration(t, open(t, dir), publish(t, w, 10))
	}
	if got := descriptors(t, w.Path()); len(got) != 1 {
		t.Errorf("a writer has %v open", got)
	}
	eventually(t, "one mapping is left", func() bool { runtime.GC(); return mappings(t, dir) == 1 })
}

// A mapping that is read-only stays so, and a look at the hot word costs no
// allocation.
func TestHotAllocatesNothing(t *testing.T) {
	dir := regionIn(t)
	created(t, dir, small(), 1)
	r := open(t, dir)
	if n := testing.AllocsPerRun(1000, func() { _, _ = r.Hot() }); n != 0 {
		t.Errorf("Hot allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { _ = r.Beating() }); n != 0 {
		t.Errorf("Beating allocates %v times", n)
	}
	// Root opened it, and still the mapping can't be written.
	l := mapping(t, dir)
	err := l.Guarded(func() error { l.Words[0] = 0; return nil })
	wantError(t, err, shm.ErrFault)
	if err := unix.Mprotect(seqlock.BytesOf(l.Words), unix.PROT_READ|unix.PROT_WRITE); err == nil {
		t.Error("a reader's mapping was made writable")
	}
}
