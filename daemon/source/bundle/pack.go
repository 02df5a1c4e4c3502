package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

const (
	maxDepth    = 64      // of directories
	maxPath     = 1024    // bytes
	maxProblems = 32      // that are told
	overhead    = 4 << 10 // bytes of the tar file for each entry, at most
)

// Pack returns the archive of files. The same files have the same archive.
func Pack(files []*source.File) ([]byte, error) {
	var archive bytes.Buffer
	z, err := gzip.NewWriterLevel(&archive, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: 0o644, Size: int64(len(f.Data)), ModTime: time.Unix(0, 0)}
		if err := t.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.Data); err != nil {
			return nil, err
		}
	}
	err = errors.Join(t.Close(), z.Close())
	return archive.Bytes(), err
}

// roomError is that of Options.Room: the same archive may be unpacked later.
type roomError struct{ error }

func (e *roomError) Unwrap() error { return e.error }

// errTooLarge is the error of an archive of which more comes than the limits allow.
var errTooLarge = errors.New("unpacks to more than the limits allow")

// capped ends with errTooLarge after so many bytes.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	return n, err
}

// kinds of what an unpacking has seen.
const (
	aFile = iota + 1
	aDirectory
	aParent // a directory that has no entry yet
)

// unpacking is one run of Unpack.
type unpacking struct {
	opt    source.Options
	seen   map[string]int // kinds by path
	files  []*source.File
	total  int64 // bytes of what is wanted
	room   source.Allowance
	wanted bool

	problems []error
}

// Unpack returns the files of an archive. It refuses what is neither a file nor a
// directory, two entries of one name, names that lead elsewhere, and what exceeds a limit
// of the options, and it writes nothing to disk. An error about one file is a
// source.FileError.
func Unpack(archive []byte, o source.Options) ([]*source.File, error) {
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("the archive is not a gzip file: %w", err)
	}
	return unpack(z, o)
}

// unpack is Unpack of a tar file.
func unpack(r io.Reader, o source.Options) ([]*source.File, error) {
	u := &unpacking{opt: o.WithDefaults(), seen: map[string]int{}}
	u.room.Room = u.opt.Room
	t := tar.NewReader(&capped{r, u.opt.MaxTotal + overhead*int64(u.opt.MaxFiles)})
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return u.end()
		case err != nil:
			return nil, fmt.Errorf("the archive cannot be read: %w", err)
		}
		if err := u.add(h, t); err != nil {
			return nil, err
		}
		if len(u.seen) > u.opt.MaxFiles { // the directories that an entry implies are among them
			return nil, fmt.Errorf("the archive has more than %d files and directories, which is the limit", u.opt.MaxFiles)
		}
		if len(u.problems) >= maxProblems {
			u.problems = append(u.problems, errors.New("the archive may have more that is wrong"))
			return u.end()
		}
	}
}

// end holds everything together against the limits.
func (u *unpacking) end() ([]*source.File, error) {
	if u.problems == nil && !u.wanted && !u.opt.AllowEmpty {
		u.problems = append(u.problems, fmt.Errorf("the archive %w; an empty source is taken for a mistake unless --allow-empty is given", source.ErrEmpty))
	}
	return u.files, errors.Join(u.problems...)
}

// fail notes what is wrong with an entry.
func (u *unpacking) fail(name, format string, args ...any) {
	u.problems = append(u.problems, &source.FileError{Path: name, Err: fmt.Errorf(format, args...)})
}

// add takes an entry. What is wrong with it alone is noted; an error ends the unpacking.
func (u *unpacking) add(h *tar.Header, content io.Reader) error {
	name := h.Name
	kind := aFile
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir:
		kind, name = aDirectory, strings.TrimSuffix(name, "/")
	default:
		u.fail(name, "is neither a file nor a directory, but of the type %q; a bundle has nothing else", h.Typeflag)
		return nil
	}
	switch {
	case !source.IsPath(name, maxPath):
		u.fail(name, "is not the path of a file in the bundle: names that slashes separate, none of them empty, . or .., "+
			"at most %d bytes of UTF-8 without control characters", maxPath)
		return nil
	case strings.Count(name, "/") > maxDepth:
		u.fail(name, "is more than %d directories deep", maxDepth)
		return nil
	case !u.enter(name, kind):
		u.fail(name, "is in the archive twice, or both as a file and as a directory")
		return nil
	case kind == aDirectory || source.IgnoredPath(name):
		return nil
	}
	if !u.opt.Wanted(name) {
		u.files = append(u.files, &source.File{Path: name})
		return nil
	}
	u.wanted = true
	return u.take(name, h.Size, content)
}

// take reads the content of a file.
func (u *unpacking) take(name string, size int64, content io.Reader) error {
	if size > u.opt.MaxFile {
		u.fail(name, "has %d bytes, and the limit is %d; make it smaller, or raise --max-image", size, u.opt.MaxFile)
		return nil
	}
	if u.total += size; u.total > u.opt.MaxTotal {
		return fmt.Errorf("the files of the archive have more than %d bytes together, which is the limit; make them fewer or smaller, or raise --max-image",
			u.opt.MaxTotal)
	}
	if err := u.room.Take(size); err != nil {
		return &roomError{err}
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(content, data); err != nil {
		return fmt.Errorf("the archive cannot be read: %w", err)
	}
	u.files = append(u.files, source.NewFile(name, data))
	return nil
}

// enter notes a path, and reports whether it can be there beside what is there already.
func (u *unpacking) enter(name string, kind int) bool {
	for i, c := range name {
		if c != '/' {
			continue
		}
		switch u.seen[name[:i]] {
		case aFile:
			return false
		case 0:
			u.seen[name[:i]] = aParent
		}
	}
	if old := u.seen[name]; old != 0 && (old != aParent || kind != aDirectory) {
		return false
	}
	u.seen[name] = kind
	return true
}
