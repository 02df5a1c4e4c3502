//go:build linux

package campaign

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
)

// clockHost is a source with one config, "end", and where a daemon puts it.
type clockHost struct {
	*testing.T
	source, region, state string
}

func newClockHost(t *testing.T) *clockHost {
	t.Helper()
	base := memory(t)
	h := &clockHost{T: t, source: filepath.Join(base, "source"), region: filepath.Join(base, "region"), state: filepath.Join(base, "state")}
	ok(t, os.Mkdir(h.source, 0o755))
	return h
}

// args are a daemon's, as a command line with what comes before it.
func (h *clockHost) args(before ...string) []string {
	return append(before, "--source", "dir:"+h.source, "--region", h.region, "--state-dir", h.state,
		"--max-image", "1MiB", "--resync", "100ms")
}

func (h *clockHost) daemon(before ...string) *process {
	h.Helper()
	args := h.args(append(before, build(h, "github.com/statesync/statesync/cmd/statesyncd"))...)
	return start(h, exec.Command(args[0], args[1:]...))
}

func (h *clockHost) file() string { return filepath.Join(h.source, "end.json") }

// change puts a number into the config by rename.
func (h *clockHost) change(n int) {
	h.Helper()
	temp := filepath.Join(h.source, ".new")
	ok(h, os.WriteFile(temp, fmt.Appendf(nil, `{"number": %d}`, n), 0o644))
	ok(h, os.Rename(temp, h.file()))
}

// bind opens the region for the test itself.
func (h *clockHost) bind() (*client.Client, *client.Binding[endNumber]) {
	h.Helper()
	c, err := client.Open(h.region, client.Wait(patience))
	ok(h, err)
	h.Cleanup(func() { ok(h, c.Close()) })
	return c, client.Bind[endNumber](c, "end")
}

// arrives waits until a number is read both ways.
func (h *clockHost) arrives(c *client.Client, b *client.Binding[endNumber], n int, what string) {
	h.Helper()
	await(h, fmt.Sprintf("number %d: %s", n, what), func() bool { return b.In(c.Snapshot()).Number == n })
	await(h, fmt.Sprintf("number %d, following: %s", n, what), func() bool { return b.Get().Number == n })
}

// status is what the command says of the region.
func (h *clockHost) status() (s struct {
	Generation   uint64   `json:"generation"`
	WriterAlive  bool     `json:"writer_alive"`
	WriterState  string   `json:"writer_state"`
	HeartbeatAge *float64 `json:"heartbeat_age_seconds"`
	SourceAge    *float64 `json:"source_age_seconds"`
	Age          *float64 `json:"age_seconds"`
	Damage       string   `json:"damage"`
},
) {
	h.Helper()
	command := build(h, "github.com/statesync/statesync/cmd/statesync")
	for _, format := range []string{"text", "json"} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		out, err := exec.CommandContext(ctx, command, "status", "--region", h.region, "-o", format).CombinedOutput()
		cancel()
		if err != nil {
			h.Fatalf("status: %v: %s", err, out)
		}
		if format == "json" {
			ok(h, json.Unmarshal(out, &s))
		} else {
			h.Logf("status says:\n%s", out)
		}
	}
	return s
}

