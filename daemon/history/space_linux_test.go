package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

// mountSmall mounts a file system of 4 MiB.
func mountSmall(t *testing.T) string {
	t.Helper()
	shmtest.NeedRoot(t)
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("no tmpfs can be mounted here:", err)
	}
	t.Cleanup(func() { shmtest.Must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	return mount
}

// A transaction that finds no room changes nothing. Reading goes on, and writing does when
// there is room.
func TestFullFileSystem(t *testing.T) {
	mount := mountSmall(t)
	s := open(t, filepath.Join(mount, "history"))
	shmtest.Must(t, s.Record(publication(1, opaque(t, "a", "old"))))
	shmtest.Must(t, s.Record(publication(2, opaque(t, "a", "new"))))
	before, err := dump(s)
	shmtest.Must(t, err)
	stats := s.Stats()

	hog := filepath.Join(mount, "hog")
	if err := os.WriteFile(hog, make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling the file system: %v", err)
	}
	large := publication(3, opaque(t, "a", strings.Repeat("x", 300<<10)))
	act := func() error {
		_, _, err := s.Act(Entry{Command: "override"}, func(_ uint64, i *Intent) error {
			i.Overrides = append(i.Overrides, Override{Key: strings.Repeat("k", 300<<10)})
			return nil
		})
		return err
	}
	for range 3 {
		shmtest.WantError(t, s.Record(large), unix.ENOSPC)
		shmtest.WantError(t, act(), unix.ENOSPC)
		after, err := dump(s)
		shmtest.Must(t, err)
		if after != before || s.Stats().Objects != stats.Objects || s.Stats().Bytes != stats.Bytes {
			t.Fatalf("after a transaction that failed it has\n%s", firstDifference(after, before))
		}
	}

	shmtest.Must(t, os.Remove(hog))
	shmtest.Must(t, s.Record(large))
	shmtest.Must(t, act())
	shmtest.Must(t, s.view((*tx).verify))
}

// If there is no room for the rewritten file, a purge says so. The next start finishes it.
func TestPurgeWithoutRoom(t *testing.T) {
	mount := mountSmall(t)
	path := filepath.Join(mount, "history")
	s, err := Open(path, Options{})
	shmtest.Must(t, err)
	configs := []*image.Section{opaque(t, "a", "secret")}
	for i := range 25 { // of which two copies have no room
		configs = append(configs, opaque(t, fmt.Sprintf("b%02d", i), fmt.Sprintf("%0100000d", i)))
	}
	shmtest.Must(t, s.Record(publication(1, configs...)))
	configs[0] = opaque(t, "a", "public")
	shmtest.Must(t, s.Record(publication(2, configs...)))
	if _, err := s.Purge("a", nil, Entry{Command: "purge a"}); !errors.Is(err, unix.ENOSPC) || !strings.Contains(fmt.Sprint(err), "still in the file") {
		t.Fatalf("the error is %v", err)
	}
	if n := holds(t, path, "secret"); n == 0 {
		t.Error("the value is not in the file, so the test shows nothing")
	}
	if _, err := os.Stat(s.rewritten()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half of a copy takes room: %v", err)
	}
	shmtest.Must(t, s.Record(publication(3, configs[:20]...)))
	shmtest.Must(t, s.Close())

	shmtest.Must(t, unix.Mount("tmpfs", mount, "tmpfs", unix.MS_REMOUNT, "size=20m"))
	s = open(t, path)
	if n := holds(t, path, "secret"); n != 0 {
		t.Errorf("the value is in the file %d times", n)
	}
	pending, err := s.Pending()
	if audit, _ := s.Audit(0, 1); err != nil || len(pending) != 0 || len(audit) != 1 || audit[0].Outcome != "purged" {
		t.Errorf("pending are %v, %v; the audit has %v", pending, err, audit)
	}
}
