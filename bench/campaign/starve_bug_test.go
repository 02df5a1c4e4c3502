//go:build linux

package campaign

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
)

// bugFile is the file that a planted bug is about.
const bugFile = "bug.yaml"

// newBugHost is a host with a bug of a kind in the daemon's parser.
func newBugHost(t testing.TB, kind string, flags ...string) *starveHost {
	t.Helper()
	h := newStarveHost(t, append(flags, "--slots=2", "--max-image=1MiB")...)
	h.tags = "failpoints"
	h.env = append(h.env, failpoint.Env+"="+kind+":plan.file="+bugFile)
	h.start()
	h.reader = memoryRead(t, h.region)
	h.reads("at first")
	return h
}

// meetsBug gives the heavy layer the file.
func (h *starveHost) meetsBug() {
	h.Helper()
	h.swap(map[string]string{bugFile: "a: 1\n"})
}

// ends waits until the daemon has died, and says how.
func (h *starveHost) ends() string {
	h.Helper()
	await(h, "the daemon to die", func() bool {
		h.reader.healthy()
		select {
		case <-h.daemon.ended:
			return true
		default:
			return false
		}
	})
	return fmt.Sprint(h.daemon.err)
}

// says waits for a problem in the daemon's state that has all of these words. An alarm is
// one, too.
func (h *starveHost) says(words ...string) {
	h.Helper()
	var problem string
	defer func() {
		if h.Failed() {
			h.Logf("the problem is %q", problem)
		}
	}()
	await(h, "the problem: "+strings.Join(words, " … "), func() bool {
		h.alive()
		s, err := h.ask()
		problem = s.Problem
		for _, word := range words {
			if err != nil || !strings.Contains(problem, word) {
				return false
			}
		}
		return true
	})
}

// A panic of a parser is a problem of the file. Its layer goes on with what it had, and
// the other one moves on.
func TestStarveBugPanic(t *testing.T) {
	h := newBugHost(t, "panic")
	h.meetsBug()
	memoryProblem(t, h.region, bugFile+": the parser failed (planted)")
	h.publish(100)
	h.reads("the good layer's change beside the bug")
	if s, err := h.ask(); err != nil || s.Layers[0].Problem != "" || s.Configs != 4 {
		t.Errorf("%+v, %v", s, err)
	}
	h.swap(nil)
	memoryProblem(t, h.region, "")
	h.reader.end()
	h.terminate()
	report(t, "a parser that panics is a problem of its file", "1 panic; the other layer's change is read", "nothing")
}

// bugListen has the daemon serve health where it can be asked for.
func bugListen(t testing.TB) (flag string, live func() bool) {
	t.Helper()
	path := filepath.Join(memory(t), "admin")
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	return "--listen=unix:" + path, func() bool {
		answer, err := client.Get("http://daemon/livez")
		if err != nil {
			return true // it is starting
		}
		ok(t, answer.Body.Close())
		return answer.StatusCode != http.StatusServiceUnavailable
	}
}

