package writer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/internal/access"
)

// The seal makes the region's file append-only. It stops truncate, redirection, rm,
// mv and logind's RemoveIPC, even as root, and allows stores into the mapping and
// fallocate. It takes CAP_LINUX_IMMUTABLE. Nothing depends on it.
const appendOnly = 0x20 // FS_APPEND_FL

// setAppendOnly sets or clears the flag.
func setAppendOnly(fd int, on bool) error {
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return err
	}
	want := flags &^ appendOnly
	if on {
		want |= appendOnly
	}
	if want == flags {
		return nil
	}
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, want)
}

// seal seals the attached file, if the options say so.
func (w *Writer) seal() error {
	if !w.options.Seal {
		return nil
	}
	failpoint.Here("seal.begin")
	if err := setAppendOnly(int(w.file.Fd()), true); err != nil {
		return &os.PathError{Op: "seal", Path: w.path, Err: err}
	}
	failpoint.Here("seal.done")
	return nil
}

// unseal lifts the seal of the file at the path, so that it can be opened for
// writing or replaced.
func (w *Writer) unseal() error {
	fd, err := access.OpenFile(w.dirFD, w.path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil // the next open has the error
	}
	defer unix.Close(fd)
	failpoint.Here("unseal.begin")
	err = setAppendOnly(fd, false)
	failpoint.Here("unseal.done")
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s: %w", w.path, errSealed)
	case err != nil:
		return nil // a file system without flags has no seals
	}
	return nil
}
