package match

import (
	"encoding/json"
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
		modeFile:      {Turns: []turn{turnOf(100*time.Microsecond, 50*time.Microsecond)}},
		modeStateSync: {Turns: []turn{turnOf(200*time.Microsecond, 100*time.Microsecond)}},
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
	// The mapped file is better than ours in all but the allocations.
	if len(page.Loses) != 3 || len(page.Charts) != 1 {
		t.Errorf("it loses at %q, with %d charts", page.Loses, len(page.Charts))
	}
	if t.Failed() {
		t.Log(page.Markdown)
	}
}
