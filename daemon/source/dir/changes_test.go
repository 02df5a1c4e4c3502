package dir

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

// onlyHints are options under which nothing but a hint makes a scan, and none of the
// scans needs to be a whole one.
func onlyHints() source.Options {
	return source.Options{
		Rescan: time.Hour, ContentCheck: time.Hour,
		Wanted: func(p string) bool { return strings.HasSuffix(p, ".yaml") },
	}
}

// partly reads, and reports whether the scans were partial ones.
func partly(t testing.TB, s *directory) (*source.Snapshot, bool) {
	t.Helper()
	whole := s.whole
	snap := read(t, s)
	return snap, s.whole.Equal(whole)
}

// afresh is what a source that knows nothing yet finds.
func afresh(t testing.TB, root string, o source.Options) (*source.Snapshot, error) {
	t.Helper()
	o.NoWatch = true
	return fetch(open(t, root, o))
}

// Each change is looked at alone, if the events tell what it was, and what is found is
// what a look at everything finds.
func TestHintedFetchLooksAtTheChanges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		change  func(root string) error
		want    map[string]string // what is added or changed; empty: it is gone
		partial bool
	}{
		{"rename", func(root string) error { return save(root, "team/b.yaml", "b: 2") }, map[string]string{"team/b.yaml": "b: 2"}, true},
		{"write in place", func(root string) error {
			return os.WriteFile(root+"/team/deep/c.yaml", []byte("c: 2"), 0o644)
		}, map[string]string{"team/deep/c.yaml": "c: 2"}, true},
		{"write of a whole page", func(root string) error {
			return os.WriteFile(root+"/a.yaml", []byte(strings.Repeat("#", 4096)), 0o644)
		}, map[string]string{"a.yaml": strings.Repeat("#", 4096)}, true},
		{"new file", func(root string) error { return save(root, "team/aa.yaml", "n: 1") }, map[string]string{"team/aa.yaml": "n: 1"}, true},
		{"removed file", func(root string) error { return os.Remove(root + "/team/b.yaml") }, map[string]string{"team/b.yaml": ""}, true},
		{"file with another name", func(root string) error {
			return os.Rename(root+"/team/b.yaml", root+"/team/deep/b.yaml")
		}, map[string]string{"team/b.yaml": "", "team/deep/b.yaml": "b: 1"}, true},
		{"unwanted file", func(root string) error {
			err := os.WriteFile(root+"/team/new.txt", nil, 0o644)
			if err == nil {
				err = os.Remove(root + "/note.txt")
			}
			return errors.Join(err, save(root, "a.yaml", "a: 2"))
		}, map[string]string{"a.yaml": "a: 2"}, true},
		{"ignored file", func(root string) error {
			return errors.Join(os.WriteFile(root+"/x.yaml.tmp", nil, 0o644), save(root, "a.yaml", "a: 2"))
		}, map[string]string{"a.yaml": "a: 2"}, true},
		{"new directory", func(root string) error {
			err := os.MkdirAll(root+"/.new/deeper", 0o755)
			if err == nil {
				err = os.WriteFile(root+"/.new/deeper/n.yaml", []byte("n: 1"), 0o644)
			}
			if err == nil {
				err = os.Rename(root+"/.new", root+"/team/new")
			}
			return err
		}, map[string]string{"team/new/deeper/n.yaml": "n: 1"}, true},
		{"mode of a directory", func(root string) error { return os.Chmod(root+"/team", 0o700) }, nil, true},
		{"new link", func(root string) error { return os.Symlink("team/b.yaml", root+"/k.yaml") }, map[string]string{"k.yaml": "b: 1"}, true},
		{"link to elsewhere", func(root string) error {
			return errors.Join(os.Symlink("../a.yaml", root+"/team/.new"), os.Rename(root+"/team/.new", root+"/team/link.yaml"))
		}, map[string]string{"team/link.yaml": "a: 1"}, true},
		{"target of a link", func(root string) error { return save(root, ".store/v1", "v: 2") }, map[string]string{"team/link.yaml": "v: 2"}, true},
		{"file and target of a link", func(root string) error { return save(root, "team/deep/c.yaml", "c: 2") }, map[string]string{"team/deep/c.yaml": "c: 2", "z.yaml": "c: 2"}, true},
		{"directory of a link's target", func(root string) error {
			return errors.Join(os.Mkdir(root+"/.next", 0o755), save(root, ".next/v1", "v: 3"),
				unix.Renameat2(unix.AT_FDCWD, root+"/.next", unix.AT_FDCWD, root+"/.store", unix.RENAME_EXCHANGE))
		}, map[string]string{"team/link.yaml": "v: 3"}, false},
		{"removed directory", func(root string) error { return os.RemoveAll(root + "/other") }, map[string]string{"other/d.yaml": ""}, false},
		{"directory with another name", func(root string) error {
			return os.Rename(root+"/other", root+"/team/deep/other")
		}, map[string]string{"other/d.yaml": "", "team/deep/other/d.yaml": "d: 1"}, false},
		{"volume", func(root string) error { return atomicWriter(root+"/vol", map[string]string{"v.yaml": "v: 2"}) }, map[string]string{"vol/v.yaml": "v: 2"}, false},
		{"volume that keeps what was before", func(root string) error {
			put(t, root, "vol/..next/v.yaml", "v: 2")
			return errors.Join(os.Symlink("..next", root+"/vol/..data_tmp"), os.Rename(root+"/vol/..data_tmp", root+"/vol/..data"))
		}, map[string]string{"vol/v.yaml": "v: 2"}, false},
		{"file in a volume", func(root string) error {
			return save(root, "vol/..data/v.yaml", "v: 2")
		}, map[string]string{"vol/v.yaml": "v: 2"}, false},
		{"hard link", func(root string) error {
			err := os.Link(root+"/a.yaml", root+"/h.yaml")
			if err == nil {
				err = os.WriteFile(root+"/h.yaml", []byte("a: 2"), 0o644)
			}
			return err
		}, map[string]string{"a.yaml": "a: 2", "h.yaml": "a: 2"}, false},
		{"source", func(root string) error {
			return errors.Join(os.Rename(root, root+".old"), os.CopyFS(root, os.DirFS(root+".old/other")))
		}, map[string]string{
			"a.yaml": "", "note.txt": "", "team/b.yaml": "", "team/deep/c.yaml": "", "team/link.yaml": "",
			"z.yaml": "", "other/d.yaml": "", "vol/v.yaml": "", "d.yaml": "d: 1",
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(memDir(t), "source")
			want := map[string]string{
				"a.yaml": "a: 1", "team/b.yaml": "b: 1", "team/deep/c.yaml": "c: 1", "other/d.yaml": "d: 1",
			}
			for name, data := range want {
				put(t, root, name, data)
			}
			put(t, root, "note.txt", "unwanted")
			put(t, root, ".store/v1", "v: 1")
			must(t, os.Symlink("../.store/v1", root+"/team/link.yaml"))
			must(t, os.Symlink("team/deep/c.yaml", root+"/z.yaml"))
			must(t, os.Mkdir(root+"/vol", 0o755))
			must(t, atomicWriter(root+"/vol", map[string]string{"v.yaml": "v: 1"}))
			s := open(t, root, onlyHints())
			quietly(t, s)

			must(t, test.change(root))
			fresh, err := afresh(t, root, onlyHints())
			must(t, err)
			partial := true
			for found := false; !found; {
				awaitHint(t, s)
				snap, so := partly(t, s)
				partial = partial && so
				found = snap.Digest == fresh.Digest
			}
			if partial != test.partial {
				t.Errorf("all scans were partial: %v, want %v", partial, test.partial)
			}
			got := contents(s.newest)
			for name, data := range test.want {
				if got[name] != data {
					t.Errorf("%s is %q, want %q", name, got[name], data)
				}
			}
			if snap := read(t, s); snap != s.newest {
				t.Error("the whole scan afterwards found something else")
			}
		})
	}
}

