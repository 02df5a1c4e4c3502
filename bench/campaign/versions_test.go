//go:build linux

package campaign

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

// Clients and daemons of different versions share one region: readers of both
// keep reading while daemons of both take turns at it, upgraded and downgraded.
func TestVersions(t *testing.T) {
	t.Cleanup(func() {
		if versionsTried.read.Load() > 0 && !t.Failed() {
			report(t, "clients and daemons of different versions share a region",
				fmt.Sprintf("%d takeovers by another version's daemon, %d revisions read by clients of both versions",
					versionsTried.takeovers.Load(), versionsTried.read.Load()), "0")
		}
	})
	eachFrozen(t, func(t *testing.T, then, now *version) {
		random := chance(then.name)
		for _, n := range random.Perm(2)[:shmtest.Times(2, 1)] {
			turns := [][]*version{{then, now, then}, {now, then, now}}[n]
			t.Run(turns[0].name+" first", func(t *testing.T) {
				t.Parallel()
				versionsTakeTurns(t, turns, then, now)
			})
		}
		for _, n := range random.Perm(2)[:shmtest.Times(2, 1)] {
			turns := [][]*version{{then, now}, {now, then}}[n]
			t.Run("state of "+turns[0].name, func(t *testing.T) {
				t.Parallel()
				versionsShareState(t, turns[0], turns[1])
			})
		}
	})
}

var versionsTried struct{ takeovers, read atomic.Int64 }

func versionsTakeTurns(t *testing.T, turns []*version, clients ...*version) {
	h := newVersionsHost(t)
	h.write()
	var readers []*process
	var before *process
	var first os.FileInfo
	for turn, v := range turns {
		d := h.daemon(v)
		if turn > 0 {
			// The new daemon starts before the old one ends, as in a rolling upgrade.
			await(t, "a daemon that waits", func() bool { return strings.Contains(d.log(), "waiting for the daemon") })
			h.changes(readers)
			if turn == 1 {
				before.kill()
			} else {
				h.stop(before)
			}
			await(t, "a daemon that continues", func() bool { return strings.Contains(d.log(), "msg=attached") })
			versionsTried.takeovers.Add(1)
		} else {
			await(t, "a region", func() bool { _, err := os.Stat(h.file()); return err == nil })
			var err error
			first, err = os.Stat(h.file())
			ok(t, err)
			for _, c := range clients {
				readers = append(readers, start(t, exec.Command(c.reader, h.region)))
			}
			h.seen(readers)
		}
		h.changes(readers)
		h.changes(readers)
		for _, c := range clients {
			h.looks(c)
		}
		before = d
	}
	h.stop(before)
	for _, r := range readers {
		r.finish(t)
	}
	last, err := os.Stat(h.file())
	ok(t, err)
	if !os.SameFile(first, last) {
		t.Error("the region's file was replaced")
	}
}

// versionsShareState verifies that a second daemon uses what the first leaves in the
// state directory: the reserved generations, and the last good configs, which an older
// daemon than the first does not know.
func versionsShareState(t *testing.T, first, second *version) {
	h := newVersionsHost(t)
	h.write()
	d := h.daemon(first)
	await(t, "a region", func() bool { return h.generation() == 1 })
	h.write()
	await(t, "a second generation", func() bool { return h.generation() == 2 })
	h.stop(d) // an orderly end saves what is newest
	ok(t, os.RemoveAll(h.region))
	ok(t, os.RemoveAll(h.source))
	_, err := os.Stat(filepath.Join(h.state, "last-good.v1"))
	older := err != nil && second.name != "now" // and does not know the history
	h.daemon(second)
	if older {
		h.write()
		await(t, "a higher generation", func() bool { return h.generation() > 2 })
		return
	}
	await(t, "the last good configs", func() bool { return h.generation() > 2 })
	for _, v := range []*version{first, second} {
		if got := h.says(v, "get", "team/number", "n"); got != "2" {
			t.Errorf("%s finds revision %s, and the last good one is 2", v.name, got)
		}
	}
}

// versionsHost is a source, a region and a state directory.
type versionsHost struct {
	testing.TB
	source, region, state string

	n int // revisions that were written, and so generations
}

func newVersionsHost(t testing.TB) *versionsHost {
	base := memory(t)
	return &versionsHost{
		TB: t, source: filepath.Join(base, "source"), region: filepath.Join(base, "region"), state: filepath.Join(base, "state"),
	}
}

func (h *versionsHost) file() string { return filepath.Join(h.region, shm.FileName) }