// bugManager is a service manager that counts how often its watchdog is fed.
func bugManager(t testing.TB) (env string, fed *atomic.Int64) {
	t.Helper()
	path := filepath.Join(memory(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	ok(t, err)
	fed = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			if strings.Contains(string(buffer[:n]), "WATCHDOG=1") {
				fed.Add(1)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return "NOTIFY_SOCKET=" + path, fed
}

// beats waits for so many heartbeats more.
func (h *starveHost) beats(n int) {
	h.Helper()
	r, err := shm.Open(h.region, shm.Trust{})
	ok(h, err)
	first, err := r.Status()
	ok(h, err)
	await(h, "heartbeats", func() bool {
		h.alive()
		s, err := r.Status()
		return err == nil && s.Heartbeat > first.Heartbeat+time.Duration(n)*shm.HeartbeatInterval
	})
}

// A parser that never ends keeps only the worker. After --plan-time there is an
// alarm, and after ten times as long the daemon says that only its end helps: the watchdog
// is no longer fed, and /livez fails. SIGTERM ends it.
func TestStarveBugLoop(t *testing.T) {
	starves(t)
	for _, processors := range []string{"1", "2"}[:size(2, 1)] {
		t.Run("GOMAXPROCS="+processors, func(t *testing.T) {
			listen, live := bugListen(t)
			manager, fed := bugManager(t)
			h := newStarveHost(t, "--slots=2", "--max-image=1MiB", "--plan-time=1s", listen)
			h.tags = "failpoints"
			h.env = append(h.env, manager, failpoint.Env+"=loop:plan.file="+bugFile, "WATCHDOG_USEC=400000", "GOMAXPROCS="+processors)
			h.start()
			h.reader = memoryRead(t, h.region)
			h.reads("at first")
			await(t, "the watchdog to be fed", func() bool { h.alive(); return fed.Load() > 0 && live() })

			w := h.watch()
			began := time.Now()
			h.meetsBug()
			h.says("takes longer than 1s", bugFile)
			alarmed := time.Since(began)
			stuck := "not waited for"
			if *starveLong {
				await(t, "/livez to fail", func() bool { h.alive(); return !live() })
				stuck = time.Since(began).Round(time.Millisecond).String()
				h.beats(1)
				last := fed.Load()
				h.beats(2)
				if now := fed.Load(); now != last {
					t.Errorf("the watchdog was fed %d times more", now-last)
				}
			}
			w.end()
			end := h.terminate()
			h.reader.end()
			if t.Failed() {
				return
			}
			report(t, "a parser that never ends keeps neither heart nor commands nor SIGTERM waiting, GOMAXPROCS="+processors, fmt.Sprintf(
				"%d commands, at most %v; heartbeat at most %v; alarm after %v, /livez and watchdog: %v; SIGTERM %v", w.answers,
				w.slowest.Round(time.Millisecond), w.gap.Round(time.Millisecond), alarmed.Round(time.Millisecond),
				stuck, end.Round(time.Millisecond)), "nothing")
		})
	}
}

// bugDeaths are the ways in which a daemon dies of a parser.
var bugDeaths = []struct {
	name, kind string
	says       string // in its log
	limit      int    // of the address space in KiB
	cgroup     bool
	signal     syscall.Signal // that ends a daemon that is stuck
	slow       bool           // it takes ten seconds
}{
	{name: "stack overflow", kind: "overflow", says: "stack overflow", slow: true}, // of 1 GiB
	{name: "memory, by RLIMIT_AS", kind: "memory", says: "out of memory", limit: 1900 << 10},
	{name: "memory, in a cgroup", kind: "memory", cgroup: true},
	{name: "loop, by the watchdog", kind: "loop", signal: syscall.SIGABRT, says: "SIGABRT", slow: true},
	{name: "loop, by a liveness probe", kind: "loop", signal: syscall.SIGTERM, says: "ending in the middle of decoding a file", slow: true},
}

// A daemon that dies of a parser twice in a row goes on with the last good generation,
// and says so. Other inputs it decodes at once, and the same ones after a pause.
func TestStarveBugDeath(t *testing.T) {
	starves(t)
	var came []string
	for _, death := range bugDeaths {
		if death.slow && !*starveLong {
			continue
		}
		t.Run(death.name, func(t *testing.T) {
			listen, live := bugListen(t)
			h := newStarveHost(t, "--slots=2", "--max-image=1MiB", "--plan-time=1s", listen)
			h.tags, h.limit = "failpoints", death.limit
			h.env = append(h.env, failpoint.Env+"="+death.kind+":plan.file="+bugFile)
			if death.cgroup {
				cgroup, limit, _ := memoryCgroup(t)
				ok(t, os.WriteFile(limit, []byte(strconv.Itoa(256<<20)), 0o644))
				h.cgroup = filepath.Join(cgroup, "cgroup.procs")
			}
			h.start()
			h.reader = memoryRead(t, h.region)
			h.reads("at first")

			deaths := 0
			die := func() {
				t.Helper()
				if death.signal != 0 {
					await(t, "the daemon to say that it is stuck", func() bool { h.reader.healthy(); return !live() })
					ok(t, h.daemon.Process.Signal(death.signal))
				}
				how := h.ends()
				deaths++
				if !strings.Contains(h.daemon.log(), death.says) || death.says == "" && how != "signal: killed" {
					t.Fatalf("it ended with %s, and the log does not say %q:\n%s", how, death.says, h.daemon.log())
				}
			}
			h.meetsBug()
			die()
			h.launch()
			die()
			h.start()
			h.says("the daemon died 2 times in a row", "is tried again at")
			h.beats(1)
			if *starveLong {
				die()
				h.start()
				h.says("the daemon died 3 times in a row")
			}
			if exact, _, _ := h.reader.numbers(); exact != h.number {
				t.Errorf("readers are at revision %d, and not at %d", exact, h.number)
			}
			// The file goes before the other layer changes: that and the file would be
			// inputs that the daemon did not die of yet.
			began := time.Now()
			h.swap(nil)
			await(t, "other inputs", func() bool { h.alive(); s, err := h.ask(); return err == nil && s.Problem == "" && s.Converged })
			other := time.Since(began)
			h.publish(100)
			h.reads("the good layer's change")
			h.terminate()
			h.reader.end()
			came = append(came, fmt.Sprintf("%s: %d deaths, other inputs after %v", death.name, deaths, other.Round(time.Millisecond)))
		})
	}
	if !t.Failed() {
		report(t, "a daemon that dies of a parser twice goes on with the last good generation", strings.Join(came, "; "), "nothing")
	}
}

// A kill in the middle of decoding a good revision costs nothing, and a second one in a
// row at most a pause.
func TestStarveBugKill(t *testing.T) {
	starves(t)
	h := newBugHost(t, "kill")
	h.meetsBug()
	h.ends()
	kills := 1
	if *starveLong {
		h.launch()
		h.ends()
		kills++
	}
	h.env = nil
	began := time.Now()
	h.start()
	if kills == maxKills {
		h.says("the daemon died 2 times in a row")
	}
	await(t, "the revision that was being decoded", func() bool {
		h.alive()
		s, err := h.ask()
		return err == nil && s.Converged && s.Configs == 5
	})
	took := time.Since(began)
	h.terminate()
	h.reader.end()
	report(t, "a kill in the middle of decoding costs a good revision at most a pause",
		fmt.Sprintf("%d kills in a row, published %v after the next start", kills, took.Round(time.Millisecond)), "nothing")
}

const maxKills = 2 // after which a daemon pauses
