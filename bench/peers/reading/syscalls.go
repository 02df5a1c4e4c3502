package reading

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/statesync/statesync/bench/peers/contestant"
	"github.com/statesync/statesync/bench/peers/process"
)

var errNoStrace = errors.New("strace is not installed: apt-get install strace")

// straceReads is how many reads of so many nanoseconds strace watches: enough
// to make what the runtime does now and then small, and not more than a moment.
func straceReads(ns float64) int { return max(200, min(1_000_000, int(20e6/max(ns, 1)))) }

// countSyscalls counts the syscalls that n reads make, in all threads, with
// strace. Those by which Go's scheduler looks after itself while they last are
// not counted: the sleeps of its monitor, and preemption by signals.
func countSyscalls(ctx context.Context, c *contestant.Contestant, p contestant.Place, n int) (perRead float64, err error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Geteuid() != 0 || exec.CommandContext(ctx, "apt-get", "install", "-y", "-qq", "strace").Run() != nil {
			return 0, errNoStrace
		}
		strace = "strace"
	}
	place, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	log := filepath.Join(p.Dir, "strace")
	defer os.Remove(log)
	child, err := process.StartUnder(ctx, []string{strace, "-f", "-o", log}, readerPart, c.Name, string(place))
	if err != nil {
		return 0, err
	}
	if _, err = fmt.Fprintf(child.In, "marked %d\n", n); err == nil {
		_, err = child.Line(ctx)
	}
	if err := errors.Join(err, child.Stop()); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return 0, err
	}
	_, rest, begun := strings.Cut(string(text), beginMark)
	between, _, ended := strings.Cut(rest, endMark)
	if !begun || !ended {
		return 0, fmt.Errorf("strace of %s: its log has no marks", c.Name)
	}
	count := 0
	for line := range strings.Lines(between) {
		if isCall(line) {
			count++
		}
	}
	return float64(count) / float64(n), nil
}

// isCall reports whether a line of strace's is the beginning of a syscall that is
// the program's doing.
func isCall(line string) bool {
	_, call, _ := strings.Cut(strings.TrimSpace(line), " ")
	call = strings.TrimSpace(call)
	for _, other := range []string{"<...", "---", "+++", "nanosleep(", "rt_sigreturn(", "tgkill(", "getpid(", "sched_yield(", "mkdir"} {
		if strings.HasPrefix(call, other) {
			return false
		}
	}
	return strings.Contains(call, "(")
}
