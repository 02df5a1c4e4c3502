//go:build unix

package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

func TestPublishesAndFollows(t *testing.T) {
	s := newSetup(t)
	s.opt.Resync = time.Hour // hints alone
	s.put("matchmaker.yaml", "weights: {elo: 1500}\n")
	s.put("team/flags.toml", "beta = true\n")
	d := s.run()
	first := s.sees(map[string]string{"matchmaker": `{"weights":{"elo":1500}}`, "team/flags": `{"beta":true}`})
	if first.generation != 1 || !strings.HasPrefix(first.revision, "dir@sha256:") {
		t.Errorf("generation %d of revision %s", first.generation, first.revision)
	}
	s.put("matchmaker.yaml", "weights: {elo: 1600}\n")
	second := s.sees(map[string]string{"matchmaker": `{"weights":{"elo":1600}}`, "team/flags": `{"beta":true}`})
	if second.generation != 2 || second.id != first.id || second.revision == first.revision {
		t.Errorf("the change made generation %d of region %v", second.generation, second.id)
	}
	s.remove("team/flags.toml")
	s.sees(map[string]string{"matchmaker": `{"weights":{"elo":1600}}`})
	await(t, "the log of the removal", func() bool { return len(s.journal.find("published")) == 2 })
	if line := s.journal.find("published")[1]; line["level"] != "WARN" || line["removed"] != 1.0 || line["names"] != "team/flags" {
		t.Errorf("a removal is logged as %v", line)
	}

	await(t, "the status", func() bool { p := s.look(); return p.status.Observed == p.revision })
	status := s.look().status
	if status.State != shm.Running || !status.Alive() || status.PID != os.Getpid() || status.SourceGood == 0 || status.Problem != "" {
		t.Errorf("the status is %+v", status)
	}
	stats := d.State()
	if stats.Publications != 3 || stats.Regions != 1 || stats.Generation != 3 || stats.Configs != 1 || !stats.Converged ||
		stats.LastGood.IsZero() || stats.Published.IsZero() || stats.Bytes == 0 {
		t.Errorf("the stats are %+v", stats)
	}
	d.stop(t)
	if state := s.look().status.State; state != shm.Stopped {
		t.Errorf("a daemon that ended leaves the state %v", state)
	}
	if p := s.look(); p.generation != 3 {
		t.Errorf("the region holds generation %d after the daemon's end", p.generation)
	}
}

func TestSameContentIsNoGeneration(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	before := s.sees(map[string]string{"a": `{"x":1}`})
	s.put("a.yaml", "# only a comment\nx: 1\n")
	await(t, "the observed revision to change", func() bool { return s.look().status.Observed != before.status.Observed })
	d.reconciled(t, 3)
	after := s.look()
	if after.generation != before.generation || after.revision != before.revision || after.status.Observed == after.revision {
		t.Errorf("generation %d of revision %s, observed %s", after.generation, after.revision, after.status.Observed)
	}
	if n := d.State().Publications; n != 1 {
		t.Errorf("%d publications", n)
	}
}

func TestBadFileKeepsTheLastGood(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	s.put("b.yaml", "y: 1\n")
	d := s.run()
	good := s.sees(map[string]string{"a": `{"x":1}`, "b": `{"y":1}`})

	s.put("b.yaml", "y: 1\nz:\n  big: 18446744073709551616\n")
	s.put("a.yaml", "x: 2\n") // good, and not published because of its neighbour
	line := s.logs("refused")
	if line["file"] != "b.yaml" || line["line"] != 3.0 || line["key"] != "z.big" || line["what"] == "" ||
		line["reason"] != "invalid" || line["revision"] == "" || line["kept_generation"] != 1.0 {
		t.Errorf("the log line is %v", line)
	}
	await(t, "the status to name the problem", func() bool {
		return strings.HasPrefix(s.look().status.Problem, "b.yaml:3:")
	})
	d.reconciled(t, 2)
	said := len(s.journal.find("refused"))
	d.reconciled(t, 5)
	if n := len(s.journal.find("refused")); n != said || n > 2 { // two, if the first change was read before the second
		t.Errorf("the same refusal was logged %d times, and then %d", said, n)
	}
	if now := s.look(); now.generation != good.generation || now.status.Observed != good.revision {
		t.Errorf("generation %d, observed %s", now.generation, now.status.Observed)
	}
	if stats := d.State(); stats.Converged || stats.Refusals[ReasonInvalid] < 5 {
		t.Errorf("the stats are %+v", stats)
	}

	s.put("c.json", "{")
	await(t, "the second problem", func() bool { return strings.HasSuffix(s.look().status.Problem, "(and 1 more)") })
	s.remove("c.json")
	s.put("b.yaml", "y: 2\n")
	recovered := s.sees(map[string]string{"a": `{"x":2}`, "b": `{"y":2}`})
	if recovered.generation != 2 {
		t.Errorf("generation %d after two refusals", recovered.generation)
	}
	await(t, "the problem to go", func() bool { return s.look().status.Problem == "" })
	s.logs("recovered")
}