func (h *versionsHost) daemon(v *version) *process {
	cmd := exec.Command(v.daemon, append([]string{
		"--source=dir:" + h.source, "--region=" + h.region, "--state-dir=" + h.state,
		"--max-image=1MiB", "--opaque=*.txt", "--resync=1s", "--lock-wait=1m",
	}, v.flags...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "STATESYNC_") // an older one does not know all of them
	})
	return start(h, cmd)
}

// stop ends a daemon in good order.
func (h *versionsHost) stop(d *process) {
	h.Helper()
	ok(h, d.Process.Signal(syscall.SIGTERM))
	<-d.ended
	if d.err != nil {
		h.Errorf("the daemon ended with %v:\n%s", d.err, d.log())
	}
}

// write makes the source's next revision: a new directory, and one rename that
// swaps the link to it.
func (h *versionsHost) write() {
	h.Helper()
	h.n++
	many := map[string]int{}
	for i := range 300 {
		many[fmt.Sprintf("key%d", i)] = h.n
	}
	text, err := json.Marshal(map[string]any{"n": h.n, "many": many})
	ok(h, err)
	files := map[string]string{
		"team/number.json": string(text),
		"twin.yaml":        fmt.Sprintf("in:\n  n: %d\n", h.n),
		"opaque.txt":       fmt.Sprintf("%d\n", h.n),
		"values.yaml": `{int: -1500, uint: 18446744073709551615, float: 0.25, bool: true, text: "a \"quoted\"\tword", ` +
			`deep: [{time: 15s}, null]}`,
	}
	if h.n%2 == 1 {
		files["odd.toml"] = "a = 1\n"
	}
	dir := fmt.Sprintf("%s-%d", h.source, h.n)
	for name, content := range files {
		path := filepath.Join(dir, name)
		ok(h, os.MkdirAll(filepath.Dir(path), 0o755))
		ok(h, os.WriteFile(path, []byte(content), 0o644))
	}
	ok(h, os.Symlink(dir, h.source+"-new"))
	ok(h, os.Rename(h.source+"-new", h.source))
}

// changes makes a revision, and waits until readers have it.
func (h *versionsHost) changes(readers []*process) {
	h.Helper()
	h.write()
	h.seen(readers)
}

// versionWays are the ways in which a reader says that it reads.
var versionWays = []string{"get", "snapshot", "watch", "wait", "generation"}

// seen waits until readers have read the newest revision in every way.
func (h *versionsHost) seen(readers []*process) {
	h.Helper()
	for _, r := range readers {
		missing := map[string]bool{}
		for _, way := range versionWays {
			missing[fmt.Sprintf("%s %d", way, h.n)] = true
		}
		for len(missing) > 0 {
			select {
			case line, more := <-r.Lines:
				if !more || strings.HasPrefix(line, "error") {
					h.Fatalf("%s ended before it had read revision %d: %s; missing: %v\n%s", r.Path, h.n, line, missing, r.log())
				}
				delete(missing, line)
			case <-time.After(patience):
				h.Fatalf("%s does not read revision %d in some ways: %v", r.Path, h.n, missing)
			}
		}
		versionsTried.read.Add(1)
	}
}

// looks compares the output of a version's command with the region.
func (h *versionsHost) looks(v *version) {
	h.Helper()
	if got := h.says(v, "get", "team/number", "many.key299"); got != fmt.Sprint(h.n) {
		h.Errorf("%s get: %s and not %d", v.name, got, h.n)
	}
	if got := h.says(v, "ls"); !strings.Contains(got, "team/number") {
		h.Errorf("%s ls:\n%s", v.name, got)
	}
	h.says(v, "verify")
	var status struct {
		Generation int    `json:"generation"`
		Alive      bool   `json:"writer_alive"`
		Problem    string `json:"problem"`
	}
	ok(h, json.Unmarshal([]byte(h.says(v, "status", "-o", "json")), &status))
	if status.Generation != h.n || !status.Alive || status.Problem != "" {
		h.Errorf("%s status: %+v", v.name, status)
	}
}

// says is what the command of a version writes.
func (h *versionsHost) says(v *version, args ...string) string {
	h.Helper()
	out, err := exec.Command(v.command, append(args, "--region="+h.region)...).CombinedOutput()
	if err != nil {
		h.Fatalf("%s %s: %v\n%s", v.name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// generation is the region's; 0 is none yet.
func (h *versionsHost) generation() uint64 {
	r, err := shm.Open(h.region, shm.Trust{})
	if err != nil {
		return 0
	}
	hot, err := r.Hot()
	if err != nil {
		return 0
	}
	return hot.Generation()
}
