//go:build unix

// Package webhook lets a server that has something new tell the daemon, over HTTP and with
// a shared secret: POST /webhook means "look now", and nothing else. The body is neither
// interpreted nor kept.
//
// # What it promises
//
// A request is taken if it proves to know the secret in one of these ways:
//
//	X-Hub-Signature-256: sha256=HEX    the HMAC-SHA256 of the body, as GitHub, Gitea and Forgejo send it
//	X-Gitlab-Token: SECRET             as GitLab sends it
//	Authorization: Bearer SECRET       for scripts
//
// The file of the secret is read at each request, so that it can be replaced. Every client
// is taken to be hostile: package httpd bounds connections, headers and the time for a
// request, and this package the body and how many requests a second are read at all. How
// often a source is looked at because of requests is bounded by package source.
package webhook

import (
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
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/statesync/statesync/daemon/internal/httpd"
	"github.com/statesync/statesync/daemon/internal/keyfile"
	"github.com/statesync/statesync/daemon/internal/plain"
)

// Path is where requests are taken.
const Path = "/webhook"

const (
	example   = "127.0.0.1:17472"
	minSecret = 16      // bytes
	maxBody   = 4 << 20 // bytes; a push of 2,000 commits takes some 3 MiB
	// maxRate is how many requests are read in a second. More would only cost time: they
	// lead to one look.
	maxRate = 10
	// toldEvery is how often refused requests are logged, at most.
	toldEvery = time.Minute
)

// CheckAddress says what is wrong with an address: HOST:PORT, where HOST is an IP address
// of the loopback, or unix:PATH. Another host reaches it by a proxy, which has TLS.
func CheckAddress(address string) error {
	if err := httpd.CheckAddress(address, example); err != nil || strings.HasPrefix(address, "unix:") {
		return err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is not an address of the loopback; write %s or unix:PATH, and let a proxy with TLS forward to it", address, example)
	}
	return nil
}

// Listen listens on an address that passed CheckAddress, as admin.Listen does.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	return httpd.Listen(ctx, address, "--webhook")
}

// Server takes requests.
type Server struct {
	file    string
	trigger func()
	log     *slog.Logger
	http    *httpd.Server

	accepted, refused atomic.Uint64

	mu     sync.Mutex
	second time.Time // when the second began in which requests are counted
	read   int       // requests in it
	told   time.Time // when refused requests were logged last
	untold int       // those since
}

// New makes a server that calls trigger for each request that is taken. It fails if the
// file has no usable secret.
func New(file string, trigger func(), log *slog.Logger) (*Server, error) {
	s := &Server{file: file, trigger: trigger, log: log}
	if _, err := s.secret(); err != nil {
		return nil, err
	}
	s.http = httpd.New(httpd.Options{
		Post: httpd.Routes{Path: http.HandlerFunc(s.answer)}, MaxBody: maxBody, Refused: s.refuse, Log: log,
	})
	return s, nil
}

// Serve takes requests on a listener, which it closes, until the context ends. It returns
// nil then, and an error if it could not continue. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error { return s.http.Serve(ctx, l) }

// Requests returns how many requests were accepted and refused since the start.
func (s *Server) Requests() (accepted, refused uint64) { return s.accepted.Load(), s.refused.Load() }

// secret reads the file.
func (s *Server) secret() (string, error) {
	text, err := keyfile.ReadSecret(s.file)
	switch {
	case err != nil:
	case len(text) < minSecret:
		err = fmt.Errorf("%s has %d bytes, and the secret needs at least %d; make one with: openssl rand -hex 32", plain.Text(s.file), len(text), minSecret)
	case strings.ContainsFunc(text, unicode.IsControl):
		err = fmt.Errorf("%s is not one line with the secret", plain.Text(s.file))
	}
	if err != nil {
		return "", fmt.Errorf("the webhook's secret: %w", err)
	}
	return text, nil
}

// answer answers a POST.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	if code, why := s.check(r); code != http.StatusAccepted {
		s.refuse(code, why)
		if code == http.StatusServiceUnavailable {
			why = "the secret cannot be read; the daemon's log says why"
		}
		httpd.Refuse(w, code, why)
		return
	}
	s.accepted.Add(1)
	s.trigger()
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, "the sources are looked at\n") // it fails only if the client has gone
}

// check returns the code of the answer and, if that is a refusal, the reason for the log.
// With a token the body is read to its end, too: a client that is answered before that may
// take it for a failure.
func (s *Server) check(r *http.Request) (code int, why string) {
	signature, token := r.Header.Get("X-Hub-Signature-256"), r.Header.Get("X-Gitlab-Token")
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		token = bearer
	}
	if signature == "" && token == "" {
		return http.StatusUnauthorized, "the secret is missing: send X-Hub-Signature-256, X-Gitlab-Token or Authorization: Bearer"
	}
	if !s.admit() {
		return http.StatusTooManyRequests, fmt.Sprintf("there are more than %d requests a second", maxRate)
	}
	key, err := s.secret()
	if err != nil {
		return http.StatusServiceUnavailable, err.Error()
	}
	sum := hmac.New(sha256.New, []byte(key))
	_, err = io.Copy(sum, r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", long.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout, "the body takes too long"
	case err != nil:
		return http.StatusBadRequest, "the body ends too early"
	case signature != "" && !signed(signature, sum.Sum(nil)), signature == "" && !same(token, key):
		return http.StatusUnauthorized, "the secret is wrong"
	}
	return http.StatusAccepted, ""
}

// signed reports whether a signature is "sha256=" and a sum in hex.
func signed(signature string, sum []byte) bool {
	digits, ok := strings.CutPrefix(signature, "sha256=")
	got, err := hex.DecodeString(digits)
	return ok && err == nil && hmac.Equal(got, sum)
}

// same compares in a time that tells nothing of the secret, its length included.
func same(token, key string) bool {
	a, b := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(key))
	return hmac.Equal(a[:], b[:])
}

// admit reports whether there is time for another request in this second.
func (s *Server) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.second) >= time.Second {
		s.second, s.read = now, 0
	}
	s.read++
	return s.read <= maxRate
}

// refuse counts a request that is refused. The first one is logged, and then one each
// toldEvery with the number of those before it.
func (s *Server) refuse(code int, why string) {
	s.refused.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untold++
	if now := time.Now(); s.told.IsZero() || now.Sub(s.told) >= toldEvery {
		s.log.Warn("requests of the webhook are refused", "requests", s.untold, "code", code, "error", why)
		s.told, s.untold = now, 0
	}
}
