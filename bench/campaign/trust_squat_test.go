//go:build linux

package campaign

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/shmtest"
)

var trustAll = flag.Int("trust.squats", 4, "how many of the things that a squatter can do are tried, by chance")

// trustSquats are what another user can put at a region's path, in a directory
// that all users can write, before its daemon starts. aside is a directory with a
// valid region.
var trustSquats = map[string]func(path, aside string) error{
	"a file":                  func(p, _ string) error { return os.WriteFile(p, nil, 0o644) },
	"a symlink to a region":   func(p, aside string) error { return os.Symlink(aside, p) },
	"a symlink to root's":     func(p, _ string) error { return os.Symlink("/etc", p) },
	"a symlink to nothing":    func(p, aside string) error { return os.Symlink(aside+"-not", p) },
	"a hard link":             func(p, aside string) error { return os.Link(filepath.Join(aside, "region.v1"), p) },
	"a FIFO":                  func(p, _ string) error { return unix.Mkfifo(p, 0o666) },
	"a socket":                func(p, _ string) error { return unix.Mknod(p, unix.S_IFSOCK|0o666, 0) },
	"a directory":             func(p, _ string) error { return os.Mkdir(p, 0o755) },
	"a directory for all":     func(p, _ string) error { return errors.Join(os.Mkdir(p, 0o777), os.Chmod(p, 0o777)) },
	"a directory of mode 0":   func(p, _ string) error { return os.Mkdir(p, 0) },
	"a region":                func(p, aside string) error { return trustCopy(aside, p, 0o644) },
	"a world-writable region": func(p, aside string) error { return trustCopy(aside, p, 0o666) },
	"a region that is a FIFO": func(p, _ string) error { return errors.Join(os.Mkdir(p, 0o755), unix.Mkfifo(p+"/region.v1", 0o644)) },
	"a region that is a link": func(p, aside string) error {
		return errors.Join(os.Mkdir(p, 0o755), os.Symlink(aside+"/region.v1", p+"/region.v1"))
	},
	"a lock that is a FIFO":    func(p, _ string) error { return errors.Join(os.Mkdir(p, 0o755), unix.Mkfifo(p+"/lock", 0o666)) },
	"a parent that is a link":  nil,
	"a parent to root's":       nil,
	"a parent that is its own": nil,
}

// trustCopy copies a region.
func trustCopy(from, to string, mode os.FileMode) error {
	b, err := os.ReadFile(filepath.Join(from, "region.v1"))
	path := filepath.Join(to, "region.v1")
	return errors.Join(err, os.Mkdir(to, 0o755), os.WriteFile(path, b, mode), os.Chmod(path, mode))
}

func init() {
	// trust-squat WHAT PATH ASIDE puts something at a path.
	roles["trust-squat"] = func(_ context.Context, args []string) error {
		syscall.Umask(0)
		what, path, aside := args[0], args[1], args[2]
		switch what {
		case "a parent that is a link":
			return os.Symlink(filepath.Dir(aside), filepath.Dir(path))
		case "a parent to root's":
			return os.Symlink(filepath.Join(filepath.Dir(filepath.Dir(aside)), "roots"), filepath.Dir(path))
		case "a parent that is its own":
			return errors.Join(os.Mkdir(filepath.Dir(path), 0o755), trustCopy(aside, path, 0o644))
		}
		return trustSquats[what](path, aside)
	}
}

