//go:build unix

package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/internal/httpd"
)

func TestRequestsThatAreRefused(t *testing.T) {
	a := start(t, healthy())
	for _, c := range []struct {
		method, path string
		body         io.Reader
		code         int
	}{
		{http.MethodGet, "/", nil, http.StatusNotFound},
		{http.MethodGet, "/livez/", nil, http.StatusNotFound},
		{http.MethodGet, "//livez", nil, http.StatusNotFound},
		{http.MethodGet, "/x/../livez", nil, http.StatusNotFound},
		{http.MethodGet, "/debug/pprof/", nil, http.StatusNotFound},
		{http.MethodPost, "/livez", nil, http.StatusMethodNotAllowed},
		{http.MethodDelete, "/metrics", nil, http.StatusMethodNotAllowed},
		{"NONSENSE", "/metrics", nil, http.StatusMethodNotAllowed},
		{http.MethodGet, "/livez", strings.NewReader("x"), http.StatusRequestEntityTooLarge},
		{http.MethodGet, "/livez", io.MultiReader(strings.NewReader("x")), http.StatusRequestEntityTooLarge}, // chunked
		{http.MethodHead, "/livez", nil, http.StatusOK},
		{http.MethodHead, "/metrics", nil, http.StatusOK},
		{http.MethodGet, "/livez?x=y", nil, http.StatusOK},
	} {
		code, header, text := a.do(c.method, c.path, c.body)
		if code != c.code || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-store" ||
			(c.method == http.MethodHead) != (text == "") || len(text) > 32<<10 {
			t.Errorf("%s %s: %d %v\n%s", c.method, c.path, code, header, text)
		}
	}
	code, _, _ := a.do(http.MethodGet, "/livez", nil, "X-Long", strings.Repeat("x", 32<<10))
	if code != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(code)
	}
}

// A connection over the limit is closed, and there is room again when others
// have gone.
func TestConnectionsAreBounded(t *testing.T) {
	a := start(t, healthy())
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("unix", a.path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// answers reports whether the server answers on a connection, or closed it.
	answers := func(c net.Conn) bool {
		_, err := io.WriteString(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
		if err == nil {
			_, err = bufio.NewReader(c).ReadByte()
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
		return err == nil
	}
	var all []net.Conn
	for range httpd.MaxConnections {
		c := dial()
		if !answers(c) {
			t.Fatalf("connection %d is closed", len(all)+1)
		}
		all = append(all, c)
	}
	// They wait for a request. Each new one takes the place of one of them.
	for range 3 {
		c := dial()
		defer c.Close()
		if !answers(c) {
			t.Error("a probe is shut out by connections that do nothing")
		}
	}
	left := 0
	for _, c := range all {
		if answers(c) {
			left++
		}
	}
	if left != len(all)-3 {
		t.Errorf("%d of %d connections are left", left, len(all))
	}
	for _, c := range all {
		c.Close()
	}
	await(t, "room", func() bool {
		c := dial()
		defer c.Close()
		return answers(c)
	})
}

// An end does not wait for a client that does not go.
func TestEndWithAnOpenConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- New(healthy(), options(t.TempDir())).Serve(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /metrics HT"); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
}
