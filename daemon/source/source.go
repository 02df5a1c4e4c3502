package source

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/internal/plain"
)

// Source yields whole snapshots. Fetch and Close are for one goroutine at a time, and
// so is Recheck of a [Rechecker]; Follow is that goroutine.
type Source interface {
	// Fetch returns the newest whole snapshot, and have itself where nothing
	// changed. have is nil or a snapshot that this source returned; a file that it
	// has already keeps its pointer. Fetch may block on the file system or the
	// network, waits a bounded time for what is just being written, and ends soon
	// after ctx does.
	Fetch(ctx context.Context, have *Snapshot) (*Snapshot, error)
	// Hint returns the channel, always the same one, that signals that something may
	// have changed and settled: fetch now. It has capacity 1, so that a hint waits
	// until it is received, and is nil where the source only polls. Hints may be
	// lost; a periodic Fetch is the truth.
	Hint() <-chan struct{}
	// Close ends the hints and releases everything. A Fetch after it returns an
	// error that matches fs.ErrClosed.
	Close() error
}

// Rechecker is a source that decides by cheap signs, such as timestamps, whether
// something changed, and can be told not to.
type Rechecker interface {
	// Recheck makes the next Fetch compare all content.
	Recheck()
}

// Digest is a SHA-256.
type Digest [sha256.Size]byte

// String returns the digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText returns the digest in hex.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("a digest has %d digits, and this has %d", hex.EncodedLen(len(d)), len(text))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// File is one file of a snapshot, immutable. An unchanged file is the same *File in
// the next snapshot.
type File struct {
	// Path is slash-separated and relative to the source's root:
	// "team/matchmaker.yaml". It is valid UTF-8.
	Path string
	// Data is the content, and must not be changed. It is nil for a file that
	// Options.Wanted refused, and not nil for an empty file that was read.
	Data []byte
	// Sum is the digest of Data, and zero where Data is nil.
	Sum Digest
}

// NewFile returns the file of a path and its content, which it keeps.
func NewFile(path string, data []byte) *File {
	return &File{Path: path, Data: data, Sum: sha256.Sum256(data)}
}

// AcceptFile is the name of the file in a source's root that lists digests of contents
// that pass the daemon's guards, one a line.
const AcceptFile = ".statesync-accept"

// Snapshot is one whole state of a source, immutable.
type Snapshot struct {
	// Version is what the source calls this state. It is for people. A directory
	// has no name of its own for it: "dir@sha256:" and Digest.
	Version string
	// Digest is that of the paths and contents of Files. It is equal on any two
	// hosts, and for any two sources, that have the same files.
	Digest Digest
	// Meta is what the source says of this state besides, by name: a commit's author, say.
	// It is for people, may be nil, and must not be changed.
	Meta map[string]string
	// Commits are those that last changed a file, by its path, as far as the source knows. It
	// may be nil, and must not be changed.
	Commits map[string]*Commit
	// Files are sorted by Path, and no two have the same.
	Files []*File
}

// Commit is what a source's history says of a change, for people.
type Commit struct {
	Name    string    `json:"commit"` // in full
	Author  string    `json:"author"`
	Time    time.Time `json:"time"`
	Subject string    `json:"subject"`
}

// NewSnapshot returns the snapshot of the files, which it sorts and keeps. version
// names it, given its digest. A file that have has with the same content is replaced
// with that of have; if everything is the same, the result is have itself.
func NewSnapshot(files []*File, have *Snapshot, version func(Digest) string) *Snapshot {
	var old []*File
	if have != nil {
		old = have.Files
	}
	if !slices.EqualFunc(files, old, func(a, b *File) bool { return a == b || a.Path == b.Path }) {
		slices.SortFunc(files, func(a, b *File) int { return strings.Compare(a.Path, b.Path) })
	}
	for i, f := range files {
		for len(old) > 0 && old[0] != f && old[0].Path < f.Path {
			old = old[1:]
		}
		if len(old) == 0 {
			break
		}
		if old[0] == f || old[0].Path == f.Path && old[0].Sum == f.Sum {
			files[i], old = old[0], old[1:]
		}
	}
	s := &Snapshot{Files: files, Digest: digest(files)}
	s.Version = version(s.Digest)
	if have != nil && have.Digest == s.Digest && have.Version == s.Version {
		return have
	}
	return s
}

// digest is the SHA-256 over each path's length in 8 bytes, little-endian, the path,
// and the sum of its content.
func digest(files []*File) (d Digest) {
	const block = 4 << 10 // many small writes cost more than the hashing
	all := sha256.New()
	buf := make([]byte, 0, 2*block)
	for _, f := range files {
		buf = binary.LittleEndian.AppendUint64(buf, uint64(len(f.Path)))
		buf = append(buf, f.Path...)
		buf = append(buf, f.Sum[:]...)
		if len(buf) >= block {
			all.Write(buf)
			buf = buf[:0]
		}
	}
	all.Write(buf)
	all.Sum(d[:0])
	return d
}

