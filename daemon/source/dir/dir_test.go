package dir

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

func TestReadsTheWholeTree(t *testing.T) {
	root := t.TempDir()
	want := map[string]string{
		"a.yaml":       "a: 1",
		"a/deep/x.yml": "x: 1",
		"a-b.yaml":     "ab: 1",
		"a.b/c.json":   "{}",
		"Ünïcode.toml": "u = 1",
		"odd name.txt": "text",
		"A.YAML":       "upper: 1",

		"a/lost+found/x.yaml": "only the root's is a file system's own",
	}
	for name, data := range want {
		put(t, root, name, data)
	}
	for _, name := range []string{
		".hidden.yaml", ".git/config.yaml", "..gone/x.yaml", "a.yaml~", "#a.yaml#", ".#a.yaml", ".a.yaml.swp", "a.swp", "a.swo", "a.swx",
		"4913", "a.yaml.tmp", "a.yaml___jb_tmp___", "a.yaml___jb_old___", "team~/a.yaml",
		"lost+found/a.yaml",
	} {
		put(t, root, name, "ignored")
	}
	put(t, root, "#", "not a leftover")
	want["#"] = "not a leftover"
	snap := read(t, open(t, root, source.Options{}))
	wantFiles(t, snap, want)
	if hex, ok := strings.CutPrefix(snap.Version, "dir@sha256:"); !ok || len(hex) != 64 {
		t.Errorf("the snapshot's ID is %q", snap.Version)
	}
}

func TestUnchangedIsTheSameSnapshot(t *testing.T) {
	root := t.TempDir()
	for n := range 3 {
		put(t, root, fmt.Sprintf("team/%d.yaml", n), "a: 1")
	}
	for _, check := range []time.Duration{time.Hour, -1} {
		s := open(t, root, source.Options{ContentCheck: check})
		first := read(t, s)
		put(t, root, "team/0.yaml", "a: 1")
		must(t, save(root, "team/1.yaml", "a: 1"))
		must(t, os.Chmod(filepath.Join(root, "team/2.yaml"), 0o640))
		if again := read(t, s); again != first {
			t.Errorf("the same content is another snapshot: %p %v, %p %v", first, first, again, again)
		}
	}
}

func TestOnlyWhatChangedIsAnotherFile(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "b.yaml", "b: 1")
	s := open(t, root, source.Options{})
	first := read(t, s)
	must(t, save(root, "b.yaml", "b: 2"))
	second := read(t, s)
	wantFiles(t, second, map[string]string{"a.yaml": "a: 1", "b.yaml": "b: 2"})
	if second.Files[0] != first.Files[0] || second.Files[1] == first.Files[1] || second.Version == first.Version {
		t.Errorf("from %v to %v with %v to %v", first, second, first.Files, second.Files)
	}
	wantFiles(t, first, map[string]string{"a.yaml": "a: 1", "b.yaml": "b: 1"})

	must(t, save(root, "b.yaml", "b: 1"))
	if third := read(t, s); third.Version != first.Version {
		t.Errorf("the content of %s came back as %s", first.Version, third.Version)
	}
	must(t, os.Rename(filepath.Join(root, "b.yaml"), filepath.Join(root, "c.yaml")))
	if moved := read(t, s); moved.Version == first.Version {
		t.Error("another path has the same ID")
	}
}

func TestFileBecomesDirectoryAndBack(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a", "file")
	s := open(t, root, source.Options{})
	wantFiles(t, read(t, s), map[string]string{"a": "file"})
	must(t, os.Remove(filepath.Join(root, "a")))
	put(t, root, "a/b", "inside")
	wantFiles(t, read(t, s), map[string]string{"a/b": "inside"})
	must(t, os.RemoveAll(filepath.Join(root, "a")))
	put(t, root, "a", "file")
	wantFiles(t, read(t, s), map[string]string{"a": "file"})
}

