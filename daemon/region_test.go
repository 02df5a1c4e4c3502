//go:build unix

package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

func (s *setup) file() string { return filepath.Join(s.opt.Region, shm.FileName) }

// replaced waits for a region that is not the one before, with the same configs
// and a higher generation.
func (s *setup) replaced(before published) published {
	s.Helper()
	var after published
	await(s, "a new region", func() bool {
		var err error
		after, err = s.read()
		return err == nil && after.id != before.id && !after.retired
	})
	if after.generation <= before.generation || !maps.Equal(after.configs, before.configs) {
		s.Errorf("generation %d with %.200v came after %d with %.200v", after.generation, after.configs, before.generation, before.configs)
	}
	return after
}

func TestRestartGoesOn(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	first := s.sees(map[string]string{"a": `{"x":1}`})
	d.stop(t)
	good := s.look().status.SourceGood

	// Nothing new: not even a restart makes a generation, and what the status
	// said of the source stays true while the source can't be read.
	away := s.dir + ".away"
	if err := os.Rename(s.dir, away); err != nil {
		t.Fatal(err)
	}
	d = s.run()
	s.logs("refused")
	if p := s.look(); p.generation != 1 || p.id != first.id || p.status.SourceGood != good {
		t.Errorf("after the restart: generation %d, source good at %v instead of %v", p.generation, p.status.SourceGood, good)
	}
	if err := os.Rename(away, s.dir); err != nil {
		t.Fatal(err)
	}
	await(t, "the source to be good again", func() bool { return s.look().status.SourceGood > good })
	if p := s.look(); p.generation != 1 || p.status.Problem != "" {
		t.Errorf("the same source made generation %d", p.generation)
	}
	d.stop(t)

	s.put("a.yaml", "x: 2\n")
	s.run()
	if p := s.sees(map[string]string{"a": `{"x":2}`}); p.generation != 2 || p.id != first.id {
		t.Errorf("the restarted daemon continued with generation %d of %v", p.generation, p.id)
	}
}

// Damage to the region's files while the daemon runs is repaired.
func TestRegionLost(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	p := s.sees(map[string]string{"a": `{"x":1}`})
	for _, harm := range []struct {
		what string
		do   func() error
	}{
		{"removed", func() error { return os.Remove(s.file()) }},
		{"truncated", func() error { return os.Truncate(s.file(), 0) }},
		{"cut short", func() error { return os.Truncate(s.file(), 0x3000) }},
		{"replaced by another file", func() error {
			if err := os.WriteFile(s.file()+".other", []byte("nonsense"), 0o644); err != nil {
				return err
			}
			return os.Rename(s.file()+".other", s.file())
		}},
		{"overwritten", func() error { return overwrite(s.file(), 0, bytes.Repeat([]byte{0xff}, 0x2000)) }},
		{"another generation", func() error { return overwrite(s.file(), 0x80, []byte{0xfe, 0xff, 0xff, 0xff, 1, 0, 0, 0}) }},
		{"the directory removed", func() error { return shmtest.RemoveAll(s.opt.Region) }},
		{"the directory replaced", func() error {
			if err := os.Rename(s.opt.Region, s.opt.Region+".old"); err != nil {
				return err
			}
			return os.Mkdir(s.opt.Region, 0o755)
		}},
	} {
		if err := harm.do(); err != nil {
			t.Fatal(harm.what, err)
		}
		t.Log(harm.what)
		p = s.replaced(p)
	}
	// And it is published into as before.
	s.put("a.yaml", "x: 2\n")
	if after := s.sees(map[string]string{"a": `{"x":2}`}); after.generation != p.generation+1 || after.id != p.id {
		t.Errorf("generation %d followed %d", after.generation, p.generation)
	}
	if stats := d.State(); stats.Losses != 8 || stats.Regions != 9 || !stats.Converged {
		t.Errorf("the stats are %+v", stats)
	}
}

