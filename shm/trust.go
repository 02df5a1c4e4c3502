//go:build unix

package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// overflowUID is what the kernel shows for an owner that the reader's user
// namespace does not map: it may be anybody.
const overflowUID = 65534

// mayWrite are the mode bits that let others than the owner write.
const mayWrite = 0o022

// untrusted is an error about a path that matches ErrUntrusted.
func untrusted(path, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", path, ErrUntrusted, fmt.Sprintf(format, args...))
}

// openDir opens a region's directory. The caller closes it.
func (t Trust) openDir(dir string) (fd int, err error) {
	way, err := t.openWay(filepath.Dir(dir))
	if err != nil {
		return -1, notOpened(dir, err)
	}
	defer unix.Close(way)
	return openDirIn(way, dir)
}

// openDirIn opens a region's directory in the one above it.
func openDirIn(way int, dir string) (fd int, err error) {
	if fd, err = openDirAt(way, filepath.Base(dir)); err != nil {
		return -1, notOpened(dir, err)
	}
	return fd, nil
}

// notOpened words why a region's directory can't be opened.
func notOpened(dir string, err error) error {
	switch {
	case errors.Is(err, ErrUntrusted):
		return fmt.Errorf("%s: %w", dir, err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: %w; start statesyncd, or name another region", dir, ErrNoRegion)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return untrusted(dir, "it is not a directory of its own, but a link or a file")
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w; the region's group may read it (see --region-mode and --region-group)", dir, err)
	}
	return &os.PathError{Op: "open", Path: dir, Err: err}
}

func openDirAt(way int, name string) (fd int, err error) {
	return ignoringEINTR(func() (int, error) {
		return unix.Openat(way, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// verifyDir checks that the directory is one that only a trusted user could
// have filled, and returns its owner.
func (t Trust) verifyDir(dir string, fd int) (owner uint32, err error) {
	var st, parent unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&mayWrite != 0 {
		return 0, untrusted(dir, "others than its owner may write it (mode %04o); chmod go-w", st.Mode&0o7777)
	}
	if t.trusts(st.Uid) {
		return st.Uid, nil
	}
	if st.Uid == overflowUID && !slices.Contains(t.Owners, overflowUID) {
		return 0, untrusted(dir, "its owner is not known in this user namespace, and may be anybody; "+
			"to trust it all the same, set STATESYNC_OWNER=%d", overflowUID)
	}
	if err := unix.Fstatat(fd, "..", &parent, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, &os.PathError{Op: "stat", Path: filepath.Dir(dir), Err: err}
	}
	if parent.Uid == 0 && parent.Mode&mayWrite == 0 {
		return st.Uid, nil // root made it, or let its owner make it
	}
	return 0, untrusted(dir, "it belongs to uid %d, which is neither root nor this user (%d), "+
		"and lies in a directory that is not root's alone; to trust that user, set STATESYNC_OWNER=%d",
		st.Uid, os.Geteuid(), st.Uid)
}

// verifyLink checks that a link on the way to a directory is a trusted user's:
// whoever can change it decides whose region is read, and where one is made.
func (t Trust) verifyLink(link string, st *unix.Stat_t) error {
	if t.trusts(st.Uid) {
		return nil
	}
	return fmt.Errorf("%w: the link %s on the way to it belongs to uid %d; name the directory that it leads to, or set STATESYNC_OWNER=%d",
		ErrUntrusted, link, st.Uid, st.Uid)
}

// trusts says whether a user is trusted by its number alone.
func (t Trust) trusts(uid uint32) bool {
	if slices.Contains(t.Owners, int(uid)) {
		return true
	}
	return uid != overflowUID && (uid == 0 || int(uid) == os.Geteuid())
}

// verifyFile checks a region's file, or a lock, which lies in a directory that
// was verified.
func (t Trust) verifyFile(path string, st *unix.Stat_t, dirOwner uint32) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return untrusted(path, "it is not a regular file")
	case st.Mode&mayWrite != 0:
		return untrusted(path, "others than its owner may write it (mode %04o); chmod go-w", st.Mode&0o7777)
	case st.Nlink > 1:
		return untrusted(path, "it has %d names, of which one may be somebody else's", st.Nlink)
	case st.Uid != dirOwner && !t.trusts(st.Uid):
		return untrusted(path, "it belongs to uid %d, and its directory to uid %d", st.Uid, dirOwner)
	}
	return nil
}

// checkAccess says whether the attached file and its directory still have the
// owner, the group and the mode that they were given: what others may write,
// and what has a second name, is refused by every reader that comes, and what
// its readers may not open can't be read by them.
func (w *Writer) checkAccess() error {
	var dir, file unix.Stat_t
	if err := errors.Join(unix.Fstat(w.dirFD, &dir), unix.Fstat(int(w.file.Fd()), &file)); err != nil {
		return &os.PathError{Op: "stat", Path: w.path, Err: err}
	}
	how := w.accessChanged(&dir, dirMode(w.options.Mode))
	if how != "" {
		return fmt.Errorf("%s: %w: %s", w.dir, ErrLost, how)
	}
	if how = w.accessChanged(&file, w.options.Mode); how == "" && file.Nlink > 1 {
		how = fmt.Sprintf("it has %d names now", file.Nlink)
	}
	if how != "" {
		return fmt.Errorf("%s: %w: %s", w.path, ErrLost, how)
	}
	return nil
}

// accessChanged words how a file or directory of ours differs from what it is
// to be; empty if it does not.
func (w *Writer) accessChanged(st *unix.Stat_t, mode fs.FileMode) string {
	switch {
	case int(st.Uid) != os.Geteuid():
		return fmt.Sprintf("it belongs to uid %d now", st.Uid)
	case w.options.Group >= 0 && int(st.Gid) != w.options.Group:
		return fmt.Sprintf("it belongs to the group %d now", st.Gid)
	case fs.FileMode(st.Mode&0o7777) != mode:
		return fmt.Sprintf("its mode was changed to %04o", st.Mode&0o7777)
	}
	return ""
}

// regainDir gives the directory back the mode and group that it is to have, so
// that a new file in it is found and trusted.
func (w *Writer) regainDir() error {
	if err := setAccess(w.dirFD, w.dir, dirMode(w.options.Mode), w.options.Group); err != nil {
		return err
	}
	return ownsDir(w.dirFD, w.dir)
}

// ignoringEINTR repeats a syscall that a signal interrupted.
func ignoringEINTR[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}
