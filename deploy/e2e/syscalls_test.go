package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// countSyscalls traces the application for some seconds, and holds the number
// of its syscalls against that of its reads. That takes a node that is this
// machine, or whose processes this machine sees, as it does those of kind's.
func countSyscalls(t *testing.T, d *daemon, app pod, r *reader) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("this needs the Debian package strace")
	}
	pid := processOf(app, "app")
	if pid == 0 {
		t.Skip("the application does not run on this machine")
	}
	theirs, writer := userOf(t, pid), userOf(t, processOf(thePod(t, d.namespace), "statesyncd"))
	t.Logf("the application runs as uid %s, and the daemon as uid %s", theirs, writer)
	if theirs == writer {
		t.Error("the application could write the region")
	}
	report := filepath.Join(t.TempDir(), "strace")
	trace := exec.Command("strace", "-f", "-c", "-U", "calls,name", "-o", report, "-p", strconv.Itoa(pid))
	var said bytes.Buffer
	trace.Stderr = &said
	if err := trace.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	time.Sleep(10 * time.Second)
	if err := trace.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = trace.Wait() // it ends by the signal
	ended := time.Now()
	text, err := os.ReadFile(report)
	if err != nil {
		t.Skipf("strace can't attach: %s", said.String())
	}
	reads := 0
	for _, l := range r.since(began) {
		if m := burst.FindStringSubmatch(l.text); m != nil && l.at.Before(ended) {
			n, _ := strconv.Atoi(m[1])
			reads += n
		}
	}
	m := regexp.MustCompile(`(?m)^\s*(\d+)\s+total$`).FindSubmatch(text)
	if m == nil || reads == 0 {
		t.Fatalf("%d reads, and strace says\n%s%s", reads, text, said.String())
	}
	calls, _ := strconv.Atoi(string(m[1]))
	t.Logf("%d reads and %d syscalls of all its threads in %.0f s:\n%s", reads, calls, ended.Sub(began).Seconds(), text)
	if calls > reads/10_000 {
		t.Error("reading makes syscalls")
	}
}

// processOf returns the process on this machine that runs a pod's command; 0
// where there is none.
func processOf(p pod, command string) int {
	cgroups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	uid := strings.ReplaceAll(p.Metadata.UID, "-", "[-_]")
	inPod := regexp.MustCompile("pod" + uid)
	for _, file := range cgroups {
		cgroup, err := os.ReadFile(file)
		if err != nil || !inPod.Match(cgroup) {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		if strings.TrimSpace(string(name)) == command {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}

// userOf returns the user that a process runs as.
func userOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Uid:\s+(\d+)`).FindSubmatch(text)
	return string(m[1])
}
