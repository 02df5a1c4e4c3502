package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/shm/shmtest"
)

// TestReadingMakesNoSyscall counts, with strace, the syscalls of a thread that
// reads a million times in every way there is. The program is one of its own,
// without the race detector, which has syscalls to make.
func TestReadingMakesNoSyscall(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs Debian's package strace")
	}
	program := filepath.Join(t.TempDir(), "reading")
	shmtest.Go(t, "build", "-o", program, "./testdata/reading")
	r := clienttest.New(t)
	r.Publish(map[string]any{"matchmaker": weights{Elo: 1500}})
	log := filepath.Join(t.TempDir(), "strace")
	child := exec.Command(strace, "-f", "-o", log, program, r.Dir())
	if out, err := child.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "PTRACE") {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// The thread that reads marks the beginning and the end with an mkdir of a
	// path that can't be.
	var reader string
	var between []string
	for line := range strings.Lines(string(text)) {
		thread, _, _ := strings.Cut(line, " ")
		switch {
		case strings.Contains(line, "/nowhere/begin"):
			reader = thread
		case reader != "" && strings.Contains(line, "/nowhere/end"):
			if len(between) > 0 {
				t.Errorf("%d syscalls in 1,000,000 reads:\n%s", len(between), strings.Join(between, ""))
			}
			return
		case reader == thread && reader != "" && !isScheduler(line):
			between = append(between, line)
		}
	}
	t.Fatalf("strace never saw the marks; its last lines: %s", text[max(0, len(text)-2000):])
}

// isScheduler says whether a line of strace's is about Go's scheduler, which
// preempts a thread that computes for long: by a signal, and with futexes of
// the process's own, after which the thread may collect garbage, with memory of
// its own. The region's futex and mapping are never private ones.
func isScheduler(line string) bool {
	for _, mark := range []string{"--- SIG", "rt_sigreturn", "_PRIVATE", "sched_yield", "futex resumed", "mmap resumed", "mkdirat resumed", "mkdir resumed"} {
		if strings.Contains(line, mark) {
			return true
		}
	}
	return false
}

// TestReadingAllocatesNothing is the same for the heap.
func TestReadingAllocatesNothing(t *testing.T) {
	r := clienttest.New(t)
	r.Publish(map[string]any{"matchmaker": map[string]any{"elo": 1500, "ping": 0.5, "name": "ranked", "on": true}})
	c := r.Client()
	b := client.Bind[weights](c, "matchmaker")
	k := client.BindKey(c, "matchmaker", "elo", 0)
	doc, err := c.Get("matchmaker")
	if err != nil {
		t.Fatal(err)
	}
	snapshot := c.Snapshot()
	for name, read := range map[string]func(){
		"Binding.Get":     func() { b.Get() },
		"Binding.In":      func() { b.In(snapshot) },
		"KeyBinding.Get":  func() { k.Get() },
		"KeyBinding.In":   func() { k.In(snapshot) },
		"Client.Snapshot": func() { c.Snapshot() },
		"Client.Get":      func() { _, _ = c.Get("matchmaker") },
		"Doc.Int":         func() { _, _ = doc.Int("elo") },
		"Doc.Float":       func() { _, _ = doc.Float("ping") },
		"Doc.Str":         func() { _, _ = doc.Str("name") },
		"Doc.Bool":        func() { _, _ = doc.Bool("on") },
	} {
		if n := testing.AllocsPerRun(1000, read); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
