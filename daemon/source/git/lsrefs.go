//go:build unix

package git

import (
	"bytes"
	"context"
	"errors"
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
	// maxRefs is how many bytes of the answer to a poll are read, and maxTagRefs for a
	// pattern of tags. A ref takes some 65.
	maxRefs    = 64 << 10
	maxTagRefs = 4 << 20
)

// polled asks the remote for the ref that is followed, and returns zero if that is to be left
// to git: after a start, now and then, and if the answer is a redirect, one that asks for
// credentials, one that is not in protocol version 2, or none.
func (s *gitSource) polled(ctx context.Context) ref {
	if s.seen.tip == "" || s.recheck || time.Since(s.fetched) >= trustTime {
		return ref{}
	}
	if s.remote.url.Scheme != "https" && s.remote.url.Scheme != "http" {
		return ref{}
	}
	found, err := s.askRef(ctx)
	if err != nil {
		return ref{}
	}
	return found
}

// askRef asks the remote for the ref that is followed, by the command ls-refs of Git's
// protocol version 2.
func (s *gitSource) askRef(ctx context.Context) (ref, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	client, err := s.client()
	if err != nil {
		return ref{}, err
	}
	prefix, _, _ := strings.Cut(s.remote.ref, "*")
	most := int64(maxRefs)
	if s.remote.newest {
		most = maxTagRefs
	}
	body := pkt("command=ls-refs\n") + pkt("agent="+agent) + pkt("object-format="+s.seen.tip.algorithm()) + "0001" +
		pkt("ref-prefix "+prefix+"\n") + "0000"
	const service = "git-upload-pack"
	at := *s.remote.url
	at.Path, at.RawPath = strings.TrimSuffix(at.Path, "/")+"/"+service, ""
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), strings.NewReader(body))
	if err != nil {
		return ref{}, err
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
		return ref{}, err
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK || kind != "application/x-"+service+"-result" {
		return ref{}, fmt.Errorf("the answer is %s with content of the type %q", answer.Status, kind)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err != nil {
		return ref{}, err
	}
	return s.remote.find(data)
}

// agent names this program to servers. Some answer by protocol version 2 only to what
// looks like git.
const agent = "git/statesync"

// pkt is a line of Git's protocol: its length in four hexadecimal digits, and the line.
func pkt(line string) string { return fmt.Sprintf("%04x%s", len(line)+4, line) }

// find finds the ref that is followed in the answer to ls-refs: lines
// "OID NAME[ ATTRIBUTE…]" and a flush. A prefix brings other refs, too.
func (r *remote) find(data []byte) (ref, error) {
	c := choice{remote: r}
	for {
		if len(data) < 4 {
			return ref{}, errors.New("the answer ends before its end")
		}
		n, err := strconv.ParseUint(string(data[:4]), 16, 16)
		switch {
		case err != nil:
			return ref{}, fmt.Errorf("the answer has a line of the length %q", data[:4])
		case n == 0 && len(data) == 4 && c.best.name != "" && !c.twice:
			return c.best, nil
		case n < 4 || int(n) > len(data):
			return ref{}, fmt.Errorf("the answer has a line of the length %d", n)
		}
		line := bytes.TrimSuffix(data[4:n], []byte("\n"))
		data = data[n:]
		fields := strings.SplitN(string(line), " ", 3)
		if len(fields) < 2 || !IsObject(fields[0]) {
			return ref{}, fmt.Errorf("the answer has the line %q", line)
		}
		c.add(fields[1], oid(fields[0]))
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
