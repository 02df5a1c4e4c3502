//go:build unix

package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
)

func TestRoundTrip(t *testing.T) {
	dir := regionIn(t)
	w := own(t, dir, small())
	wantError(t, w.Attach(), shm.ErrNoRegion, dir)
	if w.Attached() {
		t.Error("a writer is attached to nothing")
	}
	if _, err := shm.Open(dir, shm.Trust{}); !errors.Is(err, shm.ErrNoRegion) {
		t.Fatalf("Open before Create: %v", err)
	}

	must(t, w.Create(7, proofs(7, 100)))
	r := open(t, dir)
	wantGeneration(t, r, 7)
	for n := range 3 * w.l.Slots {
		wantGeneration(t, r, publish(t, w, 1+n*100))
	}
	if r.ID() != w.ID() || r.ID() == (shm.ID{}) || len(r.ID().String()) != 32 {
		t.Errorf("the ids are %v and %v", r.ID(), w.ID())
	}
	if r.Geometry() != (shm.Geometry{Slots: 4, SlotSize: layout.SlotAlign}) || r.Path() != w.Path() {
		t.Errorf("the region is %+v at %s", r.Geometry(), r.Path())
	}
	if r.Retired() || r.Replaced() {
		t.Error("a living region seems retired or replaced")
	}

	// The largest image fits, in any parts, and so does an empty one.
	g := generation(t, w) + 1
	must(t, w.Publish(g, proofs(g, layout.SlotAlign/layout.WordBytes)))
	wantGeneration(t, r, g)
	must(t, w.Publish(g+1, nil))
	_, err := r.Read(func(_ seqlock.Hot, image []uint64) error {
		if len(image) != 0 {
			return fmt.Errorf("an empty image has %d words", len(image))
		}
		return nil
	})
	must(t, err)
}

// A writer that attaches finds what the previous writer left.
func TestAttachAfterClose(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	id := w.ID()
	publish(t, w, 10)
	must(t, w.Close())
	status, err := r.Status()
	must(t, err)
	if status.State != shm.Stopped || status.Alive() {
		t.Errorf("the status of a closed writer is %+v", status)
	}
	wantGeneration(t, r, 2)

	w = attached(t, dir, small())
	if w.ID() != id || generation(t, w) != 2 {
		t.Fatalf("attached to %v at generation %d", w.ID(), generation(t, w))
	}
	must(t, w.Current(verifyProofs))
	for range 5 {
		wantGeneration(t, r, publish(t, w, 600))
	}
}

// A writer that is killed between any two of its steps leaves the current
// generation whole, and its successor continues at the next.
func TestDeathAfterEachStep(t *testing.T) {
	image := proofs(4, 1000)
	size := int64(1000 * layout.WordBytes)
	half := func(_ *testing.T, w *Writer) {
		seqlock.StoreWords(w.l.Slot(w.l.Ring.Slot(4)), slices.Concat(image...)[:500])
	}
	steps := []struct {
		name string
		do   func(t *testing.T, w *Writer)
	}{
		{"nothing", func(*testing.T, *Writer) {}},
		{"the reservation", func(t *testing.T, w *Writer) {
			if n := w.l.Ring.Slot(4); w.reserved[n] < size {
				must(t, w.reserveSlot(n, size))
			}
		}},
		{"Begin", func(_ *testing.T, w *Writer) { w.l.Ring.Begin(4) }},
		{"the punch", func(_ *testing.T, w *Writer) { w.punchTail(w.l.Ring.Slot(4), size) }},
		{"half the words", half},
		{"the words", func(_ *testing.T, w *Writer) { seqlock.StoreWords(w.l.Slot(w.l.Ring.Slot(4)), slices.Concat(image...)) }},
		{"the length", func(_ *testing.T, w *Writer) { atomic.StoreUint64(w.l.Length(w.l.Ring.Slot(4)), uint64(size)) }},
		{"Complete", func(_ *testing.T, w *Writer) { w.l.Ring.Complete(4) }},
		{"Commit", func(_ *testing.T, w *Writer) { w.l.Ring.Commit(4) }},
	}
	for _, slots := range []int{2, 3, 4} {
		for last, step := range steps {
			t.Run(fmt.Sprintf("K=%d/%s", slots, step.name), func(t *testing.T) {
				o := small()
				o.Slots = slots
				dir := regionIn(t)
				w := created(t, dir, o, 1)
				publish(t, w, 2000)
				publish(t, w, 2000)
				r := open(t, dir)
				for _, s := range steps[:last+1] {
					s.do(t, w)
				}
				die(t, w)

				want := uint64(3)
				if step.name == "Commit" {
					want = 4
				}
				wantGeneration(t, r, want)
				wantGeneration(t, open(t, dir), want)
				w = attached(t, dir, o)
				if g := generation(t, w); g != want {
					t.Fatalf("the successor continues at generation %d, not %d", g, want)
				}
				wantGeneration(t, r, want)
				for range 2 * slots {
					wantGeneration(t, r, publish(t, w, 300))
				}
			})
		}
	}
}

