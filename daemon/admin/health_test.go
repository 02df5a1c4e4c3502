//go:build unix

package admin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon"
)

// Each of the three questions has its own answer.
func TestHealth(t *testing.T) {
	const ok, bad = http.StatusOK, http.StatusServiceUnavailable
	for _, c := range []struct {
		name                string
		change              func(*daemon.State)
		live, ready, health int
		says                []string
	}{
		{"healthy", func(*daemon.State) {}, ok, ok, ok, []string{
			"live       ok  the loop ended a turn ", "ready      ok  readers find generation 3\n", "fresh      ok  each source was looked at in time\n",
			"converged  ok  the sources were valid ",
			"\ngeneration: 3, configs: 2, revision: main@sha1:0123\n",
		}},
		{"hangs", func(s *daemon.State) { s.Turned = time.Now().Add(-time.Hour) }, bad, ok, bad, []string{
			"live       NO  the loop has not ended a turn for 1h0m0s",
		}},
		{"busy", func(s *daemon.State) { s.Turned = time.Now().Add(-time.Minute) }, ok, ok, ok, nil},
		{"starting", func(s *daemon.State) { *s = daemon.State{} }, ok, bad, bad, []string{
			"live       ok  it is starting\n", "ready      NO  no generation is published yet", "fresh      NO  the sources are being read\n",
		}},
		{"lost", func(s *daemon.State) { s.Ready, s.Problem = false, "no space left" }, ok, bad, bad, []string{
			"ready      NO  the region that held generation 3 is lost", "\nrefused: no space left\n",
		}},
		{"stale", func(s *daemon.State) {
			s.Fresh, s.Layers[0].Looked, s.Problem = false, time.Now().Add(-time.Hour), "a.yaml:3:1: \x1b[2Jno\nlive   ok  a lie"
		}, ok, ok, bad, []string{
			"fresh      NO  the source dir:/etc/app was last read 1h0m0s ago, and may be 1m0s old", "\nrefused: a.yaml:3:1: \ufffd[2Jno\ufffdlive",
		}},
		{"refused for long", func(s *daemon.State) {
			s.Converged, s.Behind, s.Problem = false, time.Now().Add(-time.Hour), "a.yaml:3:1: no"
		}, ok, ok, bad, []string{
			"converged  NO  the sources' newest revision has not been published for 1h0m0s", "\nrefused: a.yaml:3:1: no\n",
		}},
		{"refused", func(s *daemon.State) {
			s.Converged, s.Behind, s.Problem = false, time.Now(), "a.yaml:3:1: no"
		}, ok, ok, ok, []string{
			"converged  NO ", "\nrefused: a.yaml:3:1: no\n",
		}},
		{"held", func(s *daemon.State) { s.Held = true }, ok, ok, ok, []string{"\nheld: an operator"}},
		{"stuck", func(s *daemon.State) {
			s.Stuck, s.Planning, s.Alarm = true, time.Now().Add(-time.Hour), "decoding takes long"
		}, bad, ok, bad, []string{
			"live       NO  it has been decoding one revision for 1h0m0s", "\nalarm: decoding takes long\n",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := healthy()
			f.set(c.change)
			a := start(t, f)
			for path, want := range map[string]int{"/livez": c.live, "/readyz": c.ready, "/healthz": c.health} {
				code, text := a.get(path)
				if code != want {
					t.Errorf("%s: %d, want %d:\n%s", path, code, want, text)
				}
				for _, part := range c.says {
					if !strings.Contains(text, part) {
						t.Errorf("%s lacks %q:\n%s", path, part, text)
					}
				}
				code, header, text := a.do(http.MethodGet, path, nil, "Accept", "application/json")
				var h health
				if err := json.Unmarshal([]byte(text), &h); err != nil || code != want ||
					header.Get("Content-Type") != "application/json" {
					t.Errorf("%s: %d, %v:\n%s", path, code, err, text)
				}
				if h.Live.OK != (c.live == ok) || h.Ready.OK != (c.ready == ok) {
					t.Errorf("%+v", h)
				}
			}
		})
	}
}

// A start that takes far longer than it may wait is not live.
func TestHungStart(t *testing.T) {
	s := New(&fake{}, options(t.TempDir()))
	if h := s.health(); !h.Live.OK {
		t.Error(h.Live.Why)
	}
	s.began = time.Now().Add(-liveWithin - time.Second)
	if h := s.health(); h.Live.OK {
		t.Error(h.Live.Why)
	}
	s.opt.LockWait = time.Hour
	if h := s.health(); !h.Live.OK {
		t.Error(h.Live.Why)
	}
}

// Any user of the host can connect to a port. The region may be readable by one.
func TestNoValueOverTCP(t *testing.T) {
	f := healthy()
	f.set(func(s *daemon.State) {
		s.Converged, s.Behind, s.Problem, s.Place = false, time.Now(), `a.yaml:3:1: password: "S3cret" is too short`, "a.yaml:3:1: password: the log says what is wrong"
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, New(f, options(t.TempDir())), l)
	a := &asker{TB: t}
	a.client.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		},
	}
	for _, path := range []string{"/livez", "/readyz", "/healthz", "/metrics"} {
		_, text := a.get(path)
		if strings.Contains(text, "S3cret") {
			t.Errorf("%s shows a value:\n%s", path, text)
		}
		if path != "/metrics" && !strings.Contains(text, "refused: a.yaml:3:1: password: the log says") {
			t.Errorf("%s does not say where the problem is:\n%s", path, text)
		}
	}
}
