//go:build unix

package admin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon"
)

// maxFuzz bounds the inputs, in bytes: larger ones only take longer.
const maxFuzz = 1 << 16

// FuzzAdmin sends arbitrary bytes to the server, over a connection of its own,
// and reads until the server closes it. There is no panic and no hang; the
// answers are HTTP, and no longer than so many requests could make them; and
// the server answers the next client.
func FuzzAdmin(f *testing.F) {
	for _, request := range []string{
		"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"HEAD /readyz HTTP/1.0\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
		"GET /%2e%2e/metrics?x=%00 HTTP/1.1\r\nHost: \r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS
		"\r\n\r\n\r\n", "",
	} {
		f.Add([]byte(request))
	}
	path := filepath.Join(f.TempDir(), "s") // a unix socket leaves no port behind
	l, err := Listen(context.Background(), "unix:"+path)
	if err != nil {
		f.Fatal(err)
	}
	fake := healthy()
	s := New(fake, options(filepath.Dir(path)))
	serve(f, s, l)
	const most = 32 << 10 // of one answer
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > maxFuzz {
			return
		}
		fake.set(func(s *daemon.State) { s.Turned = time.Now() }) // it lives on, however long this takes
		answers := send(t, path, input)
		if len(answers) > 0 && !bytes.HasPrefix(answers, []byte("HTTP/1.")) {
			t.Errorf("it answers %.200q", answers)
		}
		// The shortest request is "GET / HTTP/1.0\n\n".
		if limit := most * (1 + len(input)/16); len(answers) > limit {
			t.Errorf("%d bytes are answered with %d", len(input), len(answers))
		}
		if next := send(t, path, []byte("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")); !bytes.HasPrefix(next, []byte("HTTP/1.1 200 ")) {
			t.Errorf("the next client is answered %.200q", next)
		}
	})
}

// send sends bytes, says that there are no more, and reads to the end.
func send(t *testing.T, path string, input []byte) []byte {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(input)
		sent <- errors.Join(err, c.(*net.UnixConn).CloseWrite())
	}()
	var answers bytes.Buffer
	_, err = io.Copy(&answers, c)
	if err := errors.Join(err, <-sent); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("it hangs: %v", err)
	} else if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ENOTCONN) {
		t.Fatal(err) // it may close before all is sent
	}
	return answers.Bytes()
}
