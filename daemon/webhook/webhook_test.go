//go:build unix

package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "0123456789abcdef"

// hook is a server on a unix socket whose triggers are counted.
type hook struct {
	*testing.T
	*Server
	file, path string
	log        bytes.Buffer
	triggers   atomic.Int64
}

func start(t *testing.T) *hook {
	t.Helper()
	dir := t.TempDir()
	h := &hook{T: t, file: filepath.Join(dir, "secret"), path: filepath.Join(dir, "webhook.sock")}
	h.write(key+"\n", 0o600)
	var err error
	if h.Server, err = New(h.file, func() { h.triggers.Add(1) }, slog.New(slog.NewTextHandler(&h.log, nil))); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), "unix:"+h.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := h.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); serving.Wait() })
	return h
}

// write replaces the secret's file.
func (h *hook) write(text string, mode os.FileMode) {
	h.Helper()
	temp := h.file + ".new"
	if err := errors.Join(os.WriteFile(temp, []byte(text), 0o600), os.Chmod(temp, mode), os.Rename(temp, h.file)); err != nil {
		h.Fatal(err)
	}
}

// rest makes the next requests those of another second.
func (h *hook) rest() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.second = time.Time{}
}

// ask sends a request, and returns the answer's code and body.
func (h *hook) ask(method, path string, body io.Reader, header ...string) (int, string) {
	h.Helper()
	h.rest()
	r, err := http.NewRequest(method, "http://localhost"+path, body)
	if err != nil {
		h.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", h.path)
		},
	}}
	answer, err := c.Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		h.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// sign is the signature of a body.
func sign(body, key string) string {
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(sum.Sum(nil))
}

func TestRequests(t *testing.T) {
	h := start(t)
	const body = `{"ref": "refs/heads/main"}`
	wrong := key[:len(key)-1] + "0"
	accepted, refused := 0, 0
	for _, c := range []struct {
		name, method, path, body string
		header                   []string
		code                     int
	}{
		{"GitHub", http.MethodPost, Path, body, []string{"X-Hub-Signature-256", sign(body, key), "X-GitHub-Event", "push"}, 202},
		{"GitHub, without a body", http.MethodPost, Path, "", []string{"X-Hub-Signature-256", sign("", key)}, 202},
		{"GitLab", http.MethodPost, Path, body, []string{"X-Gitlab-Token", key}, 202},
		{"a script", http.MethodPost, Path, "", []string{"Authorization", "Bearer " + key}, 202},
		{"no secret", http.MethodPost, Path, body, nil, 401},
		{"another key", http.MethodPost, Path, body, []string{"X-Hub-Signature-256", sign(body, wrong)}, 401},
		{"another body", http.MethodPost, Path, body + " ", []string{"X-Hub-Signature-256", sign(body, key)}, 401},
		{"no algorithm", http.MethodPost, Path, body, []string{"X-Hub-Signature-256", strings.TrimPrefix(sign(body, key), "sha256=")}, 401},
		{"half a signature", http.MethodPost, Path, body, []string{"X-Hub-Signature-256", sign(body, key)[:39]}, 401},
		{"a wrong signature with a token", http.MethodPost, Path, body, []string{"X-Hub-Signature-256", sign(body, wrong), "X-Gitlab-Token", key}, 401},
		{"SHA-1", http.MethodPost, Path, body, []string{"X-Hub-Signature", "sha1=" + strings.Repeat("0", 40)}, 401},
		{"another token", http.MethodPost, Path, body, []string{"X-Gitlab-Token", wrong}, 401},
		{"a longer token", http.MethodPost, Path, body, []string{"Authorization", "Bearer " + key + "0"}, 401},
		{"another scheme", http.MethodPost, Path, body, []string{"Authorization", "Basic " + key}, 401},
		{"the secret in the path", http.MethodPost, Path + "?token=" + key, body, nil, 401},
		{"GET", http.MethodGet, Path, "", []string{"X-Gitlab-Token", key}, 405},
		{"another path", http.MethodPost, "/", body, []string{"X-Gitlab-Token", key}, 404},
		{"the longest body", http.MethodPost, Path, strings.Repeat("x", maxBody), []string{"X-Gitlab-Token", key}, 202},
	} {
		code, text := h.ask(c.method, c.path, strings.NewReader(c.body), c.header...)
		if code != c.code || strings.Contains(text, key) || text == "" {
			t.Errorf("%s: %d %s, want %d", c.name, code, text, c.code)
		}
		if c.code == 202 {
			accepted++
		} else {
			refused++
		}
		if n, m := h.Requests(); n != uint64(accepted) || m != uint64(refused) || h.triggers.Load() != int64(accepted) {
			t.Fatalf("%s: %d accepted, %d refused, %d triggers", c.name, n, m, h.triggers.Load())
		}
	}
	if n := strings.Count(h.log.String(), "\n"); n != 1 || strings.Contains(h.log.String(), key) {
		t.Errorf("%d lines are logged:\n%s", n, h.log.String())
	}
}

// raw sends a request as it stands, and returns the first line of the answer.
func (h *hook) raw(request io.Reader, end bool) string {
	h.Helper()
	c, err := net.Dial("unix", h.path)
	if err != nil {
		h.Error(err)
		return ""
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, request) // it fails where the server does not read to the end
		if end {
			_ = c.(*net.UnixConn).CloseWrite()
		}
	}()
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line
}

// begin is the beginning of a request with the secret.
func begin(header string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nX-Gitlab-Token: %s\r\n%s\r\n\r\n", Path, key, header)
}

