//go:build unix

package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
)

// operator is the process that tests command as.
var operator = By{UID: 1000, User: "alice", PID: 12, Program: "statesync"}

// does gives a command that must work.
func (r *running) does(t testing.TB, c Command) Reply {
	t.Helper()
	reply, err := r.Do(t.Context(), Request{Command: c, By: operator, Why: "the test"})
	if err != nil {
		t.Fatalf("%s: %v", c.text(), err)
	}
	if reply.Refused != "" {
		t.Fatalf("%s is refused: %s", c.text(), reply.Refused)
	}
	return reply
}

// refuses gives a command that must not work.
func (r *running) refuses(t testing.TB, c Command, target error, words string) {
	t.Helper()
	before := r.State()
	_, err := r.Do(t.Context(), Request{Command: c, By: operator})
	if !errors.Is(err, target) || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v", c.text(), err)
	}
	if after := r.State(); after.Generation != before.Generation || after.Pin != before.Pin || len(after.Overrides) != len(before.Overrides) {
		t.Errorf("%s was refused and changed something", c.text())
	}
}

// audited waits until the newest act is done, and returns it.
func (r *running) audited(t testing.TB, command string) history.Entry {
	t.Helper()
	var newest history.Entry
	await(t, "the act to be done: "+command, func() bool {
		entries, err := r.State().Past().Audit(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > 0 {
			newest = entries[0]
		}
		return newest.Command == command && !newest.Done.IsZero()
	})
	return newest
}

// generations publishes a as x: 1 to n.
func (s *setup) generations(d *running, n int) {
	s.Helper()
	for i := 1; i <= n; i++ {
		s.put("a.yaml", fmt.Sprintf("x: %d\n", i))
		s.sees(map[string]string{"a": fmt.Sprintf(`{"x":%d}`, i)})
		await(s, "the state", func() bool { return d.State().Generation == uint64(i) && d.State().Converged })
	}
}

// The content of an older generation is published anew and held, whatever the source
// does, over restarts and the loss of the region, until the operator lets go.
func TestRollback(t *testing.T) {
	s := newSetup(t)
	d := s.run()
	s.generations(d, 4)

	reply := d.does(t, Rollback{})
	if reply.Generation != 5 || reply.Record != 3 || !reply.Published || reply.Changes.Changed != 1 || reply.Act == 0 {
		t.Errorf("%+v", reply)
	}
	s.sees(map[string]string{"a": `{"x":3}`})
	state := d.State()
	if !state.Held || !state.Converged || !state.Ready || state.Problem != "" || state.Pin.Generation != 3 || state.Pin.By != operator {
		t.Errorf("%+v", state)
	}
	if state.Waiting == nil || state.Waiting.Changes.Changed != 1 {
		t.Errorf("what waits is %+v", state.Waiting)
	}
	await(t, "the status", func() bool { st := s.look().status; return st.Held && st.Converged })
	if e := d.audited(t, "rollback 3"); e.Generation != 5 || e.Why != "the test" || e.By != operator {
		t.Errorf("the audit has %+v", e)
	}
	record, err := state.Past().Get(5)
	if err != nil || record.Command != "rollback 3" || record.By == nil || *record.By != operator || record.Act != reply.Act {
		t.Errorf("%+v, %v", record, err)
	}

	// The source moves on, and changes nothing.
	s.put("a.yaml", "x: 5\n")
	await(t, "what waits", func() bool { w := d.State().Waiting; return w != nil && w.Diff("").Configs[0].Keys[0].After == "5" })
	if p := s.look(); p.generation != 5 || p.configs["a"] != `{"x":3}` {
		t.Errorf("generation %d with %v", p.generation, p.configs)
	}

	// A second one goes further back.
	if reply := d.does(t, Rollback{}); reply.Generation != 6 || reply.Record != 2 {
		t.Errorf("%+v", reply)
	}
	s.sees(map[string]string{"a": `{"x":2}`})
	d.stop(t)

	// It outlives the daemon, the region and the source.
	s.loseRegion()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	d = s.run()
	if p := s.sees(map[string]string{"a": `{"x":2}`}); p.generation <= 6 {
		t.Errorf("generation %d", p.generation)
	}
	await(t, "the pin", func() bool { pin := d.State().Pin; return pin != nil && pin.Generation == 2 })
	d.does(t, Rollback{To: 1})
	s.sees(map[string]string{"a": `{"x":1}`})
	d.refuses(t, Rollback{}, ErrInvalid, "")
	d.refuses(t, Rollback{To: 77}, ErrInvalid, "77")

	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.put("a.yaml", "x: 9\n") // what waited before is what the history has of the source
	await(t, "what waits", func() bool { w := d.State().Waiting; return w != nil && w.Diff("").Configs[0].Keys[0].After == "9" })
	d.does(t, Unpin{})
	s.sees(map[string]string{"a": `{"x":9}`})
	if state := d.State(); state.Held || state.Pin != nil || state.Waiting != nil {
		t.Errorf("%+v", state)
	}
	d.refuses(t, Unpin{}, ErrInvalid, "nothing is pinned")
}

// A pin holds what is live, without a new generation.
func TestPin(t *testing.T) {
	s := newSetup(t)
	d := s.run()
	s.generations(d, 2)
	if reply := d.does(t, Pin{}); reply.Published || reply.Generation != 2 || reply.Record != 2 {
		t.Errorf("%+v", reply)
	}
	d.refuses(t, Pin{}, ErrInvalid, "held already")
	s.put("a.yaml", "x: 3\n")
	await(t, "what waits", func() bool { return d.State().Waiting != nil })
	if p := s.look(); p.generation != 2 {
		t.Errorf("generation %d", p.generation)
	}
	s.put("a.yaml", "x: [\n") // a pin is healthy, and what is wrong with the source is still said
	await(t, "the problem", func() bool { return d.State().Problem != "" })
	if state := d.State(); !state.Converged || !state.Held {
		t.Errorf("%+v", state)
	}
	s.put("a.yaml", "x: 4\n")
	d.does(t, Unpin{})
	s.sees(map[string]string{"a": `{"x":4}`})
}

// A preview says what a command would change, and changes nothing.
func TestPreview(t *testing.T) {
	s := newSetup(t)
	d := s.run()
	s.generations(d, 2)
	for _, c := range []Command{Purge{"a"}, Reload{}, ClearOverride{}} {
		if reply, err := d.Do(t.Context(), Request{Command: c, By: operator, Preview: true}); reply.Act != 0 || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v, %v", c.text(), reply, err)
		}
	}
	if section, err := d.State().Past().Config(1, "a"); err != nil || string(section.Content()) != `{"x":1}` {
		t.Errorf("a preview of a purge purged: %v", err)
	}
	for _, c := range []Command{Rollback{}, Override{Config: "a", Key: "x", Value: []byte("1"), For: time.Hour}} {
		reply, err := d.Do(t.Context(), Request{Command: c, By: operator, Preview: true})
		if err != nil || reply.Diff == nil || len(reply.Diff.Configs) != 1 || reply.Diff.Configs[0].Keys[0].Before != "2" || reply.Diff.Configs[0].Keys[0].After != "1" {
			t.Errorf("%s: %+v, %v", c.text(), reply, err)
		}
	}
	if state := d.State(); state.Generation != 2 || state.Held || state.Overrides != nil {
		t.Errorf("%+v", state)
	}
	if entries, err := d.State().Past().Audit(0, 10); err != nil || len(entries) != 0 {
		t.Errorf("%+v, %v", entries, err)
	}
}

