//go:build unix

package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// fake is a daemon that a test moves.
type fake struct {
	mu    sync.Mutex
	state daemon.State
}

func (f *fake) State() *daemon.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	return &s
}

func (f *fake) set(change func(*daemon.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.state)
}

// healthy is a daemon that has just published its third generation.
func healthy() *fake {
	now := time.Now()
	return &fake{state: daemon.State{
		Looks: 8, Publications: 2, Regions: 1, StateErrors: 4, WatchErrors: 5, Losses: 6,
		Refusals: map[daemon.Reason]uint64{daemon.ReasonSource: 7, daemon.ReasonInvalid: 9, daemon.ReasonRegion: 0},
		Ready:    true, Fresh: true, Converged: true, Generation: 3, Revision: "main@sha1:0123", Configs: 2, Bytes: 4096,
		Turned: now, LastGood: now, LastSuccess: now, Published: now,
		Held: true, Pin: &history.Pin{Time: now}, // is healthy
		Layers: []daemon.LayerState{{Name: "base", Source: "dir:/etc/app", Version: "dir@sha256:01", Good: now, Looked: now, MaxAge: time.Minute, Looks: 8, Failed: 7}},
	}}
}

// quiet logs nothing.
var quiet = slog.New(slog.DiscardHandler)

func options(region string) Options {
	return Options{
		Region: region, Slots: 4, MaxImage: 1 << 20, MaxAge: time.Minute, Version: "v1.2.3", Log: quiet,
		Webhook: func() (accepted, refused uint64) { return 10, 11 },
	}
}

// serve serves on a listener until the test ends.
func serve(t testing.TB, s *Server, l net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serving ended with: %v", err)
		}
	})
}

// start serves for a daemon on a unix socket, and returns a way to ask.
func start(t testing.TB, f *fake) *asker {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.sock")
	l, err := Listen(context.Background(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, New(f, options(dir)), l)
	a := &asker{TB: t, path: path}
	a.client.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	return a
}

type asker struct {
	testing.TB
	path   string
	client http.Client
}

// do asks, and returns the answer's code, header and whole body.
func (a *asker) do(method, path string, body io.Reader, header ...string) (int, http.Header, string) {
	a.Helper()
	r, err := http.NewRequest(method, "http://statesyncd"+path, body)
	if err != nil {
		a.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := a.client.Do(r)
	if err != nil {
		a.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		a.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

// get is the code and the body of a GET.
func (a *asker) get(path string) (int, string) {
	a.Helper()
	code, _, text := a.do(http.MethodGet, path, nil)
	return code, text
}

// promtool is the path of Prometheus' tool.
func promtool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs Debian's package prometheus, for promtool")
	}
	return path
}
