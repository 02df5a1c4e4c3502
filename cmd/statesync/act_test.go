package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
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

// On a terminal, a command shows what it would change and asks; everything but yes is no.
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
