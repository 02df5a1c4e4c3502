package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// noRegionAfter is for how long a Lazy client finds no region before it says so:
// daemon and application may start together.
const noRegionAfter = 10 * time.Second

// silentFor is for how long a daemon must be dead, as far as readers can tell,
// before a client says so.
const silentFor = 5 * time.Second

// What is reported about a client. Each binding is a subject, too.
const (
	aboutRegion   = "region"
	aboutDaemon   = "daemon"
	aboutWaiting  = "waiting"
	aboutSnapshot = "snapshot"
)

// maxReports is how many reports wait for a slow handler. Later ones are dropped.
const maxReports = 256

// reporter logs what is wrong, once for each cause, and once that it is over. The
// handler is code of the application, so the reports are errands.
type reporter struct {
	logger  *slog.Logger // nil: slog.Default() at the time
	reports errands
	causes  atomic.Int32 // how many subjects have a cause

	mu    sync.Mutex     // guards what follows
	cause map[any]string // of the last report about a subject that is not over
}

// problem logs a message about a subject, unless the last one about it had the
// same cause.
func (r *reporter) problem(subject any, cause, message string, attrs ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, open := r.cause[subject]
	if open && old == cause {
		return
	}
	if r.cause == nil {
		r.cause = make(map[any]string)
	}
	if !open {
		r.causes.Add(1)
	}
	r.cause[subject] = cause
	r.write(slog.LevelWarn, message, attrs)
}

// troubled reports whether there is a problem with any subject.
func (r *reporter) troubled() bool { return r.causes.Load() > 0 }

// over logs the end of a problem with a subject, if it had one.
func (r *reporter) over(subject any, message string, attrs ...any) {
	if !r.troubled() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, open := r.cause[subject]; !open {
		return
	}
	delete(r.cause, subject)
	r.causes.Add(-1)
	r.write(slog.LevelInfo, message, attrs)
}

// write has a report logged. The caller holds mu.
func (r *reporter) write(level slog.Level, message string, attrs []any) {
	if r.reports.waiting() >= maxReports {
		return
	}
	r.reports.push(func() {
		logger := r.logger
		if logger == nil {
			logger = slog.Default()
		}
		_ = callApplication(func() { logger.Log(context.Background(), level, "statesync: "+message, attrs...) })
	})
}

// reportRegion logs the error of the follower's last refresh.
func (c *Client) reportRegion(err error) {
	switch {
	case err == nil && !c.log.troubled(): // after each change: the attributes would be allocated
	case err == nil:
		c.log.over(aboutRegion, "the region is readable", "region", c.dir)
	case c.isClosed():
	case errors.Is(err, ErrBusy): // the next try may succeed
	case errors.Is(err, ErrNoRegion):
		if time.Since(c.opened) >= noRegionAfter {
			c.log.problem(aboutRegion, causeOf(err), "no region; bindings have their defaults",
				"error", advise(err), "region", c.dir, "found", found(c.dir))
		}
	default:
		c.log.problem(aboutRegion, causeOf(err), "the region is unusable; bindings keep their values",
			"error", advise(err), "region", c.dir)
	}
}

// reportHeart logs that the daemon has died or hangs, or lives again. An upgrade,
// which takes less than silentFor, is not worth a line in each process.
func (c *Client) reportHeart(s *Snapshot, beats bool) {
	switch {
	case beats:
		c.silent = time.Time{}
		if c.log.troubled() {
			c.log.over(aboutDaemon, "the daemon is alive again", "region", c.dir)
		}
	case c.silent.IsZero():
		c.silent = time.Now()
	case time.Since(c.silent) >= silentFor:
		c.log.problem(aboutDaemon, "silent", "the daemon is silent; configs keep their values and get older",
			"region", c.dir, "generation", s.Generation())
	}
}

// causeOf is what an error of a region matches, which stays the same while the
// text of the error may vary.
func causeOf(err error) string {
	for _, cause := range []error{ErrNoRegion, ErrUntrusted, ErrLayout, ErrCorrupt, ErrUnsupported, fs.ErrPermission} {
		if errors.Is(err, cause) {
			return cause.Error()
		}
	}
	return "other"
}

// found says what there is at a path, or at its nearest parent that exists.
func found(path string) string {
	for dir := path; ; dir = filepath.Dir(dir) {
		d, err := os.Open(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			continue
		}
		if err != nil {
			return err.Error()
		}
		defer d.Close()
		const most = 8
		names, err := d.Readdirnames(most)
		switch {
		case len(names) == 0 && err != nil && !errors.Is(err, fs.ErrNotExist):
			return dir + " is empty"
		case len(names) == most:
			names = append(names, "…")
		}
		return fmt.Sprintf("%s has %s", dir, strings.Join(names, ", "))
	}
}
