//go:build unix

package daemon

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/shm/failpoint"
)

// How long the recorder rests after it recorded publications, and after it could
// not.
const (
	recordInterval = time.Second
	recordRetry    = 10 * time.Second
)

// returnAbove is how many bytes a transaction has to add until its memory, some three
// times as much, is given back to the system at once: the first one has all configs.
const returnAbove = 8 << 20

// maxUnrecorded is how many publications wait for a disk. Of more the oldest are left
// out of the history, which records what is live in any case.
const maxUnrecorded = 64

// recorder writes the history on a goroutine of its own, so that the owner waits for
// no disk: publications soon after their commit, several in one transaction, and acts
// at once, in the order in which they were given, after the publications before them.
type recorder struct {
	store  *history.Store
	log    *slog.Logger
	errors *atomic.Uint64
	acted  chan acted    // to the owner
	quit   chan struct{} // closed: no owner takes what is acted
	wake   chan struct{} // capacity 1
	ended  chan struct{}

	trouble atomic.String // why the last recording failed; empty: it worked
	left    atomic.Uint64 // publications that were left out

	mu      sync.Mutex
	pending []history.Publication
	jobs    []func()
	closing bool
}

func startRecorder(s *history.Store, errors *atomic.Uint64, log *slog.Logger) *recorder {
	r := &recorder{
		store: s, log: log, errors: errors, acted: make(chan acted), quit: make(chan struct{}),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go r.run()
	return r
}

// record has a publication recorded soon.
func (r *recorder) record(p history.Publication) {
	r.mu.Lock()
	if len(r.pending) == maxUnrecorded {
		r.pending = append(r.pending[:0], r.pending[1:]...)
		r.left.Inc()
	}
	r.pending = append(r.pending, p)
	r.mu.Unlock()
	r.look()
}

// do has a job done after everything that was given before it.
func (r *recorder) do(job func()) {
	r.mu.Lock()
	r.jobs = append(r.jobs, job)
	r.mu.Unlock()
	r.look()
}

func (r *recorder) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// answer gives the owner what became of an act. It is for jobs.
func (r *recorder) answer(a acted) {
	select {
	case r.acted <- a:
	case <-r.quit:
	}
}

// abandoned reports whether the owner has ended: an act that was not begun is not begun
// any more.
func (r *recorder) abandoned() bool {
	select {
	case <-r.quit:
		return true
	default:
		return false
	}
}

// close records what is yet to be recorded, and closes the store.
func (r *recorder) close() error {
	close(r.quit)
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.look()
	<-r.ended
	return r.store.Close()
}

func (r *recorder) run() {
	defer close(r.ended)
	rest := time.NewTimer(0)
	<-rest.C
	resting := false
	for {
		select {
		case <-r.wake:
		case <-rest.C:
			resting = false
		}
		r.mu.Lock()
		jobs, closing := r.jobs, r.closing
		r.jobs = nil
		r.mu.Unlock()
		if !resting || len(jobs) > 0 || closing {
			if pause := r.flush(); pause > 0 {
				rest.Reset(pause)
				resting = true
			}
		}
		for _, job := range jobs {
			job()
		}
		if closing && len(jobs) == 0 {
			return
		}
		if closing {
			r.look() // a job may have left another
		}
	}
}

// flush records what is pending, and returns how long to rest then; 0: there was
// nothing.
func (r *recorder) flush() (pause time.Duration) {
	r.mu.Lock()
	pending := append([]history.Publication(nil), r.pending...)
	r.mu.Unlock()
	if len(pending) == 0 {
		return 0
	}
	newest, before := pending[len(pending)-1].Generation, r.store.Stats().Bytes
	failpoint.Here("memory.record")
	err := r.store.Record(pending...)
	if r.store.Stats().Bytes-before > returnAbove {
		runtime.GC() // pools outlive one collection
		debug.FreeOSMemory()
	}
	failpoint.Here("memory.recorded")
	if err != nil {
		r.errors.Inc()
		if text := err.Error(); text != r.trouble.Swap(text) {
			r.log.Error("the history cannot be written and will be retried; publishing goes on, and after a reboot without "+
				"sources an older generation is published", "generation", newest, "retry", recordRetry, "error", err)
		}
		return recordRetry
	}
	if r.trouble.Swap("") != "" {
		r.log.Info("the history is written again", "generation", newest)
	}
	r.mu.Lock()
	for len(r.pending) > 0 && r.pending[0].Generation <= newest {
		r.pending = r.pending[1:]
	}
	if len(r.pending) == 0 {
		r.pending = nil // and the content with it
	}
	r.mu.Unlock()
	return recordInterval
}
