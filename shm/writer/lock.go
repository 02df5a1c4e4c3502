//go:build unix

package writer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/internal/access"
)

// lockPoll is how often a writer that waits for the lock tries it.
const lockPoll = 50 * time.Millisecond

// acquire takes the writer's lock in a region's directory, and waits for it
// until the context ends. Closing the file gives it back, and so does the
// process's death.
//
// A lock file that was unlinked while this process waited for it is not the
// one that the next writer will find: the file is compared with the path's
// after it was locked.
func acquire(ctx context.Context, dirFD int, dir string, owner uint32) (*os.File, error) {
	path := filepath.Join(dir, access.LockName)
	for {
		f, err := openLock(dirFD, path, owner)
		if err != nil {
			return nil, err
		}
		failpoint.Here("lock.opened")
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, dirFD, access.LockName) {
			failpoint.Here("lock.taken")
			// The holder is for the error that the next one gets: a process, and its
			// host or pod, since numbers of processes differ between containers. On a
			// full file system the error does without.
			host, _ := os.Hostname()
			_ = f.Truncate(0)
			_, _ = f.WriteAt(fmt.Appendf(nil, "%d %s\n", os.Getpid(), host), 0)
			failpoint.Here("lock.signed")
			return f, nil
		}
		holder := holderOf(f)
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w%s", path, ErrLocked, holder)
		case <-time.After(lockPoll):
		}
	}
}

// openLock opens the lock file, or makes it. O_CREAT goes with O_EXCL only:
// what is there already was perhaps put there by somebody else.
func openLock(dirFD int, path string, owner uint32) (*os.File, error) {
	for {
		const flags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
		fd, err := unix.Openat(dirFD, access.LockName, flags, 0)
		if errors.Is(err, unix.ENOENT) {
			fd, err = unix.Openat(dirFD, access.LockName, flags|unix.O_CREAT|unix.O_EXCL, 0o600)
		}
		switch {
		case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
			return nil, access.Untrusted(path, "it is not a regular file")
		case err != nil:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		f := os.NewFile(uintptr(fd), path)
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil {
			err = shm.Trust{}.VerifyFile(path, &st, owner)
		}
		if err == nil && st.Mode&0o077 != 0 {
			err = access.UntrustedMode(path, &st, "lock")
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
}

// isAt says whether an open file is the one with that name in the directory.
func isAt(f *os.File, dirFD int, name string) bool {
	var open, named unix.Stat_t
	return unix.Fstat(int(f.Fd()), &open) == nil &&
		unix.Fstatat(dirFD, name, &named, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		access.IDOf(&open) == access.IDOf(&named)
}

// holderOf words which process says in the lock's file that it holds it; empty
// if the file does not say.
func holderOf(f *os.File) string {
	var buf [300]byte // a host's name has at most 253
	n, _ := f.ReadAt(buf[:], 0)
	var pid int
	var host string
	if n, _ := fmt.Sscan(string(buf[:n]), &pid, &host); n == 0 || pid <= 0 {
		return ""
	}
	if host == "" {
		return fmt.Sprintf(" (process %d)", pid)
	}
	return fmt.Sprintf(" (process %d on %q)", pid, host)
}

// ownDir opens the directory of a region that this process is to write, and
// makes it if there is none. Root also makes the directory above it; nobody
// else does, because whoever owns that one decides who may have regions in it.
func ownDir(dir string) (fd int, err error) {
	way, err := openParent(dir)
	if err == nil {
		defer unix.Close(way)
		err = makeDir(way, dir, 0o700)
	}
	switch {
	case errors.Is(err, shm.ErrUntrusted):
		return -1, fmt.Errorf("%s: %w", dir, err)
	case err != nil && !errors.Is(err, fs.ErrExist):
		return -1, err
	}
	failpoint.Here("own.made")
	if fd, err = access.OpenDirIn(way, dir); err != nil {
		return -1, err
	}
	if err := ownsDir(fd, dir); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// openParent opens the directory above a region's, which root makes.
func openParent(dir string) (way int, err error) {
	parent := filepath.Dir(dir)
	way, err = (shm.Trust{}).OpenWay(parent)
	switch {
	case err == nil:
		return way, nil
	case !errors.Is(err, fs.ErrNotExist) || os.Geteuid() != 0:
		return -1, &os.PathError{Op: "open", Path: parent, Err: err}
	}
	above, err := (shm.Trust{}).OpenWay(filepath.Dir(parent))
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: filepath.Dir(parent), Err: err}
	}
	defer unix.Close(above)
	made := makeDir(above, parent, 0o755)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return -1, made
	}
	if way, err = access.OpenDirAt(above, filepath.Base(parent)); err != nil {
		return -1, &os.PathError{Op: "open", Path: parent, Err: err}
	}
	if made == nil {
		err = unix.Fchmod(way, 0o755) // whatever the umask is: users' regions are found through it
	}
	if err != nil {
		return -1, errors.Join(&os.PathError{Op: "chmod", Path: parent, Err: err}, unix.Close(way))
	}
	return way, nil
}

func makeDir(way int, dir string, mode uint32) error {
	if err := unix.Mkdirat(way, filepath.Base(dir), mode); err != nil {
		return &os.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return nil
}

// ownsDir checks that the directory is this process's own, and nobody else's.
func ownsDir(fd int, dir string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if int(st.Uid) != os.Geteuid() {
		return access.UntrustedOwner(dir, st.Uid, "it belongs to uid %d, and this process runs as uid %d", st.Uid, os.Geteuid())
	}
	if st.Mode&access.MayWrite != 0 {
		return access.UntrustedMode(dir, &st, "write")
	}
	return nil
}

// dirMode is the mode of a region's directory: who may read the file may enter.
func dirMode(file fs.FileMode) fs.FileMode { return 0o700 | file | file>>2&0o111 }

// setAccess gives a file or directory of our own its mode and group. The
// group comes first, since a change of it may clear bits of the mode.
func setAccess(fd int, path string, mode fs.FileMode, group int) error {
	if group >= 0 {
		if err := unix.Fchown(fd, -1, group); err != nil {
			return &os.PathError{Op: "chgrp", Path: path, Err: err}
		}
	}
	if err := unix.Fchmod(fd, uint32(mode)); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}
