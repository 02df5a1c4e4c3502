//go:build unix

package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/atomic"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

func (s *setup) stateFile(name string) string { return filepath.Join(s.opt.StateDir, name) }

// reserved is what the file says.
func (s *setup) reserved() uint64 {
	s.Helper()
	text, err := os.ReadFile(s.stateFile(generationFile))
	if err != nil {
		s.Fatal(err)
	}
	var g uint64
	if _, err := fmt.Sscanf(string(text), "%d\n", &g); err != nil {
		s.Fatal(err)
	}
	return g
}

// loseRegion is what a reboot does.
func (s *setup) loseRegion() {
	s.Helper()
	if err := shmtest.RemoveAll(s.opt.Region); err != nil {
		s.Fatal(err)
	}
}

func TestLastGoodIsPublishedAtStart(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	before, reserved := s.look(), s.reserved()
	if reserved != reserveBlock {
		t.Errorf("%d generations are reserved", reserved)
	}
	info, err := os.Stat(s.opt.StateDir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the state directory's mode is %v (%v)", info.Mode(), err)
	}

	s.loseRegion()
	away := s.dir + ".away"
	if err := os.Rename(s.dir, away); err != nil {
		t.Fatal(err)
	}
	d := s.run()
	p := s.sees(map[string]string{"a": `{"x":1}`})
	if p.generation != reserved+1 || p.id == before.id || p.revision != before.revision {
		t.Errorf("generation %d of revision %s", p.generation, p.revision)
	}
	await(t, "the status", func() bool { return strings.Contains(s.look().status.Problem, s.dir) })
	if status := s.look().status; status.SourceGood != 0 || status.Observed != before.revision {
		t.Errorf("the status is %+v", status)
	}

	// The same content is there when the source is: no new generation.
	if err := os.Rename(away, s.dir); err != nil {
		t.Fatal(err)
	}
	await(t, "the source to be good", func() bool { st := s.look().status; return st.SourceGood != 0 && st.Problem == "" })
	if now := s.look(); now.generation != p.generation {
		t.Errorf("generation %d", now.generation)
	}
	s.put("a.yaml", "x: 2\n")
	if now := s.sees(map[string]string{"a": `{"x":2}`}); now.generation != p.generation+1 {
		t.Errorf("generation %d", now.generation)
	}
	d.stop(t)

	// A refused source is no better than none, and the newest image was saved.
	s.loseRegion()
	s.put("a.yaml", "x: [\n")
	s.run()
	if now := s.sees(map[string]string{"a": `{"x":2}`}); now.generation <= p.generation+1 {
		t.Errorf("generation %d", now.generation)
	}
}

// A region that can be attached wins over the state directory.
func TestRegionWins(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	old := s.opt.StateDir + ".old"
	if err := os.CopyFS(old, os.DirFS(s.opt.StateDir)); err != nil {
		t.Fatal(err)
	}
	for i := 2; i <= 5; i++ {
		s.put("a.yaml", fmt.Sprintf("x: %d\n", i))
		if err := s.once(); err != nil {
			t.Fatal(err)
		}
	}
	s.opt.StateDir = old
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	if p := s.look(); p.generation != 5 || p.configs["a"] != `{"x":5}` {
		t.Errorf("generation %d with %v", p.generation, p.configs)
	}
	// And the state directory has learnt from it.
	s.loseRegion()
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	if p := s.look(); p.configs["a"] != `{"x":5}` {
		t.Errorf("the state directory had %v", p.configs)
	}
}

