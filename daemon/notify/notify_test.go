//go:build unix

package notify

import (
	"bytes"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socket is a manager's end.
func socket(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	buffer := make([]byte, 4096)
	n, err := c.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

func TestWithoutAManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := New(slog.New(slog.DiscardHandler), 0)
	if n != nil {
		t.Error("New made a notifier without a NOTIFY_SOCKET")
	}
	n.Observe(&daemon.State{Reloading: true})
	n.Observe(&daemon.State{Ready: true})
	n.Stopping()
	n.Close()
}

func TestMessages(t *testing.T) {
	c := socket(t)
	n := New(slog.New(slog.DiscardHandler), 10*time.Second)
	if got := receive(t, c); !strings.HasPrefix(got, "EXTEND_TIMEOUT_USEC=40000000\nSTATUS=starting") {
		t.Errorf("%q", got)
	}
	n.Observe(&daemon.State{Reloading: true}) // is part of the start
	n.Observe(&daemon.State{})
	if got := receive(t, c); got != "STATUS=waiting for a first good revision" {
		t.Errorf("%q", got)
	}
	n.Observe(&daemon.State{}) // is nothing new
	stats := daemon.State{Ready: true, Generation: 7, Configs: 2, Revision: "main@sha1:01"}
	n.Observe(&stats)
	if got := receive(t, c); got != "READY=1\nSTATUS=generation 7, configs: 2, revision: main@sha1:01" {
		t.Errorf("%q", got)
	}
	stats.Place = "a.yaml:1: no\nREADY=1\nMAINPID=1\x00" + strings.Repeat("x", 5000)
	n.Observe(&stats)
	if got := receive(t, c); strings.Contains(got, "\n") || len(got) > len("STATUS=")+maxStatus || !strings.Contains(got, "; refused: a.yaml:1: no\ufffdREADY=1") {
		t.Errorf("%q", got)
	}
	reloading := stats
	reloading.Reloading = true
	n.Observe(&reloading)
	n.Observe(&reloading) // is nothing new
	if got := receive(t, c); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("%q", got)
	}
	n.Observe(&stats)
	if got := receive(t, c); got != "READY=1" {
		t.Errorf("%q", got)
	}
	n.Stopping()
	n.Observe(&daemon.State{Ready: true}) // has nothing to say any more
	if got := receive(t, c); !strings.HasPrefix(got, "STOPPING=1\nSTATUS=stopping") {
		t.Errorf("%q", got)
	}
	n.Close()
	n.Stopping()
}

// Newer messages replace those not sent yet, and a reload that is over
// is reported as over.
func TestNewsAreTheNewest(t *testing.T) {
	n := &Notifier{log: slog.New(slog.DiscardHandler), wake: make(chan struct{}, 1), watchdog: time.Hour}
	n.Observe(&daemon.State{Ready: true, Generation: 1})
	n.Observe(&daemon.State{Ready: true, Generation: 1, Reloading: true})
	if n.next.ready != "" {
		t.Error("ready, while it reloads")
	}
	n.Observe(&daemon.State{Ready: true, Generation: 2})
	n.Observe(&daemon.State{Ready: true, Generation: 3})
	messages := n.next.messages()
	if len(messages) != 2 || !strings.HasPrefix(messages[0], "RELOADING=1\n") {
		t.Fatalf("%q", messages)
	}
	if lines := strings.Split(messages[1], "\n"); !slices.Equal(lines, []string{"READY=1", "WATCHDOG=1", "STATUS=generation 3, configs: 0, revision: "}) {
		t.Errorf("%q", lines)
	}
}

func TestStatus(t *testing.T) {
	for want, s := range map[string]*daemon.State{
		"waiting for a first good revision":                                             {},
		"nothing is published yet; refused: no such file":                               {Place: "no such file"},
		"the region is lost, and generation 7 can't be put into a new one; refused: no": {Generation: 7, Place: "no"},
		"generation 7, configs: 3, revision: r; refused: no":                            {Ready: true, Generation: 7, Configs: 3, Revision: "r", Place: "no"},
	} {
		if got := status(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOddWatchdogs(t *testing.T) {
	for usec, says := range map[string]string{"x": "correct WATCHDOG_USEC", "500000": "raise WatchdogSec"} {
		socket(t)
		t.Setenv("WATCHDOG_USEC", usec)
		var log bytes.Buffer
		n := New(slog.New(slog.NewTextHandler(&log, nil)), 0)
		n.Close()
		if !strings.Contains(log.String(), says) {
			t.Error(log.String())
		}
	}
}

// A manager that is gone is logged once.
func TestManagerIsGone(t *testing.T) {
	socket(t).Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nothing"))
	var log bytes.Buffer
	n := New(slog.New(slog.NewTextHandler(&log, nil)), 0)
	for g := range uint64(3) {
		n.Observe(&daemon.State{Ready: true, Generation: g + 1})
	}
	n.Close()
	if strings.Count(log.String(), "can't be told") != 1 {
		t.Error(log.String())
	}
}
