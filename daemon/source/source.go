package source

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// File is one file of a revision, immutable. While its content stays the same
// a source hands out the same *File again, so that pointers can be compared to
// find what changed.
type File struct {
	// Path is slash-separated and relative to the source's root:
	// "team/matchmaker.yaml". It is valid UTF-8.
	Path string
	// Data is the content, and must not be changed. It is nil for a file that
	// Options.Wanted refused; a file that was read is never empty.
	Data []byte
}

// Revision is one whole state of a source, immutable.
type Revision struct {
	// ID is what the source calls this state. A directory has no name of its
	// own for it: "dir@sha256:" and the hex digest over paths and contents.
	ID string
	// Files are sorted by Path, without dot files and editors' leftovers.
	Files []*File
}

// Source yields whole revisions. Read is for one goroutine at a time; the other
// methods may be called from any.
type Source interface {
	// Read reads the newest whole revision. An unchanged source returns the
	// same *Revision again. It may block on the file system, and waits a
	// bounded time for files that are just being written.
	Read(ctx context.Context) (*Revision, error)
	// Hint signals (capacity 1) that something may have changed and settled:
	// read now. Hints may be lost; a periodic Read is the truth.
	Hint() <-chan struct{}
	// Name is for logs: "dir:/etc/app/config".
	Name() string
	// Close ends the watching. A Read after it returns an error that matches
	// fs.ErrClosed.
	Close() error
}

// Defaults of the Options that are zero.
const (
	DefaultMaxFile      = 64 << 20
	DefaultMaxFiles     = 100_000
	DefaultQuiet        = 50 * time.Millisecond
	DefaultMaxWait      = 500 * time.Millisecond
	DefaultContentCheck = time.Minute
)

// Options are what the sources have in common. The zero value is the default.
type Options struct {
	// AllowEmpty accepts a source without any file; else that is ErrEmpty.
	AllowEmpty bool

	// Wanted says which files will be used, by path; nil means all. The others
	// are in a revision by name only and are never opened: what is in them, and
	// whether they are empty or too large, does not matter. It is called from
	// several goroutines.
	Wanted func(path string) bool

	// MaxFile is the limit of one file in bytes (default 64 MiB), MaxTotal that
	// of all together (default 4 times MaxFile), and MaxFiles that of the
	// entries of the source, directories and ignored names included (default
	// 100,000). What is over a limit is an error before it is read.
	MaxFile  int64
	MaxTotal int64
	MaxFiles int

	// Quiet is how long a file that is written in place must rest before it is
	// read (default 50 ms), and MaxWait bounds both how long a hint is held back
	// and how long Read waits for files to rest (default 500 ms).
	Quiet   time.Duration
	MaxWait time.Duration

	// ContentCheck is how often Read compares all content, whatever stat says
	// (default 1 minute). A negative value means at every Read.
	ContentCheck time.Duration

	// NoWatch opens the source for reading only: no hints, no goroutine.
	NoWatch bool

	// OnWatchError, when set, is told that watching is impaired and why, at most
	// once a minute. Nothing is lost: the periodic Read finds every change,
	// later. It is called from several goroutines and must not block.
	OnWatchError func(error)
}

// Errors of a source, to be matched with errors.Is.
var (
	// ErrEmpty is the error of a source that holds no file that counts.
	ErrEmpty = errors.New("holds no config files")
	// ErrUnstable is the error of a source that did not rest within
	// Options.MaxWait. It is transient: read again later.
	ErrUnstable = errors.New("is still being changed")
)

// FileError is the error of one file or directory of a source. A Read that finds
// several joins them.
type FileError struct {
	Root string // the source's directory
	Path string // as in File
	Err  error  // what is wrong and what to do
}

// Error names the file by its whole path, quoted where it holds odd bytes.
func (e *FileError) Error() string {
	return printable(filepath.Join(e.Root, e.Path)) + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// Open returns the source that spec names. The only scheme so far is "dir:PATH",
// a directory. The directory need not exist yet: that is Read's error.
func Open(spec string, o Options) (Source, error) {
	scheme, path, ok := strings.Cut(spec, ":")
	switch {
	case ok && scheme == "dir" && path != "":
		return openDir(path, o)
	case ok && scheme == "dir":
		return nil, fmt.Errorf("source %q names no directory; write dir:PATH", spec)
	case !ok || strings.Contains(scheme, "/"):
		return nil, fmt.Errorf("source %q has no scheme; for a directory write dir:%s", spec, spec)
	default:
		return nil, fmt.Errorf("source %q has an unknown scheme %q; known: dir:PATH", spec, scheme)
	}
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	if o.MaxFile <= 0 {
		o.MaxFile = DefaultMaxFile
	}
	if o.MaxTotal <= 0 {
		o.MaxTotal = 4 * o.MaxFile
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = DefaultMaxFiles
	}
	if o.Quiet <= 0 {
		o.Quiet = DefaultQuiet
	}
	if o.MaxWait <= 0 {
		o.MaxWait = DefaultMaxWait
	}
	if o.ContentCheck == 0 {
		o.ContentCheck = DefaultContentCheck
	}
	if o.Wanted == nil {
		o.Wanted = func(string) bool { return true }
	}
	if o.OnWatchError == nil {
		o.OnWatchError = func(error) {}
	}
	return o
}