// Only what the caller received a hint for is looked at partly: a Fetch at an interval, a
// content check, and one that is due by Rescan look at everything.
func TestFetchWithoutHintIsWhole(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, onlyHints())
	quietly(t, s)
	step := func(name string, want bool, before func()) {
		t.Helper()
		must(t, save(root, "a.yaml", name))
		before()
		if snap, got := partly(t, s); got != want || contents(snap)["a.yaml"] != name {
			t.Errorf("%s: partial is %v, want %v; read %q", name, got, want, contents(snap))
		}
	}
	hint := func() { awaitHint(t, s) }
	pending := func() {
		for len(s.Hint()) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	step("hint", true, hint)
	step("interval while a hint waits", false, pending)
	<-s.Hint()
	if _, got := partly(t, s); !got {
		t.Error("the hint that waited made a whole scan")
	}
	step("recheck", false, func() { hint(); s.Recheck() })
	step("content check", false, func() { hint(); s.compared = s.compared.Add(-time.Hour) })
	step("rescan", false, func() { hint(); s.whole = s.whole.Add(-time.Hour) })
	step("hint again", true, hint)
	if _, got := partly(t, s); got {
		t.Error("without a hint a scan was partial")
	}
}

// Where the events do not tell everything, a hint makes a whole scan.
func TestDoubtMakesAWholeScan(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "team/b.yaml", "b: 1")
	s := open(t, root, onlyHints())
	quietly(t, s)
	version := 0
	step := func(name string, want bool, before func()) {
		t.Helper()
		version++
		before()
		must(t, save(root, "team/b.yaml", fmt.Sprint(version)))
		awaitHint(t, s)
		if snap, got := partly(t, s); got != want || contents(snap)["team/b.yaml"] != fmt.Sprint(version) {
			t.Errorf("%s: partial is %v, want %v; read %q", name, got, want, contents(snap))
		}
		quietly(t, s)
	}
	step("nothing", true, func() {})
	step("events lost", false, func() { s.watch.trouble(fsnotify.ErrEventOverflow) })
	step("as before", true, func() {})
	step("more names than are kept", false, func() {
		s.watch.mu.Lock()
		defer s.watch.mu.Unlock()
		for n := range maxNames + 1 {
			s.watch.note(filepath.Join(root, fmt.Sprint(n)), true)
		}
		if len(s.watch.names) > maxNames {
			t.Errorf("%d names are remembered", len(s.watch.names))
		}
	})
	step("a directory that the last scan did not have", false, func() {
		s.watch.mu.Lock()
		defer s.watch.mu.Unlock()
		s.watch.note(filepath.Join(root, "none/x.yaml"), true)
	})
	step("a name elsewhere", false, func() {
		s.watch.mu.Lock()
		defer s.watch.mu.Unlock()
		s.watch.note("/elsewhere", true)
	})
	step("another root", false, func() { s.root.stamp.ino++ })
	step("another directory", false, func() { s.root.entries[1].dir.stamp.ino++ })
	step("an entry without a file", false, func() { s.root.entries[0].file = nil })

	must(t, unix.Mkfifo(filepath.Join(root, "c.yaml"), 0o644))
	awaitHint(t, s)
	if _, err := fetch(s); err == nil || s.sound {
		t.Errorf("a pipe: %v, and the next scan may be partial: %v", err, s.sound)
	}
	must(t, save(root, "c.yaml", "c: 1"))
	awaitHint(t, s)
	if snap, got := partly(t, s); got || contents(snap)["c.yaml"] != "c: 1" {
		t.Errorf("after an error: partial is %v; read %q", got, contents(snap))
	}
	must(t, os.Remove(filepath.Join(root, "a.yaml")))
	must(t, os.Remove(filepath.Join(root, "c.yaml")))
	must(t, os.Remove(filepath.Join(root, "team/b.yaml")))
	awaitHint(t, s)
	if _, err := fetch(s); !errors.Is(err, source.ErrEmpty) {
		t.Errorf("all files are gone: %v", err)
	}
}