// An override is above all layers until it lapses, whatever the source does and whether
// or not the daemon runs.
func TestOverride(t *testing.T) {
	s := newSetup(t)
	s.put("a.schema.yaml", "properties: {x: {type: integer, maximum: 10}}\n")
	d := s.run()
	s.generations(d, 1)
	set := func(value string, span time.Duration) Override {
		return Override{Config: "a", Key: "x", Value: []byte(value), For: span}
	}
	if reply := d.does(t, set("7", time.Hour)); reply.Generation != 2 || !reply.Published {
		t.Errorf("%+v", reply)
	}
	s.sees(map[string]string{"a": `{"x":7}`})
	if why, err := d.State().Why("a", "x"); err != nil || len(why) != 2 || why[0].Value != "7" || !strings.Contains(why[0].File, "alice") || why[1].Value != "1" {
		t.Errorf("%+v, %v", why, err)
	}
	d.audited(t, "override a x=7 --for 1h0m0s")
	d.refuses(t, set("11", time.Hour), ErrInvalid, "10")
	d.refuses(t, set("1", 0), ErrInvalid, "--for")
	d.refuses(t, Override{Config: "b", Key: "x", Value: []byte("1"), For: time.Hour}, ErrInvalid, "b")
	s.put("a.yaml", "x: 2\nnew: true\n")
	s.sees(map[string]string{"a": `{"new":true,"x":7}`})
	if !d.State().Converged {
		t.Error("it is not converged")
	}

	// What no longer fits is refused, and said.
	s.put("a.yaml", "- 1\n")
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "override") })
	s.put("a.yaml", "x: 3\n")
	s.sees(map[string]string{"a": `{"x":7}`})

	d.does(t, set("8", time.Hour)) // takes the place of the other
	s.sees(map[string]string{"a": `{"x":8}`})
	if n := len(d.State().Overrides); n != 1 {
		t.Errorf("%d overrides", n)
	}
	d.does(t, ClearOverride{Config: "a"})
	s.sees(map[string]string{"a": `{"x":3}`})
	d.refuses(t, ClearOverride{}, ErrInvalid, "no such override")

	// It lapses while the daemon runs,
	d.does(t, set("9", 300*time.Millisecond))
	s.sees(map[string]string{"a": `{"x":3}`})
	lapsed := d.audited(t, "lapse of override 4 of a x")
	if lapsed.By.UID != -1 {
		t.Errorf("%+v", lapsed)
	}
	// and while it does not.
	reply := d.does(t, set("9", 1500*time.Millisecond))
	s.sees(map[string]string{"a": `{"x":9}`})
	d.stop(t)
	time.Sleep(1600 * time.Millisecond)
	d = s.run()
	s.sees(map[string]string{"a": `{"x":3}`})
	d.audited(t, fmt.Sprintf("lapse of override %d of a x", reply.Act))
	await(t, "the state", func() bool { return d.State().Converged })
	if n := len(d.State().Overrides); n != 0 {
		t.Errorf("%d overrides", n)
	}
	// One whose time has not come is there again.
	d.does(t, set("5", time.Hour))
	d.stop(t)
	d = s.run()
	await(t, "the state", func() bool { return d.State().Converged })
	if p := s.look(); p.configs["a"] != `{"x":5}` || len(d.State().Overrides) != 1 {
		t.Errorf("%v, %+v", p.configs, d.State().Overrides)
	}
}