// A region whose lock another process took is left to that process until the lock is free.
func TestRegionLockTaken(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	s.run()
	p := s.sees(map[string]string{"a": `{"x":1}`})
	name := filepath.Join(s.opt.Region, "lock")
	if err := os.Rename(name, name+".old"); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.file()); err != nil {
		t.Fatal(err)
	}
	s.logs("refused")
	if _, err := os.Stat(s.file()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a region beside the lock's owner: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	s.replaced(p)
}

func overwrite(path string, at int64, with []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(with, at)
	return errors.Join(err, f.Close())
}

// Damage inside the current image is found by comparing it with memory.
func TestImageDamaged(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "word: harmless\n")
	d := New(s.opt)
	ctx := context.Background()
	if err := d.start(ctx, false); err != nil {
		t.Fatal(err)
	}
	step(t, d)
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	before := s.look()
	file, err := os.ReadFile(s.file())
	if err != nil {
		t.Fatal(err)
	}
	at := int64(bytes.Index(file, []byte("harmless")))
	if at < 0 {
		t.Fatal("the config is not in the file")
	}
	tick := func() {
		t.Helper()
		d.region.verified = time.Time{} // a minute ago
		if err := d.tend(ctx); err != nil {
			t.Fatal(err)
		}
	}
	tick()
	if p := s.look(); p.id != before.id {
		t.Error("an image that is whole was replaced")
	}
	if err := overwrite(s.file(), at, []byte("x")); err != nil {
		t.Fatal(err)
	}
	tick()
	after := s.replaced(before)
	if after.configs["a"] != `{"word":"harmless"}` {
		t.Errorf("the new region holds %v", after.configs)
	}

	// Padding means nothing, and damage to it neither.
	padding := int64(0x8000) + int64(after.generation%uint64(shm.DefaultSlots))*d.region.w.Geometry().SlotSize + int64(d.region.held.Size()) - 8
	if err := overwrite(s.file(), padding, []byte("x")); err != nil {
		t.Fatal(err)
	}
	tick()
	if p := s.look(); p.id != after.id {
		t.Error("damaged padding made a new region")
	}
}

// An unusable region is replaced when there is a good revision,
// by a higher generation.
func TestUnusableRegionAtStart(t *testing.T) {
	for _, harm := range []struct {
		what string
		do   func(s *setup) error
	}{
		{"damaged image", func(s *setup) error {
			file, err := os.ReadFile(s.file())
			if err != nil {
				return err
			}
			return overwrite(s.file(), int64(bytes.Index(file, []byte("harmless"))), []byte("x"))
		}},
		{"damaged identity", func(s *setup) error { return overwrite(s.file(), 8, []byte{9}) }},
		{"empty file", func(s *setup) error { return os.Truncate(s.file(), 0) }},
		{"cut short", func(s *setup) error { return os.Truncate(s.file(), 0x2100) }},
		{"retired", func(s *setup) error { return overwrite(s.file(), 0x80, []byte{3}) }},
		{"writable by others", func(s *setup) error { return os.Chmod(s.file(), 0o666) }},
		{"a symlink", func(s *setup) error {
			return errors.Join(os.Rename(s.file(), s.file()+".real"), os.Symlink(s.file()+".real", s.file()))
		}},
		{"more slots wanted", func(s *setup) error { s.opt.Writer.Slots = 5; return nil }},
	} {
		t.Run(harm.what, func(t *testing.T) {
			s := newSetup(t)
			s.put("a.yaml", "word: harmless\n")
			if err := s.once(); err != nil {
				t.Fatal(err)
			}
			before := s.look()
			if err := harm.do(s); err != nil {
				t.Fatal(err)
			}
			// While the source is bad, the last good image is what there is.
			s.put("a.yaml", "word: [\n")
			if err := s.once(); !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			s.logs("the region cannot be reused; the first good revision will replace it")
			after := s.replaced(before)
			s.put("a.yaml", "word: new\n")
			if err := s.once(); err != nil {
				t.Fatal(err)
			}
			if p := s.look(); p.generation != after.generation+1 || p.id != after.id || p.configs["a"] != `{"word":"new"}` {
				t.Errorf("generation %d of %v with %v", p.generation, p.id, p.configs)
			}
		})
	}
}

