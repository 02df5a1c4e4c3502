package access

import (
	"errors"
	"fmt"
)

// Errors about the path to a region.
var (
	ErrNoRegion  = errors.New("no region")
	ErrUntrusted = errors.New("untrusted region")
)

// UntrustedError names a path that an untrusted user could have written, and
// says why. It matches ErrUntrusted.
type UntrustedError struct {
	Path  string
	Why   string
	Owner int    // the user that the path belongs to and that is not trusted; -1 if the owner is not the reason
	Mode  uint32 // the permissions that let other users in; 0 if the mode is not the reason
}

func (e *UntrustedError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.Path, ErrUntrusted, e.Why)
}

// Unwrap is ErrUntrusted.
func (e *UntrustedError) Unwrap() error { return ErrUntrusted }

// The files in a region's directory.
const (
	FileName = "region.v1"
	LockName = "lock"
	TempName = ".region.v1.new"
)

// Trust says whose regions a reader accepts. Only the owners of a region's
// directory and file may be able to write it: that is always checked. An owner is
// trusted if it is
//
//   - root, or the reader's own effective user;
//   - one of Owners;
//   - any user, if the region's directory lies in a directory that only root can
//     write: root has let that user in. Users are compared by number and not by
//     name, so that this holds in containers too.
//
// An owner that shows as 65534, as a user does that the user namespace does not
// map, is trusted only if Owners names that number.
type Trust struct {
	Owners []int
}
