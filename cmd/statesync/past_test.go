package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/daemon/diff"
)

func TestLog(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	o := h.call("log")
	o.has(t, exitOK, "GENERATION", "3 LIVE", "~1 a", "+2 a, b")
	if lines := strings.Split(o.stdout, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[1], "3 LIVE ") || !strings.HasPrefix(lines[3], "1 ") {
		t.Errorf("it lists\n%s", o.stdout)
	}
	if o := h.call("log", "-n", "1"); strings.Count(o.stdout, "\n") != 2 {
		t.Errorf("-n 1 lists\n%s", o.stdout)
	}
	if o := h.call("log", "b"); strings.Count(o.stdout, "\n") != 2 {
		t.Errorf("of b, it lists\n%s", o.stdout)
	}
	if o := h.call("log", "a", "y"); strings.Count(o.stdout, "\n") != 2 {
		t.Errorf("of a's key y, it lists\n%s", o.stdout)
	}
	h.call("log", "nothing").expect(t, exitOK, "", "no generation that is remembered changed nothing\n")

	h.call("rollback", "1", "--yes", "--why", "x is \x1b[2Jwrong").has(t, exitOK, "generation 4 is live: the content of generation 1, held until statesync unpin")
	h.settle()
	h.call("log").has(t, exitOK, "4 LIVE", "1 PINNED", "rollback 1 by ", `: x is \x1b[2Jwrong`)
	o = h.call("log", "-o", "json", "-n", "1")
	if r := decode[logged](t, o); r.Generation != 4 || r.From != "history" || r.By == nil || r.Command != "rollback 1" || !r.Live {
		t.Errorf("as json: %s", o.stdout)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("show").has(t, exitOK, "generation  3 LIVE", "content     sha256:", "configs     2", "changed     1", "~ a")
	h.call("show", "1").has(t, exitOK, "generation  1\n", "changed     2", "+ a", "+ b")
	h.call("show", "1", "a").expect(t, exitOK, `{"x":1,"y":"one"}`+"\n")
	h.call("show", "a").expect(t, exitOK, `{"x":3,"y":"one"}`+"\n")
	h.call("show", "9").expect(t, exitNo, "", "generation 9")
	h.call("show", "2", "nope").expect(t, exitNo, "", "no config nope")
	if s := decode[control.Show](t, h.call("show", "2", "-o", "json")); s.Record.Generation != 2 || len(s.Changed) != 1 {
		t.Errorf("as json: %+v", s)
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("diff").expect(t, exitNo, "~ a\n    ~ x  2 → 3\n", "generations 2 and 3: 1 config changed, 1 key\n")
	h.call("diff", "1").expect(t, exitNo, "~ a\n    ~ x  1 → 3\n", "generations 1 and 3")
	h.call("diff", "3", "1", "a").expect(t, exitNo, "~ a\n    ~ x  3 → 1\n", "generations 3 and 1")
	h.call("diff", "1", "b").expect(t, exitOK, "", "no difference")
	h.call("diff", "live", "3").expect(t, exitOK, "", "no difference")
	h.call("diff", "waiting").expect(t, exitOK, "", "no difference")
	h.call("diff", "9").expect(t, exitTrouble, "", "generation 9")
	if d := decode[diff.Diff](t, h.call("diff", "-o", "json")); d.From != 2 || d.To != 3 || d.Changed != 1 || d.Configs[0].Keys[0].After != "3" {
		t.Errorf("as json: %+v", d)
	}
	h.put("c.yaml", "long: "+strings.Repeat("x", 100)+"\n")
	h.call("diff").has(t, exitNo, "+ c\n    + long  \"xxx", "x…\n")
}

func TestDiffWaiting(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("pin", "-y").has(t, exitOK, "generation 3 is live: the content of generation 3, held until statesync unpin\n")
	h.write("a.yaml", "x: 4\n")
	await(t, "what waits", func() bool { return h.State().Waiting != nil })
	h.call("diff", "waiting").expect(t, exitNo, "~ a\n    ~ x  3 → 4\n    - y  \"one\"\n", "now and what waits: 1 config changed, 2 keys\n")
	h.call("diff", "waiting", "b").expect(t, exitOK, "", "no difference")
	h.call("diff", "waiting", "a", "-o", "json").has(t, exitNo, `"changed": 1`)
}

// The values of an earlier generation, and where they came from.
func TestEarlierGeneration(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("get", "a", "x", "--generation", "1").expect(t, exitOK, "1\n")
	h.call("get", "a", "--generation", "2", "-o", "yaml").expect(t, exitOK, "x: 2\n\"y\": one\n")
	h.call("get", "a", "nope", "--generation", "2").expect(t, exitNo, "", "no key")
	h.call("get", "a", "--generation", "9").expect(t, exitNo, "", "generation 9")
	h.call("why", "a", "x", "--generation", "1").has(t, exitOK, "* dir", "1", "a.yaml:1:4", "generation 1\n")
	h.call("why", "a", "x").has(t, exitOK, "* dir", "3", "generation 3, in which a last changed, of 3\n")
}

// Without the daemon, the region still holds the last generations.
func TestPastFromRegion(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.stop()
	dead := "from the region, without the history: "
	h.call("log").has(t, exitOK, dead, "3 LIVE", "not known", "~1 a")
	if lines := strings.Split(h.call("log", "a", "-o", "json").stdout, "\n"); len(lines) != 4 {
		t.Errorf("of a, it lists %q", lines)
	} else {
		var r logged
		if err := json.Unmarshal([]byte(lines[0]), &r); err != nil || r.From != "region" || r.Generation != 3 || r.Changes.Changed != 1 {
			t.Errorf("%+v (%v)", r, err)
		}
	}
	if o := h.call("log", "a", "y"); strings.Count(o.stdout, "\n") != 2 {
		t.Errorf("of a's key y, it lists\n%s", o.stdout)
	}
	h.call("show", "2").has(t, exitOK, dead, "generation  2\n", "act         not known", "~ a")
	h.call("show", "1", "b").expect(t, exitOK, `{"z":1}`+"\n", dead)
	h.call("get", "a", "x", "--generation", "2").expect(t, exitOK, "2\n", dead)
	h.call("get", "a", "--generation", "9").expect(t, exitNo, "", "generation 9 is not in the region, which holds 1, 2, 3", "a running daemon may know more", "no daemon answers")
	h.call("diff").expect(t, exitNo, "~ a\n    ~ x  2 → 3\n", dead, "generations 2 and 3")
	h.call("diff", "1", "2").expect(t, exitNo, "~ a\n    ~ x  1 → 2\n", dead)
	h.call("diff", "waiting").expect(t, exitTrouble, "", "no daemon answers")
	h.call("why", "a", "--generation", "1").expect(t, exitNo, "", "only a running daemon knows")
	h.call("rollback", "--yes").expect(t, exitNo, "", "no daemon answers", "nothing was changed", "start the daemon")
}

// log --follow goes on with what comes, also from a daemon that is restarted.
func TestLogFollow(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		code <- run(ctx, []string{"log", "a", "-f", "-n", "2", "--region", h.region}, func(string) string { return "" }, writer, &stderr)
		writer.Close()
	}()
	lines := bufio.NewReader(reader)
	next := func(want string) {
		t.Helper()
		if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, want) {
			t.Fatalf("%q (%v), want %q", line, err, want)
		}
	}
	next("GENERATION ")
	next("2 ")
	next("3 LIVE ")
	h.put("b.yaml", "z: 2\n") // of another config
	h.put("a.yaml", "x: 5\n")
	next("5 LIVE ")
	h.stop()
	h.start()
	h.put("a.yaml", "x: 6\n")
	next("6 LIVE ")
	cancel()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q (%v)", rest, err)
	}
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d: %s", c, &stderr)
	}
}

// A daemon that hangs keeps no operator from what the region holds.
func TestPastOfHangingDaemon(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.stop()
	l, err := net.Listen("unix", filepath.Join(h.region, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the kernel accepts, and nothing answers
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a := &app{region: h.region, env: func(string) string { return "" }}
	_, dead, err := look(ctx, a, func(ctx context.Context, p past) ([]control.Record, error) {
		if _, ok := p.(*control.Client); ok { // do not wait for all of lookTime
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			ctx = short
		}
		return p.Log(ctx, control.LogQuery{})
	})
	if !errors.Is(dead, control.ErrNoAnswer) || err != nil {
		t.Errorf("%v, %v", dead, err)
	}
	h.call("status").has(t, exitOK, "generation  3,")
}
