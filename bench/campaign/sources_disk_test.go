//go:build linux

package campaign

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// On a full disk a bundle whose sequence cannot be stored is held back, also by a daemon
// that is killed and starts again, and no older one is taken. The status says so, and
// readers keep what they have. With room the newest bundle is taken.
func TestSourcesFullDisk(t *testing.T) {
	runtime.LockOSThread() // see crashHost.start
	defer runtime.UnlockOSThread()
	mount := memoryTmpfs(t, 2048)
	h := newSourcesHost(t)
	h.state = filepath.Join(mount, "state")
	// The history has free pages, in which it can store a few bytes on any disk. The
	// sequence of a bundle with so long a URL takes a run of pages that it has not.
	h.bundle.spec = strings.Replace(h.bundle.spec, "/prod/", "/prod/"+strings.Repeat("x/", 7<<10), 1)
	// What is accepted of all sources is in that run. The bundle's is stored last: what is
	// stored after it would leave a run free.
	h.git.push()
	h.bundle.push()
	h.bundle.mode.Store(sourceDown)
	d := h.start("")
	h.lives(d, untilEnd(h, d, "the first commit", func() bool {
		s, answers := h.status()
		return answers && len(s.Layers) > 0 && s.Layers[0].Looked != nil
	}), "without a bundle")
	h.bundle.mode.Store(sourceServes)
	ok(t, d.Process.Signal(syscall.SIGHUP))
	h.arrives(d, "at first")
	stopReading := h.reads()
	defer stopReading()

	filler := filepath.Join(mount, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	before := h.bundle.number
	h.bundle.push()
	const says = "sequence 2 is held back until it can be stored as the last accepted one"
	for _, what := range []string{"on a full disk", "started on a full disk"} {
		h.bundle.trouble = says
		h.lives(d, h.tells(d), what)
		if numbers, err := h.look(); err != nil || numbers["bundle"] != before {
			t.Errorf("%s readers have %v, %v", what, numbers, err)
		}
		h.end(d)
		d = h.start("")
	}
	h.publish(1, -1, time.Hour, nil)
	h.bundle.trouble = "FORKED: sequence 1"
	h.lives(d, h.tells(d), "with another bundle 1")
	h.bundle.push()
	h.bundle.trouble = "sequence 3 is held back"
	h.lives(d, h.tells(d), "with a bundle 3")
	ok(t, os.Remove(filler))
	h.bundle.trouble = ""
	h.arrives(d, "with room")
	h.bundle.wrongs[0].does() // the bundle of sequence 1
	h.bundle.trouble = "has the sequence 1, and 3 was accepted"
	h.lives(d, h.tells(d), "with an old bundle")
	h.end(d)
	stopReading()
	report(t, "a bundle whose sequence cannot be stored is not taken", "a full state directory, 2 kills; 2 newer bundles held back, a fork and an old one refused", "nothing")
}
