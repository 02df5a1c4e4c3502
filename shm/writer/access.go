//go:build unix

package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

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