func TestUnwantedFilesAreNamedOnly(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "README", strings.Repeat("long", 100))
	put(t, root, "empty", "")
	put(t, root, "none.yaml", "")
	o := source.Options{MaxFile: 100, Wanted: func(p string) bool { return strings.HasSuffix(p, ".yaml") }}
	s := open(t, root, o)
	snap := read(t, s)
	wantFiles(t, snap, map[string]string{"a.yaml": "a: 1", "README": "", "empty": "", "none.yaml": ""})
	for _, f := range snap.Files {
		if (f.Data == nil) == o.Wanted(f.Path) {
			t.Errorf("%s has the data %q", f.Path, f.Data)
		}
	}
	if again := read(t, s); again != snap {
		t.Error("unwanted files make another snapshot each time")
	}
	must(t, os.Remove(filepath.Join(root, "a.yaml")))
	must(t, os.Remove(filepath.Join(root, "none.yaml")))
	if _, err := fetch(s); !errors.Is(err, source.ErrEmpty) {
		t.Errorf("a source of unwanted files only: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T, root string)
		o    source.Options
		want string // after the root
	}{
		{
			"pipe", func(t *testing.T, root string) { must(t, unix.Mkfifo(filepath.Join(root, "p.yaml"), 0o644)) },
			source.Options{},
			"/p.yaml: is a named pipe, not a regular file",
		},
		{
			"socket", func(t *testing.T, root string) {
				l, err := net.Listen("unix", filepath.Join(root, "s.yaml"))
				must(t, err)
				t.Cleanup(func() { _ = l.Close() })
			},
			source.Options{},
			"/s.yaml: is a socket, not a regular file",
		},
		{
			"large file", func(t *testing.T, root string) { put(t, root, "big.yaml", "0123456789a") },
			source.Options{MaxFile: 10},
			"/big.yaml: is 11 bytes, more than the limit of 10 for a file",
		},
		{
			"sparse file", func(t *testing.T, root string) {
				put(t, root, "big.yaml", "x")
				must(t, os.Truncate(filepath.Join(root, "big.yaml"), 1<<40))
			},
			source.Options{},
			"/big.yaml: is 1099511627776 bytes, more than the limit of 67108864 for a file",
		},
		{
			"large source", func(t *testing.T, root string) {
				put(t, root, "b1.yaml", "0123456789")
				put(t, root, "b2.yaml", "0123456789")
			},
			source.Options{MaxFile: 10, MaxTotal: 20},
			": with b2.yaml its files are more than the limit of 20 bytes",
		},
		{
			"many files", func(t *testing.T, root string) { put(t, root, "b.yaml", "1"); put(t, root, ".c", "1") },
			source.Options{MaxFiles: 2},
			": holds more than 2 files and directories",
		},
		{
			"deep", func(t *testing.T, root string) { put(t, root, strings.Repeat("d/", maxDepth+100)+"x.yaml", "1") },
			source.Options{},
			strings.Repeat("/d", maxDepth+1) + ": is nested more than 64 directories deep",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			put(t, root, "a.yaml", "ok")
			test.make(t, root)
			s := open(t, root, test.o)
			for range 2 {
				snap, err := fetch(s)
				if err == nil || !strings.Contains(err.Error(), root+test.want) {
					t.Fatalf("Fetch gave %v, %v; want an error with %q", snap, err, root+test.want)
				}
			}
		})
	}
}

func TestOddNames(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "a.yaml", "ok")
	if err := os.WriteFile(filepath.Join(root, "bad\xff\n.yaml"), []byte("x"), 0o644); err != nil {
		t.Skipf("the file system has only UTF-8 names: %v", err)
	}
	s := open(t, root, source.Options{})
	for n := range 3 {
		if n == 1 {
			time.Sleep(racyWindow + 100*time.Millisecond) // then the listing may be kept
		}
		_, err := fetch(s)
		if err == nil || !strings.Contains(err.Error(), `bad\xff\n.yaml": has a name that is not UTF-8`) {
			t.Fatalf("a name that is not UTF-8: %v", err)
		}
	}
	must(t, os.Remove(filepath.Join(root, "bad\xff\n.yaml")))
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "ok"})
}

