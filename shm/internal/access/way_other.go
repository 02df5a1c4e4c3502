//go:build unix && !linux

package access

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenWay opens a directory to look others up in. Elsewhere than on Linux it
// looks at the links that its name has, and not at those in their targets.
func (t Trust) OpenWay(dir string) (fd int, err error) {
	for at := dir; filepath.Dir(at) != at; at = filepath.Dir(at) {
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return -1, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			if err := t.verifyLink(at, &st); err != nil {
				return -1, err
			}
		}
	}
	return IgnoringEINTR(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
}
