//go:build unix

package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/internal/plain"
)

// liveWithin is how long a turn of the loop may take. It ends one each second
// while nothing happens; reading and decoding the greatest source that there
// may be takes tens of seconds.
const liveWithin = 2 * time.Minute

// Limits of external text in answers, in bytes.
const (
	maxRevision = 256
	maxProblem  = 2048
)

// verdict is one of the three answers, with its reason.
type verdict struct {
	OK  bool   `json:"ok"`
	Why string `json:"why"`
}

// health is everything that the health endpoints say.
type health struct {
	Live       verdict `json:"live"`
	Ready      verdict `json:"ready"`
	Fresh      verdict `json:"fresh"`
	Converged  verdict `json:"converged"`
	Held       bool    `json:"held"`       // on purpose, which is healthy
	Generation uint64  `json:"generation"` // 0 is none
	Revision   string  `json:"revision"`   // it came from
	Configs    int     `json:"configs"`
	Problem    string  `json:"problem"` // why a newer revision is not published
	Alarm      string  `json:"alarm"`   // what takes longer than it should

	// overdue says that it is not converged for longer than a fresh source may be old.
	overdue bool
}

func yes(format string, args ...any) verdict { return verdict{true, fmt.Sprintf(format, args...)} }
func no(format string, args ...any) verdict  { return verdict{false, fmt.Sprintf(format, args...)} }

// health judges the daemon. Ages are by the monotonic clock, which cannot be set.
func (s *Server) health() health {
	stats := s.daemon.State()
	problem := stats.Problem
	if s.remote {
		problem = stats.Place
	}
	h := health{
		Generation: stats.Generation, Configs: stats.Configs, Held: stats.Held, Alarm: plain.Line(stats.Alarm, maxProblem),
		Revision: plain.Line(stats.Revision, maxRevision), Problem: plain.Line(problem, maxProblem),
	}
	switch age := time.Since(stats.Turned); {
	case stats.Stuck:
		h.Live = no("it has been decoding one revision for %s, and only its end can end that; "+
			"readers keep reading, and a restart goes on with the last good one", round(time.Since(stats.Planning)))
	case !stats.Turned.IsZero() && age <= liveWithin:
		h.Live = yes("the loop ended a turn %s ago", round(age))
	case !stats.Turned.IsZero():
		h.Live = no("the loop has not ended a turn for %s, as when the kernel holds it up; "+
			"readers keep reading, and a restart may help", round(age))
	case time.Since(s.began) <= s.opt.LockWait+liveWithin:
		h.Live = yes("it is starting")
	default:
		h.Live = no("it has been starting for %s: it hangs; see its log", round(time.Since(s.began)))
	}
	switch {
	case stats.Ready:
		h.Ready = yes("readers find generation %d", stats.Generation)
	case stats.Generation > 0:
		h.Ready = no("the region that held generation %d is lost, and cannot be recreated; see the problem", stats.Generation)
	default:
		h.Ready = no("no generation is published yet; correct the source")
	}
	switch {
	case stats.Fresh:
		h.Fresh = yes("each source was looked at in time")
	default:
		h.Fresh = no("%s", notFresh(stats))
	}
	switch {
	case stats.Converged:
		h.Converged = yes("the sources were valid %s ago, and are published", round(time.Since(stats.LastGood)))
	case stats.Behind.IsZero():
		h.Converged = no("the sources are being read")
	default:
		age := time.Since(stats.Behind)
		h.Converged = no("the sources' newest revision has not been published for %s; readers have %s", round(age), lastValid(stats))
		h.overdue = age > s.opt.MaxAge
	}
	return h
}

// notFresh says which source was not looked at for how long.
func notFresh(s *daemon.State) string {
	for _, l := range s.Layers {
		switch {
		case l.Looked.IsZero():
			return fmt.Sprintf("the source %s was never read", l.Source)
		case time.Since(l.Looked) > l.MaxAge:
			return fmt.Sprintf("the source %s was last read %s ago, and may be %s old", l.Source, round(time.Since(l.Looked)), l.MaxAge)
		}
	}
	return "the sources are being read"
}

// lastValid words what readers have instead of the newest.
func lastValid(s *daemon.State) string {
	if s.LastGood.IsZero() {
		return "what an earlier daemon published, if anything"
	}
	return fmt.Sprintf("what was valid %s ago", round(time.Since(s.LastGood)))
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}

// answer answers with everything, and with the status code of one question.
func (s *Server) answer(question func(health) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := s.health()
		code := http.StatusOK
		if !question(h) {
			code = http.StatusServiceUnavailable
		}
		if strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(h) // it fails only if the client has gone
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(h.text()))
	})
}

// text is a line for each verdict, and for what is refused.
func (h health) text() string {
	var b strings.Builder
	for _, v := range []struct {
		name string
		verdict
	}{{"live", h.Live}, {"ready", h.Ready}, {"fresh", h.Fresh}, {"converged", h.Converged}} {
		word := "ok"
		if !v.OK {
			word = "NO"
		}
		fmt.Fprintf(&b, "%-9s  %s  %s\n", v.name, word, v.Why)
	}
	if h.Generation > 0 {
		fmt.Fprintf(&b, "\ngeneration: %d, configs: %d, revision: %s\n", h.Generation, h.Configs, h.Revision)
	}
	if h.Held {
		b.WriteString("held: an operator holds back what is newer\n")
	}
	if h.Alarm != "" {
		fmt.Fprintf(&b, "alarm: %s\n", h.Alarm)
	}
	if h.Problem != "" {
		fmt.Fprintf(&b, "refused: %s\n", h.Problem)
	}
	return b.String()
}