// TestLongRunFileTimes changes a source in ways that its files' times do not show:
// they go back, they lie in the future, and they are the same as before.
func TestLongRunFileTimes(t *testing.T) {
	h := newClockHost(t)
	h.change(10)
	daemon := h.daemon()
	c, b := h.bind()
	h.arrives(c, b, 10, "at first")

	put := func(n int, mtime time.Time) {
		t.Helper()
		temp := filepath.Join(h.source, ".new")
		ok(t, os.WriteFile(temp, fmt.Appendf(nil, `{"number": %d}`, n), 0o644))
		ok(t, os.Chtimes(temp, mtime, mtime))
		ok(t, os.Rename(temp, h.file()))
	}
	now := time.Now()
	put(11, now.Add(-time.Hour))
	h.arrives(c, b, 11, "modified an hour ago")
	put(12, now.Add(-2*time.Hour))
	h.arrives(c, b, 12, "modified another hour before")
	put(13, now.Add(time.Hour))
	h.arrives(c, b, 13, "modified in an hour")
	put(14, now.Add(-time.Hour))
	h.arrives(c, b, 14, "modified an hour ago, after it was in the future")
	put(15, now.Add(-time.Hour))
	h.arrives(c, b, 15, "modified at the same moment as before, with the same size")
	put(16, time.Unix(0, 0))
	h.arrives(c, b, 16, "modified in 1970")

	// In place, and with its time put back.
	ok(t, os.WriteFile(h.file(), []byte(`{"number": 17}`), 0o644))
	ok(t, os.Chtimes(h.file(), time.Unix(0, 0), time.Unix(0, 0)))
	h.arrives(c, b, 17, "written in place, modified in 1970")

	// Through a mapping, which some kernels do not put into the file's times.
	f, err := os.OpenFile(h.file(), os.O_RDWR, 0)
	ok(t, err)
	data, err := unix.Mmap(int(f.Fd()), 0, len(`{"number": 17}`), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	ok(t, err)
	ok(t, f.Close())
	copy(data, `{"number": 18}`)
	ok(t, unix.Munmap(data))
	ok(t, daemon.Process.Signal(unix.SIGHUP))
	h.arrives(c, b, 18, "stored through a mapping, and a reload")
	report(t, "a source's changes are seen whatever its files' times say", "8 ways", "nothing")
}

// TestLongRunFutureStamps has a region whose every wall clock stamp is an hour
// in the future, as after the clock was set back, and in the last century.
func TestLongRunFutureStamps(t *testing.T) {
	h := newClockHost(t)
	h.change(1)
	for n, at := range []time.Time{time.Now().Add(time.Hour), time.Unix(1, 0), time.Unix(1<<33, 0)} {
		number := 2 + 3*n
		h.change(number)
		daemon := h.daemon()
		c, b := h.bind()
		h.arrives(c, b, number, "before")
		daemon.kill()
		stampRegion(t, filepath.Join(h.region, shm.FileName), at)

		late, lateB := h.bind()
		h.arrives(late, lateB, number, "stamped "+at.String())
		if age := late.Stats().Age; (age < 0) != at.After(time.Now()) {
			t.Errorf("stamped %s, Age is %s", at, age)
		}
		if s := h.status(); s.Damage != "" || s.Generation != late.Snapshot().Generation() {
			t.Errorf("stamped %s: status says %+v", at, s)
		}
		generation := c.Snapshot().Generation()
		daemon = h.daemon()
		h.change(number + 1)
		h.arrives(c, b, number+1, "with a successor")
		h.arrives(late, lateB, number+1, "with a successor")
		if g := c.Snapshot().Generation(); g != generation+1 || c.Snapshot().RegionID() != late.Snapshot().RegionID() {
			t.Errorf("stamped %s: generation %d follows %d: the region was not continued", at, g, generation)
		}
		daemon.kill()
		// The region is lost, and the state directory's stamp is as old.
		ok(t, os.RemoveAll(h.region))
		ok(t, os.Remove(h.file()))
		daemon = h.daemon()
		h.arrives(c, b, number+1, "from the state directory")
		daemon.kill()
		h.change(number + 1)
	}
	report(t, "no stamp of the wall clock matters", "created, started and published an hour ahead, in 1970 and in 2242", "nothing")
}

// stampRegion sets every wall clock stamp of a region without a writer, as
// docs/FORMAT.md has them.
func stampRegion(t *testing.T, path string, at time.Time) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	ok(t, err)
	info, err := f.Stat()
	ok(t, err)
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	ok(t, err)
	ok(t, f.Close())
	word := func(offset int) *uint64 { return (*uint64)(unsafe.Pointer(&data[offset])) }
	sealed := func(offset, stamp int) { // 16 words, the last of which is their sum
		*word(offset + stamp*8) = uint64(at.UnixNano())
		*word(offset + 15*8) = xxhash.Sum64(data[offset : offset+15*8])
	}
	sealed(0, 8)                               // the identity: created
	*word(0x100 + 6*8) = uint64(at.UnixNano()) // the writer's block: started
	slots, slotSize := int(*word(4 * 8)), int(*word(5 * 8))
	g := *word(0x80) >> 1
	slot := 0x8000 + int(g%uint64(slots))*slotSize
	if got := binary.NativeEndian.Uint64(data[slot+8:]); got != g {
		t.Fatalf("slot of generation %d holds %d: the format is another than this test has in mind", g, got)
	}
	sealed(slot, 8) // the image: published
	ok(t, unix.Munmap(data))
}

