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

// Status reads what the writer says of itself. The error is ErrFault when the
// region's memory is gone, and ErrBusy when the status is being written each
// time: a writer that died while it wrote leaves it so until its successor
// comes.
func (r *Region) Status() (Status, error) {
	var words [statusWords]uint64
	for range maxTries {
		whole := false
		err := r.guarded(func() error {
			block := r.statusBlock()
			before := atomic.LoadUint64(&block[statusSequence])
			seqlock.LoadWords(words[:statusHead], block)
			seqlock.LoadWords(words[statusHead:][:fieldsIn(&words)], block[statusHead:])
			whole = before%2 == 0 && before == atomic.LoadUint64(&block[statusSequence])
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
// is two loads. Memory that is gone does not beat.
func (r *Region) Beating() bool {
	var s Status
	err := r.guarded(func() error {
		s.State = State(atomic.LoadUint64(&r.statusBlock()[statusState]))
		s.Heartbeat = time.Duration(atomic.LoadUint64(&r.statusBlock()[statusHeartbeat]))
		return nil
	})
	return err == nil && s.Alive()
}

// fieldsIn is how many words the fields take.
func fieldsIn(w *[statusWords]uint64) uint64 {
	return min(w[statusFields]/wordBytes, statusWords-statusHead)
}

// fieldWords is how many words a field of n bytes takes.
func fieldWords(n int) int { return 1 + (n+wordBytes-1)/wordBytes }

func decodeStatus(w *[statusWords]uint64) Status {
	s := Status{
		State:       State(w[statusState]),
		PID:         int(w[statusPID]),
		Incarnation: w[statusIncarnation],
		Started:     time.Unix(0, int64(w[statusStarted])),
		Heartbeat:   time.Duration(w[statusHeartbeat]),
		SourceGood:  time.Duration(w[statusSourceGood]),
	}
	fields := w[statusHead:][:fieldsIn(w)]
	for len(fields) > 0 {
		tag, length := uint32(fields[0]), fields[0]>>32
		if length > uint64(len(fields)-1)*wordBytes {
			break // no writer leaves this
		}
		text := bytesOf(fields[1:])[:length]
		switch {
		case tag == fieldObserved && s.Observed == "":
			s.Observed = string(text[:min(length, maxObserved)])
		case tag == fieldProblem && s.Problem == "":
			s.Problem = string(text[:min(length, maxProblem)])
		}
		fields = fields[fieldWords(int(length)):]
	}
	return s
}

// encode writes the status into words, all of them but the sequence, and
// returns how many words it takes.
func (s *Status) encode(w *[statusWords]uint64) (n int) {
	w[statusState] = uint64(s.State)
	w[statusPID] = uint64(s.PID)
	w[statusIncarnation] = s.Incarnation
	w[statusHeartbeat] = uint64(s.Heartbeat)
	w[statusSourceGood] = uint64(s.SourceGood)
	w[statusStarted] = uint64(s.Started.UnixNano())
	n = statusHead
	field := func(tag uint64, text string) {
		if text == "" {
			return
		}
		w[n] = tag | uint64(len(text))<<32
		copy(bytesOf(w[n+1:]), text)
		n += fieldWords(len(text))
	}
	field(fieldObserved, cut(s.Observed, maxObserved))
	field(fieldProblem, cut(s.Problem, maxProblem))
	w[statusFields] = uint64(n-statusHead) * wordBytes
	return n
}

// cut shortens s to at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// writeStatus stores a status under its own sequence. The status of a writer
// that died in the middle is odd, and becomes even here.
func (l *layout) writeStatus(s Status) error {
	var words [statusWords]uint64
	n := s.encode(&words)
	return l.guarded(func() error {
		block := l.statusBlock()
		sequence := atomic.LoadUint64(&block[statusSequence]) | 1
		atomic.StoreUint64(&block[statusSequence], sequence)
		seqlock.StoreWords(block[statusSequence+1:], words[statusSequence+1:n])
		atomic.StoreUint64(&block[statusSequence], sequence+1)
		return nil
	})
}
