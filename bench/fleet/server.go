//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/source/git/githttp"
)

// What a server does with requests, until it is told otherwise.
const (
	serves  = "serves"
	down    = "down"    // refuses connections
	hangs   = "hangs"   // takes requests, and never answers
	slow    = "slow"    // 1 byte of the answer every 10 ms
	garbage = "garbage" // random bytes of a plausible length
)

// traffic is what a server saw since it was asked last.
type traffic struct {
	Requests map[string]int // by kind
	Arrivals []time.Time    // of all requests
	Bytes    int64          // on all connections, both ways, TLS included
	Peak     int            // requests at one time
	CPU      time.Duration  // of the server and of what it started
}

// server is one web server: of a repository, through git-http-backend, or of files.
type server struct {
	handler http.Handler
	kind    func(*http.Request) string

	address string // 127.0.0.1:PORT, the same in all its lives
	web     *httptest.Server
	mode    atomic.Value
	release chan struct{} // closed when a mode ends that keeps requests

	bytes atomic.Int64
	mu    sync.Mutex
	now   int // requests
	seen  traffic
	used  time.Duration // CPU, when it was asked last
}

// serve is the process of a server: "git DIR" or "files DIR". It writes its URL and its
// certificate to out, and obeys the lines of in: a mode, or "traffic".
func serve(args []string, in io.Reader, out io.Writer) error {
	s := &server{}
	switch args[0] {
	case "git":
		var err error
		if s.handler, err = githttp.Handler(args[1]); err != nil {
			return err
		}
		s.kind = kindOfGit
	case "files":
		s.handler = files(args[1])
		s.kind = func(r *http.Request) string {
			switch {
			case !strings.HasSuffix(r.URL.Path, ".note"):
				return "body"
			case r.Header.Get("If-None-Match") != "":
				return "poll"
			}
			return "refs"
		}
	}
	if err := s.become(serves); err != nil {
		return err
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.web.Certificate().Raw})
	answer := json.NewEncoder(out)
	if err := answer.Encode([]string{s.web.URL, string(ca)}); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var reply any = "done"
		if line := lines.Text(); line == "traffic" {
			reply = s.traffic()
		} else if err := s.become(line); err != nil {
			return err
		}
		if err := answer.Encode(reply); err != nil {
			return err
		}
	}
	return nil
}

// kindOfGit tells the daemon's looks from what brings a change: the command fetch of protocol
// version 2, whose answer has the body, and what git asks before it.
func kindOfGit(r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch command := body[:min(len(body), 32)]; {
	case err == nil && bytes.Contains(command, []byte("command=fetch")):
		return "body"
	case strings.Contains(r.UserAgent(), "git/2"):
		return "refs"
	}
	return "poll"
}

// files serves a directory with ETags, as web servers do.
func files(dir string) http.Handler {
	plain := http.FileServer(http.Dir(dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, err := os.Stat(filepath.Join(dir, filepath.Clean("/"+r.URL.Path))); err == nil {
			w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
		}
		plain.ServeHTTP(w, r)
	})
}

// become ends what the server did, and does something else from now on.
func (s *server) become(mode string) error {
	before, _ := s.mode.Swap(mode).(string)
	s.mu.Lock()
	if s.release != nil {
		close(s.release)
	}
	s.release = make(chan struct{})
	s.mu.Unlock()
	if mode == down {
		s.web.Listener.Close()
		s.web.CloseClientConnections()
		s.web = nil
		return nil
	}
	if before != "" && before != down {
		return nil
	}
	if s.address == "" {
		s.address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	s.web = httptest.NewUnstartedServer(s)
	s.web.Config.ErrorLog = nil
	s.web.Listener.Close()
	s.web.Listener = &counted{l, &s.bytes}
	s.web.StartTLS()
	return nil
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := s.kind(r)
	s.mu.Lock()
	if s.seen.Requests == nil {
		s.seen.Requests = map[string]int{}
	}
	s.seen.Requests[kind]++
	s.seen.Arrivals = append(s.seen.Arrivals, time.Now())
	s.now++
	s.seen.Peak = max(s.seen.Peak, s.now)
	release := s.release
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	switch s.mode.Load() {
	case hangs:
		select {
		case <-release:
		case <-r.Context().Done():
		}
	case garbage:
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = io.CopyN(w, rand.Reader, 400)
	case slow:
		recorded := httptest.NewRecorder()
		s.handler.ServeHTTP(recorded, r)
		for name, values := range recorded.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(recorded.Code)
		for _, b := range recorded.Body.Bytes() {
			select {
			case <-release: // at once from now on
			case <-r.Context().Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			if _, err := w.Write([]byte{b}); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
		}
	default:
		s.handler.ServeHTTP(w, r)
	}
}

// traffic returns what there was since the last call.
func (s *server) traffic() traffic {
	var own, children unix.Rusage
	err := errors.Join(unix.Getrusage(unix.RUSAGE_SELF, &own), unix.Getrusage(unix.RUSAGE_CHILDREN, &children))
	if err != nil {
		panic(err) // neither argument can be wrong
	}
	used := time.Duration(own.Utime.Nano() + own.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano())
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	seen.Bytes, seen.CPU = s.bytes.Swap(0), used-s.used
	s.seen, s.used = traffic{Peak: s.now}, used
	return seen
}

// counted counts the bytes of a listener's connections.
type counted struct {
	net.Listener
	bytes *atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{c, l.bytes}, nil
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}
