package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type object = map[string]any

func matchmaker(maxWait string) object {
	return object{"weights": object{"elo": 1500}, "max_wait": maxWait, "pools": []object{{"name": "duel", "size": 2}}}
}

// fixture is a service on a region of its own.
type fixture struct {
	*testing.T
	region *clienttest.Region
	routes http.Handler
}

func newFixture(t *testing.T, configs object) *fixture {
	region := clienttest.New(t)
	region.Publish(configs)
	quiet := client.WithLogger(slog.New(slog.DiscardHandler))
	return &fixture{t, region, newService(t.Context(), region.Client(quiet)).routes()}
}

func (f *fixture) do(method, path string, body io.Reader) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.routes.ServeHTTP(w, httptest.NewRequestWithContext(f.Context(), method, path, body))
	return w
}

func (f *fixture) join(ticket string) Answer { return f.joinFrom(strings.NewReader(ticket)) }

func (f *fixture) joinFrom(body io.Reader) (answer Answer) {
	f.Helper()
	w := f.do(http.MethodPost, "/match", body)
	if err := json.Unmarshal(w.Body.Bytes(), &answer); w.Code != http.StatusOK || err != nil {
		f.Fatalf("POST /match: %d %s", w.Code, w.Body)
	}
	return answer
}

// want fails the test unless an answer has a status and, somewhere, a text.
func (f *fixture) want(path string, status int, text string) {
	f.Helper()
	if w := f.do(http.MethodGet, path, nil); w.Code != status || !strings.Contains(w.Body.String(), text) {
		f.Errorf("GET %s: %d %s, want %d and %q", path, w.Code, w.Body, status, text)
	}
}

// during is a request's body that makes a call when the handler reads it.
type during struct {
	io.Reader
	call func()
}

func (d *during) Read(p []byte) (int, error) {
	if d.call != nil {
		d.call()
		d.call = nil
	}
	return d.Reader.Read(p)
}

const (
	ada = `{"player": "ada", "platform": "pc", "pool": "duel", "elo": 1540}`
	bob = `{"player": "bob", "platform": "console", "pool": "duel", "elo": 1480}`
)

func TestMatch(t *testing.T) {
	f := newFixture(t, object{"matchmaker": matchmaker("1m"), "flags": object{"crossplay": true}})
	if a := f.join(ada); a.Players != nil || a.MaxWait != "1m0s" || a.Score != 40 {
		t.Errorf("the first player: %+v", a)
	}
	f.want("/match", http.StatusOK, `{"duel":1}`)
	if a := f.join(bob); strings.Join(a.Players, " ") != "ada bob" || a.MaxWait != "" {
		t.Errorf("the second player: %+v", a)
	}
	f.want("/match", http.StatusOK, `{"duel":0}`)
	for ticket, status := range map[string]int{
		`{"player": "ada", "pool": "chess"}`: http.StatusNotFound,
		`{"pool": "duel"}`:                   http.StatusBadRequest,
		`player=ada`:                         http.StatusBadRequest,
	} {
		if w := f.do(http.MethodPost, "/match", strings.NewReader(ticket)); w.Code != status {
			t.Errorf("%s: %d %s, want %d", ticket, w.Code, w.Body, status)
		}
	}
}

func TestFlagDecidesAboutCrossplay(t *testing.T) {
	f := newFixture(t, object{"matchmaker": matchmaker("1m")}) // the flag's default is false
	f.join(ada)
	if a := f.join(bob); a.Players != nil {
		t.Errorf("without crossplay, a match of two platforms: %q", a.Players)
	}
	f.region.Set("flags", object{"crossplay": true})
	if a := f.join(bob); len(a.Players) != 2 {
		t.Errorf("with crossplay: %+v", a)
	}
}

func TestRequestKeepsItsGeneration(t *testing.T) {
	f := newFixture(t, object{"matchmaker": matchmaker("10s")})
	before := f.region.Generation()
	a := f.joinFrom(&during{strings.NewReader(ada), func() {
		f.region.Set("matchmaker", matchmaker("20s"))
		f.region.Set("flags", object{"crossplay": true})
	}})
	if a.Generation != before || a.MaxWait != "10s" {
		t.Errorf("the request that a change overtakes: %+v, want generation %d", a, before)
	}
	if a := f.join(ada); a.Generation != before+2 || a.MaxWait != "20s" {
		t.Errorf("the next request: %+v, want generation %d", a, before+2)
	}
}