// A writer that dies while it makes a region leaves what was there, or nothing.
func TestDeathWhileCreating(t *testing.T) {
	dir := regionIn(t)
	w := own(t, dir, small())
	for _, name := range []string{"nothing", "half", "whole"} {
		file, err := w.createTemp()
		must(t, err)
		switch name {
		case "half":
			must(t, file.Truncate(layout.SlotsAt+layout.SlotAlign))
		case "whole":
			l, err := w.fill(file, shm.ID{9}, 9, 8, [][]uint64{{1}})
			must(t, errors.Join(err, access.Unmap(l)))
		}
		must(t, file.Close())
		if _, err := shm.Open(dir, shm.Trust{}); !errors.Is(err, shm.ErrNoRegion) {
			t.Fatalf("%s of a region was left, and Open says %v", name, err)
		}
	}
	must(t, w.Create(2, proofs(2, 50)))
	r := open(t, dir)

	// Between retirement and rename.
	must(t, w.retireOld())
	die(t, w)
	if !r.Retired() || r.Replaced() {
		t.Errorf("retired %v, replaced %v", r.Retired(), r.Replaced())
	}
	if g, _, err := readProofs(r, nil); g != 2 || err != nil {
		t.Errorf("a retired region reads generation %d, %v", g, err)
	}
	w = own(t, dir, small())
	if err := w.Attach(); err == nil {
		t.Fatal("a writer attached to a retired region")
	}
	must(t, w.Create(3, proofs(3, 50)))
	wantGeneration(t, open(t, dir), 3)
	if !r.Replaced() {
		t.Error("the reader does not see that the region was replaced")
	}
	if names := namesIn(t, dir); !slices.Equal(names, []string{access.LockName, shm.FileName}) {
		t.Errorf("the directory holds %v", names)
	}
}

// A file that a writer had no time to finish takes memory, which also one that
// continues in the old file gives back.
func TestDeathWhileReplacing(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 3)
	file, err := w.createTemp()
	must(t, err)
	must(t, file.Close())
	die(t, w)
	w = own(t, dir, small())
	must(t, w.Attach())
	if names := namesIn(t, dir); !slices.Equal(names, []string{access.LockName, shm.FileName}) {
		t.Errorf("the directory holds %v", names)
	}
	wantGeneration(t, open(t, dir), 3)
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCreateReplaces(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 5)
	r := open(t, dir)
	id := w.ID()
	must(t, w.Create(6, proofs(6, 70)))
	if !r.Retired() || !r.Replaced() || w.ID() == id {
		t.Errorf("retired %v, replaced %v, another id %v", r.Retired(), r.Replaced(), w.ID() != id)
	}
	hot, err := r.Hot()
	if err != nil || hot.Generation() != 5 {
		t.Errorf("the old region is at %d, %v", hot.Generation(), err)
	}
	wantGeneration(t, open(t, dir), 6)
	publish(t, w, 70)
	wantGeneration(t, open(t, dir), 7)
}

