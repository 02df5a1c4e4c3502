package writer

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/statesync/statesync/shm/internal/layout"
	"github.com/statesync/statesync/shm/shmtest"
	"golang.org/x/sys/unix"
)

// sealing is a directory on a file system that has append-only files, which
// takes root. The file system goes away at the end, and the seals with it.
func sealing(t *testing.T) (dir string, o Options) {
	t.Helper()
	root := tmpfs(t, 8<<20)
	probe := filepath.Join(root, "probe")
	f, err := os.Create(probe)
	must(t, err)
	defer f.Close()
	if err := setAppendOnly(int(f.Fd()), true); err != nil {
		t.Skipf("no append-only files on a tmpfs here: %v", err)
	}
	must(t, setAppendOnly(int(f.Fd()), false))
	must(t, os.Remove(probe))
	o = Options{Slots: 2, MaxImage: 512 << 10, Group: -1, Seal: true}
	return filepath.Join(root, "region"), o
}

// sealed reports whether a file is append-only.
func sealed(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	return flags&appendOnly != 0
}

// wantSealed tries what root would do to a file by mistake.
func wantSealed(t *testing.T, path string) {
	t.Helper()
	if !sealed(t, path) {
		t.Fatalf("%s is not append-only", path)
	}
	aside := filepath.Join(filepath.Dir(filepath.Dir(path)), "aside")
	must(t, os.WriteFile(aside, []byte("x"), 0o644))
	for name, do := range map[string]func() error{
		"truncate":    func() error { return os.Truncate(path, 0) },
		"remove":      func() error { return os.Remove(path) },
		"rename":      func() error { return os.Rename(path, aside) },
		"rename over": func() error { return os.Rename(aside, path) },
		"redirect":    func() error { return os.WriteFile(path, nil, 0o644) },
		"open":        func() error { _, err := os.OpenFile(path, os.O_RDWR, 0); return err },
		"link":        func() error { return os.Link(path, aside+"2") },
		"chmod":       func() error { return os.Chmod(path, 0o666) },
	} {
		if err := do(); !errors.Is(err, unix.EPERM) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeal(t *testing.T) {
	dir, o := sealing(t)
	const words = 400 << 10 / layout.WordBytes
	w := roomy(t, dir, o, words)
	r := open(t, dir)
	wantSealed(t, w.Path())

	// Publications continue, those that need pages and those that give them back.
	pages := func() int { return freePages(t, filepath.Dir(dir)) }
	for range 3 {
		before := pages()
		for range 2 {
			wantGeneration(t, r, publish(t, w, words))
			wantSealed(t, w.Path())
		}
		large := pages()
		for range 2 {
			wantGeneration(t, r, publish(t, w, 8))
			wantSealed(t, w.Path())
		}
		if small := pages(); large > before-190 && before < small || small < large+190 {
			t.Errorf("free pages: %d, with large images %d, with small ones %d", before, large, small)
		}
	}
	must(t, w.Beat())
	must(t, w.Check())

	// The seal outlives its writer, and holds again after the next.
	die(t, w)
	wantSealed(t, r.Path())
	w = attached(t, dir, o)
	wantSealed(t, w.Path())
	wantGeneration(t, r, publish(t, w, words))
	must(t, w.Close())
	wantSealed(t, r.Path())

	// A writer that was not asked for a seal lifts it.
	o.Seal = false
	w = attached(t, dir, o)
	if sealed(t, w.Path()) {
		t.Error("a seal stayed that was not asked for")
	}
	publish(t, w, 8)
	must(t, w.Close())
	o.Seal = true
	w = attached(t, dir, o)
	wantSealed(t, w.Path())
	must(t, w.Create(99, proofs(99, 8)))
	wantSealed(t, w.Path())
	if !r.Retired() || !r.Replaced() {
		t.Errorf("retired %v, replaced %v", r.Retired(), r.Replaced())
	}
	wantGeneration(t, open(t, dir), 99)
	must(t, w.Close())

	// A sealed region that can't be attached is replaced.
	o.Slots = 3
	w = own(t, dir, o)
	if err := w.Attach(); err == nil {
		t.Fatal("a ring of two was attached for one of three")
	}
	must(t, w.Create(100, proofs(100, 8)))
	wantSealed(t, w.Path())
	wantGeneration(t, open(t, dir), 100)
}

// A failed call leaves the seal as it was.
func TestSealAfterFailure(t *testing.T) {
	dir, o := sealing(t)
	w := created(t, dir, o, 1)
	free := leave(t, filepath.Dir(dir), 3)
	wantError(t, w.Create(2, proofs(2, 10000)), ErrNoSpace)
	free()
	if !sealed(t, w.Path()) {
		t.Error("a replacement that failed left the region unsealed")
	}
}

// withoutCapability runs fn on a thread that may not change seals.
func withoutCapability(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[unix.CAP_LINUX_IMMUTABLE/32].Effective &^= 1 << (unix.CAP_LINUX_IMMUTABLE % 32)
		if err == nil {
			err = unix.Capset(&header, &data[0])
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	must(t, <-done)
}

// A writer that lacks the capability gets an error about the seal, and harms
// nothing.
func TestSealWithoutCapability(t *testing.T) {
	dir, o := sealing(t)
	w := created(t, dir, o, 1)
	r := open(t, dir)
	must(t, w.Close())
	for _, seal := range []bool{true, false} {
		o.Seal = seal
		w := own(t, dir, o)
		var attach, create error
		withoutCapability(t, func() { attach, create = w.Attach(), w.Create(5, proofs(5, 8)) })
		wantError(t, attach, ErrSealed, w.Path(), "CAP_LINUX_IMMUTABLE")
		wantError(t, create, ErrSealed, w.Path())
		wantSealed(t, w.Path())
		wantGeneration(t, r, 1)
		if r.Retired() || r.Replaced() || w.Attached() {
			t.Error("what failed left a trace")
		}
		must(t, w.Attach()) // with the capability
		must(t, w.Close())
	}

	// Sealing takes the capability, too.
	o.Seal = true
	w = own(t, dir, o)
	var attach error
	withoutCapability(t, func() { attach = w.Attach() })
	wantError(t, attach, unix.EPERM, "seal", w.Path())
}

// Sealed by root, a user's region is out of its daemon's reach.
func TestSealByAnother(t *testing.T) {
	dir, o := sealing(t)
	w := created(t, dir, o, 1)
	must(t, w.Close())
	must(t, func() error {
		f, err := os.Open(w.Path())
		if err != nil {
			return err
		}
		defer f.Close()
		return errors.Join(setAppendOnly(int(f.Fd()), false), chown(someone, dir, w.Path(), w.lock.Name()), setAppendOnly(int(f.Fd()), true))
	}())
	if said, err := shmtest.StartAs(t, someone, "sealed", nil, dir).End(); err != nil || said != "sealed\nsealed" {
		t.Errorf("%v, and it says %q", err, said)
	}
	wantSealed(t, w.Path())
	wantGeneration(t, open(t, dir), 1)
}

func init() {
	// sealed DIR: says what comes of attaching to and replacing a region.
	roles["sealed"] = func(args []string) error {
		w, err := try(args[0])
		if err != nil {
			return err
		}
		os.Stdout.WriteString(kindOf(w.Attach()) + "\n" + kindOf(w.Create(2, nil)) + "\n")
		return w.Close()
	}
}