// The limits of the whole source hold in a partial scan, too.
func TestLimitsOfPartialScans(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		limit  source.Options
		change map[string]string
		want   string
	}{
		{source.Options{MaxTotal: 20}, map[string]string{"a.yaml": "0123456789012"}, "more than the limit of 20 bytes"},
		{source.Options{MaxFile: 10}, map[string]string{"a.yaml": "0123456789a"}, "more than the limit of 10 for a file"},
		{source.Options{MaxFiles: 4}, map[string]string{"c.yaml": "c", "d.yaml": "d"}, "holds more than 4 files"},
	} {
		root := memDir(t)
		put(t, root, "a.yaml", "01234567")
		put(t, root, "team/b.yaml", "01234567")
		o := onlyHints()
		o.MaxTotal, o.MaxFile, o.MaxFiles = test.limit.MaxTotal, test.limit.MaxFile, test.limit.MaxFiles
		s := open(t, root, o)
		quietly(t, s)
		for name, data := range test.change {
			must(t, save(root, name, data))
		}
		var err error
		for err == nil {
			awaitHint(t, s)
			_, err = fetch(s)
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
	}
}

// A scan that ends in a panic leaves nothing that a partial scan may go by.
func TestPanicMakesAWholeScan(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "b.yaml", "b: 1")
	o := onlyHints()
	o.Wanted = nil
	s := open(t, root, o)
	quietly(t, s)
	s.opt.Wanted = func(string) bool { panic("a bug") }
	must(t, save(root, "a.yaml", "a: 2"))
	awaitHint(t, s)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = fetch(s)
	}()
	s.opt.Wanted = func(string) bool { return true }
	must(t, save(root, "b.yaml", "b: 2"))
	awaitHint(t, s)
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 2", "b.yaml": "b: 2"})
}