func TestCreateReplacesWhatever(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a symlink":    func(path string) error { return os.Symlink("/etc/passwd", path) },
		"a FIFO":       func(path string) error { return unix.Mkfifo(path, 0o644) },
		"empty":        func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"a few bytes":  func(path string) error { return os.WriteFile(path, []byte("hello"), 0o644) },
		"garbage":      func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o644) },
		"unwritable":   func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o400) },
		"not readable": func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o000) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := regionIn(t)
			w := own(t, dir, small())
			must(t, put(w.Path()))
			if err := w.Attach(); err == nil {
				t.Fatal("Attach took it")
			}
			must(t, w.Create(1, proofs(1, 5)))
			wantGeneration(t, open(t, dir), 1)
		})
	}
	t.Run("a directory", func(t *testing.T) {
		w := own(t, regionIn(t), small())
		must(t, os.Mkdir(w.Path(), 0o755))
		if err := w.Create(1, proofs(1, 5)); err == nil {
			t.Fatal("a directory was replaced")
		}
		if names := namesIn(t, w.dir); !slices.Equal(names, []string{access.LockName, shm.FileName}) {
			t.Errorf("the directory holds %v", names)
		}
	})
}

// A daemon whose options changed attaches to the region, unless the number of
// its slots is another one.
func TestAttachWithOtherOptions(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, Options{Slots: 3, MaxImage: 2 * layout.SlotAlign, Group: -1}, 1)
	must(t, w.Close())

	w = attached(t, dir, Options{Slots: 3, MaxImage: 1000, Group: -1})
	wantError(t, w.Publish(2, proofs(2, 126)), ErrTooLarge, "1008", "1000")
	must(t, w.Publish(2, proofs(2, 125)))
	wantError(t, w.Create(3, proofs(3, 126)), ErrTooLarge)
	must(t, w.Close())

	w = own(t, dir, Options{Slots: 4, MaxImage: 1000, Group: -1})
	if err := w.Attach(); err == nil {
		t.Fatal("a region with another number of slots was attached")
	}
	must(t, w.Close())
	wantGeneration(t, open(t, dir), 2)

	w = attached(t, dir, Options{Slots: 3, MaxImage: 1 << 20, Group: -1})
	must(t, w.Publish(3, proofs(3, 1<<20/layout.WordBytes)))
	wantGeneration(t, open(t, dir), 3)
}

// Within a region no generation is left out, and none comes twice.
func TestGenerationsInOrder(t *testing.T) {
	dir := regionIn(t)
	w := own(t, dir, small())
	for _, g := range []uint64{0, seqlock.MaxGeneration + 1, 1 << 63, ^uint64(0)} {
		if err := w.Create(g, nil); err == nil {
			t.Errorf("a region begins with generation %d", g)
		}
	}
	must(t, w.Create(5, proofs(5, 10)))
	for _, g := range []uint64{0, 4, 5, 7, 9, ^uint64(0)} {
		if err := w.Publish(g, proofs(g, 10)); err == nil {
			t.Errorf("generation %d followed 5", g)
		}
	}
	wantGeneration(t, open(t, dir), 5)
}

// The last generation that there can be is read like any other.
func TestLastGeneration(t *testing.T) {
	const last = seqlock.MaxGeneration
	dir := regionIn(t)
	w := created(t, dir, small(), last-1)
	publish(t, w, 10)
	wantGeneration(t, open(t, dir), last)
	if err := w.Publish(last+1, proofs(0, 10)); err == nil {
		t.Error("a generation followed the last")
	}
	wantGeneration(t, open(t, dir), last)
}

func TestReadGeneration(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	// No generation is in a slot that was never used, however high it is.
	for _, g := range []uint64{0, 2, 3, seqlock.MaxGeneration, 1<<63 - 1, 1<<63 - 2, ^uint64(0), ^uint64(0) - 1} {
		wantError(t, r.ReadGeneration(g, verifyCopy), shm.ErrExpired)
	}
	for range 5 {
		publish(t, w, 33)
	}
	for g := uint64(3); g <= 6; g++ {
		must(t, r.ReadGeneration(g, verifyCopy))
	}
	for _, g := range []uint64{0, 2, 7, seqlock.MaxGeneration, ^uint64(0)} {
		wantError(t, r.ReadGeneration(g, verifyCopy), shm.ErrExpired)
	}
}

