//go:build linux

package campaign

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var arm64All = flag.Bool("arm64.all", false, "run all tests of the emulated packages, and not only those where order matters")

// emulated is a package whose tests are run as arm64 binaries.
type emulated struct {
	name string // below the module's root
	// short are the tests in which threads or processes communicate. If it is empty,
	// the package is tested with -arm64.all only.
	short string
	// not are the tests that are left out, with what the emulator cannot do.
	not map[string][]string
}

const (
	// qemu-user 7.2 passes a SIGBUS on without the address of the fault, and so
	// a guard can't tell a fault in the region from one anywhere else.
	noFaultAddress = "a SIGBUS has no address under qemu-user"
	ownMemory      = "the memory cgroup is one that the emulator itself fills"
	noTracing      = "strace would see the emulator's own syscalls"
)

var arm64Packages = []emulated{
	{
		name:  "seqlock",
		short: "TestGoroutines|TestSlot|TestSteps|TestSequencesGrow|TestWords",
	},
	{
		name:  "shm",
		short: "TestFlatOut|TestWake|TestWaitInAnotherProcess|TestWaitIsBounded|TestGolden.*|TestSuccessor.*",
		not: map[string][]string{
			noFaultAddress: {
				"TestDamageUnderReaders", "TestEveryTouchIsGuarded", "TestTableIsGone", "TestForeignFault",
				"TestCreateReplacesWhatever", "TestHolesOnFullFileSystem", "TestWakeWithoutMemory",
			},
			ownMemory: {"TestSmallCgroup"},
		},
	},
	{name: "shm/image"},
	{
		name: "client",
		not: map[string][]string{
			noFaultAddress: {
				"TestCloseIsPromptWhereTheMemoryIsGone", "TestCloseIsPromptWhereTheRegionWasReplaced", "TestOpenRefusesADamagedRegion",
				"TestReadersSurviveWhatHappensToTheFile", "TestFollowerSurvivesWhatHappensToTheFile",
				"TestDamageIsAnErrorAndNoValue", "TestStatsCountRefreshesAndFaults",
			},
			noTracing: {"TestIdleClientSleeps", "TestReadingMakesNoSyscall"},
		},
	},
}

// TestArm64 runs the tests of the packages that share memory as binaries for
// arm64, whose loads and stores the emulator translates into those of this
// machine. So it shows that the code which the compiler generates for arm64 works,
// also between processes. It cannot show an order that arm64 allows and amd64 does
// not.
func TestArm64(t *testing.T) {
	qemu := debian(t, "qemu-user", "qemu-aarch64")
	// Other users have to get to the binaries, which a test's own folder forbids.
	dir, err := os.MkdirTemp("", "statesync-arm64-")
	ok(t, err)
	t.Cleanup(func() { ok(t, os.RemoveAll(dir)) })
	ok(t, os.Chmod(dir, 0o755))
	var tests, left int
	var packages []string
	for _, p := range arm64Packages {
		if p.short == "" && !*arm64All {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			began := time.Now()
			passed, skipped := p.run(t, p.build(t, dir, qemu))
			t.Logf("%d tests passed and %d were skipped, in %v with building", passed, skipped, time.Since(began).Round(time.Millisecond))
			tests, left = tests+passed, left+skipped
		})
		packages = append(packages, p.name)
		for why, names := range p.not {
			left += len(names)
			t.Logf("%s: left out, because %s: %s", p.name, why, strings.Join(names, ", "))
		}
	}
	lost := "nothing"
	if t.Failed() {
		lost = "see the log"
	}
	report(t, "the protocol is the same on arm64",
		fmt.Sprintf("%d tests of %s as arm64 binaries under qemu-user, %d left out", tests, strings.Join(packages, ", "), left), lost)
}

// build compiles the tests of a package and returns how they are started: a
// script, so that they can also start themselves again.
func (p *emulated) build(t *testing.T, dir, qemu string) string {
	t.Helper()
	script := filepath.Join(dir, filepath.Base(p.name)+".test")
	binary := script + ".arm64"
	cmd := exec.Command("go", "test", "-c", "-o", binary, "./"+p.name)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	// A test that copies the script for another user copies the path in it too.
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' -0 \"$0\" '%s' \"$@\"\n", qemu, binary)
	ok(t, os.WriteFile(script, []byte(text), 0o755))
	return script
}

// run runs the tests of a package, in its folder, and counts them.
func (p *emulated) run(t *testing.T, script string) (passed, skipped int) {
	t.Helper()
	limit := time.Minute
	args := []string{"-test.v"}
	if *arm64All {
		limit = 10 * time.Minute
	} else {
		args = append(args, "-test.short", "-test.run=^("+p.short+")$")
	}
	var not []string
	for _, names := range p.not {
		not = append(not, names...)
	}
	if len(not) > 0 {
		args = append(args, "-test.skip=^("+strings.Join(not, "|")+")$")
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, script, args...)
	cmd.Dir = filepath.Join("..", "..", p.name)
	cmd.WaitDelay = time.Second // children keep the pipe open
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.HasPrefix(line, "--- PASS"):
			passed++
		case strings.HasPrefix(line, "--- SKIP"):
			skipped++
		}
	}
	if err != nil || passed == 0 {
		t.Errorf("%s: %v, %d tests passed\n%s", strings.Join(cmd.Args, " "), err, passed, out)
	}
	return passed, skipped
}

// debian finds a program of a Debian package, or skips the test.
func debian(t testing.TB, pkg, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("this takes %s of Debian's package %s", program, pkg)
	}
	return path
}
