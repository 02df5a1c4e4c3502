package access

import (
	"errors"
	"fmt"
)

// What can be wrong with the way to a region.
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

// Trust says whose regions a reader accepts. A region could have been written
// by the owners of its directory and file, and by nobody else: that is checked
// always. The owner is trusted when it is
//
//   - root, or the reader's own effective user;
//   - one of Owners;
//   - anybody, if the region's directory lies in a directory that belongs to
//     root and that nobody else can write: whom root let in is trusted. This
//     goes by number and not by name, so that it holds in containers too.
//
// An owner that shows as 65534, which is how an unmapped user looks in a user
// namespace, is trusted only if Owners names that number.
type Trust struct {
	Owners []int
}