// Defaults of the Options that are zero.
const (
	DefaultMaxFile      = 64 << 20
	DefaultMaxFiles     = 100_000
	DefaultQuiet        = 50 * time.Millisecond
	DefaultMaxWait      = 500 * time.Millisecond
	DefaultContentCheck = time.Minute
)

// Floor keeps the state that a source accepted last, so that an older one, or one of
// another history, is not accepted after it. It is called from the goroutine of Fetch.
type Floor interface {
	// Get returns the state, and "" if there is none yet.
	Get() (string, error)
	// Raise replaces the state that Get returned. It fails if that is another one by now,
	// or if the new one cannot be stored: then the new one is not accepted.
	Raise(from, to string) error
}

// memoryFloor is a Floor in memory. It belongs to the goroutine of Fetch.
type memoryFloor struct{ state string }

func (f *memoryFloor) Get() (string, error) { return f.state, nil }

func (f *memoryFloor) Raise(_, to string) error {
	f.state = to
	return nil
}

// Options are what the sources have in common. The zero value is the default.
type Options struct {
	// AllowEmpty accepts a source without any file; else that is ErrEmpty.
	AllowEmpty bool

	// Wanted says which files will be used, by path; nil means all. The others
	// are in a snapshot by name only and are never opened: what is in them, and
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

	// Room, when set, is asked before so many bytes of memory are taken for content that
	// is yet to be read, every MiB of it. Its error ends the Fetch, which keeps what was
	// read for the next one.
	Room func(bytes int64) error

	// Quiet is how long a file that is written in place must rest before it is
	// read (default 50 ms), and MaxWait bounds both how long a hint is held back
	// and how long Fetch waits for files to rest (default 500 ms).
	Quiet   time.Duration
	MaxWait time.Duration

	// ContentCheck is how often Fetch compares all content, whatever stat says
	// (default 1 minute). A negative value means at every Fetch.
	ContentCheck time.Duration

	// Rescan is how often Fetch looks at every file, at least, where hints come so
	// often that nothing else has it look (default DefaultInterval). A Fetch that
	// no hint preceded looks at every file.
	Rescan time.Duration

	// NoWatch opens the source for reading only: no hints, no goroutine.
	NoWatch bool

	// StateDir is a directory of the source's own, in which it may keep what it fetched. It
	// need not be there yet. Empty: the source makes a temporary one if it needs one.
	StateDir string

	// Floor is where the source keeps what it accepted last, if it does (default in memory).
	Floor Floor

	// Warn, when set, is told what is dangerous about the source's spec. It is called
	// while the source is opened.
	Warn func(error)

	// OnWatchError, when set, is told that watching is impaired and why, at most
	// once a minute. Nothing is lost: the periodic Fetch finds every change,
	// later. It is called from several goroutines and must not block.
	OnWatchError func(error)
}

// allowanceStep is how many bytes of content are read at most between two questions whether
// there is memory.
const allowanceStep = 1 << 20

// Allowance asks for the memory of content, a MiB at a time.
type Allowance struct {
	Room func(bytes int64) error // of Options
	left int64
}

// Take takes so many bytes. It returns the error of Room if there are none.
func (a *Allowance) Take(bytes int64) error {
	if bytes > a.left {
		step := max(bytes, allowanceStep)
		if err := a.Room(step); err != nil {
			return err
		}
		a.left = step
	}
	a.left -= bytes
	return nil
}

// Errors of a source, to be matched with errors.Is.
var (
	// ErrUnreachable matches the errors of a source that could not be asked, such as one
	// of the network. Of a source that polls, the next look is then a random time later
	// that grows with the number of failures.
	ErrUnreachable = errors.New("cannot be reached")
	// ErrEmpty is the error of a source that holds no file that counts.
	ErrEmpty = errors.New("holds no config files")
	// ErrUnstable is the error of a source that did not rest within
	// Options.MaxWait. It is transient: fetch again later.
	ErrUnstable = errors.New("is still being changed")
)

// Unreachable returns err as an error that matches ErrUnreachable.
func Unreachable(err error) error { return &unreachableError{err} }

type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error        { return e.error }
func (e *unreachableError) Is(target error) bool { return target == ErrUnreachable }

// FileError is the error of one file or directory of a source. A Fetch that finds
// several joins them.
type FileError struct {
	Root string // the source's directory
	Path string // as in File
	Err  error  // what is wrong and what to do
}

// Error names the file by its whole path, quoted where it holds odd bytes.
func (e *FileError) Error() string {
	return plain.Text(filepath.Join(e.Root, e.Path)) + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// WithDefaults fills in what is zero. Each source does that with what it is given.
func (o Options) WithDefaults() Options {
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
	if o.Rescan <= 0 {
		o.Rescan = DefaultInterval
	}
	if o.Wanted == nil {
		o.Wanted = func(string) bool { return true }
	}
	if o.Room == nil {
		o.Room = func(int64) error { return nil }
	}
	if o.Floor == nil {
		o.Floor = &memoryFloor{}
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	if o.OnWatchError == nil {
		o.OnWatchError = func(error) {}
	}
	return o
}
