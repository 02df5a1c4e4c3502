//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/shm/shmtest"
)

func TestMain(m *testing.M) {
	serveIfServer()
	os.Exit(m.Run())
}

// A small fleet goes through everything, and has a figure for each.
func TestFleet(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	bin := t.TempDir()
	shmtest.Go(t, "build", "-o", bin, "github.com/statesync/statesync/cmd/...")
	var report strings.Builder
	err := measure(trial{
		first: 1, hosts: 2, interval: 200 * time.Millisecond, calm: time.Second / 2, changes: 1, outage: time.Second / 2, trouble: time.Second / 4,
		statesyncd: filepath.Join(bin, "statesyncd"), statesync: filepath.Join(bin, "statesync"), command: "go test",
	}, &report)
	if err != nil {
		t.Fatalf("%v\n%s", err, report.String())
	}
	for _, row := range []string{"Changes, 1 host", "Changes, 2 hosts", "| git down |", "| bundle down |", "| git garbage |", "| bundle garbage |"} {
		if !strings.Contains(report.String(), row) {
			t.Errorf("the report has no %q", row)
		}
	}
	t.Log(report.String())
}