// TestLongRunTimeNamespace runs the daemon in a time namespace, in which the clocks
// for heartbeats and waits differ from the readers': as in a container that was
// checkpointed on another machine.
func TestLongRunTimeNamespace(t *testing.T) {
	const seconds = 7200
	if out, err := exec.Command("unshare", "-T", "--monotonic", "60", "--boottime", "60", "true").CombinedOutput(); err != nil {
		t.Skipf("no time namespace can be made here (it takes root): %v: %s", err, out)
	}
	for _, ahead := range []int{seconds, -int(min(shm.Boottime().Seconds()/2, seconds))} {
		t.Run(fmt.Sprintf("ahead by %d s", ahead), func(t *testing.T) {
			h := newClockHost(t)
			h.change(1)
			by := strconv.Itoa(ahead)
			daemon := h.daemon("unshare", "-T", "--monotonic", by, "--boottime", by, "--fork", "--kill-child=SIGKILL")
			c, b := h.bind()
			h.arrives(c, b, 1, "at first")
			for n := 2; n < 6; n++ {
				h.change(n)
				h.arrives(c, b, n, "over the namespace's border")
			}
			// Two beats and more, so that the heart has had its time.
			status := func() shm.Status {
				r, err := shm.Open(h.region, shm.Trust{})
				ok(t, err)
				s, err := r.Status()
				if err != nil {
					return shm.Status{}
				}
				return s
			}
			first := status().Heartbeat
			await(t, "a heartbeat", func() bool { return status().Heartbeat > first })
			offset := status().Heartbeat - shm.Boottime()
			if (offset > 0) != (ahead > 0) || offset.Abs() < time.Duration(max(ahead, -ahead)-60)*time.Second {
				t.Fatalf("the daemon's clock is ahead by %s, and should by %d s", offset, ahead)
			}
			// A heartbeat from the future does not show that the daemon lives.
			if s := c.Stats(); s.DaemonAlive || s.Err != nil || (s.SourceLastGood < 0) != (ahead > 0) {
				t.Errorf("Stats says alive %v, source good %s ago, error %v", s.DaemonAlive, s.SourceLastGood, s.Err)
			}
			if s := h.status(); s.WriterAlive || s.WriterState != "running" || s.Damage != "" || (s.HeartbeatAge == nil) != (ahead > 0) {
				t.Errorf("status says %+v", s)
			}
			daemon.kill()

			// A successor outside the namespace continues with the region.
			successor := h.daemon()
			h.change(6)
			h.arrives(c, b, 6, "with a successor outside")
			await(t, "a living daemon", func() bool { s := c.Stats(); return s.DaemonAlive && s.SourceLastGood >= 0 })
			if s := h.status(); !s.WriterAlive {
				t.Errorf("status says %+v", s)
			}
			if log := successor.log(); !strings.Contains(log, "attached") {
				t.Errorf("the successor did not continue with the region: %s", log)
			}
		})
	}
	report(t, "a daemon with other clocks harms no reader", "a time namespace 2 h ahead, and one behind", "nothing; it is reported as silent")
}