// Whatever another user puts at a region's path before its daemon starts, the
// daemon refuses it with a message, writes nothing, and ends. Readers, which run as
// a third user and as root, get the documented error without a wait.
func TestTrustSquattedName(t *testing.T) {
	parent := trustParent(t)
	source := trustSource(t, parent)
	// The other user has a valid region, which the squatter's links lead to.
	aside := filepath.Join(parent, "aside", "region")
	ok(t, os.MkdirAll(aside, 0o755))
	ok(t, os.Mkdir(filepath.Join(parent, "roots"), 0o755))
	ok(t, os.Chown(aside, trustStranger, trustStranger))
	once := []string{"--once", "--source=dir:" + source, "--state-dir=", "--slots=2", "--max-image=64KiB", "--lock-wait=0s"}
	p := trustStart(t, trustAs(trustStranger), append(once, "--region="+aside)...)
	p.finish(t)

	tried := 0
	for what := range trustSquats { // in any order
		if tried == *trustAll {
			break
		}
		t.Run(what, func(t *testing.T) {
			public := filepath.Join(parent, fmt.Sprint("public", tried)) // as /dev/shm is
			ok(t, os.Mkdir(public, 0o755))
			ok(t, os.Chmod(public, 0o777|os.ModeSticky))
			path := filepath.Join(public, "region")
			if strings.HasPrefix(what, "a parent") {
				path = filepath.Join(public, "statesync", "region")
			}
			trustSays(t, trustAs(trustStranger), "trust-squat", what, path, aside)
			before, asideBefore := trustTree(t, public), trustTree(t, filepath.Dir(aside))+trustTree(t, filepath.Join(parent, "roots"))

			log := trustDaemon(t, nil, append(once, "--region="+path)...)
			if !strings.Contains(log, path) && !strings.Contains(log, filepath.Dir(path)) || !strings.Contains(log, "untrusted") {
				t.Errorf("the daemon's log lacks the reason:\n%s", log)
			}
			for _, uid := range []uint32{trustOther, 0} {
				said := trustSays(t, trustAs(uid), "trust-read", path)
				kind, _, _ := strings.Cut(said, " ")
				switch {
				case kind == "untrusted", kind == "no-region" && strings.HasSuffix(what, "to root's"),
					kind == "permission" && uid != 0 && strings.Contains(what, "mode 0"):
				default:
					t.Errorf("uid %d reads: %s", uid, said)
				}
				if !strings.Contains(said, "lazy "+kind+" 0") {
					t.Errorf("uid %d, lazily: %s", uid, said)
				}
			}
			if after := trustTree(t, public); after != before {
				t.Errorf("there was\n%s\nand is\n%s", before, after)
			}
			if after := trustTree(t, filepath.Dir(aside)) + trustTree(t, filepath.Join(parent, "roots")); after != asideBefore {
				t.Errorf("behind the link there was\n%s\nand is\n%s", asideBefore, after)
			}
			tried++
		})
	}
	report(t, "what another user puts at a region's path is refused, by the daemon and by readers",
		fmt.Sprintf("%d things, each against a daemon and two readers", tried), "nothing")
}

// trustSource is a source with one revision, which all users can read.
func trustSource(t testing.TB, parent string) string {
	t.Helper()
	source := filepath.Join(parent, "source")
	ok(t, os.Mkdir(source, 0o755))
	writeRevision(t, source, 1, 100)
	return source
}

// A squatter that takes the path after the region's directory was removed under a
// daemon takes nothing from the readers. The daemon recreates the region as soon as
// the path is free.
func TestTrustSquattedWhileRunning(t *testing.T) {
	t.Parallel()
	parent := trustParent(t)
	ok(t, os.Chmod(parent, 0o777|os.ModeSticky))
	h := newMemoryHost(t, parent, "--slots=2", "--max-image=64KiB")
	h.start()
	h.reader = memoryReadAs(t, trustOther, h.region)
	h.reader.sees("at first", 1)
	tried := 0
	whats := []string{"a file", "a FIFO", "a directory", "a world-writable region", "a symlink to a region", "a directory of mode 0"}
	chance(t.Name()).Shuffle(len(whats), func(i, j int) { whats[i], whats[j] = whats[j], whats[i] })
	for _, what := range whats[:min(len(whats), *trustAll/3)] {
		aside := filepath.Join(parent, "aside")
		ok(t, os.RemoveAll(aside))
		ok(t, trustCopy(h.region, aside, 0o644))
		good := h.number
		ok(t, shmtest.RemoveAll(h.region))
		squatter := trustSpawn(t, trustAs(trustStranger), "trust-squat", what, h.region, aside)
		for range squatter.Lines {
		}
		<-squatter.ended
		if squatter.err != nil {
			h.alive() // the daemon was faster
			h.publish(1000)
			h.reader.sees("the daemon was there first", h.number)
			continue
		}
		tried++
		lines := strings.Count(h.daemon.log(), "untrusted")
		h.publish(1000)
		await(t, "the daemon to say so", func() bool {
			h.alive()
			return strings.Count(h.daemon.log(), "untrusted") > lines
		})
		if exact, follows, _ := h.reader.numbers(); exact != good || follows != good {
			t.Errorf("%s: readers are at %d and %d, and had %d", what, exact, follows, good)
		}
		ok(t, shmtest.RemoveAll(h.region))
		h.reader.sees(what+" went away", h.number)
		h.alive()
	}
	h.reader.end()
	h.stop()
	report(t, "a squatter that comes while the daemon runs takes nothing from readers",
		fmt.Sprintf("%d things at the path of a removed region", tried), "nothing; the next revision is read once the path is free")
}
