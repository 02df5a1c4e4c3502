package dir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

// What a link leads to gives hints like any file, wherever in the source it is and
// whatever it is called; what is beside it gives none.
func TestHintsOfLinks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ link, target string }{
		{"in.yaml", "store/v3"},
		{"in.yaml", ".hidden/c.yaml"},
		{"in.yaml", ".hidden.yaml"},
		{"team/in.yaml", "../.hidden/deep/c"},
	} {
		t.Run(test.link+" to "+test.target, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			put(t, root, "a.yaml", "a: 1")
			target := filepath.Join(filepath.Dir(test.link), test.target)
			dir := filepath.Join(root, filepath.Dir(target))
			put(t, root, target, "version: 0")
			must(t, os.MkdirAll(filepath.Join(root, filepath.Dir(test.link)), 0o755))
			must(t, os.Symlink(test.target, filepath.Join(root, test.link)))
			s := open(t, root, source.Options{
				Wanted: func(p string) bool { return strings.HasSuffix(p, ".yaml") },
			})
			step := func(name, version string, change func() error) {
				t.Helper()
				quietly(t, s)
				began := time.Now()
				must(t, change())
				awaitHint(t, s)
				t.Logf("%s: a hint after %v", name, time.Since(began).Round(100*time.Microsecond))
				deadline := time.Now().Add(20 * time.Second)
				for version != "" && contents(read(t, s))[test.link] != version {
					if time.Now().After(deadline) {
						t.Fatalf("%s: %q was never read", name, version)
					}
				}
			}
			step("rename", "version: 1", func() error { return save(root, target, "version: 1") })
			step("write in place", "version: 2", func() error {
				return os.WriteFile(filepath.Join(root, target), []byte("version: 2"), 0o644)
			})
			if dir != root {
				away := filepath.Join(root, ".away")
				put(t, root, ".new/"+filepath.Base(target), "version: 3")
				step("another directory", "version: 3", func() error {
					err := os.Rename(dir, away)
					if err == nil {
						err = os.Rename(filepath.Join(root, ".new"), dir)
					}
					return err
				})
				step("rename in it", "version: 4", func() error { return save(root, target, "version: 4") })
			}

			quietly(t, s)
			neighbour := filepath.Join(dir, "neighbour")
			must(t, os.WriteFile(neighbour, []byte("x"), 0o644))
			for _, op := range []fsnotify.Op{fsnotify.Create, fsnotify.Write, fsnotify.Remove} {
				if settle := s.watch.weigh(fsnotify.Event{Name: neighbour, Op: op}); settle != 0 {
					t.Errorf("%v of what is beside a link's target gives a hint after %v", op, settle)
				}
			}
		})
	}
}

// A link that is gone takes along what was watched for it, and a tree of links does
// not make the watcher remember more than the tree may hold.
func TestWatchesOfLinksAreBounded(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	const links, limit = 40, 100
	put(t, root, "z.yaml", "z: 1")
	for n := range links {
		target := fmt.Sprintf(".%d/a/b/c.yaml", n)
		put(t, root, target, "a: 1")
		must(t, os.Symlink(target, filepath.Join(root, fmt.Sprint(n, ".yaml"))))
	}
	s := open(t, root, source.Options{MaxFiles: limit})
	quietly(t, s)
	watched := func() (dirs, passed int) {
		s.watch.mu.Lock()
		defer s.watch.mu.Unlock()
		return len(s.watch.inotify.WatchList()), len(s.watch.passed)
	}
	if dirs, passed := watched(); dirs > limit+2 || passed != limit {
		t.Errorf("%d directories are watched and %d names of links are known, want at most %d", dirs, passed, limit)
	}
	for n := range links {
		must(t, os.Remove(filepath.Join(root, fmt.Sprint(n, ".yaml"))))
	}
	quietly(t, s)
	if dirs, passed := watched(); dirs != 2 || passed != 0 {
		t.Errorf("with the links gone %d directories are watched and %d names of links are known", dirs, passed)
	}
}