func TestAllProblemsAreNamed(t *testing.T) {
	root := t.TempDir()
	for n := range 100 {
		must(t, unix.Mkfifo(filepath.Join(root, fmt.Sprintf("%03d.yaml", n)), 0o644))
	}
	_, err := fetch(open(t, root, source.Options{}))
	var one *source.FileError
	if !errors.As(err, &one) || one.Path != "000.yaml" || one.Root != root {
		t.Fatalf("the first problem is %v", one)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxProblems+1 || !strings.Contains(lines[1], "001.yaml") || !strings.HasSuffix(lines[maxProblems], "and more") {
		t.Errorf("the problems are %q", lines)
	}
}

func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "team/b.yaml", "b: 1")
	for _, name := range []string{"a.yaml", "team"} {
		path := filepath.Join(root, name)
		must(t, os.Chmod(path, 0))
		_, err := fetch(open(t, root, source.Options{}))
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), path+": cannot be read") {
			t.Errorf("without permission: %v", err)
		}
		must(t, os.Chmod(path, 0o755))
	}
}

func TestNotADirectory(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o644))
	for _, name := range []string{"a.yaml", "pipe"} {
		_, err := fetch(open(t, filepath.Join(root, name), source.Options{}))
		if !errors.Is(err, unix.ENOTDIR) || !strings.Contains(err.Error(), name) {
			t.Errorf("a file as the source: %v", err)
		}
	}
}

// Between the stat and the open anything may take a file's place.
func TestLoadOpensNothingButFiles(t *testing.T) {
	root := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(root, "pipe"), 0o644))
	must(t, os.Mkdir(filepath.Join(root, "dir"), 0o755))
	put(t, root, "file", "x")
	must(t, os.Symlink("file", filepath.Join(root, "link")))
	l, err := net.Listen("unix", filepath.Join(root, "socket"))
	must(t, err)
	defer func() { _ = l.Close() }()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer closeFd(fd)
	for _, name := range []string{"pipe", "dir", "link", "socket", "none"} {
		st, _, _ := lstatAt(fd, name)
		var c content
		if err := c.load(fd, name, name, st, 1); !gone(err) || c.file != nil {
			t.Errorf("loading a %s: %v", name, err)
		}
	}
	st, _, err := lstatAt(fd, "file")
	must(t, err)
	var c content
	must(t, c.load(fd, "file", "file", st, 1))
	st.size++
	if err := c.load(fd, "file", "file", st, 1); !gone(err) {
		t.Errorf("loading another file than the one looked at: %v", err)
	}
}

// A name that keeps turning from a file into a pipe must never stop a Fetch.
func TestPipeInTheWayNeverHangs(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, source.Options{MaxWait: time.Millisecond})
	stop := make(chan struct{})
	done := make(chan error)
	go func() {
		path, pipe := filepath.Join(root, "a.yaml"), filepath.Join(root, ".pipe")
		var err error
		for err == nil {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err = unix.Mkfifo(pipe, 0o644); err == nil {
				if err = os.Rename(pipe, path); err == nil {
					err = save(root, "a.yaml", "a: 1")
				}
			}
		}
		done <- err
	}()
	for range 100 {
		if snap, err := fetch(s); err == nil {
			wantFiles(t, snap, map[string]string{"a.yaml": "a: 1"})
		}
	}
	close(stop)
	must(t, <-done)
}

func TestEmptySource(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "team"), 0o755))
	put(t, root, ".hidden", "x")
	_, err := fetch(open(t, root, source.Options{}))
	if !errors.Is(err, source.ErrEmpty) || !strings.Contains(err.Error(), root) {
		t.Errorf("an empty source: %v", err)
	}
	snap := read(t, open(t, root, source.Options{AllowEmpty: true}))
	wantFiles(t, snap, map[string]string{})
}

