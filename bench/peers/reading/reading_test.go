package reading

import (
	"encoding/json"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/report"
)

func TestMain(m *testing.M) {
	process.Main()
	m.Run()
}

// TestMeasure measures three contestants in processes of their own, and then
// one of them anew.
func TestMeasure(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "statesync-peers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	run := &report.Run{Only: []string{"pointer", "binding", "readfile"}, Rounds: 1, Dir: t.TempDir(), Shm: shm, Log: io.Discard, Begun: time.Now()}
	raw, err := Section{}.Measure(t.Context(), run, nil)
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]*Result{}
	if err := json.Unmarshal(raw, &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 3 {
		t.Fatalf("%d results, want 3", len(results))
	}
	for name, r := range results {
		if r.Failed != "" {
			t.Errorf("%s failed: %s", name, r.Failed)
		}
		for _, size := range config.Sizes {
			s := r.Sizes[size]
			if s == nil || len(s.Serial) != 1 || len(s.Parallel) != 1 || s.Serial[0].Nanoseconds <= 0 {
				t.Errorf("%s, %d bytes: samples %+v", name, size, s)
			}
		}
	}
	if r := results["readfile"]; r.Reads > 0 && r.Syscalls < 4 {
		t.Errorf("reading a file makes %v syscalls, want open, fstat, read and close at least", r.Syscalls)
	}
	if r := results["binding"]; r.Syscalls > 0.01 {
		t.Errorf("Binding.Get makes %v syscalls", r.Syscalls)
	}

	run.Only, run.Dir = []string{"pointer"}, t.TempDir()
	again, err := Section{}.Measure(t.Context(), run, raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []json.RawMessage{raw, again} {
		page, err := Section{}.Render(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"**StateSync, `Binding.Get`**", "`atomic.Pointer`", "`os.ReadFile`"} {
			if !strings.Contains(page.Markdown, want) {
				t.Errorf("the document lacks %s:\n%s", want, page.Markdown)
			}
		}
		if !slices.ContainsFunc(page.Charts, func(c report.Chart) bool { return c.Name == "reading" && len(c.SVG) > 1000 }) {
			t.Error("there is no chart")
		}
	}
}

// TestIsCall tells calls from what else is in a log of strace's.
func TestIsCall(t *testing.T) {
	for line, want := range map[string]bool{
		`123   read(3, "", 5) = 0`:                               true,
		`123   epoll_pwait(4, [], 128, 0, NULL, 0) = 0`:          true,
		`123   futex(0xc0, FUTEX_WAIT, 1, NULL <unfinished ...>`: true,
		`123   <... futex resumed>) = 0`:                         false,
		`123   nanosleep({tv_sec=0, tv_nsec=20000}, NULL) = 0`:   false,
		`123   --- SIGURG {si_signo=SIGURG} ---`:                 false,
		`123   rt_sigreturn({mask=[]}) = 1`:                      false,
		`123   +++ exited with 0 +++`:                            false,
		``:                                                       false,
	} {
		if isCall(line) != want {
			t.Errorf("isCall(%q) is %v", line, !want)
		}
	}
}
