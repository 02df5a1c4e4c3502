package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// On a full file system the revision is refused, the old one stays, and space
// mends it.
func TestFullFileSystem(t *testing.T) {
	s := newSetup(t)
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no tmpfs can be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s.opt.Region = filepath.Join(mount, "region")
	s.opt.Writer.MaxImage = 512 << 10
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	before := s.sees(map[string]string{"a": `{"x":1}`})
	s.logs("the file system of the region is too small for images of the greatest size; make it larger, or lower --max-image or --slots")

	hog := filepath.Join(mount, "hog")
	if err := os.WriteFile(hog, make([]byte, 900<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("l", 200<<10)
	s.put("a.yaml", "text: "+text+"\n")
	if line := s.logs("refused"); line["reason"] != "no_space" || line["revision"] == "" {
		t.Errorf("the log line is %v", line)
	}
	await(t, "the status", func() bool { return s.look().status.Problem != "" })
	good := s.look().status.SourceGood
	d.reconciled(t, 3)
	if again := s.look().status.SourceGood; again != good {
		t.Errorf("a revision that has no room counts as good: at %s, and before at %s", again, good)
	}
	if n := len(s.journal.find("refused")); n != 1 {
		t.Errorf("the refusal was logged %d times", n)
	}
	if p := s.look(); p.generation != before.generation || p.configs["a"] != `{"x":1}` {
		t.Errorf("generation %d with %v", p.generation, p.configs)
	}
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	after := s.sees(map[string]string{"a": `{"text":"` + text + `"}`})
	if after.generation != before.generation+1 || after.id != before.id {
		t.Errorf("generation %d of %v followed %d", after.generation, after.id, before.generation)
	}
	s.logs("recovered")
	await(t, "the source is good again", func() bool { return s.look().status.SourceGood > good })
}

// A state directory without room for a history keeps no config from its readers. What
// would have to be kept is refused.
func TestNoRoomForHistory(t *testing.T) {
	s := newSetup(t)
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=32k"); err != nil {
		t.Skip("no tmpfs can be mounted here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(mount, "hog"), make([]byte, 24<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s.opt.StateDir = filepath.Join(mount, "state")
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the alarm", func() bool {
		return d.State().Converged && strings.Contains(d.State().Alarm, "the history cannot be kept")
	})
	d.refuses(t, Pin{}, ErrInvalid, "make room")
	d.stop(t)

	if err := os.Remove(filepath.Join(mount, "hog")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mount, "tmpfs", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	d = s.run()
	await(t, "the daemon", func() bool { return d.State().Converged })
	d.does(t, Pin{})
}
