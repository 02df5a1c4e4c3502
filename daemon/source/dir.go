package source

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// dir is the source "dir:PATH".
type dir struct {
	opt   Options
	name  string // "dir:PATH", for messages
	path  string // absolute
	watch *watcher

	closed chan struct{}
	once   sync.Once

	// The rest belongs to the goroutine that calls Read.
	root     node
	rev      *Revision
	walked   []*File   // the files of rev in the order of the walk
	round    uint64    // counts the content checks
	compared time.Time // when the round began
}

func openDir(path string, o Options) (Source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("dir:%s: %w", path, err)
	}
	d := &dir{
		opt:    o.withDefaults(),
		name:   "dir:" + printable(abs),
		path:   abs,
		closed: make(chan struct{}),
	}
	if !o.NoWatch {
		d.watch = newWatcher(d.opt)
	}
	return d, nil
}

func (d *dir) Name() string { return d.name }

// Hint returns nil, a channel that never signals, under NoWatch.
func (d *dir) Hint() <-chan struct{} {
	if d.watch == nil {
		return nil
	}
	return d.watch.hint
}

func (d *dir) Close() error {
	var err error
	d.once.Do(func() {
		close(d.closed)
		err = d.watch.close()
	})
	return err
}

// Recheck has the next Read compare all content, whatever stat says. It belongs
// to the goroutine that calls Read.
func (d *dir) Recheck() { d.compared = time.Time{} }

// Read scans until one scan saw everything at rest, or for MaxWait.
func (d *dir) Read(ctx context.Context) (*Revision, error) {
	began := time.Now()
	if d.compared.IsZero() || began.Sub(d.compared) >= d.opt.ContentCheck {
		d.round++
		d.compared = began
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
		s := d.scan(ctx)
		switch {
		case s.fatal != nil:
			return nil, fmt.Errorf("%s: %w", d.name, s.fatal)
		case s.unstable == nil:
			return d.finish(s)
		case time.Since(began) >= d.opt.MaxWait && try > 2:
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

// finish makes a revision of a scan that saw everything at rest.
func (d *dir) finish(s *scan) (*Revision, error) {
	if s.problems != nil {
		return nil, errors.Join(s.problems...)
	}
	if s.wanted == 0 && !d.opt.AllowEmpty {
		return nil, fmt.Errorf("%s: %w; an empty source is taken for a mistake unless --allow-empty is given", d.name, ErrEmpty)
	}
	if d.rev == nil || !slices.Equal(s.files, d.walked) {
		d.walked = s.files
		d.rev = d.revision(s.leaves)
	}
	return d.rev, nil
}

// revision sorts what a scan found and names it after its paths and contents.
func (d *dir) revision(found []*content) *Revision {
	found = slices.SortedFunc(slices.Values(found), func(a, b *content) int {
		return strings.Compare(a.file.Path, b.file.Path)
	})
	files := make([]*File, len(found))
	digest := sha256.New()
	var length [8]byte
	for i, c := range found {
		files[i] = c.file
		binary.LittleEndian.PutUint64(length[:], uint64(len(c.file.Path)))
		digest.Write(length[:])
		digest.Write([]byte(c.file.Path))
		digest.Write(c.sum[:])
	}
	return &Revision{ID: "dir@sha256:" + hex.EncodeToString(digest.Sum(nil)), Files: files}
}

// missing adds the way out to the error of a root that cannot be opened.
func missing(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; create the directory or correct --source", err)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w; the source is a directory of config files, name the one that holds the file", err)
	default:
		return unreadable(err)
	}
}
