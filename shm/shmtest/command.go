//go:build unix

package shmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// GoCommand is a go command that compiles: verb is build, run, or the like. It
// compiles as `make build` does, without cgo and with trimmed paths. The build cache
// then has one copy of the standard library and of the dependencies for all programs
// that tests build, besides the copy for the race detector. Each other configuration
// costs minutes of processor time on a machine whose cache is empty. Programs have no
// debugging information, which takes a third of the time of linking one.
func GoCommand(verb string, args ...string) *exec.Cmd {
	cmd := exec.Command("go", append([]string{verb, "-race=false", "-trimpath", "-ldflags=-w"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd
}

// Go runs a GoCommand and returns what it writes, errors included. It fails the test at
// once if the command fails.
func Go(t testing.TB, verb string, args ...string) string {
	t.Helper()
	cmd := GoCommand(verb, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// Times is how often a test tries what may go wrong by chance: less often with -short.
func Times(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// Some are the cases of a test that any of them can fail: all of them, and with -short n
// of them, by chance.
func Some[C any](cases map[string]C, n int) map[string]C {
	if !testing.Short() {
		return cases
	}
	some := make(map[string]C, n)
	for name, c := range cases { // in any order
		if len(some) == n {
			break
		}
		some[name] = c
	}
	return some
}

// WithoutRaceDetector runs the calling test once more, in a binary without the race
// detector, whose atomic operations are the machine's own instructions. With -short it
// does not, since that compiles the package and its tests anew.
func WithoutRaceDetector(t *testing.T) {
	t.Helper()
	if testing.Short() {
		return
	}
	binary := filepath.Join(t.TempDir(), "norace.test")
	Go(t, "test", "-c", "-o", binary, ".")
	cmd := exec.Command(binary, "-test.run=^"+t.Name()+"$")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("without the race detector: %v\n%s", err, out)
	}
}