// A region above what is reserved raises the reservation.
func TestAttachingRaisesTheReservation(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.stateFile(generationFile), []byte("5000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.loseRegion()
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if p := s.look(); p.generation != 5001 || s.reserved() != 5000+reserveBlock {
		t.Errorf("generation %d, reserved up to %d", p.generation, s.reserved())
	}
	if err := os.RemoveAll(s.opt.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if s.reserved() < 5001 {
		t.Errorf("reserved up to %d with a region at 5001", s.reserved())
	}
	s.loseRegion()
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if p := s.look(); p.generation <= 5001 {
		t.Errorf("generation %d came after 5001", p.generation)
	}
}

// A publication within the block that is reserved does not touch the file.
func TestReservesInBlocks(t *testing.T) {
	s := newSetup(t)
	st, err := openState(context.Background(), s.opt.StateDir, &atomic.Uint64{}, s.opt.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.close(); err != nil {
			t.Error(err)
		}
	}()
	st.reserve(1)
	before, err := os.Stat(s.stateFile(generationFile))
	if err != nil {
		t.Fatal(err)
	}
	for g := uint64(2); g <= reserveBlock; g++ {
		st.reserve(g)
	}
	if after, err := os.Stat(s.stateFile(generationFile)); err != nil || !os.SameFile(before, after) || s.reserved() != reserveBlock {
		t.Errorf("reserved up to %d (%v)", s.reserved(), err)
	}
	st.reserve(reserveBlock + 1)
	if s.reserved() != 2*reserveBlock {
		t.Errorf("reserved up to %d", s.reserved())
	}
}

func TestBothLost(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	before := s.look()
	s.put("a.yaml", "x: 2\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	s.loseRegion()
	if err := os.RemoveAll(s.opt.StateDir); err != nil {
		t.Fatal(err)
	}
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if p := s.look(); p.generation != 1 || p.id == before.id || p.configs["a"] != `{"x":2}` {
		t.Errorf("generation %d of %v with %v", p.generation, p.id, p.configs)
	}
}

// With nothing at all the daemon waits, and a region comes with the source.
func TestWaitsForTheSource(t *testing.T) {
	s := newSetup(t)
	if err := os.Remove(s.dir); err != nil {
		t.Fatal(err)
	}
	d := s.run()
	s.logs("no region yet: waiting for the first good revision")
	mustNotExist(t, s.file())
	if line := s.logs("refused"); line["reason"] != "source" || !strings.Contains(line["what"].(string), s.dir) {
		t.Errorf("the log line is %v", line)
	}
	await(t, "the state of that turn", func() bool { return d.State().Refusals[ReasonSource] > 0 })
	if stats := d.State(); stats.Converged || stats.Generation != 0 || !stats.LastGood.IsZero() {
		t.Errorf("the stats are %+v", stats)
	}
	s.put("a.yaml", "x: 1\n")
	if p := s.sees(map[string]string{"a": `{"x":1}`}); p.generation != 1 {
		t.Errorf("generation %d", p.generation)
	}
}

func TestWithoutStateDir(t *testing.T) {
	s := newSetup(t)
	state := s.opt.StateDir
	s.opt.StateDir = ""
	s.put("a.yaml", "x: 1\n")
	for want := uint64(1); want <= 2; want++ {
		s.put("a.yaml", fmt.Sprintf("x: %d\n", want))
		if err := s.once(); err != nil {
			t.Fatal(err)
		}
		if p := s.look(); p.generation != want {
			t.Errorf("generation %d instead of %d", p.generation, want)
		}
	}
	s.loseRegion()
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if p := s.look(); p.generation != 1 {
		t.Errorf("generation %d in a new region", p.generation)
	}
	mustNotExist(t, state)
	s.logs("no state directory: if the region is lost, generations start at 1 again, and nothing can be published while the source cannot be read")
}

func TestStateDirIsRefused(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	for _, c := range []struct {
		what, says string
		make       func(path string) error
	}{
		{"a file", "--state-dir", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"writable by others", "chmod go-w", func(p string) error {
			return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o777))
		}},
		{"another user's", "chown", func(p string) error {
			if os.Geteuid() != 0 {
				return errors.ErrUnsupported
			}
			return errors.Join(os.Mkdir(p, 0o700), os.Chown(p, 12345, -1))
		}},
	} {
		s.opt.StateDir = filepath.Join(t.TempDir(), "state")
		if err := c.make(s.opt.StateDir); errors.Is(err, errors.ErrUnsupported) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		err := s.once()
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), s.opt.StateDir) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if p := s.look(); p.generation != 0 {
		t.Errorf("generation %d was published", p.generation)
	}
}