// A clock that is set back does not prolong an override, and a clock that is set forward
// ends it.
func TestLapse(t *testing.T) {
	t.Parallel()
	set := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	o := history.Override{Until: set.Add(time.Hour), Boot: "this", UntilBoot: 5 * time.Hour}
	for _, c := range []struct {
		what      string
		now       time.Duration // since it was set, by the wall clock
		boot      string
		sinceBoot time.Duration
		lapsed    bool
	}{
		{"within its time", 59 * time.Minute, "this", 5*time.Hour - time.Minute, false},
		{"after it", time.Hour, "this", 5 * time.Hour, true},
		{"the clock is set back", -24 * time.Hour, "this", 5 * time.Hour, true},
		{"the clock is set forward", 48 * time.Hour, "this", 4 * time.Hour, true},
		{"after a reboot", 30 * time.Minute, "next", time.Minute, false},
		{"long after a reboot", time.Hour, "next", time.Minute, true},
		{"a later boot that lasts longer", 30 * time.Minute, "next", 10 * time.Hour, false},
	} {
		if got := lapsed(&o, set.Add(c.now), c.boot, c.sinceBoot); got != c.lapsed {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	if shm.Boottime() <= 0 || bootID() == "" {
		t.Error("this machine says neither when nor as what it was started")
	}
}

// A pin suspends the overrides that there are. Later ones sit on top of it.
func TestOverridesAndPin(t *testing.T) {
	s := newSetup(t)
	d := s.run()
	s.generations(d, 2)
	set := func(value string, span time.Duration) Override {
		return Override{Config: "a", Key: "x", Value: []byte(value), For: span}
	}
	d.does(t, set("7", time.Hour))
	s.sees(map[string]string{"a": `{"x":7}`})
	d.does(t, Rollback{To: 1})
	s.sees(map[string]string{"a": `{"x":1}`})
	d.does(t, Override{Config: "a", Key: "y", Value: []byte(`"on top"`), For: time.Hour})
	s.sees(map[string]string{"a": `{"x":1,"y":"on top"}`})
	d.stop(t)
	s.loseRegion()
	d = s.run()
	s.sees(map[string]string{"a": `{"x":1,"y":"on top"}`})
	d.does(t, ClearOverride{Config: "a", Key: "y"})
	s.sees(map[string]string{"a": `{"x":1}`})
	d.does(t, Unpin{})
	s.sees(map[string]string{"a": `{"x":7}`})
	d.does(t, ClearOverride{})
	s.sees(map[string]string{"a": `{"x":2}`})
}

// five are configs of which a guard counts.
func (s *setup) five() map[string]string {
	s.Helper()
	configs := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		s.put(name+".yaml", "x: 1\n")
		configs[name] = `{"x":1}`
	}
	return configs
}

// A revision that takes most of the configs away, or what readers rely on, waits until
// it is accepted.
func TestGuards(t *testing.T) {
	s := newSetup(t)
	s.opt.Sources = sources(t, "dir:"+s.dir)
	configs := s.five()
	d := s.run()
	await(t, "all five", func() bool { return d.State().Configs == 5 && d.State().Converged })
	before := s.look().generation
	for _, name := range []string{"a", "b", "c"} {
		s.remove(name + ".yaml")
	}
	await(t, "the refusal", func() bool { return d.State().Waiting != nil && d.State().Waiting.Changes.Removed == 3 })
	state := d.State()
	digest := state.Waiting.Digest()
	if !strings.Contains(state.Problem, "3 of 5 configs are gone (a, b, c)") || !strings.Contains(state.Problem, "statesync accept "+digest) {
		t.Errorf("%q", state.Problem)
	}
	if state.Converged || state.Refusals[ReasonGuard] == 0 {
		t.Errorf("%+v", state)
	}
	if line := s.logs("refused"); line["reason"] != "guard" || line["kept_generation"] == nil {
		t.Errorf("%v", line)
	}
	var out strings.Builder
	if err := New(s.opt).DryRun(t.Context(), &out); !errors.Is(err, ErrRefused) || !strings.Contains(out.String(), "removed  a\n") {
		t.Errorf("a dry run says %q, %v", out.String(), err)
	}
	d.stop(t) // a daemon that starts says the same, also without its region
	s.loseRegion()
	d = s.run()
	s.sees(configs)
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, digest) })

	d.refuses(t, Accept{"sha256:12"}, ErrInvalid, "not the digest")
	if reply := d.does(t, Accept{digest[:len("sha256:")+12]}); !reply.Published || reply.Changes.Removed != 3 {
		t.Errorf("%+v", reply)
	}
	after := s.sees(map[string]string{"d": `{"x":1}`, "e": `{"x":1}`})
	if after.generation <= before {
		t.Errorf("generation %d", after.generation)
	}
	d.refuses(t, Accept{digest}, ErrInvalid, "already")

	// What a config is to its readers.
	s.put("d.yaml", "- 1\n")
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "d is a list, and was a mapping") })
	s.put("d.yaml", "x: 2\n")
	s.sees(map[string]string{"d": `{"x":2}`, "e": `{"x":1}`})
}

