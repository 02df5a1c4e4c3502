//go:build unix

package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/internal/access"
)

// ownDir opens the directory of the region that this process writes, and makes it
// if there is none. Only root makes the directory above it as well: the owner of
// that one decides which users may have regions in it.
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
		err = unix.Fchmod(way, 0o755) // whatever the umask is: users find their regions through it
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

// ownsDir checks that only this process's user could have filled the directory.
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

// dirMode is the mode of a region's directory: users that may read the file may
// enter it.
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
