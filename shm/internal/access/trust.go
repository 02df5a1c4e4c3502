package access

import "errors"

// What can be wrong with the way to a region.
var (
	ErrNoRegion  = errors.New("no region")
	ErrUntrusted = errors.New("untrusted region")
)

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
