package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/daemon/control"
)

// onTerminal runs the program as a process on a terminal of its own, types an answer when
// it asks, and returns all that the terminal shows.
func (h *host) onTerminal(answer string, args ...string) (code int, shown string) {
	h.Helper()
	self, err := os.Executable()
	if err != nil {
		h.Fatal(err)
	}
	master, slave := terminal(h.T)
	cmd := exec.CommandContext(h.Context(), self, args...)
	cmd.Env = append(os.Environ(), actAsProgram+"=1", "STATESYNC_REGION="+h.region, "GORACE=atexit_sleep_ms=0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	slave.Close()
	var all bytes.Buffer
	for buf, asked := make([]byte, 4096), false; ; {
		n, err := master.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			break // the program has ended
		}
		if !asked && strings.HasSuffix(all.String(), "[y/N] ") {
			asked = true
			if _, err := master.WriteString(answer); err != nil {
				h.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // the code says it
	return cmd.ProcessState.ExitCode(), all.String()
}

// On a terminal, a command shows what it would change and asks. Any answer but yes is a no.
func TestAskOnTerminal(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	shows := []string{"Generation 3 is live.", "generation 2", "\x1b[33m~ x  3 → 2\x1b[0m", "1 config changed, 1 key.", "Go back and hold it? [y/N] "}
	for answer, want := range map[string]string{"\n": "Nothing was changed.", "no\n": "Nothing was changed.", "\x03": "Nothing was changed.", "\x04": "Nothing was changed."} {
		code, shown := h.onTerminal(answer, "rollback")
		outcome{code, shown, ""}.has(t, exitNo, append(shows, want)...)
	}
	if g := h.State().Generation; g != 3 {
		t.Fatalf("generation %d is live although the answer was no", g)
	}
	code, shown := h.onTerminal("y\n", "rollback", "--why", "x is wrong")
	outcome{code, shown, ""}.has(t, exitOK, append(shows, "generation 4 is live: the content of generation 2, held until statesync unpin")...)
	code, shown = h.onTerminal("", "unpin", "--yes")
	outcome{code, shown, ""}.has(t, exitOK, "generation 5 is live: the sources are followed again (~1 a)")
}

// Elsewhere, a command that was not given --yes changes nothing.
func TestNoTerminal(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	for _, command := range []string{"rollback", "pin"} {
		h.call(command).expect(t, cli.ExitUsage, "", "give --yes to do it, or --dry-run")
	}
	if s := h.State(); s.Generation != 3 || s.Held {
		t.Fatalf("generation %d is live, held: %t", s.Generation, s.Held)
	}
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("rollback", "1", "--dry-run").has(t, exitOK, "The content of generation 1 would take its place and be held.", "~ x  3 → 1", "1 config changed, 1 key.")
	if r := decode[control.Reply](t, h.call("rollback", "--dry-run", "-o", "json")); r.Record != 2 || r.Diff == nil || r.Diff.Changed != 1 {
		t.Errorf("as json: %+v", r)
	}
	if s := h.State(); s.Generation != 3 || s.Held {
		t.Fatalf("generation %d is live, held: %t", s.Generation, s.Held)
	}
}

// A second rollback goes further back, and unpin follows the source again.
func TestRollback(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("unpin", "--yes").expect(t, exitNo, "", "nothing is pinned")
	h.call("rollback", "-y").has(t, exitOK, "generation 4 is live: the content of generation 2, held until statesync unpin (~1 a)\n")
	h.settle()
	h.call("rollback", "-y").has(t, exitOK, "generation 5 is live: the content of generation 1, held until statesync unpin (~1 a)\n")
	h.settle()
	h.call("rollback", "-y").expect(t, exitNo, "", "older")
	h.call("rollback", "99", "-y").expect(t, exitNo, "", "99")
	h.call("rollback", "x").expect(t, cli.ExitUsage, "", `"x" is not the number of a generation`)
	o := h.call("unpin", "-y", "-o", "json")
	if r := decode[control.Reply](t, o); o.code != exitOK || r.Generation != 6 || !r.Published || r.Record != 0 {
		t.Errorf("as json: %s", o.stdout)
	}
	h.call("get", "a", "x").expect(t, exitOK, "3\n")
}

func TestControlFlag(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("pin", "-y", "--control", h.state+"/"+control.ControlName).has(t, exitOK, "held until statesync unpin")
	h.call("unpin", "-y", "--control", h.state+"/nothing").expect(t, exitNo, "", "no daemon answers")
}

func TestOverride(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	for _, wrong := range [][]string{{"a"}, {"a", "x"}, {"a", "x="}, {"a", "=1"}, {"a", "x=1"}, {"a", "x=1", "--for", "-1s"}} {
		o := h.call(append([]string{"override", "-y"}, wrong...)...)
		o.expect(t, cli.ExitUsage, "", "statesync override --help")
	}
	h.call("override", "a", "x=[1, 2", "--for", "1h", "-y").expect(t, exitNo, "", "value")
	h.call("override", "nope", "x=1", "--for", "1h", "-y").expect(t, exitNo, "", "nope")
	h.call("override", "a", "x=7", "--for", "1h", "--dry-run").has(t, exitOK, "x of a would be 7 for 1h", "~ x  3 → 7")
	h.call("override", "a", "x=7", "--for", "1h", "-y", "--why", "a try").has(t, exitOK, "generation 4 is live: x of a is 7 until ")
	h.call("get", "a", "x").expect(t, exitOK, "7\n")
	h.call("status").has(t, exitOK, "OVERRIDE: a x=7 until ", ": a try\n")
	h.call("why", "a", "x").has(t, exitOK, "* override", "a try")
	h.call("rollback", "1", "-y").has(t, exitOK, "generation 5 is live")
	h.call("status").has(t, exitOK, "HELD: The content of generation 1 is held since ", "OVERRIDE, SUSPENDED BY THE PIN: a x=7")
	h.call("override", "--clear", "b", "-y").expect(t, exitNo, "", "no such override")
	h.call("override", "--clear", "a", "x", "--dry-run").has(t, exitOK, "1 override would end:", "a x=7 until ")
	h.call("override", "--clear", "-y").has(t, exitOK, "generation 5 is live: 1 override ended\n")
	if s := decodeStatus(t, h.call("status", "-o", "json")); len(s["overrides"].([]any)) != 0 {
		t.Errorf("there is still an override: %v", s["overrides"])
	}
}

// What waits behind a pin, and behind a guard, comes first in status.
func TestStatusOfWaiting(t *testing.T) {
	t.Parallel()
	h := newHost(t, map[string]string{"a.yaml": "x: 1", "b.yaml": "x: 1", "c.yaml": "x: 1", "d.yaml": "x: 1"})
	h.call("accept", "-y").expect(t, exitNo, "", "nothing waits")
	h.call("accept", "-y", "dir", strings.Repeat("0", 40)).expect(t, exitNo, "", "is not held to its history")
	h.call("accept", "-y", "git", strings.Repeat("0", 40)).expect(t, exitNo, "", `there is no source "git"`)
	h.call("accept", "--dry-run", "git", strings.Repeat("0", 40)).has(t, exitOK, "would accept the commit 000")
	h.call("pin", "-y", "--why", "the final").has(t, exitOK, "held")
	h.call("status", "--max-age", "1m").has(t, exitOK, "HELD: The content of generation 1 is held since ", ": the final.\nNothing waits behind it")
	h.write("a.yaml", "x: 2")
	await(t, "what waits", func() bool { return h.State().Waiting != nil })
	h.call("status").has(t, exitOK, " waits behind it. statesync unpin would bring ~1 a;")
	s := decodeStatus(t, h.call("status", "-o", "json"))
	if s["pin"].(object)["why"] != "the final" || s["waiting"].(object)["digest"] == "" || s["control"] != h.state+"/control.sock" || s["history"].(object)["records"] != 1.0 {
		t.Errorf("as json: %v", s)
	}
	h.call("unpin", "-y").has(t, exitOK, "generation 2 is live")

	for _, name := range []string{"b", "c", "d"} {
		if err := os.Remove(h.source + "/" + name + ".yaml"); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the guard", func() bool { w := h.State().Waiting; return w != nil && w.Changes.Removed == 3 })
	digest := h.State().Waiting.Digest()
	h.call("status").has(t, exitOK, "GUARDED: a newer revision takes away too much", "3 of 4 configs are gone (b, c, d)", "It would bring -3 b, c, d", "statesync accept "+digest)
	h.call("diff", "waiting").has(t, exitNo, "- b\n")
	h.call("accept", "sha256:"+strings.Repeat("0", 64), "--dry-run").has(t, exitOK, "is not what waits now")
	h.call("accept", "--dry-run").has(t, exitOK, digest, "- b")
	h.call("accept", "-y", "--why", "meant").has(t, exitOK, "generation 3 is live: "+digest+", accepted (-3 b, c, d)\n")
	h.call("audit").has(t, exitOK, "ACT", "accept "+digest[:50], ": meant", "unpin", "pin: the final", "generation 3 is live")
	h.call("audit", "-n", "1", "-o", "json").has(t, exitOK, `"command":"accept `+digest)
	h.stop()
	h.call("status").has(t, exitOK, "STOPPED")
}

// Without the daemon's answer, the region's status says that it is held.
func TestStatusHeldWithoutDaemon(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("pin", "-y").has(t, exitOK, "held")
	h.stop()
	h.call("status").has(t, exitOK, "HELD: an operator holds back what the sources bring; the daemon, which knows more,\ndoes not answer.")
	if s := decodeStatus(t, h.call("status", "-o", "json")); s["held"] != true || s["pin"] != nil || s["history"] != nil {
		t.Errorf("as json: %v", s)
	}
	h.call("history").expect(t, exitNo, "", "only a running daemon")
	h.call("audit").expect(t, exitNo, "", "only a running daemon")
	h.start()
	h.call("status").has(t, exitOK, "HELD: The content of generation 3 is held since ")
}

func TestReload(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("reload").expect(t, exitOK, "generation 3 is live: the sources were looked at\n")
	h.write("a.yaml", "x: [\n")
	h.call("reload").expect(t, exitNo, "", "generation 3 stays live", "a.yaml:1:5")
}

func TestPurge(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	await(t, "the history's figures", func() bool { return strings.HasPrefix(h.call("history").stdout, "3 generations, 1 to 3: ") })
	h.call("history", "purge", "a", "--dry-run").has(t, exitOK, "This cannot be undone")
	h.call("get", "a", "x", "--generation", "1").expect(t, exitOK, "1\n")
	h.call("history", "purge", "a", "-y").expect(t, exitOK, "the history has no older value of a any more\n")
	h.call("get", "a", "x", "--generation", "1").expect(t, exitNo, "", "purged")
	h.call("diff", "1").has(t, exitNo, "? a  (a value was purged)")
	h.call("show", "2").has(t, exitOK, "? a")
	h.call("rollback", "1", "-y").expect(t, exitNo, "", "purged")
	h.call("audit").has(t, exitOK, "history purge a")
}

func TestCompletionOfActs(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	h.call("override", "a", "x=7", "--for", "1h", "-y")
	h.settle()
	for args, want := range map[string]string{
		"rollback ": "4\t", "show 2": "2\t", "diff p": "previous\n", "diff 1 ": "live\n", "show 1 ": "b\n",
		"get a --generation ": "3\t", "override a ": "x=\n", "override --clear ": "a\n", "override --clear a ": "x\n", "history purge ": "b\n",
	} {
		fields := strings.Split(args, " ")
		h.call(append([]string{"__complete"}, fields...)...).has(t, exitOK, want)
	}
	h.call("override", "--clear", "-y")
	h.call("pin", "-y")
	h.write("a.yaml", "x: 4")
	await(t, "what waits", func() bool { return h.State().Waiting != nil })
	h.call("__complete", "accept", "").has(t, exitOK, h.State().Waiting.Digest()+"\t~1 a")
}

// What a preview cannot show in full it counts.
func TestPreviewIsBounded(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 100 {
		files[fmt.Sprintf("c%02d.yaml", i)] = "x: 1\ny: 2"
	}
	h := newHost(t, files)
	for name := range files {
		h.write(name, "x: 2")
	}
	await(t, "the change of all", func() bool { return strings.Contains(h.call("diff", "1").stderr, "100 configs changed, 200 keys") })
	o := h.call("rollback", "1", "--dry-run")
	o.has(t, exitOK, "~ c00\n    ~ x  2 → 1\n    + y  2\n", "… and 260 more\n", "100 configs changed, 200 keys.")
	h.call("diff", "1").has(t, exitNo, "~ c99\n    ~ x  1 → 2\n    - y  2\n")
}

// A user that may not command is told what to do.
func TestNotPermitted(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	h := threeGenerations(t)
	for dir := filepath.Dir(h.region); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	program := filepath.Join(filepath.Dir(h.region), "statesync")
	if err := errors.Join(err, os.WriteFile(program, self, 0o755), os.Chmod(h.state, 0o755)); err != nil {
		t.Fatal(err)
	}
	as := func(args ...string) outcome {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = []string{actAsProgram + "=1", "STATESYNC_REGION=" + h.region, "GORACE=atexit_sleep_ms=0"}
		cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &stdout, &stderr
		cmd.SysProcAttr = &unix.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		_ = cmd.Run() // the code says it
		return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}
	advice := "; run it with sudo, as the daemon's user, or as a member of the daemon's --control-group\n"
	as("log").has(t, exitOK, "3 LIVE")
	as("pin", "-y").expect(t, exitNo, "", "control.sock: permission denied"+advice)
	if err := os.Chmod(filepath.Join(h.state, control.ControlName), 0o666); err != nil {
		t.Fatal(err)
	}
	as("pin", "-y").expect(t, exitNo, "", "uid 12345 may not command", advice)
	if h.State().Held {
		t.Error("it was pinned all the same")
	}
}

// Of a command that is not answered it is not known whether it was done.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	h := threeGenerations(t)
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			panic(http.ErrAbortHandler) // hangs up
		}
		_, _ = w.Write([]byte(`{"generation": 3}`))
	})}
	go server.Serve(l) //nolint:errcheck // it ends with an error
	defer server.Close()
	h.call("pin", "-y", "--control", path).expect(t, exitNo, "", "the daemon does not answer; whether it was done is not known")
}