func TestSaysNoticesOnce(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\nX: 2\n")
	s.put("README.md", "not a config\n")
	s.put("blob.bin", "opaque\n")
	s.opt.Opaque = []string{"*.bin"}
	s.run()
	s.sees(map[string]string{"a": `{"X":2,"x":1}`, "blob": "opaque\n"})
	s.put("b.yaml", "y: 1\n")
	s.sees(map[string]string{"a": `{"X":2,"x":1}`, "blob": "opaque\n", "b": `{"y":1}`})
	if w := s.journal.find("warning"); len(w) != 1 || w[0]["file"] != "a.yaml" || w[0]["line"] != 2.0 {
		t.Errorf("the warnings are %v", w)
	}
	if k := s.journal.find("skipped"); len(k) != 1 || k[0]["file"] != "README.md" {
		t.Errorf("the skipped files are %v", k)
	}
}

// However many files are bad, the log stays readable.
func TestLogIsBounded(t *testing.T) {
	s := newSetup(t)
	for i := range 150 {
		s.put(fmt.Sprintf("bad-%03d.json", i), "{")
		s.put(fmt.Sprintf("skipped-%03d.txt", i), "x")
	}
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	for _, message := range []string{"refused", "skipped"} {
		found := s.journal.find(message)
		if len(found) != maxLines+1 || found[maxLines]["what"] != "50 more are not shown" {
			t.Errorf("%s: %d lines, the last %v", message, len(found), found[len(found)-1])
		}
	}
}

// A burst of changes makes a handful of publications, and the last one wins.
func TestBurst(t *testing.T) {
	s := newSetup(t)
	s.opt.Resync = time.Minute
	s.put("a.yaml", "n: 0\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"n":0}`})
	const changes = 10_000
	began := time.Now()
	for i := 1; i <= changes; i++ {
		s.put("a.yaml", fmt.Sprintf("n: %d\n", i))
	}
	took := time.Since(began)
	s.sees(map[string]string{"a": fmt.Sprintf(`{"n":%d}`, changes)})
	stats := d.State()
	if stats.Publications > changes/100 {
		t.Errorf("%d changes made %d publications", changes, stats.Publications)
	}
	if stats.Generation != stats.Publications {
		t.Errorf("%d publications, and generation %d", stats.Publications, stats.Generation)
	}
	t.Logf("%d changes in %v made %d publications", changes, took, stats.Publications)
}

func TestReload(t *testing.T) {
	s := newSetup(t)
	s.opt.Resync = time.Hour
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	d.reload(t)
	await(t, "a reading", func() bool { return d.State().Looks >= 2 })
}

// checkedSource counts how often it was told to compare contents.
type checkedSource struct {
	source.Source
	rechecks atomic.Int64
}

func (c *checkedSource) Recheck() { c.rechecks.Add(1) }

func TestReloadComparesContents(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	wrapped := &checkedSource{}
	d := s.runWith(func(d *Daemon) {
		d.open = func(spec source.Spec, o source.Options) (source.Source, error) {
			opened, err := Schemes.Open(spec, o)
			wrapped.Source = opened
			return wrapped, err
		}
	})
	s.sees(map[string]string{"a": `{"x":1}`})
	if n := wrapped.rechecks.Load(); n != 0 {
		t.Errorf("%d checks before the reload", n)
	}
	d.reload(t)
	await(t, "the check", func() bool { return wrapped.rechecks.Load() == 1 })
}

func TestSecondDaemon(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	first := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})

	s.opt.LockWait = 200 * time.Millisecond
	err := s.once()
	if !errors.Is(err, writer.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), s.opt.Region) {
		t.Errorf("the second daemon ended with: %v", err)
	}
	region := s.opt.Region
	s.opt.Region = filepath.Join(memory(t), "other")
	if err := s.once(); err == nil || !strings.Contains(err.Error(), s.opt.StateDir) || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("another region with the same state directory ended with: %v", err)
	}
	mustNotExist(t, filepath.Join(s.opt.Region, shm.FileName))

	// A rolling update: the second one waits, and takes over when the first ends.
	s.opt.Region, s.opt.LockWait = region, time.Minute
	s.put("a.yaml", "x: 2\n")
	s.sees(map[string]string{"a": `{"x":2}`})
	second := s.run()
	s.logs("waiting for the daemon that has the region")
	first.stop(t)
	s.put("a.yaml", "x: 3\n")
	if p := s.sees(map[string]string{"a": `{"x":3}`}); p.generation != 3 {
		t.Errorf("generation %d after the update", p.generation)
	}
	if n := second.State().Regions; n != 0 {
		t.Errorf("the second daemon made %d regions", n)
	}
}

