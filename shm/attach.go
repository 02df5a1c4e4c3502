//go:build unix

package shm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// fileID tells files apart.
type fileID struct {
	dev, ino uint64
}

func idOf(st *unix.Stat_t) fileID {
	return fileID{dev: uint64(st.Dev), ino: uint64(st.Ino)} // of other types elsewhere
}

// Open maps the region in a directory for reading. Errors match ErrNoRegion,
// ErrUntrusted, ErrLayout, ErrCorrupt, fs.ErrPermission or ErrUnsupported.
func Open(dir string, trust Trust) (*Region, error) {
	dir = filepath.Clean(dir) // a slash at its end would have a link followed
	dirFD, err := trust.openDir(dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dirFD)
	owner, err := trust.verifyDir(dir, dirFD)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, FileName)
	// O_NONBLOCK: somebody's FIFO must not stop us before it is refused.
	fd, err := openFile(dirFD, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, ErrNoRegion) {
		return nil, whyNoRegion(dirFD, dir, err)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	l, file, err := mapFile(fd, path, owner, trust, unix.PROT_READ)
	if err != nil {
		return nil, err
	}
	r := &Region{layout: *l, path: path, file: file, bit: 1 << rand.N[uint32](32)}
	hot, err := r.Hot()
	if err == nil && hot.Generation() == 0 {
		err = fmt.Errorf("%w: it names no generation", ErrCorrupt)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), unmap(l))
	}
	runtime.AddCleanup(r, func(words []uint64) { _ = unix.Munmap(bytesOf(words)) }, l.words)
	return r, nil
}

// whyNoRegion says more about a region's directory without the file of this
// version's layout, where there is more to say.
func whyNoRegion(dirFD int, dir string, err error) error {
	var st unix.Stat_t
	if unix.Fstat(dirFD, &st) == nil && st.Nlink == 0 {
		return fmt.Errorf("%s: %w: the directory was removed, and is still visible through a mount or as a working directory; "+
			"a new one at its path is not visible here", dir, ErrNoRegion)
	}
	// The names are read by another descriptor: a duplicate of this one would share its position.
	fd, openErr := openDirAt(dirFD, ".")
	if openErr != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, _ := f.Readdirnames(maxNames)
	for _, name := range names {
		if version, ok := strings.CutPrefix(name, "region.v"); ok && version != "" {
			return fmt.Errorf("%s: %w: it has %q, and this version reads %s", dir, ErrLayout, name, FileName)
		}
	}
	return err
}

// maxNames bounds how many names of a region's directory are looked at.
const maxNames = 64

// openFile opens the region's file in its directory.
func openFile(dirFD int, path string, flags int) (fd int, err error) {
	fd, err = ignoringEINTR(func() (int, error) {
		return unix.Openat(dirFD, FileName, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return -1, fmt.Errorf("%s: %w; start statesyncd, or name another region", path, ErrNoRegion)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
		return -1, untrusted(path, "it is not a regular file")
	case errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("%s: %w; the region's group may read it (see --region-mode and --region-group)", path, err)
	case err != nil:
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// mapFile verifies an open region file and maps it. On an error nothing stays
// mapped.
func mapFile(fd int, path string, dirOwner uint32, trust Trust, prot int) (*layout, fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if err := trust.verifyFile(path, &st, dirOwner); err != nil {
		return nil, fileID{}, err
	}
	if st.Size < slotsAt {
		return nil, fileID{}, fmt.Errorf("%s: %w: %d bytes are too few", path, ErrCorrupt, st.Size)
	}
	// The identity is read, not mapped: a file of another layout may be of any
	// size.
	var id [identityWords]uint64
	if n, err := unix.Pread(fd, bytesOf(id[:]), identityAt); err != nil || n != len(id)*wordBytes {
		return nil, fileID{}, &os.PathError{Op: "read", Path: path, Err: errors.Join(err, ErrCorrupt)}
	}
	i, err := decodeIdentity(id, st.Size)
	if err != nil {
		return nil, fileID{}, fmt.Errorf("%s: %w", path, err)
	}
	data, err := unix.Mmap(fd, 0, int(st.Size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fileID{}, &os.PathError{Op: "mmap", Path: path, Err: err}
	}
	l := newLayout(i, wordsOf(data))
	return &l, idOf(&st), nil
}

// unmap gives a mapping back that nothing refers to.
func unmap(l *layout) error { return unix.Munmap(bytesOf(l.words)) }

// Replaced says whether another file is at the region's path now. A path with
// nothing there, or that can't be looked at, says no. It makes one syscall.
func (r *Region) Replaced() bool {
	var st unix.Stat_t
	if unix.Lstat(r.path, &st) != nil {
		return false
	}
	return idOf(&st) != r.file
}

// Retired says whether the writer has retired the region. Memory that is gone
// counts as retired.
func (r *Region) Retired() bool {
	hot, err := r.Hot()
	return err != nil || hot.Retired()
}
