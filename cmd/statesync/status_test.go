package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// decodeStatus reads the JSON that status printed.
func decodeStatus(t *testing.T, o outcome) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal([]byte(o.stdout), &s); err != nil {
		t.Fatalf("%v:\n%s", err, o.stdout)
	}
	return s
}

// some is how long ago things were in these tests: longer than a heartbeat may be missing,
// and not before the boot of a machine that was just started.
const some = 15 * time.Second

func TestStatus(t *testing.T) {
	w := newWriter(t, writer.Options{Slots: 3})
	w.publish("published", document(t, "a", "{}"), document(t, "b", "{}"))
	w.observe("observed", shm.Boottime()-some, "")

	o := call(t, w.dir, "status", "-o", "json")
	o.expect(t, exitOK, "*")
	s := decodeStatus(t, o)
	for field, want := range map[string]any{
		"path": w.Path(), "region_id": w.ID().String(), "layout": 1.0, "slots": 3.0, "slot_size": float64(256 << 10),
		"retired": false, "generation": 1.0, "revision": "published", "configs": 2.0,
		"image_size": float64(w.current.Size()), "writer_alive": true, "writer_state": "running",
		"writer_pid": float64(os.Getpid()), "observed_revision": "observed", "problem": "",
	} {
		if s[field] != want {
			t.Errorf("%s: %v, want %v", field, s[field], want)
		}
	}
	for field, age := range map[string]time.Duration{
		"created": 0, "published": 0, "writer_started": 0, "heartbeat": 0, "source_last_good": some,
	} {
		at, err := time.Parse(time.RFC3339, s[field].(string))
		if off := time.Since(at) - age; err != nil || off < -time.Second || off > time.Minute {
			t.Errorf("%s: %v, %v", field, s[field], err)
		}
	}
	for field, least := range map[string]float64{"age_seconds": 0, "heartbeat_age_seconds": 0, "source_age_seconds": some.Seconds()} {
		if age := s[field].(float64); age < least || age > least+60 {
			t.Errorf("%s: %v", field, age)
		}
	}

	o = call(t, w.dir, "status")
	o.expect(t, exitOK, "*")
	for _, part := range []string{
		"region      " + w.Path(), "id " + w.ID().String() + ", layout 1, 3 slots of 256.0 KiB",
		"generation  1, published ", " ago: 2 configs, ", "revision    published\n", "observed    observed, with the same content\n",
		"source      valid 1", "daemon      running, pid ",
	} {
		if !strings.Contains(o.stdout, part) {
			t.Errorf("status lacks %q:\n%s", part, o.stdout)
		}
	}
	if strings.Contains(o.stdout, "\n\n") {
		t.Errorf("something is wrong, it says:\n%s", o.stdout)
	}
}

// Times of events that never happened are null, and count as stale.
func TestStatusNever(t *testing.T) {
	w := newWriter(t, writer.Options{})
	w.publish("r")
	w.observe("", 0, "")
	o := call(t, w.dir, "status", "-o", "json", "--max-age", "1h")
	o.expect(t, exitNo, "*", "the source was last valid: never, and --max-age is 1h")
	if s := decodeStatus(t, o); s["source_last_good"] != nil || s["source_age_seconds"] != nil || s["configs"] != 0.0 {
		t.Error(o.stdout)
	}
	if o := call(t, w.dir, "status"); !strings.Contains(o.stdout, "source      never valid\n") {
		t.Error(o.stdout)
	}
	// A point in time that is yet to come was on another boot's clock.
	w.observe("", shm.Boottime()+time.Hour, "")
	call(t, w.dir, "status", "--max-age", "1h").expect(t, exitNo, "*", "the source was last valid: never")
}

// A clock that was set back makes nothing of a negative age.
func TestStatusBeforeItWasPublished(t *testing.T) {
	w := newWriter(t, writer.Options{})
	w.publish("r")
	w.observe("r", shm.Boottime(), "")
	const published, sum = 8, 15 // words of an image's header
	header := slices.Clone(w.current.Words()[0][:sum+1])
	header[published] += uint64(24 * time.Hour)
	header[sum] = xxhash.Sum64(words(header[:sum]...))
	overwrite(t, w.dir, slots+int64(1%w.Geometry().Slots)*w.Geometry().SlotSize, words(header...))

	o := call(t, w.dir, "status", "-o", "json", "--max-age", "1h")
	o.expect(t, exitOK, "*")
	if s := decodeStatus(t, o); s["age_seconds"] != nil || s["published"] == nil || s["generation"] != 1.0 {
		t.Error(o.stdout)
	}
	o = call(t, w.dir, "status")
	o.expect(t, exitOK, "*")
	if !strings.Contains(o.stdout, ", which is yet to come by this machine's clock: 0 configs, ") || strings.Contains(o.stdout, "published -") {
		t.Error(o.stdout)
	}
}

func TestStatusMaxAge(t *testing.T) {
	w := newWriter(t, writer.Options{})
	w.publish("r")
	w.observe("r", shm.Boottime()-some, "")
	call(t, w.dir, "status", "--max-age", "1h").expect(t, exitOK, "*")
	o := call(t, w.dir, "status", "--max-age", "5s")
	o.expect(t, exitNo, "*", "statesync: stale: the source was last valid: 1", "s ago, and --max-age is 5s\n")
	if strings.Contains(o.stderr, "heartbeat") {
		t.Error(o.stderr)
	}
	// The heart does not beat any more from here on. Ages are told in
	// milliseconds.
	time.Sleep(2 * time.Millisecond)
	o = call(t, w.dir, "status", "--max-age", "1ns")
	o.expect(t, exitNo, "*", "statesync: stale: the daemon's last heartbeat: ", "statesync: stale: the source")
}

