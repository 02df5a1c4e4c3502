//go:build unix

package daemon

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/plan"
)

// A daemon that died twice over the same inputs goes on with what was last good, and
// tries again later. Other inputs are decoded at once.
func TestInputsThatKill(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	s.put("a.yaml", "x: 2\n")
	die := func() { // in the middle of decoding
		t.Helper()
		d := New(s.opt)
		if err := d.start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		await(t, "a look", func() bool { return d.layers[0].follower.Look() != nil })
		d.layers[0].look = d.layers[0].follower.Look()
		d.diary.begin(inputsDigest(d.layers.inputs(d.label)), time.Now())
		d.diary.settle()
		note, err := os.ReadFile(s.stateFile(decodingFile))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.stateFile(decodingFile), note, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	die()
	die()
	d := s.run()
	await(t, "the refusal", func() bool { return strings.Contains(s.look().status.Problem, "died 2 times in a row") })
	d.reconciled(t, 3)
	if p := s.look(); p.configs["a"] != `{"x":1}` || p.status.Converged {
		t.Errorf("%+v", p)
	}
	s.put("a.yaml", "x: 3\n")
	s.sees(map[string]string{"a": `{"x":3}`})
	await(t, "the end of the refusal", func() bool { return d.State().Problem == "" })
	d.stop(t)

	// Once is enough to be tried again.
	s.put("a.yaml", "x: 4\n")
	die()
	s.run()
	s.sees(map[string]string{"a": `{"x":4}`})
}

// A daemon that is asked to end in the middle of decoding did not die of it, unless it
// was stuck: a failing /livez has it asked, and its successor would be stuck again.
func TestEndInTheMiddle(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	for since, deaths := range map[time.Duration]int{0: 0, 2 * stuckAfter * DefaultPlanTime: 1} {
		d := New(s.opt)
		if err := d.start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		d.worker.cancel, d.worker.job = func() {}, job{since: time.Now().Add(-since)} // that never ends
		d.diary.begin("abc", time.Now())
		d.diary.settle()
		d.turned()
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
		d = New(s.opt)
		if err := d.start(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if d.diary.deaths != deaths {
			t.Errorf("after %v of decoding its end counts as %d deaths, not %d", since, d.diary.deaths, deaths)
		}
		d.diary.end()
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	open := func(version string) *diary {
		t.Helper()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = root.Close() })
		return openDiary(&stateDir{path: dir, root: root, log: log}, version, log)
	}
	for deaths := range 5 {
		d := open("v1")
		if d.deaths != deaths || deaths > 0 && d.inputs != "abc" {
			t.Errorf("%d deaths over %q, not %d", d.deaths, d.inputs, deaths)
		}
		if why := d.pause("abc"); (why != "") != (deaths >= maxDeaths) {
			t.Errorf("after %d deaths it pauses: %q", deaths, why)
		}
		if pause := time.Until(d.until); pause > firstPause<<max(deaths-maxDeaths, 0) {
			t.Errorf("after %d deaths it pauses for %v", deaths, pause)
		}
		if why := d.pause("def"); why != "" {
			t.Errorf("other inputs pause: %s", why)
		}
		if d.until = d.until.Add(-maxPause); d.pause("abc") != "" {
			t.Error("the pause has no end")
		}
		d.begin("abc", time.Now())
		d.settle()
	}
	if d := open("v2"); d.deaths != 0 {
		t.Error("another version has the deaths of this one")
	}
	d := open("v1")
	d.begin("def", time.Now())
	d.settle()
	if d = open("v1"); d.inputs != "def" || d.deaths != 1 {
		t.Errorf("%d deaths over %q", d.deaths, d.inputs)
	}
	ended := d.begin("def", time.Now())
	d.settle()
	ended()
	d.settle()
	if d = open("v1"); d.deaths != 0 {
		t.Errorf("%d deaths after an end", d.deaths)
	}
	for _, text := range []string{"", "x", "-3 boot abc \"v1\"\n", fmt.Sprintf("1 %s abc", bootID()), "99999999999999999999 a b \"v1\"\n", strings.Repeat("9", 10_000)} {
		if err := os.WriteFile(dir+"/"+decodingFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d := open("v1"); d.deaths != 0 {
			t.Errorf("%q is %d deaths", text, d.deaths)
		}
	}
}

// A source that goes back to what is published leaves nothing of what was in the way
// of the newer revision.
func TestBackFromInputsThatKill(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	d := New(s.opt)
	if err := d.start(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	step(t, d)
	s.put("a.yaml", "x: 2\n")
	follower := d.layers[0].follower
	n := follower.Recheck()
	await(t, "a look", func() bool { return follower.Look().Rechecks >= n })
	d.diary.inputs, d.diary.deaths = inputsDigest([]plan.Layer{{Newest: follower.Look().Snapshot}}), maxDeaths
	step(t, d)
	if now := d.State(); now.Converged || now.Refusals[ReasonCrash] == 0 || now.Problem == "" {
		t.Errorf("%+v", now)
	}
	s.put("a.yaml", "x: 1\n")
	step(t, d)
	if now := d.State(); !now.Converged || now.Problem != "" {
		t.Errorf("%+v", now)
	}
}
