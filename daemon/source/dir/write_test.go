package dir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

// An editor's save is a rename: at every moment the file is the old or the new one.
func TestEditorSave(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	s := open(t, root, source.Options{})
	text := func(n int) string { return fmt.Sprintf("version: %d\n%s\nend: %d\n", n, strings.Repeat("#", n), n) }
	const saves = 500
	must(t, save(root, "a.yaml", text(0)))
	done := make(chan error, 1)
	go func() {
		for n := 1; n <= saves; n++ {
			if err := save(root, "a.yaml", text(n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	last := 0
	for running := true; running; {
		select {
		case err := <-done:
			must(t, err)
			running = false
		default:
		}
		snap, err := fetch(s)
		if errors.Is(err, source.ErrUnstable) {
			continue
		}
		must(t, err)
		var n int
		if _, err := fmt.Sscanf(contents(snap)["a.yaml"], "version: %d", &n); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, snap, map[string]string{"a.yaml": text(n)})
		if n < last {
			t.Fatalf("version %d came after %d", n, last)
		}
		last = n
	}
	if last != saves {
		t.Errorf("the last version read is %d, want %d", last, saves)
	}
}

// A file that is rewritten in place is not read before it has rested for Quiet. The
// writer measures its own pauses: where the machine made one longer than that,
// nothing is promised.
func TestRewriteInPlace(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	const quiet = 200 * time.Millisecond
	s := open(t, root, source.Options{Quiet: quiet, MaxWait: 2 * quiet})
	path := filepath.Join(root, "a.yaml")
	text := func(n int) string { return strings.Repeat(fmt.Sprintf("line: %d\n", n), 10) }
	put(t, root, "a.yaml", text(0))

	rewrite := func(n int) (longest time.Duration, err error) {
		last := time.Now()
		f, err := os.Create(path)
		if err != nil {
			return 0, err
		}
		defer func() { _ = f.Close() }()
		for line := range strings.Lines(text(n)) {
			for _, half := range []string{line[:4], line[4:]} {
				time.Sleep(5 * time.Millisecond)
				if _, err := f.WriteString(half); err != nil {
					return 0, err
				}
				longest, last = max(longest, time.Since(last)), time.Now()
			}
		}
		return longest, nil
	}
	for n := 1; n <= 3; n++ {
		var longest time.Duration
		done := make(chan error, 1)
		go func() {
			var err error
			longest, err = rewrite(n)
			done <- err
		}()
		var seen []string
		for running := true; running; {
			select {
			case err := <-done:
				must(t, err)
				running = false
			default:
			}
			snap, err := fetch(s)
			switch {
			case err == nil:
				seen = append(seen, contents(snap)["a.yaml"])
			case !errors.Is(err, source.ErrUnstable):
				seen = append(seen, err.Error())
			}
		}
		if longest > quiet/2 {
			t.Logf("the writer was held up for %v; the reads between are not judged", longest)
			seen = nil
		}
		for _, data := range seen {
			if data != text(n-1) && data != text(n) {
				t.Fatalf("a half-written file was read: %q", data)
			}
		}
		wantFiles(t, read(t, s), map[string]string{"a.yaml": text(n)})
	}
}

// A file that never rests is an error that names it, after a bounded wait.
func TestFileThatNeverRests(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "b.yaml", "b: 1")
	s := open(t, root, source.Options{Quiet: time.Hour, MaxWait: 20 * time.Millisecond})
	wantFiles(t, read(t, s), map[string]string{"b.yaml": "b: 1"})
	must(t, os.WriteFile(filepath.Join(root, "a.yaml"), []byte("a: 1"), 0o644))
	_, err := fetch(s)
	if !errors.Is(err, source.ErrUnstable) || !strings.Contains(err.Error(), filepath.Join(root, "a.yaml")) {
		t.Errorf("a file just written: %v", err)
	}
	put(t, root, "a.yaml", "a: 1") // dated back: the last event is not a write
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 1", "b.yaml": "b: 1"})
}

// A file system's clock may be ahead of ours: then two looks decide.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ahead := stamp{size: 1, ctime: now.Add(time.Hour).UnixNano()}
	var r rest
	for _, look := range []struct {
		after time.Duration
		s     stamp
		want  bool
	}{
		{0, ahead, false},
		{40 * time.Millisecond, ahead, false},
		{50 * time.Millisecond, ahead, true},
		{60 * time.Millisecond, stamp{size: 2, ctime: ahead.ctime}, false},
		{109 * time.Millisecond, stamp{size: 2, ctime: ahead.ctime}, false},
		{110 * time.Millisecond, stamp{size: 2, ctime: ahead.ctime}, true},
	} {
		if got := r.rested(look.s, now.Add(look.after), 50*time.Millisecond); got != look.want {
			t.Errorf("after %v rested is %v", look.after, got)
		}
	}
}

// The times of a file that consists of whole pages are those of the beginning of a
// write that may still be running.
func TestAgeOfWholePages(t *testing.T) {
	t.Parallel()
	s := &scan{d: open(t, t.TempDir(), source.Options{NoWatch: true}), now: time.Now()}
	for _, test := range []struct {
		size int64
		age  time.Duration
		want bool
	}{
		{4095, source.DefaultQuiet - time.Millisecond, false},
		{4095, source.DefaultQuiet, true},
		{8192, source.DefaultQuiet, false},
		{8193, source.DefaultQuiet, true},
		{8192, racyWindow, true},
	} {
		at := s.now.Add(-test.age).UnixNano()
		c, st := content{}, stamp{size: test.size, mtime: at, ctime: at}
		if got := s.settled(place{}, "a.yaml", st, &c); got != test.want {
			t.Errorf("%d bytes after %v: settled is %v", test.size, test.age, got)
		}
		later := *s
		later.now = s.now.Add(source.DefaultQuiet)
		if !later.settled(place{}, "a.yaml", st, &c) {
			t.Errorf("%d bytes after %v and a look: not settled", test.size, test.age)
		}
	}
}

// A program that removes a file and writes it anew leaves a moment without it; no
// snapshot shows that moment.
func TestRemoveAndCreate(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "b.yaml", "b: 1")
	put(t, root, "team/a.yaml", "version: 0")
	const quiet = 200 * time.Millisecond
	s := open(t, root, source.Options{Quiet: quiet, MaxWait: 2 * quiet})
	read(t, s)
	stop, done := make(chan struct{}), make(chan error, 1)
	var longest time.Duration
	last := 0
	go func() {
		path := filepath.Join(root, "team", "a.yaml")
		var err error
		for err == nil {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			last++
			began := time.Now()
			if err = os.Remove(path); err == nil {
				time.Sleep(time.Millisecond)
				err = os.WriteFile(path, fmt.Appendf(nil, "version: %d", last), 0o644)
			}
			longest = max(longest, time.Since(began))
			time.Sleep(10 * time.Millisecond)
		}
		done <- err
	}()
	var missing int
	for range 3 {
		snap, err := fetch(s)
		if err != nil && !errors.Is(err, source.ErrUnstable) {
			t.Error(err)
		}
		if err == nil && contents(snap)["team/a.yaml"] == "" {
			missing++
		}
	}
	close(stop)
	must(t, <-done)
	if missing > 0 && longest < quiet/2 {
		t.Errorf("%d snapshots are without the file", missing)
	}
	wantFiles(t, read(t, s), map[string]string{"b.yaml": "b: 1", "team/a.yaml": fmt.Sprintf("version: %d", last)})
	must(t, os.Remove(filepath.Join(root, "team", "a.yaml")))
	wantFiles(t, read(t, s), map[string]string{"b.yaml": "b: 1"})
}

