package shm

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/statesync/statesync/seqlock"
)

// A writer beats once in HeartbeatInterval; one that has not for StaleAfter is
// dead, stopped or stuck.
const (
	HeartbeatInterval = time.Second
	StaleAfter        = 5 * time.Second
)

// State is what a writer says of itself.
type State uint64

// The states of a writer.
const (
	Unknown State = iota
	Running
	Stopped // it ended in good order
)

func (s State) String() string {
	switch s {
	case Running:
		return "running"
	case Stopped:
		return "stopped"
	}
	return "unknown"
}

// Status is what the writer tells the region's readers about itself. It is
// information: no read depends on it.
type Status struct {
	State       State
	PID         int       // as the writer's own namespace counts
	Incarnation uint64    // another one after each start
	Started     time.Time // when the writer attached
	// Heartbeat and SourceGood are when the writer was last alive, and when its
	// source was last read and found good, on the clock of Boottime; 0 is never.
	Heartbeat  time.Duration
	SourceGood time.Duration
	// Observed is the newest revision that was seen to have the content of the
	// current generation, cut to 1,024 bytes.
	Observed string
	// Problem is why a newer revision is not published, cut to 2,560 bytes; empty
	// when all is well.
	Problem string
}

// Alive says whether the writer's heart has beaten lately. On a machine that
// was suspended it may be false for a moment.
func (s Status) Alive() bool {
	age := Boottime() - s.Heartbeat
	return s.State == Running && age >= 0 && age < StaleAfter
}

// Status reads what the writer says of itself. A writer that died while it was
// writing that down leaves it unreadable until its successor comes; the error
// is then ErrBusy. Memory that is gone is ErrFault.
func (r *Region) Status() (Status, error) {
	var words [writerWords]uint64
	for range maxTries {
		whole := false
		err := r.guarded(func() error {
			block := r.writer()
			before := atomic.LoadUint64(&block[writerSequence])
			seqlock.LoadWords(words[:], block)
			whole = before%2 == 0 && before == atomic.LoadUint64(&block[writerSequence])
			return nil
		})
		if err != nil {
			return Status{}, fmt.Errorf("%s: the writer's status: %w", r.path, err)
		}
		if whole {
			return decodeStatus(&words), nil
		}
	}
	return Status{}, fmt.Errorf("%s: the writer's status: %w", r.path, ErrBusy)
}

// Beating says whether the writer's heart has beaten lately; unlike Status it
// is one load. Memory that is gone does not beat.
func (r *Region) Beating() bool {
	var s Status
	err := r.guarded(func() error {
		s.State = State(atomic.LoadUint64(&r.writer()[writerState]))
		s.Heartbeat = time.Duration(atomic.LoadUint64(&r.writer()[writerHeartbeat]))
		return nil
	})
	return err == nil && s.Alive()
}

func decodeStatus(w *[writerWords]uint64) Status {
	text := func(from int, length, most uint64) string {
		return string(bytesOf(w[from:])[:min(length, most)])
	}
	return Status{
		State:       State(w[writerState]),
		PID:         int(w[writerPID]),
		Incarnation: w[writerIncarnation],
		Started:     time.Unix(0, int64(w[writerStarted])),
		Heartbeat:   time.Duration(w[writerHeartbeat]),
		SourceGood:  time.Duration(w[writerSourceGood]),
		Observed:    text(writerObservedText, w[writerObserved], maxObserved),
		Problem:     text(writerProblemText, w[writerProblem], maxProblem),
	}
}

// encode writes the status over the words of a writer block, up to its
// sequence, which stays.
func (s *Status) encode(w *[writerWords]uint64) {
	observed, problem := cut(s.Observed, maxObserved), cut(s.Problem, maxProblem)
	w[writerState] = uint64(s.State)
	w[writerPID] = uint64(s.PID)
	w[writerIncarnation] = s.Incarnation
	w[writerHeartbeat] = uint64(s.Heartbeat)
	w[writerSourceGood] = uint64(s.SourceGood)
	w[writerStarted] = uint64(s.Started.UnixNano())
	w[writerObserved] = uint64(len(observed))
	w[writerProblem] = uint64(len(problem))
	copy(bytesOf(w[writerObservedText:]), observed)
	copy(bytesOf(w[writerProblemText:]), problem)
}

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// writeStatus stores a status under the block's own sequence. The status of a
// writer that died in the middle is odd, and becomes even here.
func (l *layout) writeStatus(s Status) error {
	return l.guarded(func() error {
		block := l.writer()
		sequence := atomic.LoadUint64(&block[writerSequence]) | 1
		var words [writerWords]uint64
		s.encode(&words)
		atomic.StoreUint64(&block[writerSequence], sequence)
		seqlock.StoreWords(block[writerSequence+1:], words[writerSequence+1:])
		atomic.StoreUint64(&block[writerSequence], sequence+1)
		return nil
	})
}
