package dir

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childEnv); child != "" {
		os.Exit(runChild(child))
	}
	goleak.VerifyTestMain(m)
}

// open opens a directory source that the test's end closes.
func open(t testing.TB, root string, o source.Options) *directory {
	t.Helper()
	s, err := Open(root, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(*directory)
}

// memDir is a temporary directory in memory where there is such a thing: some tests
// make thousands of files, and ext4 goes to the disk at each rename over a file.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "statesync-source-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fetch fetches as a caller does that has the newest snapshot.
func fetch(s *directory) (*source.Snapshot, error) { return s.Fetch(context.Background(), s.newest) }

// read reads a snapshot that must be there.
func read(t testing.TB, s *directory) *source.Snapshot {
	t.Helper()
	snap, err := fetch(s)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// contents are a snapshot's files as a map.
func contents(snap *source.Snapshot) map[string]string {
	m := map[string]string{}
	for _, f := range snap.Files {
		m[f.Path] = string(f.Data)
	}
	return m
}

// wantFiles compares a snapshot with what it must hold.
func wantFiles(t testing.TB, snap *source.Snapshot, want map[string]string) {
	t.Helper()
	if got := contents(snap); !maps.Equal(got, want) {
		t.Fatalf("files are %q, want %q", got, want)
	}
	sorted := slices.IsSortedFunc(snap.Files, func(a, b *source.File) int { return strings.Compare(a.Path, b.Path) })
	if !sorted {
		t.Fatalf("files are not sorted by path: %q", slices.Sorted(maps.Keys(contents(snap))))
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes a file in place and lets it look old, so that it counts as at rest.
func put(t testing.TB, root, name, data string) {
	t.Helper()
	path := filepath.Join(root, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(data), 0o644))
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(path, old, old))
}

// lstat returns a path's stamp.
func lstat(t testing.TB, path string) stamp {
	t.Helper()
	st, _, err := lstatAt(unix.AT_FDCWD, path)
	must(t, err)
	return st
}

// save replaces a file as a careful editor does: temporary file, then rename.
func save(root, name, data string) error {
	path := filepath.Join(root, name)
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(temp, []byte(data), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// awaitHint waits for the next hint.
func awaitHint(t testing.TB, s *directory) {
	t.Helper()
	select {
	case <-s.Hint():
	case <-time.After(20 * time.Second):
		t.Fatal("no hint came")
	}
}

// awaitFiles reads at each hint until the snapshot is the wanted one.
func awaitFiles(t testing.TB, s *directory, want map[string]string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		snap, err := fetch(s)
		if err == nil && maps.Equal(contents(snap), want) {
			return
		}
		select {
		case <-s.Hint():
		case <-deadline:
			t.Fatalf("the hints ended before %q was there: %v %v", want, snap, err)
		}
	}
}

// quietly reads until no hint is left: what is set up has settled.
func quietly(t testing.TB, s *directory) {
	t.Helper()
	for {
		read(t, s)
		select {
		case <-s.Hint():
		case <-time.After(2 * s.opt.Quiet):
			return
		}
	}
}

// pair are two files that always change together.
func pair(n int) map[string]string {
	return map[string]string{
		"a.yaml":      fmt.Sprintf("version: %d\n", n),
		"team/b.yaml": fmt.Sprintf("version: %d\n", n),
	}
}

// versionOf returns which version of pair a snapshot is; it must be exactly one.
func versionOf(t testing.TB, snap *source.Snapshot) int {
	t.Helper()
	var n int
	got := contents(snap)
	if _, err := fmt.Sscanf(got["a.yaml"], "version: %d\n", &n); err != nil || !maps.Equal(got, pair(n)) {
		t.Errorf("the snapshot is mixed: %q", got)
	}
	return n
}
