//go:build unix

package shm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm/internal/access"
)

type fileID = access.FileID

// Open maps the region in a directory for reading. Errors match ErrNoRegion,
// ErrUntrusted, ErrLayout, ErrCorrupt, fs.ErrPermission or ErrUnsupported.
func Open(dir string, trust Trust) (*Region, error) {
	dir = filepath.Clean(dir) // with a slash at its end, the kernel would follow a link
	dirFD, err := trust.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dirFD)
	owner, err := trust.VerifyDir(dir, dirFD)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName)
	// O_NONBLOCK: another user's FIFO must not block this before it is refused.
	fd, err := access.OpenFile(dirFD, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, ErrNoRegion) {
		return nil, access.WhyNoRegion(dirFD, dir, err)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	l, file, err := access.Map(fd, path, owner, trust, unix.PROT_READ)
	if err != nil {
		return nil, err
	}
	r := &Region{l: *l, path: path, file: file, bit: 1 << rand.N[uint32](32)}
	hot, err := r.Hot()
	if err == nil && hot.Generation() == 0 {
		err = fmt.Errorf("%w: it names no generation", ErrCorrupt)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), access.Unmap(l))
	}
	runtime.AddCleanup(r, func(words []uint64) { _ = unix.Munmap(seqlock.BytesOf(words)) }, l.Words)
	return r, nil
}

// Replaced reports whether another file is at the region's path now. It is false if
// there is no file or the path cannot be read. It makes one syscall.
func (r *Region) Replaced() bool {
	var st unix.Stat_t
	if unix.Lstat(r.path, &st) != nil {
		return false
	}
	return access.IDOf(&st) != r.file
}

// Retired reports whether the writer has retired the region. Memory that is gone
// counts as retired.
func (r *Region) Retired() bool {
	hot, err := r.Hot()
	return err != nil || hot.Retired()
}