// The table is open to tools.
func TestSlot(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	publish(t, w, 33)
	w.l.Ring.Begin(3)
	for n, want := range [][2]uint64{{0, 0}, {2*1 + 2, 512 * layout.WordBytes}, {2*2 + 2, 33 * layout.WordBytes}, {2*3 + 1, 0}} {
		sequence, length, err := r.Slot(n)
		must(t, err)
		if got := [2]uint64{sequence, length}; got != want {
			t.Errorf("slot %d has sequence and length %v, not %v", n, got, want)
		}
	}
}

// A reader that is never fast enough gets an error. A region whose current slot is
// taken though no writer publishes is damaged.
func TestReadIsBounded(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	effort, err := r.Read(func(seqlock.Hot, []uint64) error {
		for range w.l.Slots {
			publish(t, w, 8)
		}
		return errTorn
	})
	wantError(t, err, shm.ErrBusy)
	if effort != (shm.Effort{Torn: shm.MaxTries}) {
		t.Errorf("it took %+v", effort)
	}
	w.l.Ring.Begin(generation(t, w)) // as no writer does it
	effort, err = r.Read(func(seqlock.Hot, []uint64) error { return nil })
	wantError(t, err, shm.ErrCorrupt)
	if effort != (shm.Effort{Lapped: shm.MaxTries - 1}) {
		t.Errorf("it took %+v", effort)
	}
}

// An error of the reader's own counts when the image was whole, and a panic of
// the reader's own goes through.
func TestReadersOwnErrors(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	tries := 0
	_, err := r.Read(func(hot seqlock.Hot, _ []uint64) error {
		if tries++; tries < 3 {
			for range w.l.Slots {
				publish(t, w, 8)
			}
		}
		return fmt.Errorf("try %d of generation %d", tries, hot.Generation())
	})
	if err == nil || err.Error() != "try 3 of generation 9" {
		t.Errorf("the error is %v", err)
	}
	for name, what := range map[string]func(){
		"index": func() { _ = []int{}[tries] },
		"nil":   func() { var p *int; *p = tries },
		"value": func() { panic("mine") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: the panic did not go through", name)
				}
			}()
			_, _ = r.Read(func(seqlock.Hot, []uint64) error { what(); return nil })
		}()
	}
	wantGeneration(t, r, 9)
}

// Lengths that no writer leaves are corruption, and looked at before use.
func TestImpossibleLength(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	for _, length := range []uint64{1, 7, layout.SlotAlign + 8, 1 << 63, ^uint64(0)} {
		*w.l.Length(w.l.Ring.Slot(1)) = length
		_, _, err := readProofs(r, nil)
		wantError(t, err, shm.ErrCorrupt, r.Path())
		wantError(t, w.Current(func(uint64, []uint64) error { return nil }), shm.ErrCorrupt)
	}
	for _, hot := range []uint64{0, 1, 1 << 63, ^uint64(0)} {
		*w.l.HotWord() = hot
		_, _, err := readProofs(r, nil)
		wantError(t, err, shm.ErrCorrupt, r.Path())
	}
}

// A hot word that no writer leaves is not gone on from.
func TestImpossibleGeneration(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	clear(w.l.Words[layout.TableAt/layout.WordBytes : layout.StatusAt/layout.WordBytes])
	for _, g := range []uint64{0, 2, seqlock.MaxGeneration, seqlock.MaxGeneration + 1, 1<<63 - 1} {
		*w.l.HotWord() = g << 1
		if err := w.Attach(); !errors.Is(err, shm.ErrCorrupt) {
			t.Fatalf("a writer attached at generation %d: %v", g, err)
		}
	}
}

// A region with something in its identity that this writer would not have put
// there is not attached, or else can be kept.
func TestUnknownIdentity(t *testing.T) {
	for _, word := range []int{layout.IdentityCompatible, layout.IdentityReserved, layout.IdentitySum - 1} {
		dir := regionIn(t)
		w := created(t, dir, small(), 1)
		w.l.Words[word] = 1
		words := sum([layout.IdentityWords]uint64(w.l.Words[:layout.IdentityWords]))
		copy(w.l.Words, words[:])
		die(t, w)
		wantGeneration(t, open(t, dir), 1) // readers may ignore it
		w = own(t, dir, small())
		if w.Attach() == nil {
			if err := w.Check(); err != nil {
				t.Errorf("word %d: Attach took what Check refuses: %v", word, err)
			}
		}
	}
}