// The comparison of contents finds changes that stat does not show: on tmpfs the second
// store through a mapping changes no timestamp.
func TestContentCheckFindsWhatStatHides(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	path := filepath.Join(root, "a.yaml")
	put(t, root, "a.yaml", "a: 1")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	mem, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer func() { _ = unix.Munmap(mem) }()
	mem[3] = '1' // the first store is dated

	byStat, byContent := open(t, root, source.Options{ContentCheck: time.Hour}), open(t, root, source.Options{ContentCheck: -1})
	time.Sleep(racyWindow + 100*time.Millisecond) // until then every Fetch compares
	read(t, byStat)
	read(t, byContent)
	before, err := os.Stat(path)
	must(t, err)
	mem[3] = '2'
	after, err := os.Stat(path)
	must(t, err)
	if !after.ModTime().Equal(before.ModTime()) {
		t.Skip("this file system dates all stores through a mapping")
	}
	wantFiles(t, read(t, byStat), map[string]string{"a.yaml": "a: 1"})
	wantFiles(t, read(t, byContent), map[string]string{"a.yaml": "a: 2"})
}

// Two writes of one length within one tick of the clock have the same stamp: what
// was young when it was read is read again, what was old is not.
func TestSameStampTwice(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := open(t, root, source.Options{NoWatch: true, ContentCheck: time.Hour})
	put(t, root, "a.yaml", "a: 1")
	read(t, s)
	put(t, root, "a.yaml", "a: 2")
	e := s.root.entries[0]
	e.stamp = lstat(t, filepath.Join(root, "a.yaml"))
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 2"})

	put(t, root, "b.yaml", "b: 1")
	s.root.stamp = lstat(t, root)
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 2", "b.yaml": "b: 1"})

	put(t, root, "a.yaml", "a: 3")
	put(t, root, "c.yaml", "c: 1")
	e.stamp, e.racy = lstat(t, filepath.Join(root, "a.yaml")), false
	s.root.stamp, s.root.racy = lstat(t, root), false
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 2", "b.yaml": "b: 1"})
	s.compared = s.compared.Add(-time.Hour) // the content check is due
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 3", "b.yaml": "b: 1", "c.yaml": "c: 1"})
}

// A file that changes while it is read is not taken.
func TestChangedWhileRead(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	path := filepath.Join(root, "big")
	must(t, os.WriteFile(path, make([]byte, 4<<20), 0o644))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		for err == nil {
			select {
			case <-stop:
				done <- f.Close()
				return
			default:
				_, err = f.WriteAt([]byte("x"), 0)
			}
		}
		done <- err
	}()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer closeFd(fd)
	deadline := time.Now().Add(20 * time.Second)
	for err = nil; !errors.Is(err, errChanged); {
		if time.Now().After(deadline) {
			t.Error("a file under a writer was never seen to change")
			break
		}
		var c content
		err = c.load(fd, "big", "big", lstat(t, path), 1)
	}
	close(stop)
	must(t, <-done)
}

func TestOpenNamesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app\n")
	_, err := fetch(open(t, path, source.Options{NoWatch: true}))
	if want := fmt.Sprintf("dir:%q: ", path); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("a directory that is not there: %v, want an error with %s", err, want)
	}
}

func TestSpecs(t *testing.T) {
	schemes := source.Schemes{Scheme}
	if specs, err := schemes.Parse([]string{"dir:"}); err == nil || !strings.Contains(err.Error(), "names no directory; write dir:PATH") {
		t.Errorf("no path: %v, %v", specs, err)
	}
	root := filepath.Join(t.TempDir(), "100%", "a?b")
	must(t, os.MkdirAll(root, 0o755))
	put(t, root, "a.yaml", "a: 1")
	specs, err := schemes.Parse([]string{"dir:" + source.Escape(root)})
	must(t, err)
	s, err := schemes.Open(specs[0], source.Options{})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	wantFiles(t, read(t, s.(*directory)), map[string]string{"a.yaml": "a: 1"})
}

func TestClosed(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	for _, noWatch := range []bool{false, true} {
		s := open(t, root, source.Options{NoWatch: noWatch})
		read(t, s)
		must(t, s.Close())
		must(t, s.Close())
		if _, err := fetch(s); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Fetch after Close: %v", err)
		}
	}
}

func TestFetchEndsWithItsContext(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, source.Options{NoWatch: true})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Fetch(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Fetch with a cancelled context: %v", err)
	}
}