// Generations that can't be reserved keep no config from its readers.
func TestStateCantBeWritten(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := os.MkdirAll(s.stateFile("."+generationFile+".new"), 0o700); err != nil { // in the way
		t.Fatal(err)
	}
	if err := os.Chmod(s.opt.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	s.logs("generations cannot be reserved: if the region is lost before they are, some are given out twice")
	s.put("a.yaml", "x: 2\n")
	s.sees(map[string]string{"a": `{"x":2}`})
	await(t, "a state error", func() bool { return d.State().StateErrors > 0 })
	if n := len(s.journal.find("generations cannot be reserved: if the region is lost before they are, some are given out twice")); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	// With room again, the next generation is reserved, and the end saves.
	if err := os.RemoveAll(s.stateFile("." + generationFile + ".new")); err != nil {
		t.Fatal(err)
	}
	s.put("a.yaml", "x: 3\n")
	s.sees(map[string]string{"a": `{"x":3}`})
	await(t, "the reservation", func() bool { _, err := os.Stat(s.stateFile(generationFile)); return err == nil })
	d.stop(t)
	if s.reserved() < 3 {
		t.Errorf("reserved up to %d", s.reserved())
	}
	s.loseRegion()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	s.run()
	s.sees(map[string]string{"a": `{"x":3}`})
}

// The state directory has one daemon, and the next one waits for it.
func TestStateLock(t *testing.T) {
	s := newSetup(t)
	st, err := openState(context.Background(), s.opt.StateDir, &atomic.Uint64{}, s.opt.Log)
	if err != nil {
		t.Fatal(err)
	}
	// A daemon that waits for a lock file that is unlinked meanwhile has the wrong one.
	lock := s.stateFile(lockFile)
	waiting := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		second, err := openState(ctx, s.opt.StateDir, &atomic.Uint64{}, s.opt.Log)
		if err == nil {
			err = second.close()
		}
		waiting <- err
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 3*lockPoll)
	defer cancel()
	if _, err := openState(ctx, s.opt.StateDir, &atomic.Uint64{}, s.opt.Log); err == nil {
		t.Error("two daemons have the state directory")
	}
	if !st.isLock(st.lock) {
		t.Error("the lock file is not the lock file")
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	if st.isLock(st.lock) {
		t.Error("an unlinked file is taken for the lock")
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

// After a reboot, a revision that has no room is no reason to have no configs at all.
func TestLastGoodIsPublishedForRevisionWithoutRoom(t *testing.T) {
	s := newSetup(t)
	s.opt.Writer.MaxImage = 256 << 10
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	s.loseRegion()
	for i := range 3 { // each fits, and all together do not
		s.put(fmt.Sprintf("large-%d.json", i), `{"x": "`+strings.Repeat("x", 100<<10)+`"}`)
	}
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "--max-image") })
	d.reconciled(t, 3)
	if now := d.State(); now.Converged || !now.Ready || now.Generation != reserveBlock+1 {
		t.Errorf("%+v", now)
	}
	s.remove("large-0.json")
	await(t, "the publication", func() bool { return d.State().Converged && d.State().Configs == 3 })
}

// The last good image is tried until it can be published, and what is in its way is a
// problem until then.
func TestLastGoodIsTriedAgain(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	s.loseRegion()
	s.remove("a.yaml")
	blocked := filepath.Join(s.file(), "in the way")
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	d := s.run()
	await(t, "the region's problem", func() bool {
		return slices.ContainsFunc(d.State().Findings, func(f shm.Finding) bool { return f.Reason == string(ReasonRegion) })
	})
	d.reconciled(t, 3)
	if recovered := s.journal.find("recovered"); recovered != nil {
		t.Errorf("nothing is published, and the log says %v", recovered)
	}
	if err := os.RemoveAll(s.file()); err != nil {
		t.Fatal(err)
	}
	s.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the end of the region's problem", func() bool {
		return !slices.ContainsFunc(d.State().Findings, func(f shm.Finding) bool { return f.Reason == string(ReasonRegion) })
	})
}

// Until a daemon knows better, the region says what its predecessor knew.
func TestStatusOfPredecessor(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	s.put("a.yaml", "x: [\n")
	await(t, "the refusal", func() bool { return strings.HasPrefix(s.look().status.Problem, "a.yaml:") })
	d.stop(t)
	release := make(chan struct{})
	d = s.runWith(func(d *Daemon) {
		d.open = func(spec source.Spec, o source.Options) (source.Source, error) {
			opened, err := Schemes.Open(spec, o)
			return &hangs{opened, release}, err
		}
	})
	await(t, "the first turns", func() bool { return time.Since(d.State().Turned) < time.Second && d.State().Ready })
	if status := s.look().status; !strings.HasPrefix(status.Problem, "a.yaml:") || status.Found != 1 || status.Layers[0].Version == "" {
		t.Errorf("%+v", status)
	}
	close(release)
	s.put("a.yaml", "x: 2\n")
	s.sees(map[string]string{"a": `{"x":2}`})
	await(t, "the end of the problem", func() bool { return s.look().status.Problem == "" })
}
