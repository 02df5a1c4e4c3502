package writer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
	"golang.org/x/sys/unix"
)

// tmpfs mounts a file system in memory, of a size in bytes, for the test.
func tmpfs(t testing.TB, size int) string {
	t.Helper()
	needRoot(t)
	dir := filepath.Join(openTemp(t), "tmpfs")
	must(t, os.Mkdir(dir, 0o755))
	if err := unix.Mount("shm-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", size)); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// freePages is how many pages a file system has left.
func freePages(t testing.TB, dir string) int {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return int(st.Bfree) * int(st.Bsize) / page
}

// leave fills a file system up to some pages, and returns what makes room
// again.
func leave(t testing.TB, dir string, pages int) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	if size := int64(freePages(t, dir)-pages) * page; size > 0 {
		must(t, unix.Fallocate(int(f.Fd()), 0, 0, size))
	}
	if got := freePages(t, dir); got != pages {
		t.Fatalf("%d pages are left, not %d", got, pages)
	}
	return func() { must(t, os.Remove(path)) }
}

// Whichever allocation is the first that does not fit, what was published
// stays, and with room again the same image goes through.
func TestFullFileSystem(t *testing.T) {
	const (
		headerPages = layout.SlotsAt / page
		imagePages  = 24
		words       = imagePages * page / layout.WordBytes
	)
	o := Options{Slots: 3, MaxImage: imagePages * page, Group: -1}
	for images := range o.Slots + 1 {
		for _, short := range []int{imagePages, imagePages / 2, 1} {
			t.Run(fmt.Sprintf("%d images, %d pages short", images, short), func(t *testing.T) {
				root := tmpfs(t, 1<<20)
				dir := filepath.Join(root, "region")
				w := own(t, dir, o)
				before := freePages(t, root)
				free := leave(t, root, headerPages+(images+1)*imagePages-short)
				room := freePages(t, root)

				if images == 0 {
					err := w.Create(1, proofs(1, words))
					wantError(t, err, ErrNoSpace, w.Path())
					wantError(t, err, unix.ENOSPC)
					if names := namesIn(t, dir); !slices.Equal(names, []string{access.LockName}) {
						t.Errorf("it left %v", names)
					}
					if left := freePages(t, root); left != room {
						t.Errorf("%d of %d pages are free after a failure", left, room)
					}
					free()
					must(t, w.Create(1, proofs(1, words)))
					wantGeneration(t, open(t, dir), 1)
					return
				}

				must(t, w.Create(1, proofs(1, words)))
				r := open(t, dir)
				for held := 1; held < min(images, o.Slots); held++ {
					publish(t, w, words)
				}
				last := generation(t, w)
				if images == o.Slots {
					// The ring is full: everything has its pages, for ever.
					for range 2 * o.Slots {
						wantGeneration(t, r, publish(t, w, words))
					}
				} else {
					for range 3 {
						err := w.Publish(last+1, proofs(last+1, words))
						wantError(t, err, ErrNoSpace, w.Path())
						wantError(t, err, unix.ENOSPC)
						for g := uint64(1); g <= last; g++ {
							must(t, r.ReadGeneration(g, verifyCopy))
						}
						wantGeneration(t, r, last)
					}
					must(t, w.Beat())
					must(t, w.Check())
				}
				free()
				wantGeneration(t, r, publish(t, w, words))
				if used := before - freePages(t, root); used > headerPages+o.Slots*imagePages {
					t.Errorf("%d pages are used", used)
				}
			})
		}
	}
}

