//go:build unix

package daemon

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/atomic"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/image"
)

// How long the recorder rests after it recorded publications, and after it could
// not.
const (
	recordInterval = time.Second
	recordRetry    = 10 * time.Second
)

// copies is how many times what it adds a transaction takes in memory, at most. What adds
// more than returnAbove bytes, as the first one does, gives that back to the system at
// once.
const (
	copies      = 4
	returnAbove = 8 << 20
)

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

	mu      sync.Mutex
	pending []unrecorded
	last    history.Publication // that record was called with last
	jobs    []func()
	closing bool
}

// unrecorded is a publication that is yet to be recorded, and how many bytes of contents
// and files it adds.
type unrecorded struct {
	history.Publication
	bytes int64
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
	}
	r.pending = append(r.pending, unrecorded{p, added(&r.last, &p)})
	r.last = p
	r.mu.Unlock()
	r.look()
}

// added is how many bytes of contents and files a publication has that the one before it
// has not.
func added(before, now *history.Publication) (bytes int64) {
	diff.Walk(before.Configs, now.Configs, func(_, s *image.Section) {
		if s != nil {
			bytes += int64(len(s.Content()))
		}
	})
	for i, s := range now.Snapshots {
		if s == nil {
			continue
		}
		var old []*source.File
		if i < len(before.Snapshots) && before.Snapshots[i] != nil {
			old = before.Snapshots[i].Files
		}
		for _, f := range s.Files {
			for len(old) > 0 && old[0] != f && old[0].Path < f.Path {
				old = old[1:]
			}
			if len(old) > 0 && old[0] == f {
				old = old[1:]
			} else {
				bytes += int64(len(f.Data))
			}
		}
	}
	return bytes
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
	var pending []history.Publication
	bytes := int64(0)
	r.mu.Lock()
	for _, p := range r.pending {
		pending = append(pending, p.Publication)
		bytes += p.bytes
	}
	r.mu.Unlock()
	if len(pending) == 0 {
		return 0
	}
	newest := pending[len(pending)-1].Generation
	failpoint.Here("memory.record")
	err := roomFor(copies * bytes)
	if err == nil {
		err = r.store.Record(pending...)
	}
	if bytes > returnAbove {
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
