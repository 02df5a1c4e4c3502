//go:build unix

// Package access is how a region's directory and file are opened, and the
// question who could have written them.
package access

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/internal/layout"
)

// overflowUID is what the kernel shows for an owner that the reader's user
// namespace does not map: it may be anybody.
const overflowUID = 65534

// MayWrite are the mode bits that let others than the owner write.
const MayWrite = 0o022

// Untrusted is an error about a path that matches ErrUntrusted.
func Untrusted(path, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", path, ErrUntrusted, fmt.Sprintf(format, args...))
}

// OpenDir opens a region's directory. The caller closes it.
func (t Trust) OpenDir(dir string) (fd int, err error) {
	way, err := t.OpenWay(filepath.Dir(dir))
	if err != nil {
		return -1, notOpened(dir, err)
	}
	defer unix.Close(way)
	return OpenDirIn(way, dir)
}

// OpenDirIn opens a region's directory in the one above it.
func OpenDirIn(way int, dir string) (fd int, err error) {
	if fd, err = OpenDirAt(way, filepath.Base(dir)); err != nil {
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
		return Untrusted(dir, "it is not a directory of its own, but a link or a file")
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w; the region's group may read it (see --region-mode and --region-group)", dir, err)
	}
	return &os.PathError{Op: "open", Path: dir, Err: err}
}

// OpenDirAt opens a directory by its name in another one. The caller closes it.
func OpenDirAt(way int, name string) (fd int, err error) {
	return IgnoringEINTR(func() (int, error) {
		return unix.Openat(way, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// VerifyDir checks that the directory is one that only a trusted user could
// have filled, and returns its owner.
func (t Trust) VerifyDir(dir string, fd int) (owner uint32, err error) {
	var st, parent unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&MayWrite != 0 {
		return 0, Untrusted(dir, "others than its owner may write it (mode %04o); chmod go-w", st.Mode&0o7777)
	}
	if t.trusts(st.Uid) {
		return st.Uid, nil
	}
	if st.Uid == overflowUID && !slices.Contains(t.Owners, overflowUID) {
		return 0, Untrusted(dir, "its owner is not known in this user namespace, and may be anybody; "+
			"to trust it all the same, set STATESYNC_OWNER=%d", overflowUID)
	}
	if err := unix.Fstatat(fd, "..", &parent, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, &os.PathError{Op: "stat", Path: filepath.Dir(dir), Err: err}
	}
	if parent.Uid == 0 && parent.Mode&MayWrite == 0 {
		return st.Uid, nil // root made it, or let its owner make it
	}
	return 0, Untrusted(dir, "it belongs to uid %d, which is neither root nor this user (%d), "+
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

// VerifyFile checks a region's file, or a lock, which lies in a directory that
// was verified.
func (t Trust) VerifyFile(path string, st *unix.Stat_t, dirOwner uint32) error {
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return Untrusted(path, "it is not a regular file")
	case st.Mode&MayWrite != 0:
		return Untrusted(path, "others than its owner may write it (mode %04o); chmod go-w", st.Mode&0o7777)
	case st.Nlink > 1:
		return Untrusted(path, "it has %d names, of which one may be somebody else's", st.Nlink)
	case st.Uid != dirOwner && !t.trusts(st.Uid):
		return Untrusted(path, "it belongs to uid %d, and its directory to uid %d", st.Uid, dirOwner)
	}
	return nil
}

// IgnoringEINTR repeats a syscall that a signal interrupted.
func IgnoringEINTR[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

// OpenFile opens the region's file in its directory.
func OpenFile(dirFD int, path string, flags int) (fd int, err error) {
	fd, err = IgnoringEINTR(func() (int, error) {
		return unix.Openat(dirFD, FileName, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return -1, fmt.Errorf("%s: %w; start statesyncd, or name another region", path, ErrNoRegion)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
		return -1, Untrusted(path, "it is not a regular file")
	case errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("%s: %w; the region's group may read it (see --region-mode and --region-group)", path, err)
	case err != nil:
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// WhyNoRegion says more about a region's directory without the file of this
// version's layout, where there is more to say.
func WhyNoRegion(dirFD int, dir string, err error) error {
	var st unix.Stat_t
	if unix.Fstat(dirFD, &st) == nil && st.Nlink == 0 {
		return fmt.Errorf("%s: %w: the directory was removed, and is still visible through a mount or as a working directory; "+
			"a new one at its path is not visible here", dir, ErrNoRegion)
	}
	// The names are read by another descriptor: a duplicate of this one would share its position.
	fd, openErr := OpenDirAt(dirFD, ".")
	if openErr != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, _ := f.Readdirnames(maxNames)
	for _, name := range names {
		if version, ok := strings.CutPrefix(name, "region.v"); ok && version != "" && name != FileName { // that may have come meanwhile
			return fmt.Errorf("%s: %w: it has %q, and this version reads %s", dir, layout.ErrLayout, name, FileName)
		}
	}
	return err
}

// maxNames bounds how many names of a region's directory are looked at.
const maxNames = 64
