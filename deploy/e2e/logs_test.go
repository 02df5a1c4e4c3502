package e2e

import (
	"bufio"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// reader is an application whose log is followed.
type reader struct {
	mu    sync.Mutex
	lines []line
}

// line is one of the log's, with the time when it came here: clocks of nodes
// may differ from ours.
type line struct {
	at   time.Time
	text string
}

// follow follows the log of the application until the test ends.
func follow(t *testing.T, namespace string) *reader {
	t.Helper()
	r := &reader{}
	cmd := exec.Command("kubectl", "logs", "-n", namespace, "-f", "deployment/app", "-c", "app")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.mu.Lock()
			r.lines = append(r.lines, line{time.Now(), s.Text()})
			r.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
		if t.Failed() {
			for _, l := range r.since(time.Now().Add(-10 * time.Second)) {
				t.Log("the application:", l.text)
			}
		}
	})
	r.reads(t, time.Now()) // it lives
	return r
}

// since returns the lines that came after a time.
func (r *reader) since(at time.Time) []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, l := range r.lines {
		if l.at.After(at) {
			return append([]line(nil), r.lines[i:]...)
		}
	}
	return nil
}

// saw waits until the application has seen a value, and returns when that was.
func (r *reader) saw(t *testing.T, elo int) (at time.Time) {
	t.Helper()
	until(t, "the value "+strconv.Itoa(elo), func() bool {
		for _, l := range r.since(time.Time{}) {
			if strings.HasPrefix(l.text, "saw ") && strings.HasSuffix(l.text, "weights.elo "+strconv.Itoa(elo)) {
				at = l.at
				return true
			}
		}
		return false
	})
	return at
}

var burst = regexp.MustCompile(`^read (\d+) times: following ([0-9.]+) ns, exact ([0-9.]+) ns a read; weights\.elo averages (\d+); the daemon is (alive|dead)$`)

// reads waits for a report of reads that comes after a time, and returns it.
func (r *reader) reads(t *testing.T, after time.Time) (report string) {
	t.Helper()
	until(t, "a report of the application", func() bool {
		for _, l := range r.since(after) {
			if burst.MatchString(l.text) {
				report = l.text
				return true
			}
		}
		return false
	})
	return report
}

// undisturbed checks that since a time the application has kept reading: it reports
// each second, nothing else is in its log, and it read what it should.
func (r *reader) undisturbed(t *testing.T, since time.Time, elo int) {
	t.Helper()
	r.reads(t, time.Now())
	reports, last := 0, since
	for _, l := range r.since(since) {
		m := burst.FindStringSubmatch(l.text)
		switch {
		case m == nil && !strings.HasPrefix(l.text, "saw ") && !strings.Contains(l.text, " statesync: "): // the client's log says that a daemon is gone
			t.Errorf("the application says %q", l.text)
		case m != nil && m[4] != strconv.Itoa(elo):
			t.Errorf("the application read %s, and not %d", m[4], elo)
		case m != nil:
			reports++
			if gap := l.at.Sub(last); gap > 10*time.Second {
				t.Errorf("the application was silent for %v", gap)
			}
			last = l.at
		}
	}
	t.Logf("meanwhile the application reported %d times, all of them weights.elo %d", reports, elo)
}