// The same without chance: a file just removed is missed, in a directory that is
// another one it is not.
func TestJustRemoved(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "team/a.yaml", "a: 1")
	put(t, root, "team/b.yaml", "b: 1")
	put(t, root, "team/note.txt", "unwanted")
	s := open(t, root, source.Options{
		NoWatch: true, Quiet: time.Hour, MaxWait: time.Millisecond,
		Wanted: func(p string) bool { return strings.HasSuffix(p, ".yaml") },
	})
	read(t, s)
	must(t, os.Remove(filepath.Join(root, "team/note.txt")))
	wantFiles(t, read(t, s), map[string]string{"team/a.yaml": "a: 1", "team/b.yaml": "b: 1"})
	must(t, os.Remove(filepath.Join(root, "team/a.yaml")))
	for range 2 {
		_, err := fetch(s)
		if !errors.Is(err, source.ErrUnstable) || !strings.Contains(err.Error(), "team/a.yaml") {
			t.Fatalf("just removed: %v", err)
		}
	}
	put(t, root, ".new/b.yaml", "b: 2")
	must(t, os.Rename(filepath.Join(root, "team"), filepath.Join(root, ".old")))
	must(t, os.Rename(filepath.Join(root, ".new"), filepath.Join(root, "team")))
	wantFiles(t, read(t, s), map[string]string{"team/b.yaml": "b: 2"})
}

