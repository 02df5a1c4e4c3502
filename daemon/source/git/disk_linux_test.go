package git

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/statesync/statesync/daemon/source"
)

func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a small file system")
	}
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := open(t, "git:"+u.file(), source.Options{StateDir: filepath.Join(disk, "state")})
	fetch(t, s)
	filler := filepath.Join(disk, "filler")
	_ = os.WriteFile(filler, make([]byte, 2<<20), 0o600) // as much as there is room for
	random := make([]byte, 300<<10)
	for i := range random {
		random[i] = byte(rand.Int())
	}
	u.push("a.yaml", "2", "large.bin", string(random))
	refusal(t, s, "No space left on device")
	refusal(t, s, "No space left on device")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if got := string(fetch(t, s).Files[0].Data); got != "2" {
		t.Errorf("when there is room again the snapshot has %q", got)
	}
}
