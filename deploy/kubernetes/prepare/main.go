//go:build unix

// Statesync-prepare makes directories that belong to one user, as install -d
// does, in an image without a shell: root's init container runs it before a
// daemon that is not root.
//
//	statesync-prepare UID DIR...
//
// Each directory's parent is made as root's own, if it is missing. What exists
// already is left as it is, and refused if another user could have made it.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: statesync-prepare UID DIR...")
		os.Exit(2)
	}
	uid, err := strconv.ParseUint(os.Args[1], 10, 31)
	if err != nil {
		fmt.Fprintf(os.Stderr, "statesync-prepare: %q is not the number of a user\n", os.Args[1])
		os.Exit(2)
	}
	for _, dir := range os.Args[2:] {
		if err := prepare(filepath.Clean(dir), int(uid)); err != nil {
			fmt.Fprintf(os.Stderr, "statesync-prepare: %v\n", err)
			os.Exit(1)
		}
	}
}

// prepare makes dir, for its owner alone, and its parent, for all to pass. It
// may be killed anywhere and run again.
func prepare(dir string, uid int) error {
	parent := filepath.Dir(dir)
	if err := mkdir(parent, 0o755); err != nil {
		return err
	}
	if err := ownedBy(parent, os.Geteuid()); err != nil {
		return err // a user that can write the parent can replace dir
	}
	if err := mkdir(dir, 0o700); err != nil {
		return err
	}
	err := ownedBy(dir, uid)
	if err == nil || ownedBy(dir, os.Geteuid()) != nil {
		return err
	}
	entries, readErr := os.ReadDir(dir)
	if readErr != nil {
		return readErr
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w, and is not empty: another daemon uses it, or used to; "+
			"choose another directory, or chown -R %d it when that one has ended", err, uid)
	}
	return os.Lchown(dir, uid, uid)
}

// mkdir makes a directory, with just this mode, unless there is something.
func mkdir(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return os.Chmod(dir, mode)
}

// ownedBy returns an error unless path is a directory that only uid can write.
func ownedBy(path string, uid int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory; remove it", path)
	case owner != uid:
		return fmt.Errorf("%s belongs to uid %d, and not to %d", path, owner, uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others than its owner may write %s (mode %04o); chmod go-w it, and look what is in it", path, info.Mode().Perm())
	}
	return nil
}