// The keys of a config are guarded where that is asked for.
func TestGuardOfKeys(t *testing.T) {
	s := newSetup(t)
	s.opt.Guards.MaxRemovedKeys = 50
	s.put("a.yaml", "{a: 1, b: 2, c: 3, d: 4}\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"a":1,"b":2,"c":3,"d":4}`})
	s.put("a.yaml", "{a: 1}\n")
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "3 of the 4 keys of the config a are gone") })
	s.put("a.yaml", "{a: 1, b: 2}\n")
	s.sees(map[string]string{"a": `{"a":1,"b":2}`})
}

// An acceptance travels with the content, and is good for that content alone.
func TestAcceptFile(t *testing.T) {
	s := newSetup(t)
	s.five()
	d := s.run()
	await(t, "all five", func() bool { return d.State().Configs == 5 && d.State().Converged })
	for _, name := range []string{"a", "b", "c"} {
		s.remove(name + ".yaml")
	}
	await(t, "the refusal", func() bool { return d.State().Waiting != nil && d.State().Waiting.Changes.Removed == 3 })
	s.put(source.AcceptFile, "# reviewed\n"+d.State().Waiting.Digest()+"\n")
	s.sees(map[string]string{"d": `{"x":1}`, "e": `{"x":1}`})
	await(t, "the state", func() bool { return d.State().Converged })
	s.five()
	await(t, "all five", func() bool { return d.State().Configs == 5 })
	s.put("e.yaml", "x: 2\n") // another content with as little in it
	for _, name := range []string{"a", "b", "c"} {
		s.remove(name + ".yaml")
	}
	await(t, "the refusal", func() bool { return d.State().Waiting != nil && d.State().Waiting.Changes.Removed == 3 })
}

