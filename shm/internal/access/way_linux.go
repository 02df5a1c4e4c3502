package access

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the links on a way, as the kernel does.
const maxLinks = 40

// OpenWay opens a directory to look others up in. It follows each link by
// itself, including links inside other links' targets: it follows the link that it
// checked, and not one that was put in its place since.
func (t Trust) OpenWay(dir string) (fd int, err error) {
	start := "."
	if filepath.IsAbs(dir) {
		start = "/"
	}
	w := way{trust: t, fd: -1}
	if err := w.enter(unix.AT_FDCWD, start, start); err != nil {
		return -1, err
	}
	for names := strings.Split(dir, "/"); len(names) > 0; {
		through, err := w.step(names[0])
		if err != nil {
			return -1, errors.Join(err, unix.Close(w.fd))
		}
		names = slices.Concat(through, names[1:])
	}
	return w.fd, nil
}

// way is how far a walk has come.
type way struct {
	trust Trust
	at    string // where it is, without links
	fd    int    // the same
	links int
}

// step enters one name. If that is a link, it stays, and returns the names that
// the link leads through.
func (w *way) step(name string) (through []string, err error) {
	if name == "" || name == "." {
		return nil, nil
	}
	fd, err := openPath(w.fd, name, unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	var system unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &system)); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return nil, w.enter(fd, ".", filepath.Join(w.at, name))
	}
	if w.links++; w.links > maxLinks {
		return nil, fmt.Errorf("%w: there are more than %d links on the way to it", ErrUntrusted, maxLinks)
	}
	if err := w.trust.verifyLink(filepath.Join(w.at, name), &st); err != nil {
		return nil, err
	}
	if system.Type == unix.PROC_SUPER_MAGIC { // such as /proc/1/root, whose text does not lead there
		return nil, w.enter(w.fd, name, filepath.Join(w.at, name))
	}
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", text)
	if err != nil {
		return nil, err
	}
	target := string(text[:n])
	if filepath.IsAbs(target) {
		err = w.enter(unix.AT_FDCWD, "/", "/")
	}
	return strings.Split(target, "/"), err
}

// enter opens a directory and goes there.
func (w *way) enter(fd int, name, at string) error {
	next, err := openPath(fd, name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	if w.fd >= 0 {
		err = unix.Close(w.fd)
	}
	w.fd, w.at = next, at
	return err
}

// openPath opens a path for other calls only, which takes no right to read it.
func openPath(fd int, name string, flags int) (int, error) {
	return IgnoringEINTR(func() (int, error) {
		return unix.Openat(fd, name, unix.O_PATH|unix.O_CLOEXEC|flags, 0)
	})
}
