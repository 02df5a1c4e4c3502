//go:build linux

package campaign

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Before it decodes, the daemon checks that there is memory for it, by an estimate that
// allows for garbage: with much less room than this it refuses every revision.
var memoryRoom = flag.Int("memory.room", 8, "how many MiB the first limit is above what the daemon uses")

var memoryLimits = flag.Int("memory.limits", 1, "how many limits of a memory cgroup are tried")

// memoryCgroup makes a cgroup whose memory can be limited, of version 1 or 2.
func memoryCgroup(t testing.TB) (dir, limit, usage string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a cgroup takes root")
	}
	for _, v := range []struct{ root, limit, usage string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"},
		{"/sys/fs/cgroup", "memory.max", "memory.current"},
	} {
		dir := filepath.Join(v.root, fmt.Sprintf("statesync-campaign-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			await(t, "the cgroup to be empty", func() bool { err := os.Remove(dir); return err == nil || os.IsNotExist(err) })
		})
		if _, err := os.Stat(filepath.Join(dir, v.limit)); err == nil {
			return dir, filepath.Join(dir, v.limit), filepath.Join(dir, v.usage)
		}
	}
	t.Skip("no memory cgroup can be made here")
	return "", "", ""
}

// A daemon in a memory cgroup publishes one revision after the other, each into
// a slot that has no pages yet, until the limit leaves no room for the next
// slot. That revision is refused with the reason, and no process is killed. With a
// higher limit it is published.
func TestMemorySmallCgroup(t *testing.T) {
	const (
		mib  = 1 << 20
		size = 600 << 10 // bytes of payload in each of three configs, at most
	)
	publications, refusals := 0, 0
	var needs int64
	for i := range *memoryLimits {
		cgroup, limit, usage := memoryCgroup(t)
		t.Run(fmt.Sprint("limit ", i), func(t *testing.T) {
			parent := memory(t)
			h := newMemoryHost(t, parent, "--slots=32", "--max-image=4MiB")
			h.start()
			ok(t, os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(h.daemon.Process.Pid)), 0o644))
			h.reader = memoryRead(t, h.region)
			h.reader.sees("at first", 1)
			// After revisions of this size, the daemon's own memory no longer grows.
			for range 3 {
				h.publish(size)
				h.reader.sees("without a limit", h.number)
			}
			used := memoryNumber(t, usage)
			needs = max(needs, used)
			room := int64(*memoryRoom*mib + i*mib/2)
			ok(t, os.WriteFile(limit, []byte(strconv.FormatInt(used+room, 10)), 0o644))
			for refused := false; !refused; {
				good := h.number
				before := h.refusals()
				h.publish(size)
				refused = h.refuses(before)
				if !refused {
					publications++
					if h.number > 40 {
						t.Fatal("nothing was refused")
					}
					continue
				}
				refusals++
				for _, word := range []string{"reason=no_space", "the memory cgroup is nearly full", cgroup, "raise its limit, or lower --slots"} {
					if !strings.Contains(h.daemon.log(), word) {
						t.Errorf("the log does not say %q:\n%s", word, h.daemon.log())
					}
				}
				h.reader.sees("after a refusal", good)
				memoryProblem(t, h.region, "cgroup")
			}
			ok(t, os.WriteFile(limit, []byte(strconv.FormatInt(used+64*mib, 10)), 0o644))
			began := time.Now()
			h.reader.sees("with a higher limit", h.number)
			t.Logf("read %v after the limit was raised", time.Since(began))
			memoryProblem(t, h.region, "")
			h.alive()
			h.reader.end()
			h.stop()
		})
		ok(t, os.WriteFile(limit, []byte("-1"), 0o644))
		_ = os.Remove(cgroup)
	}
	report(t, "a memory cgroup that is too small refuses a revision and kills no process",
		fmt.Sprintf("%d limits; %d revisions published, %d refused; the daemon itself used %d MiB", *memoryLimits, publications, refusals, needs/mib), "nothing")
}

// A daemon that has not yet used much memory gets a small file that takes a hundred
// times its size to decode. It refuses the file instead of being killed, again at each
// start. With a higher limit it publishes the file.
func TestMemoryDenseCgroup(t *testing.T) {
	const mib = 1 << 20
	cgroup, limit, usage := memoryCgroup(t)
	h := newMemoryHost(t, memory(t), "--slots=4", "--max-image=4MiB")
	h.start()
	ok(t, os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte(strconv.Itoa(h.daemon.Process.Pid)), 0o644))
	h.reader = memoryRead(t, h.region)
	h.reader.sees("at first", 1)
	ok(t, os.WriteFile(limit, []byte(strconv.FormatInt(memoryNumber(t, usage)+48*mib, 10)), 0o644))

	before := h.refusals()
	dense := []byte("m: [" + strings.Repeat("0,", mib/2) + "0]\n")
	ok(t, os.WriteFile(filepath.Join(h.source, "..data", "dense.yaml"), dense, 0o644))
	ok(t, os.Symlink(filepath.Join("..data", "dense.yaml"), filepath.Join(h.source, "dense.yaml")))
	await(t, "a refusal", func() bool { h.alive(); return h.refusals() > before })
	for _, word := range []string{"reason=no_space", "the memory cgroup is nearly full"} {
		if !strings.Contains(h.daemon.log(), word) {
			t.Errorf("the log does not say %q:\n%s", word, h.daemon.log())
		}
	}
	memoryProblem(t, h.region, "cgroup")
	ok(t, os.WriteFile(limit, []byte("-1"), 0o644))
	memoryProblem(t, h.region, "")
	h.alive()
	h.reader.end()
	h.stop()
}

func memoryNumber(t testing.TB, path string) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	ok(t, err)
	return n
}