// Modes and groups are as asked for, whatever the umask is, and an existing
// region gets them when it is attached.
func TestModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0o077))
	dir := regionIn(t)
	for _, mode := range []struct{ file, dir fs.FileMode }{
		{0o644, 0o755}, {0o640, 0o750}, {0o600, 0o700}, {0, 0o755},
	} {
		o := small()
		o.Mode = mode.file
		w := own(t, dir, o)
		if err := w.Attach(); err != nil {
			wantError(t, err, shm.ErrNoRegion)
			must(t, w.Create(1, proofs(1, 5)))
		}
		want := mode.file
		if want == 0 {
			want = 0o644
		}
		wantMode(t, w.Path(), want)
		wantMode(t, dir, mode.dir)
		wantMode(t, filepath.Join(dir, access.LockName), 0o600)
		must(t, w.Create(2, proofs(2, 5)))
		wantMode(t, w.Path(), want)
		must(t, w.Close())
	}
}

func wantMode(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode().Perm() != mode {
		t.Errorf("%s has mode %v, not %v", path, info.Mode(), mode)
	}
}

func TestGroup(t *testing.T) {
	needRoot(t)
	dir := regionIn(t)
	o := small()
	o.Group, o.Mode = 12345, 0o640
	w := created(t, dir, o, 1)
	for _, path := range []string{dir, w.Path()} {
		var st unix.Stat_t
		must(t, unix.Stat(path, &st))
		if st.Gid != 12345 {
			t.Errorf("%s has group %d", path, st.Gid)
		}
	}
}

// A reader that may not do so can't be given the right to write.
func TestImpossibleOptions(t *testing.T) {
	for _, o := range []Options{
		{Slots: 1, MaxImage: 1},
		{Slots: 33, MaxImage: 1},
		{Slots: -4, MaxImage: 1},
		{MaxImage: 0},
		{MaxImage: -1},
		{MaxImage: layout.MaxSlotSize + 1},
		{MaxImage: 1, Mode: 0o664},
		{MaxImage: 1, Mode: 0o646},
		{MaxImage: 1, Mode: 0o755},
		{MaxImage: 1, Mode: 0o044},
		{MaxImage: 1, Mode: 0o444},
		{MaxImage: 1, Mode: 0o400},
		{MaxImage: 1, Mode: 0o644 | fs.ModeSetuid},
	} {
		o.Group = -1
		dir := regionIn(t)
		if w, err := Own(t.Context(), dir, o); err == nil {
			must(t, w.Close())
			t.Errorf("%+v was taken", o)
		} else if _, err := os.Stat(dir); err == nil {
			t.Errorf("%+v was refused, but its directory made", o)
		}
	}
}

// Root makes the directory above the region; a region's own directory that
// others could have written is refused.
func TestOwnMakesDirectories(t *testing.T) {
	base := t.TempDir()
	if os.Geteuid() == 0 {
		dir := filepath.Join(base, "statesync", "default")
		created(t, dir, small(), 1)
		wantMode(t, filepath.Dir(dir), 0o755)
		wantGeneration(t, open(t, dir), 1)
	}
	if _, err := Own(t.Context(), filepath.Join(base, "a", "b", "c"), small()); err == nil {
		t.Error("two directories were made")
	} else {
		wantError(t, err, fs.ErrNotExist, filepath.Join(base, "a"))
	}
	for _, mode := range []fs.FileMode{0o775, 0o757, 0o777} {
		dir := filepath.Join(base, "open")
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.Chmod(dir, mode))
		_, err := Own(t.Context(), dir, small())
		wantError(t, err, shm.ErrUntrusted, dir, "mode "+fmt.Sprintf("%04o", mode))
	}
	link := filepath.Join(base, "link")
	must(t, os.Symlink(base, link))
	_, err := Own(t.Context(), link, small())
	wantError(t, err, shm.ErrUntrusted, link)
}
