package visible

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/report"
)

func TestMain(m *testing.M) {
	process.Main()
	m.Run()
}

// TestMeasure times changes to four readers: one that is woken, ours that
// follows and ours that is exact, and one that watches a file.
func TestMeasure(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "statesync-peers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	only := []string{"futex", "binding", "snapshot", "filevar"}
	run := &report.Run{Only: only, Rounds: 2, Updates: 10, Dir: t.TempDir(), Shm: shm, Log: io.Discard, Begun: time.Now()}
	raw, err := Section{}.Measure(t.Context(), run, nil)
	if err != nil {
		t.Fatal(err)
	}
	results := map[string]*Result{}
	if err := json.Unmarshal(raw, &results); err != nil {
		t.Fatal(err)
	}
	for _, name := range only {
		r := results[name]
		if r == nil || r.Failed != "" || len(r.Calm) != 2 || len(r.Busy) != 2 {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		for _, s := range append(r.Calm, r.Busy...) {
			if name == "filevar" && len(s.Renamed) != len(s.Nanoseconds) || name != "filevar" && s.Renamed != nil {
				t.Errorf("%s has %d times, and %d from a rename", name, len(s.Nanoseconds), len(s.Renamed))
			}
			for i, ns := range s.Renamed {
				if ns <= 0 || ns >= s.Nanoseconds[i] {
					t.Errorf("%s saw a change %v ns after the rename, and %v ns after it was begun", name, ns, s.Nanoseconds[i])
				}
			}
			for _, ns := range s.Nanoseconds {
				if ns <= 0 {
					t.Errorf("%s saw a change %v ns before it was made", name, -ns)
				}
			}
		}
	}
	page, err := Section{}.Render(raw)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.Markdown, "**StateSync, Snapshot and In**") || len(page.Charts) != 2 {
		t.Errorf("%d charts, and the document is\n%s", len(page.Charts), page.Markdown)
	}
}
