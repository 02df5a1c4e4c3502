//go:build unix

package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/internal/web"
)

// agent names this program to servers. Some answer by protocol version 2 only to what
// looks like git.
const agent = "git/statesync"

// pkt is a line of Git's protocol: its length in four hexadecimal digits, and the line.
func pkt(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }

// maxPkt is the greatest length of a line, with the digits.
const maxPkt = 65520

// What stands in the place of a line has no text, and these for its length.
const (
	flushPkt = -4 // the end of the answer
	delimPkt = -3 // the end of a part
)

// lines reads an answer.
type lines struct{ *bufio.Reader }

// length reads how long the text of the next line is, or flushPkt or delimPkt.
func (l lines) length() (int, error) {
	var digits [4]byte
	if _, err := io.ReadFull(l, digits[:]); err != nil {
		return 0, fmt.Errorf("the answer ends before its end: %w", io.ErrUnexpectedEOF)
	}
	n, err := strconv.ParseUint(string(digits[:]), 16, 16)
	if err != nil || n == 2 || n == 3 || n > maxPkt {
		return 0, fmt.Errorf("the answer has a line of the length %q", digits)
	}
	return int(n) - len(digits), nil
}

// text reads the text of a line.
func (l lines) text(length int) (string, error) {
	text := make([]byte, length)
	if _, err := io.ReadFull(l, text); err != nil {
		return "", io.ErrUnexpectedEOF
	}
	return string(text), nil
}

// command is a request of protocol version 2, about objects that are named as one is.
func command(name string, like oid, args ...string) string {
	var b strings.Builder
	b.WriteString(pkt("command="+name+"\n") + pkt("agent="+agent) + pkt("object-format="+like.algorithm()) + "0001")
	for _, arg := range args {
		b.WriteString(pkt(arg))
	}
	return b.String() + "0000"
}

// errNoAnswer matches the error of a request that the server did not answer, or only with
// that it cannot.
var errNoAnswer = errors.New("the server gives no answer")

// ask sends the remote a request, over http or https. An answer that git would have to deal
// with is an error: a redirect, one that asks for credentials, and one that is not in
// protocol version 2.
func (s *gitSource) ask(ctx context.Context, request string) (io.ReadCloser, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	const service = "git-upload-pack"
	at := *s.remote.url
	at.Path, at.RawPath = strings.TrimSuffix(at.Path, "/")+"/"+service, ""
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), strings.NewReader(request))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/x-"+service+"-request")
	q.Header.Set("Accept", "application/x-"+service+"-result")
	q.Header.Set("Git-Protocol", "version=2")
	q.Header.Set("User-Agent", agent)
	if s.header != "" {
		q.Header.Set("Authorization", s.header)
	}
	answer, err := client.Do(q)
	if err == nil && ctx.Err() != nil { // what a server writes to a connection that is being closed
		_ = answer.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if answer.StatusCode >= http.StatusInternalServerError || answer.StatusCode == http.StatusTooManyRequests {
		_ = answer.Body.Close()
		return nil, fmt.Errorf("%w: %s", errNoAnswer, plain.Quote(answer.Status))
	}
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "application/x-"+service+"-result" {
		_ = answer.Body.Close()
		return nil, fmt.Errorf("the answer is %s with content of the type %q", answer.Status, kind)
	}
	return answer.Body, nil
}

// client returns the client of these requests. It goes by the same proxies and certificates
// as git does.
func (s *gitSource) client() (*http.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll != nil {
		return s.poll, nil
	}
	transport, err := web.Transport(pollTime)
	if err != nil {
		return nil, err
	}
	transport.MaxIdleConns, transport.MaxConnsPerHost = 1, 1
	s.poll = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     transport,
	}
	return s.poll, nil
}