// A directory may have many files: a context that ends between two of them ends the walk.
func TestFetchEndsBetweenTwoFiles(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "b.yaml", "b: 1")
	ctx, cancel := context.WithCancel(context.Background())
	var walked []string
	s := open(t, root, source.Options{NoWatch: true, Wanted: func(path string) bool {
		walked = append(walked, path)
		cancel()
		return true
	}})
	if _, err := s.Fetch(ctx, nil); !errors.Is(err, context.Canceled) || len(walked) != 1 {
		t.Errorf("Fetch went on to %q: %v", walked, err)
	}
}

// What the caller has counts, and not what was returned last: a caller may have dropped
// that.
func TestFetchGoesByWhatTheCallerHas(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "b.yaml", "b: 1")
	s := open(t, root, source.Options{})
	from := func(have *source.Snapshot) *source.Snapshot {
		t.Helper()
		got, err := s.Fetch(context.Background(), have)
		must(t, err)
		return got
	}
	first := from(nil)
	if again := from(nil); again != first {
		t.Error("nothing changed, and the snapshot is another one")
	}
	must(t, save(root, "a.yaml", "a: 2"))
	second := from(first)
	if second.Files[1] != first.Files[1] || second.Files[0] == first.Files[0] {
		t.Errorf("from %v to %v", first.Files, second.Files)
	}
	if got := from(first); got == first || got.Digest != second.Digest {
		t.Errorf("a caller that has the first snapshot still gets %v", got)
	}
	must(t, save(root, "a.yaml", "a: 1"))
	if got := from(first); got != first {
		t.Errorf("the files are those of %p again, and Fetch returned %p", first, got)
	}
	if s.root.entries[0].file != first.Files[0] {
		t.Error("the content of a file is held twice")
	}
	if got := from(first); got != first {
		t.Error("nothing changed, and the snapshot is another one")
	}

	// Another caller's snapshot of the same files is not this caller's.
	must(t, save(root, "a.yaml", "a: 2"))
	from(first)
	must(t, save(root, "a.yaml", "a: 1"))
	if third := from(nil); third == first {
		t.Error("a caller that has none was given a dropped snapshot")
	}
	if got := from(first); got != first {
		t.Errorf("the caller has the files as %p, and Fetch returned %p", first, got)
	}
}

// A file that changes while another one is bad, and changes back, is the same file.
func TestFileThatCameBackIsTheSame(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, source.Options{})
	first := read(t, s)
	must(t, save(root, "a.yaml", "a: 2"))
	must(t, unix.Mkfifo(filepath.Join(root, "b.yaml"), 0o644))
	if _, err := fetch(s); err == nil || s.root.entries[0].file == first.Files[0] {
		t.Fatalf("want a.yaml to be read, and b.yaml to be refused: %v", err)
	}
	must(t, save(root, "a.yaml", "a: 1"))
	must(t, os.Remove(filepath.Join(root, "b.yaml")))
	if again := read(t, s); again != first {
		t.Error("the same content is another snapshot")
	}
}

// A follower finds what a rename brings by the hint, and what stat hides by Recheck.
func TestFollow(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	woken := make(chan struct{}, 1)
	src, err := Open(root, source.Options{ContentCheck: time.Hour})
	must(t, err)
	f := source.Follow(src, source.FollowOptions{Interval: time.Hour, Wake: func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}})
	until := func(is func(*source.Look) bool) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for look := f.Look(); look == nil || !is(look); look = f.Look() {
			select {
			case <-woken:
			case <-deadline:
				t.Fatalf("the newest look is still %+v", look)
			}
		}
	}
	holds := func(want string) func(*source.Look) bool {
		return func(l *source.Look) bool { return l.Err == nil && string(l.Snapshot.Files[0].Data) == want }
	}
	until(holds("a: 1"))
	must(t, save(root, "a.yaml", "a: 2"))
	until(holds("a: 2"))
	n := f.Recheck()
	until(func(l *source.Look) bool { return l.Rechecks == n && holds("a: 2")(l) })
	must(t, os.RemoveAll(root))
	until(func(l *source.Look) bool { return errors.Is(l.Err, os.ErrNotExist) && l.Snapshot != nil })
	must(t, f.Close())
	if _, err := src.Fetch(context.Background(), nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Fetch after the follower's Close: %v", err)
	}
}
