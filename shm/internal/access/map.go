//go:build unix

package access

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/internal/layout"
)

// FileID tells files apart.
type FileID struct {
	dev, ino uint64
}

// IDOf is the id of a file that was looked at.
func IDOf(st *unix.Stat_t) FileID {
	return FileID{dev: uint64(st.Dev), ino: uint64(st.Ino)} // of other types elsewhere
}

// Map verifies an open region file and maps it. On an error nothing stays
// mapped.
func Map(fd int, path string, dirOwner uint32, trust Trust, prot int) (*layout.Layout, FileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, FileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if err := trust.VerifyFile(path, &st, dirOwner); err != nil {
		return nil, FileID{}, err
	}
	if st.Size < layout.SlotsAt {
		return nil, FileID{}, fmt.Errorf("%s: %w: %d bytes are too few", path, layout.ErrCorrupt, st.Size)
	}
	// The identity is read, not mapped: a file of another layout may be of any
	// size.
	var id [layout.IdentityWords]uint64
	if n, err := unix.Pread(fd, seqlock.BytesOf(id[:]), 0); err != nil || n != len(id)*layout.WordBytes {
		return nil, FileID{}, &os.PathError{Op: "read", Path: path, Err: errors.Join(err, layout.ErrCorrupt)}
	}
	i, err := layout.DecodeIdentity(id, st.Size)
	if err != nil {
		return nil, FileID{}, fmt.Errorf("%s: %w", path, err)
	}
	data, err := unix.Mmap(fd, 0, int(st.Size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, FileID{}, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	l := layout.New(i, layout.WordsOf(data))
	return &l, IDOf(&st), nil
}

// Unmap gives a mapping back that nothing refers to.
func Unmap(l *layout.Layout) error { return unix.Munmap(seqlock.BytesOf(l.Words)) }