// mutator makes random changes of two trees, of which root leads to one.
type mutator struct {
	*rand.Rand
	t          *testing.T
	base, root string
	n          int
}

func (m *mutator) pick(from ...string) string { return from[m.IntN(len(from))] }

func (m *mutator) dir() string { return m.pick("", "a", "a/b", "a/b/c", "d", ".hidden") }

func (m *mutator) file() string {
	return filepath.Join(m.dir(), m.pick("x.yaml", "y.yaml", "z.yaml", "note.txt", "x.yaml~", ".x.yaml"))
}

func (m *mutator) text() []byte {
	m.n++
	return fmt.Appendf(nil, "version: %d %s", m.n, m.pick("", strings.Repeat("#", m.IntN(20))))
}

// link returns the target of a link at name, most often to a file that is there.
func (m *mutator) link(name string) string {
	for range 20 {
		target := m.file()
		if info, err := os.Lstat(filepath.Join(m.root, target)); err != nil || !info.Mode().IsRegular() {
			continue
		}
		rel, err := filepath.Rel(filepath.Dir(name), target)
		must(m.t, err)
		return rel
	}
	return "none"
}

// seen reports whether a write to a file gives an event that names it. A hard link in a
// directory that is not watched, or under a name that is ignored, gives none.
func (m *mutator) seen(name string) bool {
	path, err := filepath.EvalSymlinks(filepath.Join(m.root, name))
	var st unix.Stat_t
	if err != nil || unix.Stat(path, &st) != nil {
		return true
	}
	return st.Nlink == 1 || !strings.Contains(path, "/.") && !source.Ignored("x", filepath.Base(path))
}

// change makes one change. Many fail, since what they need is not there; all the same.
func (m *mutator) change() string {
	at := func(name string) string { return filepath.Join(m.root, name) }
	name, other := m.file(), m.file()
	kind := m.pick("save", "save", "save", "save", "write", "append", "remove", "move", "mkdir", "link", "relink",
		"hard link", "move directory", "remove directory", "chmod", "volume", "swap", "tree")
	switch kind {
	case "save":
		_ = save(m.root, name, string(m.text()))
	case "write":
		if !m.seen(name) {
			break
		}
		_ = os.WriteFile(at(name), m.text(), 0o644)
	case "append":
		if !m.seen(name) {
			break
		}
		if f, err := os.OpenFile(at(name), os.O_WRONLY|os.O_APPEND, 0); err == nil {
			_, _ = f.Write(m.text())
			_ = f.Close()
		}
	case "remove":
		_ = os.Remove(at(name))
	case "move":
		_ = os.Rename(at(name), at(other))
	case "mkdir":
		_ = os.MkdirAll(at(m.dir()), 0o755)
	case "link":
		_ = os.Symlink(m.link(name), at(name))
	case "relink":
		_ = os.Remove(at(filepath.Dir(name) + "/.new"))
		_ = os.Symlink(m.link(name), at(filepath.Dir(name)+"/.new"))
		_ = os.Rename(at(filepath.Dir(name)+"/.new"), at(name))
	case "hard link":
		_ = os.Link(at(name), at(other))
	case "move directory":
		_ = os.Rename(at(m.pick("a", "a/b", "d", ".hidden")), at(m.pick("a", "a/b", "d", "d/e", ".hidden", ".away")))
	case "remove directory":
		_ = os.RemoveAll(at(m.pick("a/b", "d", ".hidden", "vol")))
	case "chmod":
		_ = os.Chmod(at(m.dir()), os.FileMode(0o700+m.IntN(2)*0o55))
	case "volume":
		if os.MkdirAll(at("vol"), 0o755) == nil {
			_ = atomicWriter(at("vol"), map[string]string{"v.yaml": string(m.text()), "in/w.yaml": string(m.text())})
		}
	case "swap":
		_ = os.Symlink(m.pick("one", "two"), filepath.Join(m.base, "next"))
		_ = os.Rename(filepath.Join(m.base, "next"), m.root)
	case "tree":
		temp := at(".tree" + fmt.Sprint(m.n))
		put(m.t, temp, m.pick("x.yaml", "b/x.yaml", "b/c/y.yaml"), string(m.text()))
		if os.Rename(temp, at(m.pick("a", "a/b", "d", "d/e"))) != nil {
			_ = os.RemoveAll(temp)
		}
	}
	return fmt.Sprintf("%s %s %s", kind, name, other)
}