// Without a state directory what would have to survive a restart is refused. What waits
// behind a guard can be accepted, so that it is not stuck.
func TestActsWithoutStateDir(t *testing.T) {
	s := newSetup(t)
	s.opt.StateDir = ""
	s.five()
	d := s.run()
	await(t, "all five", func() bool { return d.State().Configs == 5 && d.State().Converged })
	d.refuses(t, Pin{}, ErrNoStateDir, "--state-dir")
	d.refuses(t, Rollback{}, ErrNoStateDir, "--state-dir")
	d.refuses(t, Override{Config: "a", Key: "x", Value: []byte("1"), For: time.Hour}, ErrNoStateDir, "--state-dir")
	for _, name := range []string{"a", "b", "c"} {
		s.remove(name + ".yaml")
	}
	await(t, "the refusal", func() bool { return d.State().Waiting != nil && d.State().Waiting.Changes.Removed == 3 })
	d.does(t, Accept{d.State().Waiting.Digest()})
	s.sees(map[string]string{"d": `{"x":1}`, "e": `{"x":1}`})
	d.State().Past().Await(t.Context())
	if log, err := d.State().Past().Log(history.Query{}); err != nil || len(log) < 2 {
		t.Errorf("%+v, %v", log, err)
	}
}

// A purge takes the values of before out of the history, and leaves what is live.
func TestPurge(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: hunter2\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":"hunter2"}`})
	s.put("a.yaml", "x: 2\n")
	s.sees(map[string]string{"a": `{"x":2}`})
	d.does(t, Purge{"a"})
	d.audited(t, "history purge a")
	if section, err := d.State().Past().Config(1, "a"); !errors.Is(err, history.ErrPurged) {
		t.Errorf("%v, %v", section, err)
	}
	if section, err := d.State().Past().Config(2, "a"); err != nil || string(section.Content()) != `{"x":2}` {
		t.Errorf("%v, %v", section, err)
	}
	d.refuses(t, Rollback{To: 1}, ErrInvalid, "purged")
	d.stop(t)
	for _, name := range []string{historyFile} {
		text, err := os.ReadFile(s.stateFile(name))
		if err != nil || strings.Contains(string(text), "hunter2") {
			t.Errorf("%s has the value (%v)", name, err)
		}
	}
}

// A disk that is full or hangs keeps neither publications nor their readers waiting; an
// act is refused, and changes nothing.
func TestActThatCannotBeStored(t *testing.T) {
	s := newSetup(t)
	d := s.run()
	s.generations(d, 2)
	if err := os.Truncate(s.stateFile(historyFile), 0); err != nil {
		t.Fatal(err)
	}
	_, err := d.Do(t.Context(), Request{Command: Pin{}, By: operator})
	if err == nil {
		t.Error("it was stored")
	}
	if state := d.State(); state.Held {
		t.Errorf("%+v", state)
	}
	s.put("a.yaml", "x: 3\n")
	s.sees(map[string]string{"a": `{"x":3}`})
	await(t, "the alarm", func() bool { return strings.Contains(d.State().Alarm, "history") })
}

// What an operator is told of an earlier generation.
func TestWhyThen(t *testing.T) {
	s := newSetup(t)
	d := s.run()
	s.generations(d, 3)
	await(t, "the history", func() bool { return d.State().History.Newest == 3 })
	why, err := d.State().Past().Why(t.Context(), 2, "a", "x")
	if err != nil || len(why) != 1 || why[0].Value != "2" || why[0].Line != 1 || why[0].File != "a.yaml" {
		t.Errorf("%+v, %v", why, err)
	}
	d.does(t, Rollback{To: 1})
	await(t, "the history", func() bool { return d.State().History.Newest == 4 })
	why, err = d.State().Past().Why(t.Context(), 4, "a", "x")
	if err != nil || len(why) == 0 || why[0].Value != "1" || !strings.Contains(why[0].File, "rollback 1 by alice") {
		t.Errorf("%+v, %v", why, err)
	}
}

// An override lapses, and can be cleared, while a file is being decoded without an end.
func TestOverrideLapsesBesideParser(t *testing.T) {
	s := newSetup(t)
	release := make(chan struct{})
	busy := make(chan struct{}, 1)
	block := false
	d := s.runWith(func(d *Daemon) {
		d.worker.room = func(int64) error {
			if block {
				busy <- struct{}{}
				<-release
			}
			return nil
		}
	})
	defer close(release)
	s.generations(d, 1)
	d.does(t, Override{Config: "a", Key: "x", Value: []byte("7"), For: 1500 * time.Millisecond})
	s.sees(map[string]string{"a": `{"x":7}`})
	block = true
	s.put("a.yaml", "x: 2\n")
	<-busy
	s.sees(map[string]string{"a": `{"x":1}`})
	if _, err := d.Do(t.Context(), Request{Command: Override{Config: "a", Key: "x", Value: []byte("7"), For: time.Hour}, By: operator}); !errors.Is(err, ErrBusy) {
		t.Errorf("an override that cannot be tried: %v", err)
	}
	d.does(t, Pin{}) // needs no worker
}
