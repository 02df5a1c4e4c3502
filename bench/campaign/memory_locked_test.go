//go:build linux

package campaign

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An application that locks its memory locks its region, too. A region with one small
// image takes little, and fits the usual limit of an unprivileged process.
func TestMemoryLocked(t *testing.T) {
	const (
		kib, mib = 1 << 10, 1 << 20
		usual    = 8 * mib // RLIMIT_MEMLOCK
		opens    = 9
	)
	h, binary := memoryLockable(t)
	run := func(as *syscall.SysProcAttr, args ...string) *process {
		cmd := exec.Command(binary, args...)
		cmd.Dir, cmd.SysProcAttr = "/", as
		return start(t, cmd)
	}
	_, naked, _ := memoryOpened(t, run(nil))
	var times []time.Duration
	var locked []int64
	for range opens {
		took, before, after := memoryOpened(t, run(nil, h.region))
		times, locked = append(times, took), append(locked, after-before)
	}
	slices.Sort(times)
	slices.Sort(locked)
	// Now and then Go reserves another arena meanwhile, whose 64 MiB count as locked.
	if locked[opens/2] >= 4*mib {
		t.Errorf("opening the region has locked %d KiB", locked[opens/2]/kib)
	}

	// The limit ends Go's heap, with a region or without, and now and then before it has
	// a MiB: it grows by 4 MiB, and its threads take some, which all count as a whole.
	limited := []string{"-future", "-memlock=" + strconv.Itoa(usual), "-heap=" + strconv.Itoa(usual/mib)}
	var without, with int
	for range opens {
		without = max(without, memoryHeap(t, run(trustAs(trustStranger), limited...)))
		with = max(with, memoryHeap(t, run(trustAs(trustStranger), append(limited, h.region)...)))
	}
	if with == 0 {
		t.Errorf("no process with %d MiB of RLIMIT_MEMLOCK had room for a MiB of heap with a region, and for %d MiB without", usual/mib, without)
	}
	h.alive()
	h.stop()
	report(t, "an application that locks its memory opens a region",
		fmt.Sprintf("mlockall beside the %d MiB of Go's own that count as locked without a region; unprivileged with RLIMIT_MEMLOCK of %d MiB, which ends Go's heap at %d MiB at the most without a region",
			naked/mib, usual/mib, without),
		fmt.Sprintf("nothing: %d KiB more are locked, in %v (median of %d, worst %v); with the limit, up to %d MiB of heap",
			locked[opens/2]/kib, times[opens/2], opens, times[opens-1], with))
}

// In a memory cgroup such an application is charged for all pages of the region that
// it locks. It is not killed, not even when the region grows.
func TestMemoryLockedCgroup(t *testing.T) {
	const (
		kib, mib = 1 << 10, 1 << 20
		group    = 200 * mib
	)
	h, binary := memoryLockable(t)
	cgroup, limit, usage := memoryCgroup(t)
	ok(t, os.WriteFile(limit, []byte(strconv.Itoa(group)), 0o644))
	inside := start(t, exec.Command("sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(cgroup, "cgroup.procs"), binary, h.region))
	if said := inside.line(t); !strings.HasPrefix(said, "opened ") {
		t.Fatal(said)
	}
	for _, size := range []int{1000, 160 * kib, 1000} {
		g := trustGeneration(t, h.region)
		h.publish(size)
		for at := uint64(0); at <= g; {
			if _, err := fmt.Sscanf(inside.line(t), "generation %d", &at); err != nil {
				t.Fatal(err)
			}
		}
	}
	took := memoryNumber(t, usage)
	inside.finish(t)
	h.alive()
	h.stop()
	report(t, "an application that locks its memory lives in a small memory cgroup",
		fmt.Sprintf("a limit of %d MiB, %d MiB used, behind a growth", group/mib, took/mib), "nothing")
}

// memoryLockable is a host with one small image in its region, and an
// application that locks it.
func memoryLockable(t *testing.T) (h *memoryHost, binary string) {
	t.Helper()
	h = newMemoryHost(t, trustParent(t))
	h.start()
	await(t, "the first publication", func() bool { h.alive(); _, _, err := h.look(); return err == nil })
	binary = build(t, "github.com/statesync/statesync/bench/campaign/locked")
	ok(t, os.Chmod(filepath.Dir(binary), 0o755))
	return h, binary
}

// memoryOpened ends a process that opened a region, and returns what it says of
// that: how long it took, and the bytes that were locked before and after.
func memoryOpened(t testing.TB, p *process) (took time.Duration, before, after int64) {
	t.Helper()
	line := p.line(t)
	if _, err := fmt.Sscanf(line, "opened %d %d %d", &took, &before, &after); err != nil {
		t.Fatal(line)
	}
	p.finish(t)
	return took * time.Microsecond, before << 10, after << 10
}

// memoryHeap is how much heap a process had room for, in MiB. Go ends one that
// has no more, which may be before it has opened the region.
func memoryHeap(t testing.TB, p *process) (mib int) {
	t.Helper()
	_ = p.stdin.Close()
	for line := range p.Lines {
		if strings.HasPrefix(line, "error: ") {
			t.Error(line)
		}
		_, _ = fmt.Sscanf(line, "heap %d", &mib) // or the generation
	}
	return mib
}