// repair takes away what makes a source bad: all links.
func (m *mutator) repair() {
	must(m.t, filepath.WalkDir(m.root+"/", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type() == os.ModeSymlink && !strings.Contains(path, "/vol/") {
			err = os.Remove(path)
		}
		return err
	}))
}

// Whatever changes, what is read because of hints comes to be what a source that is opened
// anew reads. The last change of each step is a marker. A scan that a late hint of the step
// before asks for may see the marker before the events of the changes; a hint for those
// follows.
func TestHintedFetchEqualsFreshSource(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	base := memDir(t)
	m := &mutator{Rand: rand.New(rand.NewPCG(seed, 0)), t: t, base: base, root: filepath.Join(base, "current")}
	for _, tree := range []string{"one", "two"} {
		for _, name := range []string{"x.yaml", "a/x.yaml", "a/b/y.yaml", "d/z.yaml"} {
			put(t, filepath.Join(base, tree), name, "first: 1")
		}
	}
	must(t, os.Symlink("one", m.root))
	o := onlyHints()
	o.Quiet = 10 * time.Millisecond
	s := open(t, m.root, o)
	quietly(t, s)
	const steps = 250
	var partial, good int
	for n := range steps {
		var made []string
		for range 1 + m.IntN(3) {
			made = append(made, m.change())
		}
		marker := fmt.Sprintf("marker: %d", n)
		must(t, save(m.root, "marker.yaml", marker))
		t.Logf("step %d: %q", n, made)
		fresh, freshErr := afresh(t, m.root, o)
		if errors.Is(freshErr, source.ErrUnstable) {
			t.Fatalf("step %d, %q: %v", n, made, freshErr)
		}
		var want any = freshErr
		if freshErr == nil {
			want = contents(fresh)
		}
		for done := false; !done; {
			awaitHint(t, s)
			whole := s.whole
			snap, err := fetch(s)
			switch {
			case err == nil && freshErr == nil && snap.Digest == fresh.Digest:
				done = true
				good++
				if s.whole.Equal(whole) {
					partial++
				}
			case err == nil && contents(snap)["marker.yaml"] == marker:
				t.Logf("step %d: partial is %v; read\n%q\nand afresh\n%q", n, s.whole.Equal(whole), contents(snap), want)
			case err != nil && freshErr != nil && sameProblem(err, freshErr):
				done = true
			}
		}
		if freshErr != nil {
			m.repair()
		} else if m.IntN(10) == 0 {
			if before := s.newest; read(t, s) != before {
				t.Fatalf("step %d, %q: the whole scan found %q, and the one before %q", n, made, contents(s.newest), contents(before))
			}
		}
	}
	t.Logf("%d steps, %d of them good, %d partial", steps, good, partial)
	if partial < steps/10 {
		t.Errorf("%d of %d scans were partial", partial, steps)
	}
}

// sameProblem compares the lines of two errors.
func sameProblem(a, b error) bool {
	lines := func(err error) []string { return slices.Sorted(strings.SplitSeq(err.Error(), "\n")) }
	return slices.Equal(lines(a), lines(b))
}

// A partial scan waits for what has only just been removed, as a whole one does.
func TestPartialScanMissesWhatWasJustRemoved(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "team/b.yaml", "b: 1")
	s := open(t, root, onlyHints())
	quietly(t, s)
	whole := s.whole
	s.opt.Quiet, s.opt.MaxWait = time.Hour, time.Millisecond
	must(t, os.Remove(filepath.Join(root, "team/b.yaml")))
	awaitHint(t, s)
	if _, err := fetch(s); !errors.Is(err, source.ErrUnstable) || !strings.Contains(err.Error(), "team/b.yaml") || !s.whole.Equal(whole) {
		t.Errorf("just removed: %v", err)
	}
	s.opt.Quiet = time.Millisecond
	if snap, got := partly(t, s); got || len(snap.Files) != 1 {
		t.Errorf("after an unstable scan: partial is %v; read %q", got, contents(snap))
	}
}

// A link is looked at when its target changed, or a directory on the way to it.
func TestChangesLeadToTargets(t *testing.T) {
	t.Parallel()
	c := changesIn("/src", map[string]bool{"/src/a/b": false, "/src/x.yaml": true})
	for target, want := range map[string]bool{
		"a/b": true, "a/b/c.yaml": true, "a/b/c/d.yaml": true, "x.yaml": true,
		"a": false, "a/bc.yaml": false, "a/c.yaml": false, "b": false,
	} {
		if got := c.leadBy(target); got != want {
			t.Errorf("%s: %v, want %v", target, got, want)
		}
	}
}
