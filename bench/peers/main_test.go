package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/bench/peers/process"
)

func TestMain(m *testing.M) {
	process.Main()
	m.Run()
}

func TestChoose(t *testing.T) {
	for only, want := range map[string]string{
		"":                "reading visible match scaling /",
		"reading":         "reading /",
		"viper,koanf":     "reading visible / viper koanf",
		"visible,etcd":    "visible / etcd",
		"rwmutex":         "reading / rwmutex",
		"unknown":         "error",
		"reading,futex":   "error", // nothing to read there
		"visible,reading": "reading visible /",
	} {
		wanted, contestants, err := choose(only)
		var names []string
		for _, s := range wanted {
			names = append(names, s.Name())
		}
		got := strings.TrimSpace(strings.Join(names, " ") + " / " + strings.Join(contestants, " "))
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("--only %q chooses %q (%v), want %q", only, got, err, want)
		}
	}
}

// TestCommand measures one contestant, and words the document once more.
func TestCommand(t *testing.T) {
	f := flags{out: t.TempDir(), only: "reading,pointer", rounds: 1, updates: 1}
	var log bytes.Buffer
	if err := execute(t.Context(), f, nil, &log, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	path := filepath.Join(f.out, "RESULTS.md")
	first, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(first, []byte("`atomic.Pointer`")) {
		t.Fatalf("the document is %s (%v)", first, err)
	}
	f.render, f.only = true, ""
	if err := execute(t.Context(), f, nil, &log, &log); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); !slices.Equal(first, again) {
		t.Errorf("worded anew it differs (%v):\n%s", err, again)
	}
	if err := os.Remove(filepath.Join(f.out, "results.json")); err != nil {
		t.Fatal(err)
	}
	f = flags{out: f.out, only: "pointer", rounds: 1, updates: 1}
	if err := execute(t.Context(), f, nil, &log, &log); err == nil || !strings.Contains(err.Error(), "--out") {
		t.Errorf("one contestant takes the place of a section: %v", err)
	}
	if err := execute(t.Context(), flags{rounds: 0}, nil, &log, &log); err == nil {
		t.Error("no rounds are accepted")
	}
	var out bytes.Buffer
	if err := execute(t.Context(), flags{list: true, rounds: 1, updates: 1}, nil, &out, &log); err != nil || !strings.Contains(out.String(), "koanf") {
		t.Errorf("the list is %s (%v)", out.String(), err)
	}
}
