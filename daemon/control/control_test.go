//go:build unix

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/shm/shmtest"
	"github.com/statesync/statesync/shm/writer"
)

// roles are what child processes of these tests can be.
var roles = shmtest.Roles{}

func TestMain(m *testing.M) {
	roles.Play()
	shmtest.Main(m)
}

const patience = 20 * time.Second

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// host is a daemon with two layers and its sockets.
type host struct {
	*daemon.Daemon
	base, region, control string
}

func start(t *testing.T, region string) *host {
	t.Helper()
	return startWith(t, region, nil)
}

// startWith is start with options of the sockets, unless change is nil.
func startWith(t *testing.T, region string, change func(*Options)) *host {
	t.Helper()
	h := &host{base: t.TempDir(), region: region, control: shmtest.OpenTemp(t)}
	for name, text := range map[string]string{
		"base/a.yaml": "x: 1\ny: {z: 1}\n", "host/a.yaml": "# here\ny:\n  z: 2\n", "base/a.schema.json": `{"type": "object"}`,
	} {
		h.put(t, name, text)
	}
	specs, err := daemon.Schemes.Parse([]string{"base=dir:" + filepath.Join(h.base, "base"), "host=dir:" + filepath.Join(h.base, "host")})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	h.Daemon = daemon.New(daemon.Options{
		Sources: specs, Region: region, Writer: writer.Options{MaxImage: 1 << 20, Group: -1}, Resync: 100 * time.Millisecond, Log: log,
		StateDir: filepath.Join(h.base, "state"),
	})
	o := Options{Region: region, Mode: 0o644, Group: -1, Version: "v1", Control: h.control, ControlGroup: -1, Log: log}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := Serve(ctx, h, o); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	await(t, "the publication", func() bool { return h.State().Converged })
	for _, path := range []string{filepath.Join(region, SocketName), filepath.Join(h.control, ControlName)} {
		await(t, path, func() bool { _, err := os.Lstat(path); return err == nil })
	}
	return h
}

func (h *host) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(h.base, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+".tmp", []byte(text), 0o644), os.Rename(path+".tmp", path)); err != nil {
		t.Fatal(err)
	}
}

func client(h *host) *Client { return Dial(h.region, []int{os.Geteuid()}) }

func commander(h *host) *Client {
	return DialSocket(filepath.Join(h.control, ControlName), []int{os.Geteuid()})
}

