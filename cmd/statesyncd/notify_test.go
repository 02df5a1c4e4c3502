//go:build unix

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
)

// manager is a service manager's end of a notify socket.
type manager struct {
	*testing.T
	path string
	conn *net.UnixConn

	mu       sync.Mutex
	messages []string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{T: t, path: filepath.Join(t.TempDir(), "notify")}
	var err error
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, err := m.conn.Read(buffer)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.messages = append(m.messages, string(buffer[:n]))
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		m.conn.Close()
		<-done
		if t.Failed() {
			t.Logf("the messages:\n%q", m.messages)
		}
	})
	return m
}

// lines are all that was said, in order.
func (m *manager) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, message := range m.messages {
		all = append(all, strings.Split(strings.TrimSuffix(message, "\n"), "\n")...)
	}
	return all
}

// heard waits for the nth line with a prefix, and returns what follows that.
func (m *manager) heard(prefix string, nth int) string {
	m.Helper()
	var rest string
	await(m.T, fmt.Sprintf("%s (%d)", prefix, nth), func() bool {
		n := 0
		for _, line := range m.lines() {
			if after, ok := strings.CutPrefix(line, prefix); ok {
				if n++; n == nth {
					rest = after
					return true
				}
			}
		}
		return false
	})
	return rest
}

// count is how often a line was said.
func (m *manager) count(line string) int {
	n := 0
	for _, l := range m.lines() {
		if l == line {
			n++
		}
	}
	return n
}

// The manager hears that the daemon is ready when it is, and what it does.
func TestServiceManager(t *testing.T) {
	m := newManager(t)
	h := newHost(t)
	h.env = []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=400000"}
	p := h.start("--lock-wait=2s")
	if wait, err := strconv.Atoi(m.heard("EXTEND_TIMEOUT_USEC=", 1)); err != nil || wait < 2_000_000 || wait > 120_000_000 {
		t.Error(wait, err)
	}
	// A daemon whose source has no config has not started, but its loop turns.
	m.heard("STATUS=nothing is published yet; refused: ", 1)
	m.heard("WATCHDOG=1", 3)
	if n := m.count("READY=1"); n != 0 {
		t.Error("it is ready without a generation")
	}
	h.put("x: 1\n")
	m.heard("READY=1", 1)
	m.heard("STATUS=generation 1, configs: 1, revision: dir@sha256:", 1)
	if !h.published() {
		t.Error("it is ready, and there is no generation")
	}

	// A revision that is refused is in the status, and adds no line.
	h.put("x: 'READY=1\nMAINPID=1\n")
	refused := m.heard("STATUS=generation 1, configs: 1, revision: ", 2)
	if !strings.Contains(refused, "; refused: a.yaml:") {
		t.Error(refused)
	}
	// A reload is a reload, also of what is refused.
	before := monotonic(t)
	h.signal(p, syscall.SIGHUP)
	usec, err := strconv.ParseInt(m.heard("MONOTONIC_USEC=", 1), 10, 64)
	if after := monotonic(t); err != nil || usec < before || usec > after {
		t.Errorf("MONOTONIC_USEC=%d is not from %d to %d: %v", usec, before, after, err)
	}
	m.heard("READY=1", 2)
	lines := m.lines()
	reloading := slices.Index(lines, "RELOADING=1")
	if reloading < 0 || !strings.HasPrefix(lines[reloading+1], "MONOTONIC_USEC=") || slices.Index(lines[reloading:], "READY=1") < 0 {
		t.Errorf("%q", lines)
	}

	h.signal(p, syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	m.heard("STOPPING=1", 1)
	lines = m.lines()
	if last := lines[slices.Index(lines, "STOPPING=1"):]; slices.Contains(last, "READY=1") || slices.Contains(last, "WATCHDOG=1") {
		t.Errorf("%q", last)
	}
	if m.count("READY=1") != 2 || m.count("MAINPID=1") != 0 {
		t.Errorf("%q", lines)
	}

	// A region that is gone on with makes a daemon ready, whatever the source is.
	h.start()
	m.heard("READY=1", 3)
}

// monotonic is the clock that systemd compares with, in µs.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano() / 1000
}

// A daemon that is stopped, or hangs, feeds no watchdog. A manager that hangs
// holds up no publication.
func TestWatchdogAndAManagerThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	filler, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	if err := filler.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil { // until the socket takes no more
		_, err = filler.Write([]byte("X=1"))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	h := newHost(t)
	h.env = []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=2000000"}
	h.put("x: 1\n")
	p := h.start()
	await(t, "the publication", h.published)
	beat := h.status().Heartbeat
	await(t, "three heartbeats", func() bool { return h.status().Heartbeat > beat+3*shm.HeartbeatInterval/2 })
	h.put("x: 2\n")
	await(t, "the next publication", func() bool { _, m, err := h.look(); return err == nil && m.Generation() == 2 })
	h.signal(p, syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}

	// Once there is room, what is said is the newest; a stopped process says
	// nothing.
	m := newManager(t)
	h.env[0] = "NOTIFY_SOCKET=" + m.path
	p = h.start()
	m.heard("WATCHDOG=1", 2)
	h.signal(p, syscall.SIGSTOP)
	await(t, "the process to stop", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	fed := m.count("WATCHDOG=1")
	// It would be fed twice in this time.
	beat = shm.Boottime()
	await(t, "a while", func() bool { return shm.Boottime() > beat+2*shm.HeartbeatInterval+shm.HeartbeatInterval/2 })
	if now := m.count("WATCHDOG=1"); now > fed+1 { // one may have been under way
		t.Errorf("a stopped daemon fed the watchdog %d times", now-fed)
	}
	h.signal(p, syscall.SIGCONT)
	m.heard("WATCHDOG=1", fed+2)
}