func TestRejectedValueKeepsTheOldOne(t *testing.T) {
	good := matchmaker("10s")
	misspelt := matchmaker("20s")
	misspelt["maxwait"] = misspelt["max_wait"]
	number := matchmaker("")
	number["max_wait"] = 20
	for reason, config := range map[string]object{
		"max_wait is 0s, and must be positive": matchmaker("0s"),
		`did you mean "max_wait"`:              misspelt,
		"max_wait: ":                           number,
		"there are no pools":                   {"weights": object{"elo": 1500}},
	} {
		t.Run(reason, func(t *testing.T) {
			f := newFixture(t, object{"matchmaker": good})
			f.want("/readyz", http.StatusOK, "")
			f.region.Set("matchmaker", config)
			if a := f.join(ada); a.MaxWait != "10s" {
				t.Errorf("after a rejected value: %+v", a)
			}
			f.want("/readyz", http.StatusServiceUnavailable, reason)
			f.want("/debug/config", http.StatusOK, `"State":"rejected"`)
			f.want("/metrics", http.StatusOK, "\nstatesync_client_rejected 1\n")
			f.want("/healthz", http.StatusOK, "")
			f.region.Set("matchmaker", matchmaker("30s"))
			f.want("/readyz", http.StatusOK, "")
		})
	}
}

func TestRemovedConfigKeepsItsLastValue(t *testing.T) {
	f := newFixture(t, object{"matchmaker": matchmaker("10s"), "limits": object{"concurrent": 2}})
	f.region.Delete("limits")
	f.want("/readyz", http.StatusOK, "") // it is not required
	f.region.Delete("matchmaker")
	if a := f.join(ada); a.MaxWait != "10s" {
		t.Errorf("after the removal: %+v", a)
	}
	f.want("/readyz", http.StatusServiceUnavailable, "config matchmaker, generation 4: not found")
	f.want("/debug/config", http.StatusOK, `"State":"removed"`)
}

func TestDeadDaemonTakesNothingAway(t *testing.T) {
	f := newFixture(t, object{"matchmaker": matchmaker("10s")})
	f.want("/metrics", http.StatusOK, "\nstatesync_client_daemon_alive 1\n")
	f.region.StopDaemon()
	if a := f.join(ada); a.MaxWait != "10s" {
		t.Errorf("without the daemon: %+v", a)
	}
	f.want("/readyz", http.StatusOK, "")
	f.want("/metrics", http.StatusOK, "\nstatesync_client_daemon_alive 0\n")
}

func TestChangeOfLimitsMakesANewLimiter(t *testing.T) {
	f := newFixture(t, object{"matchmaker": matchmaker("10s"), "limits": object{"concurrent": 1, "retry_after": "3s"}})
	f.joinFrom(&during{strings.NewReader(ada), func() {
		w := f.do(http.MethodGet, "/match", nil)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "3" {
			t.Errorf("a second request: %d, %v", w.Code, w.Header())
		}
		f.region.Set("limits", object{"concurrent": 0})
		f.want("/match", http.StatusServiceUnavailable, "too many")
		f.want("/readyz", http.StatusServiceUnavailable, "config limits, generation 3: concurrent is 0, and must be at least 1")
		f.region.Set("limits", object{"concurrent": 2})
		f.want("/match", http.StatusOK, "duel")
	}})
}

func TestWithoutARegionTheServiceIsNotReady(t *testing.T) {
	c, err := client.Open(t.TempDir(), client.Lazy())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := &fixture{T: t, routes: newService(t.Context(), c).routes()}
	f.want("/readyz", http.StatusServiceUnavailable, "config matchmaker, generation 0: no region")
	f.want("/healthz", http.StatusOK, "")
}

// The request's body comes after the signal: the service answers before it ends.
func TestSignalEndsTheServiceAfterItsRequests(t *testing.T) {
	region := clienttest.New(t)
	region.Set("matchmaker", matchmaker("10s"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log, logged := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(l, region.Dir(), slog.New(slog.NewTextHandler(logged, nil)))
		logged.Close()
	}()
	readUntil(t, log, "listening")

	// With this header, the transport sends the body when the handler reads it.
	body, send := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.Addr().String()+"/match", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Expect", "100-continue")
	transport := &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}
	go func() {
		_, _ = io.WriteString(send, ada[:1]) // returns when the request is in its handler
		_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
		readUntil(t, log, "shutting down")
		_, _ = io.WriteString(send, ada[1:])
		send.Close()
		_, _ = io.Copy(io.Discard, log) // a line that is not read would hold run up
	}()
	w, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil || w.StatusCode != http.StatusOK || !strings.Contains(string(text), `"max_wait":"10s"`) {
		t.Errorf("the request that was under way: %d %s (%v)", w.StatusCode, text, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// readUntil reads a log up to a line that has a text.
func readUntil(t *testing.T, log io.Reader, text string) {
	p := make([]byte, 1<<10) // a line is one write, and so one read
	for {
		n, err := log.Read(p)
		if err != nil {
			t.Errorf("the log ended before it said %q: %v", text, err)
			return
		}
		if strings.Contains(string(p[:n]), text) {
			return
		}
	}
}
