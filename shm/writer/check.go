//go:build unix

package writer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
)

// Check reports whether the attached file is still the one that readers find at the
// path, whole, and with the owner, group and mode that it was given, and whether
// the lock is still held. The error matches ErrLost, and Create is the way out.
// Check also gives back the pages that readers made by touching holes of the file.
func (w *Writer) Check() error {
	if !isAt(w.lock, w.dirFD, access.LockName) {
		return fmt.Errorf("%s: %w: the file %s was removed or replaced, and another writer may come", w.path, ErrLost, access.LockName)
	}
	if !isAt(w.file, w.dirFD, shm.FileName) {
		return fmt.Errorf("%s: %w: it was removed or replaced", w.path, ErrLost)
	}
	if err := errors.Join(w.checkAccess(), w.checkSize()); err != nil {
		return err
	}
	err := w.l.Guarded(func() error {
		if [layout.IdentityWords]uint64(w.l.Words[:layout.IdentityWords]) != w.l.Raw {
			return fmt.Errorf("%s: %w: its identity was overwritten", w.path, ErrLost)
		}
		if hot := w.l.Ring.Hot(); hot.Retired() || hot.Generation() != w.current || !w.l.Ring.Whole(w.current) ||
			*w.l.Length(w.l.Ring.Slot(w.current)) != w.currentLength {
			return fmt.Errorf("%s: %w: its hot word or its slot table was overwritten", w.path, ErrLost)
		}
		return nil
	})
	if errors.Is(err, shm.ErrFault) {
		return fmt.Errorf("%s: %w: %w", w.path, ErrLost, err)
	}
	if err == nil {
		w.reclaim()
	}
	return err
}

// checkSize reports whether the file still has the size that it was made with.
func (w *Writer) checkSize() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(w.file.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: w.path, Err: err}
	}
	if st.Size != w.l.FileSize() {
		return fmt.Errorf("%s: %w: its size changed from %d to %d bytes", w.path, ErrLost, w.l.FileSize(), st.Size)
	}
	return nil
}

// checkAccess reports whether the attached file and its directory still have the
// owner, the group and the mode that they were given. New readers refuse a file
// that others can write or that has a second name, and cannot open one whose mode
// is too narrow.
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

// accessChanged says how the access to a file or directory differs from the
// options; empty if it does not.
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
