package match

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRender(t *testing.T) {
	turnOf := func(p99, cpu time.Duration, changes ...change) turn {
		return turn{
			Calm: latency{Answered: 1000, P50: p99 / 2, P99: p99, P999: 2 * p99}, Changing: latency{Answered: 1000, P99: 3 * p99},
			Quiet: spent{
				Requests: 1000, For: time.Second, Service: 1000 * cpu / 2, Stack: 1000 * cpu,
				Usage: usage{Reads: 1000, Objects: 50_000, Pauses: pauses{{Seconds: 1e-4, Count: 99}, {Seconds: 1e-3, Count: 1}}},
			},
			Changes: changes,
		}
	}
	r := result{Rate: 1500, CachedOf: 50_000, CalmFor: 3 * time.Second, StoppedIn: 10 * time.Second, Modes: map[string]*modeResult{
		modeGRPC: {
			Turns: []turn{turnOf(time.Millisecond, 400*time.Microsecond, change{
				Call: 50 * time.Millisecond, Seen: 51 * time.Millisecond, Reads: 1100, Spent: 450 * time.Millisecond, Long: time.Second,
			})},
			Outages: []outage{{What: "Redis", During: latency{Answered: 1, Failed: 3, Worst: time.Second}, After: time.Second}},
		},
		modeFile: {Turns: []turn{turnOf(100*time.Microsecond, 50*time.Microsecond)}},
		modeReplica: {Turns: []turn{turnOf(time.Millisecond, 400*time.Microsecond, change{
			Call: time.Millisecond, Seen: 2 * time.Millisecond, Stale: 2 * time.Millisecond, Long: time.Second,
		})}},
		modeStateSync: {Turns: []turn{turnOf(200*time.Microsecond, 100*time.Microsecond, change{
			Call: time.Millisecond, Seen: 3 * time.Millisecond, Stale: 2100 * time.Microsecond, Long: time.Second,
		})}},
	}}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	page, err := Section{}.Render(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1500 requests a second", "| gRPC + Redis, synchronous | 500 µs | 1.00 ms | 2.00 ms | none | 3.00 ms |",
		"| this project | 50.0 µs | 100 µs | 25 % | – | 50 |", "| 100 µs | 1.00 ms |",
		"| gRPC + Redis, synchronous | 50.0 ms | 51.0 ms | none | 400 ms (Lua flush) | 1100 | 100 | 50.0 ms |",
		"| gRPC + Redis, synchronous | Redis | 3 of 4 (75 %) | 1.00 s | 1.00 s |", "deletes 50,000 keys", "stops for 10 s",
	} {
		if !strings.Contains(page.Markdown, want) {
			t.Errorf("the section has no %q", want)
		}
	}
	if strings.Contains(page.Markdown, "%!") {
		t.Error("a text and its figures do not fit together")
	}
	// The mapped file has the shorter times, no changes, and as many allocations;
	// the replica the earlier answer, and one that is later by too little. Nothing
	// is stale with gRPC.
	want := []string{
		"Under load, a request's P99 in calm: this project has 200 µs; better are the origin's mapped file (100 µs).",
		"Under load, a request's P99.9 in calm: this project has 400 µs; better are the origin's mapped file (200 µs).",
		"Under load, a request's P99 in a change: this project has 600 µs; better are the origin's mapped file (300 µs).",
		"Under load, from a change to the first new answer: this project has 3.00 ms; better are a Redis replica on the host (2.00 ms).",
		"Under load, from a change to the last old answer: this project has 2.10 ms; better are gRPC + Redis, synchronous (none).",
		"Under load, the CPU of the whole stack for a request: this project has 100 µs; better are the origin's mapped file (50.0 µs).",
	}
	if !slices.Equal(page.Loses, want) || len(page.Charts) != 1 {
		t.Errorf("it loses at\n%s\nand not at\n%s\nwith %d charts", strings.Join(page.Loses, "\n"), strings.Join(want, "\n"), len(page.Charts))
	}
	if t.Failed() {
		t.Log(page.Markdown)
	}
}