// Status reports problems and what to do about them, and escapes control sequences.
func TestStatusProblems(t *testing.T) {
	w := newWriter(t, writer.Options{})
	w.publish("rev\x1b]0;title\a")
	w.observe("seen\nDEAD", shm.Boottime(), "a.yaml:1:2: \x1b[2Jbad\nb.yaml: \u202eworse")
	want := func(parts ...string) {
		t.Helper()
		o := call(t, w.dir, "status")
		o.expect(t, exitOK, "*")
		if escapeLines(o.stdout) != o.stdout {
			t.Errorf("%q", o.stdout)
		}
		for _, part := range parts {
			if !strings.Contains(o.stdout, part) {
				t.Errorf("status lacks %q:\n%s", part, o.stdout)
			}
		}
	}
	want(
		`rev\x1b]0;title\a`, `seen\nDEAD, with`,
		"\n\nREFUSED: a newer revision is not published, and generation 1 stays, because of\n"+
			`  a.yaml:1:2: \x1b[2Jbad`+"\n"+`  b.yaml: \u202eworse`+"\n"+"It is published as soon as this is over.",
	)
	// The daemon says each of them apart.
	w.Observe(shm.Observation{Problem: "host: a.yaml:3:7: x.y: \x1b[2Jbad (and 7 more)", Found: 8, Findings: []shm.Finding{
		{Reason: "invalid", Layer: "host", File: "a.yaml", Line: 3, Column: 7, Key: "x.y", Message: "\x1b[2Jbad"},
		{Reason: "source", Message: "gone"},
	}})
	if err := w.Beat(); err != nil {
		t.Fatal(err)
	}
	want("because of\n" + `  host: a.yaml:3:7: x.y: \x1b[2Jbad` + "\n  gone\n  and 6 more: see the daemon's log, or run statesync check DIR\n" +
		"Fix this and it will be published automatically.")
	problems := decodeStatus(t, call(t, w.dir, "status", "-o", "json"))["problems"].([]any)
	if first := problems[0].(map[string]any); len(problems) != 2 || first["layer"] != "host" || first["line"] != 3.0 || first["message"] != "\x1b[2Jbad" {
		t.Errorf("%v", problems)
	}
	w.observe("seen\nDEAD", shm.Boottime(), "a.yaml:1:2: \x1b[2Jbad\nb.yaml: \u202eworse")
	o := call(t, w.dir, "status", "-o", "json")
	o.expect(t, exitOK, "*")
	if escapeLines(o.stdout) != o.stdout || decodeStatus(t, o)["problem"] != "a.yaml:1:2: \x1b[2Jbad\nb.yaml: \u202eworse" {
		t.Errorf("%q", o.stdout)
	}

	overwrite(t, w.dir, hotWord, words(1<<1|1))
	want("\n\nRETIRED: ")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want("daemon      stopped, pid ", "\n\nSTOPPED: ", "start statesyncd")
	// A daemon that was killed says that it is running, and has no heartbeat.
	overwrite(t, w.dir, statusBlock+8, words(uint64(shm.Running)))
	overwrite(t, w.dir, statusBlock+4*8, words(uint64(shm.Boottime()-some)))
	want("daemon      silent, pid ", "last heartbeat 1", "\n\nDEAD: ")
	// One that was killed while it wrote that down leaves an odd sequence.
	overwrite(t, w.dir, statusBlock, words(uint64(7)))
	o = call(t, w.dir, "status", "--max-age", "1h")
	o.expect(t, exitNo, "*", "status cannot be read")
	if !strings.Contains(o.stdout, "generation  1,") || !strings.Contains(o.stdout, "DAMAGED: the daemon died, or was stopped, while") {
		t.Error(o.stdout)
	}
	call(t, w.dir, "status").expect(t, exitNo, "*")
}

// A daemon that is late in the middle of writing its status has not died.
func TestStatusOfLateWriter(t *testing.T) {
	w := newWriter(t, writer.Options{})
	w.publish("r")
	w.observe("r", shm.Boottime(), "")
	for _, command := range []string{"status", "verify"} {
		overwrite(t, w.dir, statusBlock, words(uint64(7)))
		late := time.AfterFunc(50*time.Millisecond, func() { overwrite(t, w.dir, statusBlock, words(uint64(8))) })
		o := call(t, w.dir, command)
		if late.Stop() {
			t.Errorf("%s did not wait for the status", command)
		}
		if o.code != exitOK || strings.Contains(o.stdout+o.stderr, "was writing") {
			t.Error(o)
		}
	}
}

// Words stand out on a terminal, where nothing is said against it.
func TestColors(t *testing.T) {
	env := map[string]string{}
	_, program := terminal(t)
	a := &app{stdout: program, env: func(name string) string { return env[name] }}
	if got := a.paint(a.stdout, bold+red, "DEAD"); got != "\x1b[1;31mDEAD\x1b[0m" {
		t.Errorf("%q", got)
	}
	env["NO_COLOR"] = "1"
	if got := a.paint(a.stdout, bold+red, "DEAD"); got != "DEAD" {
		t.Errorf("with NO_COLOR %q", got)
	}
	env["NO_COLOR"], a.noColor = "", true
	if got := a.paint(a.stdout, bold+red, "DEAD"); got != "DEAD" {
		t.Errorf("with --no-color %q", got)
	}
	a.noColor, a.stdout = false, new(bytes.Buffer)
	if got := a.paint(a.stdout, bold+red, "DEAD"); got != "DEAD" {
		t.Errorf("without a terminal %q", got)
	}
}
