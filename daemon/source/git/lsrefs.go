//go:build unix

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
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
	if s.seen.tip == "" || s.recheck || time.Since(s.repo.pulled) >= trustTime {
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
	prefix, _, _ := strings.Cut(s.remote.ref, "*")
	most := int64(maxRefs)
	if s.remote.newest {
		most = maxTagRefs
	}
	body := command("ls-refs", s.seen.tip, "ref-prefix "+prefix+"\n")
	answer, err := s.ask(ctx, body)
	if err != nil {
		return ref{}, err
	}
	defer answer.Close()
	data, err := io.ReadAll(io.LimitReader(answer, most))
	if err != nil {
		return ref{}, err
	}
	return s.remote.find(data)
}

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
