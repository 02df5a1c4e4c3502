//go:build unix

// Package access opens a region's directory and file, and decides whether an
// untrusted user could have written them.
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
// namespace does not map: it may be any user.
const overflowUID = 65534

// MayWrite are the mode bits that let users other than the owner write.
const MayWrite = 0o022

// Untrusted is the error of a path whose owner and mode are not the reason.
func Untrusted(path, format string, args ...any) error {
	return &UntrustedError{Path: path, Why: fmt.Sprintf(format, args...), Owner: -1}
}

// UntrustedOwner is the error of a path that belongs to another user.
func UntrustedOwner(path string, owner uint32, format string, args ...any) error {
	return &UntrustedError{Path: path, Why: fmt.Sprintf(format, args...), Owner: int(owner)}
}

// UntrustedMode is the error of a path that its mode opens to other users.
func UntrustedMode(path string, st *unix.Stat_t, allows string) error {
	mode := uint32(st.Mode & 0o7777)
	return &UntrustedError{Path: path, Why: fmt.Sprintf("users other than its owner can %s it (mode %04o)", allows, mode), Owner: -1, Mode: mode}
}

// OpenDir opens a region's directory. The caller closes it.
func (t Trust) OpenDir(dir string) (fd int, err error) {
	way, err := t.OpenWay(filepath.Dir(dir))
	if err != nil {
		return -1, notOpened(-1, dir, err)
	}
	defer unix.Close(way)
	return OpenDirIn(way, dir)
}

// OpenDirIn opens a region's directory in the one above it.
func OpenDirIn(way int, dir string) (fd int, err error) {
	if fd, err = OpenDirAt(way, filepath.Base(dir)); err != nil {
		return -1, notOpened(way, dir, err)
	}
	return fd, nil
}

// notOpened is the error of a region's directory that cannot be opened. way is
// the directory above it, or -1 if that was not reached.
func notOpened(way int, dir string, err error) error {
	switch {
	case errors.Is(err, ErrUntrusted):
		return fmt.Errorf("%s: %w", dir, err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: %w", dir, ErrNoRegion)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return Untrusted(dir, "it is a link or a file, not a directory")
	case errors.Is(err, unix.EACCES):
		return denied(way, dir, err)
	}
	return &os.PathError{Op: "open", Path: dir, Err: err}
}

// denied adds to an error of permission which users could open the path, where
// this one may see that.
func denied(dirFD int, path string, err error) error {
	var st unix.Stat_t
	if dirFD >= 0 && unix.Fstatat(dirFD, filepath.Base(path), &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		err = fmt.Errorf("%w: it has mode %04o, uid %d and gid %d", err, st.Mode&0o7777, st.Uid, st.Gid)
	}
	return &os.PathError{Op: "open", Path: path, Err: err}
}

// OpenDirAt opens a directory by its name in another one. The caller closes it.
func OpenDirAt(way int, name string) (fd int, err error) {
	return IgnoringEINTR(func() (int, error) {
		return unix.Openat(way, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// VerifyDir checks that only a trusted user could have filled the directory, and
// returns its owner.
func (t Trust) VerifyDir(dir string, fd int) (owner uint32, err error) {
	var st, parent unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&MayWrite != 0 {
		return 0, UntrustedMode(dir, &st, "write")
	}
	if t.trusts(st.Uid) {
		return st.Uid, nil
	}
	if st.Uid == overflowUID && !slices.Contains(t.Owners, overflowUID) {
		return 0, UntrustedOwner(dir, st.Uid, "its owner is not known in this user namespace and may be any user (it shows as uid %d)", st.Uid)
	}
	if err := unix.Fstatat(fd, "..", &parent, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, &os.PathError{Op: "stat", Path: filepath.Dir(dir), Err: err}
	}
	if parent.Uid == 0 && parent.Mode&MayWrite == 0 {
		return st.Uid, nil // root made it, or allowed its owner to make it
	}
	return 0, UntrustedOwner(dir, st.Uid, "it belongs to uid %d, which is neither root nor this user (%d), "+
		"and users other than root can write the directory above it", st.Uid, os.Geteuid())
}

// verifyLink checks that a link on the way to a directory belongs to a trusted
// user: its owner decides whose region is read, and where one is made.
func (t Trust) verifyLink(link string, st *unix.Stat_t) error {
	if t.trusts(st.Uid) {
		return nil
	}
	return UntrustedOwner(link, st.Uid, "it is a link on the way to the region, and belongs to uid %d", st.Uid)
}

// trusts reports whether a user is trusted by its number alone.
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
		return UntrustedMode(path, st, "write")
	case st.Nlink > 1:
		return Untrusted(path, "it has %d names, and another user may have made one", st.Nlink)
	case st.Uid != dirOwner && !t.trusts(st.Uid):
		return UntrustedOwner(path, st.Uid, "it belongs to uid %d, and its directory to uid %d", st.Uid, dirOwner)
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
		return -1, fmt.Errorf("%s: %w", path, ErrNoRegion)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.EISDIR):
		return -1, Untrusted(path, "it is not a regular file")
	case errors.Is(err, unix.EACCES):
		return -1, denied(dirFD, path, err)
	case err != nil:
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// WhyNoRegion adds to an error about a region's directory without the file of this
// version's layout what the directory tells. A file of this layout that appeared
// since is not of another one: a later look will find it.
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
		if version, ok := strings.CutPrefix(name, "region.v"); ok && version != "" && name != FileName {
			return fmt.Errorf("%s: %w: it has %q, and this version reads %s", dir, layout.ErrLayout, name, FileName)
		}
	}
	return err
}

// maxNames bounds how many names of a region's directory are looked at.
const maxNames = 64
