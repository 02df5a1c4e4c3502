package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/shm/writer"
)

// watching is a watch that runs beside the test.
type watching struct {
	t      *testing.T
	lines  *bufio.Reader
	cancel context.CancelFunc
	stderr bytes.Buffer
	code   chan int
}

func watch(t *testing.T, dir string, args ...string) *watching {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	reader, writer := io.Pipe()
	w := &watching{t: t, lines: bufio.NewReader(reader), cancel: cancel, code: make(chan int, 1)}
	go func() {
		code := run(ctx, append([]string{"watch", "--region", dir}, args...), func(string) string { return "" }, writer, &w.stderr)
		writer.Close()
		w.code <- code
	}()
	t.Cleanup(func() {
		cancel()
		reader.Close()
	})
	return w
}

var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\S+  `)

// next wants a line, without its time.
func (w *watching) next(want string) {
	w.t.Helper()
	line, err := w.lines.ReadString('\n')
	at := timestamp.FindString(line)
	if err != nil || at == "" || line[len(at):] != want+"\n" {
		w.t.Fatalf("%q, %v; want %q", line, err, want)
	}
}

// end wants it to end well, without another line.
func (w *watching) end() {
	w.t.Helper()
	if rest, err := io.ReadAll(w.lines); err != nil || len(rest) > 0 {
		w.t.Errorf("%q, %v", rest, err)
	}
	if code := <-w.code; code != exitOK {
		w.t.Errorf("exit code %d: %s", code, &w.stderr)
	}
}

func TestWatch(t *testing.T) {
	r := clienttest.New(t)
	r.Set("other", object{})
	w := watch(t, r.Dir(), "c")
	w.next("0→2  (no such config)")
	r.Set("c", object{"a": 1})
	w.next(`2→3  {"a":1}`)
	r.Set("other", object{"not": "told"})
	r.Set("c", object{"a": "\u009b"})
	w.next(`3→5  {"a":"\u009b"}`)
	r.Set("c", clienttest.Opaque("text\x1b[2J"))
	w.next(`5→6  "text\x1b[2J"`)
	r.Set("c", clienttest.Opaque("\xff\xfe"))
	w.next(`6→7  (2 bytes that are not text)`)
	r.Delete("c")
	w.next("7→8  (no such config)")
	w.cancel()
	w.end()
}

func TestWatchKey(t *testing.T) {
	r := clienttest.New(t)
	r.Set("c", object{"a": 1, "b": 1})
	w := watch(t, r.Dir(), "c", "a", "--count", "3", "--timeout", "9s")
	w.next("0→2  1")
	r.Set("c", object{"a": 1, "b": 2})
	r.Set("c", object{"b": 2})
	w.next("2→4  (no such key)")
	r.Set("c", object{"a": json.RawMessage("1.0")})
	w.next("4→5  1.0")
	w.end()
}

func TestWatchJSON(t *testing.T) {
	r := clienttest.New(t)
	w := watch(t, r.Dir(), "c", "-o", "json", "--count", "3")
	next := func() (c changed) {
		t.Helper()
		line, err := w.lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &c)
		}
		if err != nil || time.Since(c.Time) > time.Minute {
			t.Fatalf("%q, %v", line, err)
		}
		return c
	}
	if c := next(); c.Config != "c" || c.Error != "no such config" || c.Value != nil || c.From != 0 || c.To != 1 {
		t.Errorf("%+v", c)
	}
	r.Set("c", object{"n": json.RawMessage("9007199254740993")})
	if c := next(); string(c.Value) != `{"n":9007199254740993}` || c.Error != "" || c.Revision != "clienttest" || c.From != 1 || c.To != 2 {
		t.Errorf("%+v", c)
	}
	r.Set("c", clienttest.Opaque("\x00\xff"))
	if c := next(); string(c.Data) != "\x00\xff" || c.Value != nil {
		t.Errorf("%+v", c)
	}
	w.end()
}

// A watch without a region waits for one.
func TestWatchBeforeRegion(t *testing.T) {
	d := newWriter(t, writer.Options{})
	w := watch(t, d.dir, "c", "--count", "2")
	w.next("0→0  (no region in " + d.dir + ")")
	d.publish("r", document(t, "c", "[1]"))
	w.next("0→1  [1]")
	w.end()
}

func TestWatchTimeout(t *testing.T) {
	dir := newRegion(t).Dir()
	o := call(t, dir, "watch", "matchmaker", "on", "--timeout", "10ms")
	o.expect(t, exitOK, "*")
	o = call(t, dir, "watch", "matchmaker", "on", "--timeout", "10ms", "--count", "2")
	o.expect(t, exitNo, "*", "matchmaker had 1 line after 10ms, and 2 were asked for")
}

func TestWait(t *testing.T) {
	dir := newRegion(t).Dir()
	call(t, dir, "wait").expect(t, exitOK, "")
	call(t, dir, "wait", "--generation", "2", "--timeout", "0").expect(t, exitOK, "")
	call(t, dir, "wait", "-v").expect(t, exitOK, "", "is at generation 2; its region is ")
	call(t, dir, "wait", "--generation", "3", "--timeout", "10ms").
		expect(t, exitNo, "", "is still at generation 2, and 3 is asked for")
	absent := filepath.Join(t.TempDir(), "absent")
	call(t, absent, "wait", "--timeout", "10ms").expect(t, exitNo, "", absent+": still no region; start the daemon")
	call(t, absent, "wait", "--timeout", "10ms", "-v").expect(t, exitNo, "", "waiting: "+absent+": no region;")
}

// A wait ends when the value arrives, or reports why it does not.
func TestWaitForDaemon(t *testing.T) {
	d := newWriter(t, writer.Options{})
	done := make(chan outcome, 1)
	wait := func(args ...string) {
		done <- call(t, d.dir, append([]string{"wait", "--timeout", "9s"}, args...)...)
	}
	go wait()
	d.publish("r")
	(<-done).expect(t, exitOK, "")
	go wait("--generation", "3")
	d.publish("r")
	d.publish("r")
	(<-done).expect(t, exitOK, "")

	d.observe("r", 0, "a.yaml:1:1: \x1bbad")
	call(t, d.dir, "wait", "--generation", "4", "--timeout", "10ms").
		expect(t, exitNo, "", `generation 3, and 4 is asked for; the daemon refuses a newer revision: a.yaml:1:1: \x1bbad`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	call(t, d.dir, "wait", "--generation", "4", "--timeout", "10ms").
		expect(t, exitNo, "", "its daemon is silent: start statesyncd")
}

// A generation of a region that is no more does not come.
func TestWaitReplaced(t *testing.T) {
	d := newWriter(t, writer.Options{})
	d.publish("r")
	done := make(chan outcome, 1)
	pipe, stderr := io.Pipe()
	go func() {
		code := run(t.Context(), []string{"wait", "-v", "--generation", "9", "--region", d.dir}, func(string) string { return "" }, io.Discard, stderr)
		stderr.Close()
		done <- outcome{code: code}
	}()
	lines := bufio.NewReader(pipe)
	if _, err := lines.ReadString('\n'); err != nil { // it is waiting for this region
		t.Fatal(err)
	}
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(lines)
		rest <- string(text)
	}()
	// It says so just before it waits, hence more than one replacement.
	for replaced := false; !replaced; {
		d.current = nil
		d.publish("r")
		select {
		case o := <-done:
			o.stderr = <-rest
			o.expect(t, exitNo, "", "region replaced", "9 can't be waited for any more")
			replaced = true
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A prefix has a line for each of its configs.
func TestWatchPrefix(t *testing.T) {
	r := clienttest.New(t)
	r.Publish(map[string]any{"team/a": object{"x": 1}, "team/b": object{}, "other": object{}})
	w := watch(t, r.Dir(), "team/", "--count", "4")
	w.next(`2  team/a  {"x":1}`)
	w.next(`2  team/b  {}`)
	r.Publish(map[string]any{"team/a": object{"x": 2}, "team/b": object{}, "other": object{"y": 1}})
	w.next(`3  team/a  {"x":2}`)
	r.Publish(map[string]any{"team/a": object{"x": 2}})
	w.next(`4  team/b  (no such config)`)
	w.end()
}