// A body that is too long is refused before it is read, or as soon as it is known, and one
// that is cut off is refused, too.
func TestBodiesThatAreRefused(t *testing.T) {
	h := start(t)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("x", 1<<20))
	for name, c := range map[string]struct {
		request string
		end     bool
		code    string
	}{
		"too long":           {begin(fmt.Sprintf("Content-Length: %d", maxBody+1)), false, " 413 "},
		"too long in chunks": {begin("Transfer-Encoding: chunked") + strings.Repeat(chunk, maxBody>>20+1), false, " 413 "},
		"cut off":            {begin("Content-Length: 10") + "{", true, " 400 "},
	} {
		h.rest()
		if line := h.raw(strings.NewReader(c.request), c.end); !strings.Contains(line, c.code) {
			t.Errorf("a body that is %s is answered with %q", name, line)
		}
	}
	if n := h.triggers.Load(); n != 0 {
		t.Errorf("%d triggers", n)
	}
}

// What is logged later says how many requests it stands for.
func TestRefusedRequestsAreLoggedNowAndThen(t *testing.T) {
	h := start(t)
	for range 5 {
		h.ask(http.MethodPost, Path, nil)
	}
	h.mu.Lock()
	h.told = h.told.Add(-toldEvery)
	h.mu.Unlock()
	h.ask(http.MethodPost, Path, nil, "X-Gitlab-Token", "wrong")
	lines := strings.Split(strings.TrimSpace(h.log.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "requests=1 code=401") || !strings.Contains(lines[1], `requests=5 code=401 error="the secret is wrong"`) {
		t.Errorf("logged:\n%s", h.log.String())
	}
}

func TestSecretIsReadAgain(t *testing.T) {
	h := start(t)
	with := func(key string) int {
		code, _ := h.ask(http.MethodPost, Path, nil, "Authorization", "Bearer "+key)
		return code
	}
	const next = "another secret of 26 bytes"
	h.write(next, 0o640)
	if old, now := with(key), with(next); old != 401 || now != 202 {
		t.Errorf("the old secret gives %d, and the new one %d", old, now)
	}
	h.write(next, 0o644)
	if code, text := h.ask(http.MethodPost, Path, nil, "Authorization", "Bearer "+next); code != 503 || strings.Contains(text, h.file) {
		t.Errorf("a file that all users can open: %d %s", code, text)
	}
	h.write("", 0o600)
	if code := with(""); code != 401 {
		t.Errorf("an empty secret gives %d", code)
	}
	if code := with("x"); code != 503 {
		t.Errorf("with an empty file a request gives %d", code)
	}
	h.write(key, 0o600)
	if code := with(key); code != 202 {
		t.Errorf("with a usable file again a request gives %d", code)
	}
}

func TestUnusableSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for _, c := range []struct {
		text string
		mode os.FileMode
		says string
	}{
		{key, 0o604, "chmod o="},
		{key[1:], 0o600, "has 15 bytes, and the secret needs at least 16"},
		{key[1:] + "\n", 0o600, "has 15 bytes"},
		{key + "\n" + key + "\n", 0o600, "is not one line"},
		{strings.Repeat("x", 5000), 0o600, "is longer than"},
	} {
		if err := errors.Join(os.WriteFile(file, []byte(c.text), 0o600), os.Chmod(file, c.mode)); err != nil {
			t.Fatal(err)
		}
		_, err := New(file, nil, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), key[1:]) {
			t.Errorf("%q, %04o: %v", c.text, c.mode, err)
		}
	}
	if _, err := New(file+"x", nil, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Bodies that do not come end by themselves, and do not keep others from being taken.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	h := start(t)
	const clients = 8
	ended := make(chan string, clients)
	for range clients {
		go func() { ended <- h.raw(strings.NewReader(begin("Content-Length: 10")+"{"), false) }()
	}
	if code, _ := h.ask(http.MethodPost, Path, nil, "X-Gitlab-Token", key); code != http.StatusAccepted {
		t.Errorf("beside slow clients a request gives %d", code)
	}
	for range clients {
		if line := <-ended; !strings.Contains(line, " 408 ") {
			t.Errorf("a body that does not come is answered with %q", line)
		}
	}
	if n := h.triggers.Load(); n != 1 {
		t.Errorf("%d triggers", n)
	}
}

// Of the requests of a second, the bodies of a few are read.
func TestRate(t *testing.T) {
	h := start(t)
	h.mu.Lock()
	h.second, h.read = time.Now().Add(time.Hour), maxRate-1 // it does not end
	h.mu.Unlock()
	codes := map[int]int{}
	for range 3 {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, Path, nil)
		r.Header.Set("X-Gitlab-Token", key)
		h.answer(w, r)
		codes[w.Code]++
	}
	if codes[http.StatusAccepted] != 1 || codes[http.StatusTooManyRequests] != 2 || h.triggers.Load() != 1 {
		t.Errorf("the answers are %v", codes)
	}
}

func TestCheckAddress(t *testing.T) {
	for _, address := range []string{"127.0.0.1:80", "127.1.2.3:0", "[::1]:17472", "unix:/run/x.sock"} {
		if err := CheckAddress(address); err != nil {
			t.Error(err)
		}
	}
	for _, address := range []string{"", ":80", "0.0.0.0:80", "[::]:80", "localhost:80", "192.0.2.1:80", "127.0.0.1", "unix:", "unix:@x"} {
		if err := CheckAddress(address); err == nil {
			t.Errorf("%q is an address", address)
		}
	}
}
