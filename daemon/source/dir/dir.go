package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/source"
)

// Scheme is the scheme of directories, "dir:PATH".
var Scheme = source.Scheme{
	Name:    "dir",
	Address: "PATH",
	Check: func(spec source.Spec) error {
		if spec.Address == "" {
			return errors.New("names no directory; write dir:PATH")
		}
		return nil
	},
	Open: func(spec source.Spec, o source.Options) (source.Source, error) { return Open(spec.Address, o) },
}

// directory is the source "dir:PATH".
type directory struct {
	opt   source.Options
	name  string // "dir:PATH", for messages
	path  string // absolute
	watch *watcher

	closed chan struct{}
	once   sync.Once

	// The rest belongs to the goroutine that calls Fetch.
	root     node
	newest   *source.Snapshot
	walked   []*source.File // the files of newest in the order of the walk
	order    []int          // where in walked each file of newest is
	round    uint64         // counts the content checks
	compared time.Time      // when the round began
	whole    time.Time      // when the last whole scan began
	route    route          // that it went by
	sound    bool           // the last scan saw all files, good and at rest, and all is watched
	lockTold time.Time      // when a lock that Git left was told last
	left     *changes       // what the last scan did not see at rest; nil: nothing
	links    int            // symlinks in the source, by the last scan
}

// Open returns the directory path as a source. It need not exist yet: that is Fetch's
// error. Close may be called from any goroutine, and more than once.
func Open(path string, o source.Options) (source.Source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("dir:%s: %w", plain.Text(path), err)
	}
	d := &directory{
		opt:    o.WithDefaults(),
		name:   "dir:" + plain.Text(abs),
		path:   abs,
		closed: make(chan struct{}),
	}
	if !o.NoWatch {
		d.watch = newWatcher(d.opt)
		d.watch.start()
	}
	return d, nil
}

// Hint returns nil, a channel that never signals, under NoWatch.
func (d *directory) Hint() <-chan struct{} {
	if d.watch == nil {
		return nil
	}
	return d.watch.hint
}

func (d *directory) Close() error {
	var err error
	d.once.Do(func() {
		close(d.closed)
		err = d.watch.close()
	})
	return err
}

// Recheck makes the next Fetch compare all content, whatever stat says. It belongs to
// the goroutine that calls Fetch.
func (d *directory) Recheck() { d.compared = time.Time{} }

// Fetch scans until one scan saw everything at rest, or for MaxWait. The scans may be
// partial if a hint was received, and if neither a whole scan nor a content check is due.
func (d *directory) Fetch(ctx context.Context, have *source.Snapshot) (*source.Snapshot, error) {
	began := time.Now()
	partly := d.watch.received() && began.Sub(d.whole) < d.opt.Rescan
	if d.compared.IsZero() || began.Sub(d.compared) >= d.opt.ContentCheck {
		d.round++
		d.compared = began
		partly = false
	}
	pause := time.Millisecond
	for try := 1; ; try++ {
		select {
		case <-d.closed:
			return nil, fmt.Errorf("%s: %w", d.name, fs.ErrClosed)
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", d.name, ctx.Err())
		default:
		}
		s := d.look(ctx, partly)
		switch {
		case s.fatal != nil:
			return nil, fmt.Errorf("%s: %w", d.name, s.fatal)
		case s.unstable == nil:
			return d.finish(s, have)
		case time.Since(began) >= d.opt.MaxWait && try > 2:
			d.sound = false
			// A bad file is bad whether or not another one is being written.
			return nil, errors.Join(append(s.problems, s.unstable)...)
		}
		select {
		case <-time.After(pause):
		case <-d.closed:
		case <-ctx.Done():
		}
		pause = min(2*pause, d.opt.Quiet)
	}
}

// look scans the changes if they are known and suffice, else everything.
func (d *directory) look(ctx context.Context, partly bool) *scan {
	if partly && d.sound {
		if only := d.watch.changes(d.left); only != nil {
			if s := d.scan(ctx, only); !s.doubt {
				return s
			}
		}
	}
	return d.scan(ctx, nil)
}

// finish makes a snapshot of a scan that saw everything at rest.
func (d *directory) finish(s *scan, have *source.Snapshot) (*source.Snapshot, error) {
	if s.problems != nil {
		return nil, errors.Join(s.problems...)
	}
	if s.wanted == 0 && !d.opt.AllowEmpty {
		return nil, fmt.Errorf("%s: %w; an empty source is taken for a mistake unless --allow-empty is given", d.name, source.ErrEmpty)
	}
	if d.newest == nil || have != nil && have != d.newest || !slices.Equal(s.files, d.walked) {
		d.renew(s.leaves, have)
	}
	d.watch.finished(d.newest.Files)
	return d.newest, nil
}

// renew makes the newest snapshot of what a scan found, and has the next scans go on
// with its files: where have holds the content that was read, the copy is dropped. The
// files of a walk that comes by the same paths as the last one are not sorted again.
func (d *directory) renew(found []*content, have *source.Snapshot) {
	samePath := func(c *content, f *source.File) bool { return c.file == f || c.file.Path == f.Path }
	if !slices.EqualFunc(found, d.walked, samePath) {
		d.order = make([]int, len(found))
		for i := range d.order {
			d.order[i] = i
		}
		slices.SortFunc(d.order, func(a, b int) int { return strings.Compare(found[a].file.Path, found[b].file.Path) })
	}
	files := make([]*source.File, len(found))
	for i, at := range d.order {
		files[i] = found[at].file
	}
	d.newest = source.NewSnapshot(files, have, func(sum source.Digest) string { return "dir@sha256:" + sum.String() })
	d.walked = make([]*source.File, len(found))
	for i, at := range d.order {
		f := d.newest.Files[i]
		found[at].file, d.walked[at] = f, f
	}
}

// missing adds the way out to the error of a root that cannot be opened.
func missing(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; create the directory, or correct its path", err)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w; the source is a directory of config files, name the one that holds the file", err)
	default:
		return unreadable(err)
	}
}
