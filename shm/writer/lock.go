//go:build unix

package writer

import (
	"context"
	"errors"
	"fmt"
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

// acquire takes the writer's lock in a region's directory, and waits for it until
// the context ends. Closing the file releases it, and so does the process's death.
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
			// The file names the holder for the error of the next writer: its process,
			// and its host or pod, since process ids differ between containers. A full
			// file system leaves it out.
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
// another user may have put there what exists already.
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

// isAt reports whether an open file is the one with that name in the directory.
func isAt(f *os.File, dirFD int, name string) bool {
	var open, named unix.Stat_t
	return unix.Fstat(int(f.Fd()), &open) == nil &&
		unix.Fstatat(dirFD, name, &named, unix.AT_SYMLINK_NOFOLLOW) == nil &&
		access.IDOf(&open) == access.IDOf(&named)
}

// holderOf says which process holds the lock, by the lock's file; empty if the
// file does not say.
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

// relock takes the lock again if its file was removed, since the next writer would
// lock another file.
func (w *Writer) relock() error {
	if isAt(w.lock, w.dirFD, access.LockName) {
		return nil
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	lock, err := acquire(now, w.dirFD, w.dir, uint32(os.Geteuid()))
	if err != nil {
		return err
	}
	_ = w.lock.Close() // of a file that has no name
	w.lock = lock
	return nil
}
