package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/statesync/statesync/shm/shmtest"
)

// The way back as an operator goes it, with the real programs: testdata/night.txtar is
// written to be read.
func TestNight(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	shmtest.Go(t, "build", "-o", bin, "../statesyncd")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "statesync")); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files:               []string{"testdata/night.txtar"},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv(actAsProgram, "1") // of the link
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			e.Setenv("STATESYNC_REGION", filepath.Join(e.WorkDir, "region"))
			e.Setenv("STATESYNC_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			e.Setenv("STATESYNC_SOURCE", "dir:"+filepath.Join(e.WorkDir, "config"))
			e.Setenv("STATESYNC_LISTEN", "off")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"eventually": eventually, "setjson": setJSON},
	})
}

// eventually runs a command until it succeeds.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually program [args...]")
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = ts.Exec(args[0], args[1:]...); err == nil {
			return
		}
	}
	ts.Fatalf("waited in vain: %v", err)
}

// setJSON sets a variable to a field of the JSON that the last command printed.
func setJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: setjson VARIABLE field.of.the.output")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for field := range strings.SplitSeq(args[1], ".") {
		object, _ := v.(map[string]any)
		if v = object[field]; v == nil {
			ts.Fatalf("the output has no %s", args[1])
		}
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}
