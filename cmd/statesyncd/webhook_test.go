//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/statesync/statesync/daemon/source/git/githttp"
)

// forge is a host with a daemon that follows a repository, which git-http-backend serves
// over TLS, an hour between polls. A webhook is on a socket.
type forge struct {
	*host
	work, socket, secret string
	args                 []string
	polls                atomic.Int64                  // that arrived
	hold                 atomic.Pointer[chan struct{}] // each poll waits for one; nil: none waits
}

const secretText = "0123456789abcdef"

func newForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{host: newHost(t)}
	f.work, f.socket, f.secret = filepath.Join(f.base, "work"), filepath.Join(f.base, "webhook.sock"), filepath.Join(f.base, "secret")
	handler, err := githttp.Handler(f.work)
	if err != nil {
		t.Skip(err)
	}
	f.git("init", "--quiet", "--template=", "--initial-branch=main", f.work)
	f.push("x: 1\n")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body) // what it lacks, the backend reports
		q.Body = io.NopCloser(bytes.NewReader(body))
		if q.Header.Get("User-Agent") == "git/statesync" && bytes.Contains(body, []byte("command=ls-refs")) {
			f.polls.Add(1)
			if hold := f.hold.Load(); hold != nil {
				select {
				case <-*hold:
				case <-q.Context().Done():
				}
			}
		}
		handler.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(f.base, "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := errors.Join(os.WriteFile(ca, certificate, 0o600), os.WriteFile(f.secret, []byte(secretText), 0o600)); err != nil {
		t.Fatal(err)
	}
	f.env = []string{"PATH=" + os.Getenv("PATH"), "SSL_CERT_FILE=" + ca}
	f.args = []string{
		"--source=git:" + server.URL + "/.git?interval=1h", "--region=" + f.region, "--state-dir=" + f.state, "--max-image=1MiB", "--listen=off",
		"--webhook=unix:" + f.socket, "--webhook-secret=" + f.secret,
	}
	return f
}

func (f *forge) git(args ...string) {
	f.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		f.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// push commits the repository's one config, a.
func (f *forge) push(text string) {
	f.Helper()
	if err := os.WriteFile(filepath.Join(f.work, "a.yaml"), []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	f.git("-C", f.work, "add", "a.yaml")
	f.git("-C", f.work, "-c", "maintenance.auto=false", "commit", "--quiet", "-m", "change a")
}

// sees waits for the content of a.
func (f *forge) sees(canonical string) {
	f.Helper()
	await(f.T, canonical, func() bool {
		_, m, err := f.look()
		return err == nil && m != nil && string(m.Sections()[0].Content()) == canonical
	})
}

// call calls the webhook, and returns the code of the answer; 0 while nothing answers.
func (f *forge) call(secret string) int {
	f.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://localhost/webhook", strings.NewReader(`{"ref": "refs/heads/main"}`))
	if err != nil {
		f.Error(err)
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", f.socket)
		},
	}}
	answer, err := c.Do(r)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// A push is published because of the webhook, and because of SIGHUP, long before the poll.
func TestPushIsPublishedAtOnce(t *testing.T) {
	f := newForge(t)
	p := f.startBare(f.args...)
	f.sees(`{"x":1}`)
	f.push("x: 2\n")
	if code := f.call("not the secret of it"); code != http.StatusUnauthorized {
		t.Errorf("with a wrong secret the answer is %d", code)
	}
	if n := f.polls.Load(); n != 0 {
		t.Errorf("%d polls without a valid request", n)
	}
	if code := f.call(secretText); code != http.StatusAccepted {
		t.Fatalf("the answer is %d", code)
	}
	f.sees(`{"x":2}`)

	f.push("x: 3\n")
	f.signal(p, syscall.SIGHUP)
	f.sees(`{"x":3}`)

	// A daemon that was killed leaves its socket.
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // killed
	if code := f.call(secretText); code != 0 {
		t.Errorf("a dead daemon answers %d", code)
	}
	p = f.startBare(f.args...)
	await(t, "the new daemon", func() bool { return f.call(secretText) == http.StatusAccepted })
	await(t, "its first look", func() bool { return f.status().PID == p.Process.Pid && f.status().Fresh })
	f.push("x: 4\n")
	f.call(secretText)
	f.sees(`{"x":4}`)
	f.signal(p, syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(f.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a daemon that ended leaves its socket: %v", err)
	}
}

// However many requests come while the server is asked, it is asked once more.
func TestFloodOfTheWebhook(t *testing.T) {
	f := newForge(t)
	f.startBare(f.args...)
	f.sees(`{"x":1}`)
	hold := make(chan struct{})
	f.hold.Store(&hold)
	defer close(hold) // the server ends when no request is held
	await(t, "the webhook", func() bool { return f.call(secretText) == http.StatusAccepted })
	await(t, "the first poll", func() bool { return f.polls.Load() == 1 })
	f.push("x: 2\n")
	var flood sync.WaitGroup
	var accepted atomic.Int64
	for range 8 {
		flood.Go(func() {
			for range 10 {
				if f.call(secretText) == http.StatusAccepted {
					accepted.Add(1)
				}
			}
		})
	}
	flood.Wait()
	if n := f.polls.Load(); n != 1 || accepted.Load() == 0 {
		t.Fatalf("during %d more requests that were accepted, %d polls began", accepted.Load(), n)
	}
	hold <- struct{}{}
	f.sees(`{"x":2}`)
	hold <- struct{}{} // of the second poll
	await(t, "room for another request", func() bool { return f.call(secretText) == http.StatusAccepted })
	hold <- struct{}{} // of the third
	if n := f.polls.Load(); n != 3 {
		t.Errorf("the server was polled %d times", n)
	}
}

// A secret that other users can read ends the start.
func TestWebhookNeedsASecret(t *testing.T) {
	f := newForge(t)
	if err := os.Chmod(f.secret, 0o644); err != nil {
		t.Fatal(err)
	}
	p := f.startBare(f.args...)
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(p.log(), "chmod o=") || strings.Contains(p.log(), secretText) {
		t.Errorf("it ended with %v", err)
	}
}
