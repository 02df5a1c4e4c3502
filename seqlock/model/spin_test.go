package model

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// This file runs spin: a model and its macros become a C program, pan, which
// searches all states and says what it found.

// No clock bounds a search: its states are finite, and so is its memory.
const (
	searchMemory = 2000    // MB; pan gives up when it needs more
	searchDepth  = 100_000 // steps; deeper than any search goes
)

// search is one run of a model.
type search struct {
	model  string // ring, notify or retire
	k      int
	bounds string // macros of the model: "LAST=5 DEATHS=2"
	small  bool   // soon over: compiling is what takes the time
	all    bool   // go on after a broken promise, until all that can be are known
}

func (s search) String() string { return fmt.Sprintf("%s K=%d %s", s.model, s.k, s.bounds) }

// found is what a search said.
type found struct {
	states, depth int
	took          time.Duration // of the search alone
	broken        []string      // promises, in pan's words, sorted
	unreached     map[string]bool
	trail         string // the end of the way to it
}

// needSpin skips a test where there is no spin.
func needSpin(t *testing.T) {
	t.Helper()
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs Debian's package %s: apt-get install spin gcc", program)
		}
	}
}

var (
	statesLine    = regexp.MustCompile(`(?m)^\s*(\d+) states, stored`)
	depthLine     = regexp.MustCompile(`(?m)^State-vector \d+ byte, depth reached (\d+), errors: (\d+)`)
	violationLine = regexp.MustCompile(`(?m)^pan:\d+: (.*) \(at depth \d+\)`)
	unreachedLine = regexp.MustCompile(`(?m)^\s+(\S+\.pml:\d+), state \d+, (".*")$`)
)

// run makes pan of a model and lets it search. An error is one of the tools,
// or says that the search was not exhausted; a broken promise is none.
func (s search) run(t *testing.T) (found, error) {
	t.Helper()
	dir, file := t.TempDir(), s.model+".pml"
	text, err := os.ReadFile(file)
	if err != nil {
		return found{}, err
	}
	if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
		return found{}, err
	}
	tool := func(name string, args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), name, args...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%v: %s: %w\n%s", s, filepath.Base(name), err, out)
		}
		return string(out), err
	}

	macros := []string{fmt.Sprintf("-DK=%d", s.k)}
	for macro := range strings.FieldsSeq(s.bounds) {
		macros = append(macros, "-D"+macro)
	}
	if out, err := tool("spin", append(macros, "-a", file)...); err != nil {
		return found{}, err
	} else if strings.Contains(out, "rror:") {
		return found{}, fmt.Errorf("%v: spin: %s", s, out)
	}
	optimize, hash := "-O2", "-w24"
	if s.small {
		optimize, hash = "-O0", "-w18"
	}
	if _, err := tool("gcc", "-w", optimize, "-DSAFETY", fmt.Sprintf("-DMEMLIM=%d", searchMemory), "-o", "pan", "pan.c"); err != nil {
		return found{}, err
	}
	errorsWanted := "-c1"
	if s.all {
		errorsWanted = "-c0"
	}
	began := time.Now()
	out, err := tool(filepath.Join(dir, "pan"), fmt.Sprintf("-m%d", searchDepth), hash, errorsWanted)
	if err != nil && !violationLine.MatchString(out) {
		return found{}, err
	}
	f, err := understand(out)
	if err != nil {
		return found{}, fmt.Errorf("%v: %w; pan said:\n%s", s, err, out)
	}
	f.took = time.Since(began)
	if len(f.broken) > 0 && !s.all {
		f.trail, err = tool("spin", append(macros, "-t", "-p", "-g", file)...)
	}
	return f, err
}

// understand reads what pan says. Anything is an error but a whole search
// without a finding, and one with broken promises.
func understand(out string) (f found, err error) {
	states, depth := statesLine.FindStringSubmatch(out), depthLine.FindStringSubmatch(out)
	if states == nil || depth == nil {
		return f, errors.New("the search did not come to its end")
	}
	f.states, _ = strconv.Atoi(states[1])
	f.depth, _ = strconv.Atoi(depth[1])
	for _, bad := range []string{"max search depth too small", "out of memory", "memory limit", "invalid array index", "aborting"} {
		if strings.Contains(out, bad) {
			return f, fmt.Errorf("the search was not exhausted, or is worth nothing: %s", bad)
		}
	}
	for _, needed := range []string{"Full statespace search", "assertion violations\t+", "invalid end states\t+"} {
		if !strings.Contains(out, needed) {
			return f, fmt.Errorf("pan did not look for everything: there is no %q", needed)
		}
	}
	for _, violation := range violationLine.FindAllStringSubmatch(out, -1) {
		f.broken = append(f.broken, strings.TrimPrefix(violation[1], "assertion violated "))
	}
	slices.Sort(f.broken)
	f.broken = slices.Compact(f.broken)
	switch {
	case len(f.broken) > 0:
		return f, nil
	case depth[2] != "0" || strings.Contains(out, "Search not completed"):
		return f, errors.New("the search ended early, and pan does not say why")
	}
	f.unreached = map[string]bool{}
	for _, line := range unreachedLine.FindAllStringSubmatch(out, -1) {
		f.unreached[line[1]+" "+line[2]] = true
	}
	return f, nil
}

// lastLines is the end of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