// Without a state directory, what the region says is all there is to go by.
func TestGeometryChangeWithoutState(t *testing.T) {
	s := newSetup(t)
	s.opt.StateDir = ""
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	s.put("a.yaml", "x: 2\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	before := s.look()
	s.opt.Writer.Slots = 8
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	if after := s.replaced(before); after.generation != 3 {
		t.Errorf("generation %d", after.generation)
	}
}

// A region that grows stays the region that it is: its id, its generations, and
// those of last change of the configs that did not change.
func TestRegionGrows(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	before := s.sees(map[string]string{"a": `{"x":1}`})
	text := strings.Repeat("l", 300<<10)
	s.put("b.yaml", "text: "+text+"\n")
	after := s.sees(map[string]string{"a": `{"x":1}`, "b": `{"text":"` + text + `"}`})
	if after.id != before.id || after.generation != before.generation+1 || after.changed["a"] != before.changed["a"] {
		t.Errorf("generation %d of %v, with a of %d, followed %d of %v, with a of %d",
			after.generation, after.id, after.changed["a"], before.generation, before.id, before.changed["a"])
	}
	s.logs("the region grew into a larger file")
	await(t, "the state of that turn", func() bool { return d.State().Generation == after.generation })
	if stats := d.State(); stats.Regions != 2 || stats.Losses != 0 {
		t.Errorf("%d files were made, and %d lost", stats.Regions, stats.Losses)
	}
}

func TestTooLarge(t *testing.T) {
	s := newSetup(t)
	s.opt.Writer.MaxImage = 64 << 10
	s.put("small.yaml", "x: 1\n")
	d := s.run()
	before := s.sees(map[string]string{"small": `{"x":1}`})
	s.put(".new/large.yaml", "text: "+strings.Repeat("l", 40<<10)+"\n")
	s.put(".new/medium.yaml", "text: "+strings.Repeat("m", 30<<10)+"\n")
	if err := os.Rename(filepath.Join(s.dir, ".new"), filepath.Join(s.dir, "new")); err != nil { // both at once
		t.Fatal(err)
	}
	await(t, "the refusal", func() bool {
		return strings.Contains(s.look().status.Problem, "--max-image")
	})
	line := s.journal.find("refused")[0]
	if what := line["what"].(string); line["file"] != "new/large.yaml" || line["reason"] != "too_large" || !strings.Contains(what, "raise --max-image") {
		t.Errorf("the log line is %v", line)
	}
	d.reconciled(t, 3)
	if n := len(s.journal.find("refused")); n != 1 {
		t.Errorf("the refusal was logged %d times", n)
	}
	if p := s.look(); p.generation != before.generation || p.id != before.id || p.status.Observed != before.revision {
		t.Errorf("generation %d, observed %s", p.generation, p.status.Observed)
	}

	// Lost meanwhile, the region comes back with what it held.
	if err := os.Remove(s.file()); err != nil {
		t.Fatal(err)
	}
	after := s.replaced(before)
	if n := d.State().Refusals[ReasonTooLarge]; n < 4 {
		t.Errorf("%d refusals were counted", n)
	}
	s.remove("new/large.yaml")
	s.put("new/medium.yaml", "y: 1\n")
	p := s.sees(map[string]string{"small": `{"x":1}`, "new/medium": `{"y":1}`})
	if p.generation <= after.generation {
		t.Errorf("generation %d followed %d", p.generation, after.generation)
	}
	await(t, "the problem to go", func() bool { return s.look().status.Problem == "" })

	// One file alone is refused before it is read.
	s.put("large.yaml", "text: "+strings.Repeat("l", 70<<10)+"\n")
	await(t, "the refusal", func() bool {
		problem := s.look().status.Problem
		return strings.HasPrefix(problem, "large.yaml: ") && strings.Contains(problem, "--max-image")
	})
}