// A daemon that is stopped while it waits for the lock ends at once.
func TestStopWhileWaiting(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	s.opt.LockWait = time.Hour
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(s.opt).Run(ctx) }()
	s.logs("waiting for the daemon that has the region")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with: %v", err)
	}
}

func TestOnce(t *testing.T) {
	s := newSetup(t)
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Errorf("an empty source ended with: %v", err)
	}
	if p := s.look(); p.generation != 0 {
		t.Errorf("an empty source made generation %d", p.generation)
	}
	s.put("a.yaml", "x: 1\n")
	for range 2 {
		if err := s.once(); err != nil {
			t.Error(err)
		}
	}
	if p := s.sees(map[string]string{"a": `{"x":1}`}); p.generation != 1 || p.status.State != shm.Stopped {
		t.Errorf("generation %d, state %v", p.generation, p.status.State)
	}
	s.put("a.yaml", "x: [\n")
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Errorf("a bad file ended with: %v", err)
	}
	s.remove("a.yaml")
	s.opt.AllowEmpty = true
	if err := s.once(); err != nil {
		t.Error(err)
	}
	if p := s.sees(map[string]string{}); p.generation != 2 {
		t.Errorf("generation %d without configs", p.generation)
	}
}

func TestDryRun(t *testing.T) {
	s := newSetup(t)
	dry := func() (string, error) {
		var out bytes.Buffer
		err := New(s.opt).DryRun(context.Background(), &out)
		return out.String(), err
	}
	says := func(want ...string) {
		t.Helper()
		out, err := dry()
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%q is not in:\n%s", w, out)
			}
		}
		if n := strings.Count(out, "\n"); n != len(want) {
			t.Errorf("%d lines instead of %d:\n%s", n, len(want), out)
		}
	}
	s.put("same.yaml", "x: 1\n")
	s.put("changed.yaml", "x: 1\n")
	s.put("removed.yaml", "x: 1\n")
	says("3 configs", "a new region would be made", "added    changed\n", "added    removed\n", "added    same\n")
	mustNotExist(t, s.opt.Region)
	mustNotExist(t, s.opt.StateDir)

	d := s.run() // neither lock keeps a dry run out
	before := s.sees(map[string]string{"same": `{"x":1}`, "changed": `{"x":1}`, "removed": `{"x":1}`})
	d.stop(t)
	says("3 configs", "nothing would be published")
	s.put("changed.yaml", "x: 2\n")
	s.put("added.yaml", "x: 1\n")
	s.remove("removed.yaml")
	says("3 configs", "generation 2 would be published", "added    added\n", "changed  changed\n", "removed  removed\n")
	s.opt.Writer.Slots = 8
	says("3 configs", "would be replaced", "added    added\n", "changed  changed\n", "removed  removed\n")

	s.put("bad.yaml", "x: [\n")
	if out, err := dry(); !errors.Is(err, ErrRefused) || out != "" {
		t.Errorf("a bad file: %v, %s", err, out)
	}
	if line := s.logs("refused"); line["file"] != "bad.yaml" {
		t.Errorf("the log line is %v", line)
	}
	s.remove("bad.yaml")
	s.opt.Writer.MaxImage = 512
	if _, err := dry(); !errors.Is(err, ErrRefused) {
		t.Errorf("an image that is too large: %v", err)
	}
	if after := s.look(); after.generation != before.generation || after.id != before.id {
		t.Error("the dry run changed the region")
	}
}