func TestQueries(t *testing.T) {
	t.Parallel()
	h := start(t, filepath.Join(t.TempDir(), "region"))
	c := client(h)
	why, err := c.Why(t.Context(), "a", "y.z")
	if err != nil || len(why.Origins) != 2 || why.Origins[0].Layer != "host" || why.Origins[0].Line != 3 || why.Origins[0].Value != "2" ||
		why.Origins[1].Layer != "base" || why.Origins[1].Value != "1" || why.Since != 1 || why.Generation != 1 {
		t.Errorf("%+v (%v)", why, err)
	}
	if !strings.Contains(why.Origins[0].Schema, "a.schema.json") {
		t.Errorf("it was checked by %q", why.Origins[0].Schema)
	}
	for _, missing := range [][2]string{{"b", ""}, {"a", "nope"}, {"", ""}} {
		if w, err := c.Why(t.Context(), missing[0], missing[1]); err == nil {
			t.Errorf("%q: %+v", missing, w)
		}
	}
	status, err := c.Status(t.Context())
	if err != nil || status.Generation != 1 || !status.Converged || !status.Fresh || status.Held || len(status.Layers) != 2 || status.Version != "v1" {
		t.Errorf("%+v (%v)", status, err)
	}
	h.put(t, "host/a.yaml", "y: [\n")
	await(t, "the layer's problem", func() bool {
		layers, err := c.Layers(t.Context())
		return err == nil && layers[0].Problem == "" && strings.Contains(layers[1].Problem, "a.yaml")
	})
	for path, code := range map[string]int{"/": 404, "/v1/": 404, "/v1/why": 400, "/v1/why?config=a&key=" + strings.Repeat("x", 5000): 404} {
		answer, err := c.http.Get("http://localhost" + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != code {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
	answer, err := c.http.Post("http://localhost/v1/status", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Error(answer.Status)
	}
}

// The socket is where readers look for it, whatever happens to the directory, and
// whatever a daemon that died left there.
func TestSocketStaysInPlace(t *testing.T) {
	t.Parallel()
	region := filepath.Join(t.TempDir(), strings.Repeat("long/", 30), "region") // longer than a socket's address
	if err := os.MkdirAll(region, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(region, SocketName), []byte("not a socket"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := start(t, region)
	c := client(h)
	answers := func() bool { _, err := c.Status(t.Context()); return err == nil }
	await(t, "an answer", answers)
	for _, damage := range []func() error{
		func() error { return os.Remove(filepath.Join(region, SocketName)) },
		func() error { return os.Rename(region, region+"-away") },
		func() error { return shmtest.RemoveAll(region) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(t.Context()); err == nil {
			continue // it was back at once
		}
		await(t, "an answer after damage", answers)
	}
	h.put(t, "base/a.yaml", "x: 3\n")
	await(t, "publications to go on", func() bool { return h.State().Converged && h.State().Generation > 1 })
}

// A socket that cannot be made stops nothing, and comes when it can be.
func TestSocketThatCannotBeMade(t *testing.T) {
	t.Parallel()
	region := filepath.Join(t.TempDir(), "region")
	s := &socket{dir: region, name: SocketName, mode: 0o600, group: -1, log: slog.New(slog.DiscardHandler)}
	blocked := filepath.Join(region, s.temp(), "in the way")
	if err := os.MkdirAll(blocked, 0o755); err != nil {
		t.Fatal(err)
	}
	s.listen()
	defer s.Close()
	if _, err := Dial(region, []int{os.Geteuid()}).Status(t.Context()); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("without a socket: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(region, s.temp())); err != nil {
		t.Fatal(err)
	}
	await(t, "the socket", func() bool { _, err := os.Lstat(filepath.Join(region, SocketName)); return err == nil })
}

func TestSocketMode(t *testing.T) {
	t.Parallel()
	for region, want := range map[fs.FileMode]fs.FileMode{0o600: 0o600, 0o640: 0o660, 0o644: 0o666} {
		if got := socketMode(region); got != want {
			t.Errorf("a region of mode %04o has a socket of %04o", region, got)
		}
	}
	region := t.TempDir()
	s := (&socket{dir: region, name: SocketName, mode: socketMode(0o640), group: -1, log: slog.New(slog.DiscardHandler)}).listen()
	defer s.Close()
	path := filepath.Join(region, SocketName)
	await(t, "the socket", func() bool { _, err := os.Lstat(path); return err == nil })
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v (%v)", info.Mode(), err)
	}
}

// A client asks no process that could not have written the region.
func TestUntrustedDaemon(t *testing.T) {
	t.Parallel()
	h := start(t, filepath.Join(t.TempDir(), "region"))
	_, err := Dial(h.region, []int{os.Geteuid() + 1}).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("uid %d", os.Geteuid())) {
		t.Errorf("%v", err)
	}
}

// A thousand connections that do nothing do not keep an operator out.
func TestIdleConnections(t *testing.T) {
	h := start(t, filepath.Join(t.TempDir(), "region"))
	for range 1000 {
		c, err := net.DialTimeout("unix", filepath.Join(h.region, SocketName), time.Second)
		if err != nil {
			continue // the queue is full for a moment
		}
		defer c.Close()
	}
	if _, err := client(h).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// Arbitrary bytes get an answer of HTTP or none, and the next client is answered.
func FuzzQuery(f *testing.F) {
	for _, request := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/why?config=a&key=x.y HTTP/1.0\r\n\r\n",
		"GET /v1/why?config=%ff&key=..%00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/layers HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"\x00", "",
	} {
		f.Add([]byte(request))
	}
	ctx, cancel := context.WithCancel(context.Background())
	region := f.TempDir()
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = Serve(ctx, daemon.New(daemon.Options{}), Options{Region: region, Mode: 0o600, Group: -1, Log: slog.New(slog.DiscardHandler)})
	})
	f.Cleanup(func() { cancel(); serving.Wait() })
	path := filepath.Join(region, SocketName)
	await(f, "the socket", func() bool { _, err := os.Lstat(path); return err == nil })
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 1<<16 {
			return
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		_, _ = c.Write(input)
		_ = c.(*net.UnixConn).CloseWrite()
		answers, err := io.ReadAll(c)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("it hangs")
		}
		if len(answers) > 0 && !strings.HasPrefix(string(answers), "HTTP/1.") {
			t.Errorf("it answers %.100q", answers)
		}
		var status Status
		next, err := Dial(region, []int{os.Geteuid()}).http.Get("http://localhost/v1/status")
		if err != nil {
			t.Fatal(err)
		}
		defer next.Body.Close()
		if err := json.NewDecoder(next.Body).Decode(&status); err != nil {
			t.Error(err)
		}
	})
}