// A removal is noticed also where something else in the directory changes all the time.
func TestRemovedAmongChanges(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "b.yaml", "b: 1")
	s := open(t, root, source.Options{NoWatch: true, Quiet: 300 * time.Millisecond, MaxWait: 300 * time.Millisecond})
	read(t, s)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				done <- nil
				return
			default:
				time.Sleep(time.Millisecond)
				err = save(root, ".log", "x")
			}
		}
		done <- err
	}()
	must(t, os.Remove(filepath.Join(root, "a.yaml")))
	deadline := time.Now().Add(20 * time.Second)
	for {
		snap, err := fetch(s)
		if err == nil {
			wantFiles(t, snap, map[string]string{"b.yaml": "b: 1"})
			break
		}
		if !errors.Is(err, source.ErrUnstable) || time.Now().After(deadline) {
			t.Error(err)
			break
		}
	}
	close(stop)
	must(t, <-done)
}

// A truncation shows the new size before the new times, and an empty file is
// always waited for.
func TestTruncationInTheMaking(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	put(t, root, "b.yaml", "b: 12")
	s := open(t, root, source.Options{NoWatch: true, Quiet: time.Hour, MaxWait: time.Millisecond})
	read(t, s)
	known := func() *content { return &s.root.entries[1].content }
	put(t, root, "b.yaml", "b: 1")
	known().stamp.ctime = lstat(t, filepath.Join(root, "b.yaml")).ctime
	if _, err := fetch(s); !errors.Is(err, source.ErrUnstable) {
		t.Errorf("another size with the same times: %v", err)
	}
	put(t, root, "b.yaml", "b: 1")
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 1", "b.yaml": "b: 1"})
	put(t, root, "b.yaml", "")
	if _, err := fetch(s); !errors.Is(err, source.ErrUnstable) {
		t.Errorf("an empty file at first sight: %v", err)
	}
}

func TestDisappearsAndReturns(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	root := filepath.Join(base, "etc", "app")
	s := open(t, root, source.Options{})
	gone := func() {
		t.Helper()
		_, err := fetch(s)
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), root) || !strings.Contains(err.Error(), "create the directory") {
			t.Fatalf("a missing source: %v", err)
		}
	}
	gone()
	put(t, root, "a.yaml", "a: 1")
	first := read(t, s)

	must(t, os.Rename(root, root+".away"))
	gone()
	must(t, os.Rename(root+".away", root))
	if again := read(t, s); again != first {
		t.Error("the same source came back as another snapshot")
	}

	must(t, os.RemoveAll(filepath.Join(base, "etc")))
	gone()
	put(t, root, "a.yaml", "a: 2")
	wantFiles(t, read(t, s), map[string]string{"a.yaml": "a: 2"})
}

func TestSuddenlyEmpty(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "a.yaml", "a: 1")
	s := open(t, root, source.Options{})
	first := read(t, s)
	must(t, os.Remove(filepath.Join(root, "a.yaml")))
	if _, err := fetch(s); !errors.Is(err, source.ErrEmpty) {
		t.Fatalf("a source that lost its files: %v", err)
	}
	put(t, root, "a.yaml", "a: 1")
	if back := read(t, s); back.Version != first.Version {
		t.Errorf("%s came back as %s", first.Version, back.Version)
	}
}

// A work tree that Git is changing is waited for, but not for a Git that died.
func TestGitLock(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "a.yaml", "x: 1")
	put(t, root, gitLock, "")
	must(t, os.Chtimes(filepath.Join(root, gitLock), time.Now(), time.Now()))
	var told []error
	s := open(t, root, source.Options{NoWatch: true, MaxWait: 20 * time.Millisecond, OnWatchError: func(err error) { told = append(told, err) }})
	if _, err := s.Fetch(t.Context(), nil); !errors.Is(err, source.ErrUnstable) || !strings.Contains(err.Error(), "Git is changing the tree") {
		t.Errorf("while Git works: %v", err)
	}
	old := time.Now().Add(-2 * maxGitLock)
	must(t, os.Chtimes(filepath.Join(root, gitLock), old, old))
	for range 2 {
		if snap, err := s.Fetch(t.Context(), nil); err != nil || len(snap.Files) != 1 {
			t.Errorf("with a lock that was left: %v", err)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0].Error(), "a Git that died") {
		t.Errorf("told: %v", told)
	}
	must(t, os.Remove(filepath.Join(root, gitLock)))
	if _, err := s.Fetch(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