// A slot that grows needs more than it has, and one that shrinks gives back.
func TestSlotsGrowAndShrink(t *testing.T) {
	root := tmpfs(t, 4<<20)
	dir := filepath.Join(root, "region")
	o := Options{Slots: 2, MaxImage: 512 << 10, Group: -1}
	const words = 400 << 10 / layout.WordBytes
	w := roomy(t, dir, o, words)
	r := open(t, dir)
	empty := freePages(t, root)
	free := leave(t, root, 50)
	for range 2 {
		g := generation(t, w)
		wantError(t, w.Publish(g+1, proofs(g+1, words)), ErrNoSpace)
		wantGeneration(t, r, g)
		if left := freePages(t, root); left != 50 {
			t.Errorf("%d pages are left after a failure", left)
		}
		wantGeneration(t, r, publish(t, w, 16))
	}
	free()
	for range 2 {
		wantGeneration(t, r, publish(t, w, words))
	}
	if used := empty - freePages(t, root); used < 2*99 {
		t.Errorf("two images of 100 pages use %d more", used)
	}
	for range 2 {
		wantGeneration(t, r, publish(t, w, 8))
	}
	if used := empty - freePages(t, root); used > 2*punchSlack/page {
		t.Errorf("%d pages more are in use for images that need none", used)
	}

	// A successor does not know what the slots have, and finds out.
	for range 2 {
		publish(t, w, words)
	}
	die(t, w)
	w = attached(t, dir, o)
	for range 2 {
		wantGeneration(t, r, publish(t, w, 8))
	}
	if used := empty - freePages(t, root); used > 0 {
		t.Errorf("%d pages more are in use after a restart", used)
	}
}

// When replacing a region fails for lack of room, the old one stays as it was.
func TestFullWhileReplacing(t *testing.T) {
	root := tmpfs(t, 1<<20)
	dir := filepath.Join(root, "region")
	o := Options{Slots: 2, MaxImage: 100 << 10, Group: -1}
	w := created(t, dir, o, 1)
	r := open(t, dir)
	for pages := range 5 {
		free := leave(t, root, pages)
		err := w.Create(2, proofs(2, 100<<10/layout.WordBytes))
		wantError(t, err, ErrNoSpace, w.Path())
		if r.Retired() || r.Replaced() {
			t.Fatal("a failed replacement is seen")
		}
		if freePages(t, root) != pages {
			t.Errorf("%d pages of %d are free after a failure", freePages(t, root), pages)
		}
		wantGeneration(t, r, generation(t, w))
		free()
		wantGeneration(t, r, publish(t, w, 512))
	}
	must(t, w.Create(9, proofs(9, 100<<10/layout.WordBytes)))
	wantGeneration(t, open(t, dir), 9)
}

// A daemon that restarts on a full file system attaches to what is there.
func TestAttachOnFullFileSystem(t *testing.T) {
	root := tmpfs(t, 1<<20)
	dir := filepath.Join(root, "region")
	w := created(t, dir, small(), 1)
	lock := w.lock.Name()
	for range w.l.Slots {
		publish(t, w, 512)
	}
	must(t, w.Close())
	for name, prepare := range map[string]func() error{
		"as it was":     func() error { return nil },
		"without lock":  func() error { return os.Remove(lock) },
		"an empty lock": func() error { return os.WriteFile(lock, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, prepare())
			free := leave(t, root, 0)
			defer free()
			w, err := try(dir)
			must(t, err)
			defer w.Close()
			must(t, w.Attach())
			wantGeneration(t, open(t, dir), publish(t, w, 512))
		})
	}
}

// Pages that were punched are not available again on a full file system. This is an
// error for the reader and for the writer.
func TestHolesOnFullFileSystem(t *testing.T) {
	root := tmpfs(t, 1<<20)
	dir := filepath.Join(root, "region")
	w := created(t, dir, small(), 1)
	for range w.l.Slots {
		publish(t, w, 512)
	}
	r := open(t, dir)
	must(t, w.punch(w.l.SlotOffset(0), int64(w.l.Slots)*w.l.SlotSize))
	free := leave(t, root, 0)
	_, _, err := readProofs(r, nil)
	wantError(t, err, shm.ErrFault)
	g := generation(t, w)
	wantError(t, w.Publish(g+1, proofs(g+1, 512)), ErrLost)
	if now := generation(t, w); now != g {
		t.Errorf("a publication that failed made generation %d of %d", now, g)
	}
	free()
	must(t, w.Create(g+1, proofs(g+1, 512)))
	wantGeneration(t, open(t, dir), g+1)
}
