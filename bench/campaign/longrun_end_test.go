//go:build linux

package campaign

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// endNumber is the config that these tests change, "end", as a reader sees it.
type endNumber struct {
	Number int `json:"number"`
}

// endImage is an image with one config, which has a number.
func endImage(t *testing.T, g uint64, number int) [][]uint64 {
	t.Helper()
	section, err := image.NewDocument("end", fmt.Appendf(nil, `{"number":%d}`, number))
	ok(t, err)
	m, err := image.Build(g, "end", []*image.Section{section}, nil)
	ok(t, err)
	return m.Words()
}

// endRegion makes a region whose generation is the last but left.
func endRegion(t *testing.T, dir string, left uint64) *writer.Writer {
	t.Helper()
	w, err := writer.Own(context.Background(), dir, writer.Options{MaxImage: 1 << 20, Group: -1})
	ok(t, err)
	ok(t, w.Create(seqlock.MaxGeneration-left, endImage(t, seqlock.MaxGeneration-left, 0)))
	return w
}

// TestLongRunLastGeneration publishes up to the last possible generation. Further
// ones are refused, and readers keep the last one.
func TestLongRunLastGeneration(t *testing.T) {
	dir := filepath.Join(memory(t), "region")
	const left = 6 // more than there are slots
	w := endRegion(t, dir, left)
	defer func() { ok(t, w.Close()) }()
	c, err := client.Open(dir)
	ok(t, err)
	defer func() { ok(t, c.Close()) }()
	b := client.Bind[endNumber](c, "end")

	for n := 1; n <= left; n++ {
		g := uint64(seqlock.MaxGeneration - left + n)
		ok(t, w.Publish(g, endImage(t, g, n)))
		if s := c.Snapshot(); s.Generation() != g || b.In(s).Number != n {
			t.Fatalf("generation %d has number %d, and %d of %d was published", s.Generation(), b.In(s).Number, g, n)
		}
		await(t, "the follower", func() bool { return b.Get().Number == n })
	}
	for _, g := range []uint64{seqlock.MaxGeneration + 1, seqlock.MaxGeneration + 2, 1 << 63, 1, 0} {
		err := w.Publish(g, endImage(t, g, 99))
		if err == nil || !strings.Contains(err.Error(), strconv.Itoa(seqlock.MaxGeneration)) {
			t.Errorf("generation %d after the last: %v", g, err)
		}
	}
	for _, g := range []uint64{seqlock.MaxGeneration + 1, 1 << 63, 0} {
		if err := w.Create(g, endImage(t, g, 99)); err == nil {
			t.Errorf("a region was made with generation %d", g)
		}
	}
	if s := c.Snapshot(); s.Generation() != seqlock.MaxGeneration || b.In(s).Number != left || b.Get().Number != left || c.Stats().Err != nil {
		t.Errorf("after the last generation, readers have number %d of generation %d, and error %v",
			b.In(s).Number, s.Generation(), c.Stats().Err)
	}
	late, err := client.Open(dir)
	ok(t, err)
	if n := client.Bind[endNumber](late, "end").Get().Number; n != left {
		t.Errorf("a client that opens the region later has number %d", n)
	}
	ok(t, late.Close())
	report(t, "the last generation stays readable", "6 generations up to 2^62-1, and 8 tries to go beyond", "nothing; each try is refused")
}

// TestLongRunLastGenerationOfDaemon has a daemon reach the last generation. The
// daemon reports this once, in its log and in the region's status, and keeps
// running; its successor does the same.
func TestLongRunLastGenerationOfDaemon(t *testing.T) {
	t.Parallel()
	base := memory(t)
	region, source, state := filepath.Join(base, "region"), filepath.Join(base, "source"), filepath.Join(base, "state")
	ok(t, os.Mkdir(source, 0o755))
	change := func(n int) {
		t.Helper()
		temp := filepath.Join(source, ".new")
		ok(t, os.WriteFile(temp, fmt.Appendf(nil, `{"number": %d}`, n), 0o644))
		ok(t, os.Rename(temp, filepath.Join(source, "end.json")))
	}
	run := func() *process {
		return start(t, exec.Command(build(t, "github.com/statesync/statesync/cmd/statesyncd"), "--source", "dir:"+source,
			"--region", region, "--state-dir", state, "--max-image", "1MiB", "--resync", "100ms"))
	}
	change(0)
	w := endRegion(t, region, 2)
	ok(t, w.Close())
	c, err := client.Open(region)
	ok(t, err)
	defer func() { ok(t, c.Close()) }()
	b := client.Bind[endNumber](c, "end")

	daemon := run()
	for n := 1; n <= 2; n++ {
		change(n)
		await(t, "number "+strconv.Itoa(n), func() bool { return b.Get().Number == n })
	}
	stuck := func(what string) {
		t.Helper()
		await(t, what, func() bool {
			s := c.Stats()
			return strings.Contains(s.Problem, strconv.FormatUint(seqlock.MaxGeneration, 10)) && s.DaemonAlive
		})
		if s := c.Snapshot(); s.Generation() != seqlock.MaxGeneration || b.In(s).Number != 2 || b.Get().Number != 2 {
			t.Errorf("%s: readers have number %d of generation %d", what, b.In(s).Number, s.Generation())
		}
	}
	change(3)
	stuck("a change that there is no generation for")
	before := c.Stats().Refreshes
	change(2)
	await(t, "the end of the problem", func() bool { return c.Stats().Problem == "" })
	if now := c.Stats().Refreshes; now != before {
		t.Errorf("readers looked at the region %d times for nothing", now-before)
	}
	change(4)
	stuck("a second change")
	// The log is written behind what it tells of.
	await(t, "the second refusal in the log", func() bool { return strings.Count(daemon.log(), "refused") > 1 })
	daemon.kill()
	if n := strings.Count(daemon.log(), "refused"); n != 2 {
		t.Errorf("the log says %d times that a change is refused, of 2", n)
	}

	daemon = run()
	await(t, "a successor's refusal", func() bool { return strings.Contains(daemon.log(), "refused") })
	stuck("a successor")
	if strings.Contains(daemon.log(), "panic") {
		t.Error(daemon.log())
	}

	// Without the region there is nothing that generations could continue from.
	ok(t, os.Remove(filepath.Join(region, shm.FileName)))
	await(t, "the loss in the log", func() bool { return strings.Contains(daemon.log(), "the region is lost") })
	await(t, "the refusal in the log", func() bool {
		_, after, _ := strings.Cut(daemon.log(), "the region is lost")
		return strings.Contains(after, "refused")
	})
	if s := c.Snapshot(); s.Generation() != seqlock.MaxGeneration || b.In(s).Number != 2 {
		t.Errorf("without the region, readers have number %d of generation %d", b.In(s).Number, s.Generation())
	}
	// The way out is a new count, which needs a new state directory.
	daemon.kill()
	ok(t, os.RemoveAll(state))
	run()
	await(t, "a new count", func() bool { return b.Get().Number == 4 })
	if s := c.Snapshot(); s.Generation() != 1 {
		t.Errorf("the new region begins at generation %d", s.Generation())
	}
	report(t, "a daemon that has no generation left says so and lives on", "2 changes too many, a successor, the loss of the region", "nothing")
}
