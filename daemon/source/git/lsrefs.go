//go:build unix

package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/source"
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
// to git: over ssh and file, after a start, now and then, and if the answer is a redirect,
// one that asks for credentials, or one that is not in protocol version 2. A remote that
// does not answer in time, or that answered before and now gives no answer, is not asked by
// git as well, which would cost a server that is too busy to answer eight times as much.
func (s *gitSource) polled(ctx context.Context) (ref, error) {
	if s.repo.ask == nil || s.seen.tip == "" || s.recheck || time.Since(s.repo.pulled) >= trustTime {
		return ref{}, nil
	}
	found, err := s.askRef(ctx)
	switch {
	case err == nil:
		s.answers = true
		return found, nil
	case errors.Is(err, context.DeadlineExceeded), s.answers && errors.Is(err, errNoAnswer):
		return ref{}, source.Unreachable(err)
	}
	return ref{}, nil
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
	found, err := s.remote.find(io.LimitReader(answer, most))
	if err != nil && ctx.Err() != nil { // the answer was not waited for to its end
		err = context.Cause(ctx)
	}
	return found, err
}

// find finds the ref that is followed in the answer to ls-refs: lines
// "OID NAME[ ATTRIBUTE…]" and a flush. A prefix brings other refs, too.
func (r *remote) find(in io.Reader) (ref, error) {
	answer := lines{bufio.NewReader(in)}
	c := choice{remote: r}
	for {
		n, err := answer.length()
		switch {
		case err != nil:
			return ref{}, err
		case n == flushPkt:
			if _, err := answer.ReadByte(); !errors.Is(err, io.EOF) || c.best.name == "" || c.twice {
				return ref{}, errors.New("the answer does not end with the ref that was asked for, once")
			}
			return c.best, nil
		case n < 0:
			return ref{}, errors.New("the answer has a second part")
		}
		line, err := answer.text(n)
		if err != nil {
			return ref{}, err
		}
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(fields) < 2 || !IsObject(fields[0]) {
			return ref{}, fmt.Errorf("the answer has the line %q", line)
		}
		c.add(fields[1], oid(fields[0]))
	}
}
