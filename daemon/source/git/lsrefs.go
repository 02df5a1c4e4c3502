//go:build unix

package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/internal/web"
)

const (
	// pollTime is how long a poll may take. It is less than the time after which a look
	// counts as one that hangs.
	pollTime = 5 * time.Second
	// maxRefs is how many bytes of the answer to a poll are read. A ref takes some 65.
	maxRefs = 64 << 10
)

// unchanged reports whether the remote says that its ref names what the last fetch brought.
// Any answer but that is left to git: a redirect, one that asks for credentials, one that
// is not in protocol version 2, or none.
func (s *gitSource) unchanged(ctx context.Context) bool {
	if s.seen.tip == "" || s.recheck || time.Since(s.fetched) >= trustTime {
		return false
	}
	if s.remote.url.Scheme != "https" && s.remote.url.Scheme != "http" {
		return false
	}
	tip, err := s.askRef(ctx)
	return err == nil && tip == s.seen.tip
}

// askRef asks the remote for its ref by the command ls-refs of Git's protocol version 2.
func (s *gitSource) askRef(ctx context.Context) (oid, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	client, err := s.client()
	if err != nil {
		return "", err
	}
	body := pkt("command=ls-refs\n") + pkt("agent="+agent) + pkt("object-format="+s.seen.tip.algorithm()) + "0001" +
		pkt("ref-prefix "+s.remote.ref+"\n") + "0000"
	const service = "git-upload-pack"
	at := *s.remote.url
	at.Path, at.RawPath = strings.TrimSuffix(at.Path, "/")+"/"+service, ""
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), strings.NewReader(body))
	if err != nil {
		return "", err
	}
	q.Header.Set("Content-Type", "application/x-"+service+"-request")
	q.Header.Set("Accept", "application/x-"+service+"-result")
	q.Header.Set("Git-Protocol", "version=2")
	q.Header.Set("User-Agent", agent)
	if s.header != "" {
		q.Header.Set("Authorization", s.header)
	}
	answer, err := client.Do(q)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "application/x-"+service+"-result" {
		return "", fmt.Errorf("the answer is %s with content of the type %q", answer.Status, kind)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxRefs))
	if err != nil {
		return "", err
	}
	return findRef(data, s.remote.ref)
}

// agent names this program to servers. Some answer by protocol version 2 only to what
// looks like git.
const agent = "git/statesync"

// pkt is a line of Git's protocol: its length in four hexadecimal digits, and the line.
func pkt(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }

// findRef finds a ref in the answer to ls-refs: lines "OID NAME[ ATTRIBUTE…]" and a flush.
// A prefix brings other refs, too.
func findRef(data []byte, name string) (oid, error) {
	found := oid("")
	for {
		if len(data) < 4 {
			return "", fmt.Errorf("the answer ends before its end")
		}
		n, err := strconv.ParseUint(string(data[:4]), 16, 16)
		switch {
		case err != nil:
			return "", fmt.Errorf("the answer has a line of the length %q", data[:4])
		case n == 0 && len(data) == 4 && found != "":
			return found, nil
		case n < 4 || int(n) > len(data):
			return "", fmt.Errorf("the answer has a line of the length %d", n)
		}
		line := bytes.TrimSuffix(data[4:n], []byte("\n"))
		data = data[n:]
		fields := strings.Split(string(line), " ")
		switch {
		case len(fields) < 2 || !isOID(fields[0]):
			return "", fmt.Errorf("the answer has the line %q", line)
		case fields[1] != name:
		case found != "":
			return "", fmt.Errorf("the answer has the ref twice")
		default:
			found = oid(fields[0])
		}
	}
}

// client returns the client of the polls. It goes by the same proxies and certificates
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