// A directory that was closed and is opened again has nothing else to be noticed by.
func TestHintOfMendedDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "team/b.yaml", "b: 1")
	s := open(t, root, source.Options{Wanted: func(p string) bool { return strings.HasSuffix(p, ".yaml") }})
	quietly(t, s)
	for _, mode := range []os.FileMode{0, 0o755} {
		must(t, os.Chmod(filepath.Join(root, "team"), mode))
		awaitHint(t, s)
		_, _ = fetch(s) // root may read it at any mode
	}
	quietly(t, s)
}

// A file system that goes takes its watches along without a word, and may come back
// with the same numbers. The content check puts the watches back.
func TestUnmountedAndMountedAgain(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	mount := func() (inode, error) {
		err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m")
		if err != nil {
			return inode{}, err
		}
		put(t, root, "a.yaml", "a: 1")
		return lstat(t, root).inode, nil
	}
	first, err := mount()
	if err != nil {
		t.Skipf("a tmpfs cannot be mounted: %v; run as root", err)
	}
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
	s := open(t, root, source.Options{})
	quietly(t, s)
	must(t, unix.Unmount(root, 0))
	if again, err := mount(); err != nil || again != first {
		t.Skipf("the tmpfs came back as %v, %v and not as %v: another process mounted, too", again, err, first)
	}
	s.Recheck()
	quietly(t, s)
	must(t, save(root, "a.yaml", "a: 2"))
	awaitHint(t, s)
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 2"})
}

// A file grows while one write runs, and nothing tells before the write ends. Here
// the second of its two pages is held back, by userfaultfd, for as long as it takes
// to look.
func TestOneLongWrite(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, source.Options{Quiet: time.Hour, MaxWait: 100 * time.Millisecond})
	read(t, s)

	page := os.Getpagesize()
	data, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	must(t, err)
	defer func() { must(t, unix.Munmap(data)) }()
	copy(data, strings.Repeat("#", page))
	release, err := holdBack(data[page:])
	if err != nil {
		t.Skipf("no userfaultfd: %v; run as root", err)
	}
	path := filepath.Join(root, "b.yaml")
	s.watch.mu.Lock() // the watcher comes late
	written := make(chan error, 1)
	go func() {
		f, err := os.Create(path)
		if err == nil {
			_, err = unix.Write(int(f.Fd()), data)
			_ = f.Close()
		}
		written <- err
	}()
	defer func() {
		release()
		must(t, <-written)
	}()
	deadline := time.Now().Add(20 * time.Second)
	for {
		st, _, err := lstatAt(unix.AT_FDCWD, path)
		if err == nil && st.size == int64(page) {
			break
		}
		if time.Now().After(deadline) {
			s.watch.mu.Unlock()
			t.Skipf("the file system shows a write at its end only: %v, %v", st, err)
		}
		time.Sleep(time.Millisecond)
	}
	s.watch.mu.Unlock()
	awaitHint(t, s)
	snap, err := fetch(s)
	if err == nil && len(contents(snap)["b.yaml"]) != 0 {
		t.Errorf("half of a file that is being written was read: %d bytes", len(contents(snap)["b.yaml"]))
	}
}

// holdBack makes every access to a page wait until release is called.
func holdBack(page []byte) (release func(), err error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	release = func() { closeFd(int(fd)) }
	api := [3]uint64{0xaa}
	area := [4]uint64{uint64(uintptr(unsafe.Pointer(&page[0]))), uint64(len(page)), 1} // while missing
	for _, call := range []struct {
		request uintptr
		arg     unsafe.Pointer
	}{{0xc018aa3f, unsafe.Pointer(&api)}, {0xc020aa00, unsafe.Pointer(&area)}} { // UFFDIO_API, UFFDIO_REGISTER
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, call.request, uintptr(call.arg)); errno != 0 {
			release()
			return nil, errno
		}
	}
	return release, nil
}
