package shm

import (
	"errors"

	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
)

// Errors about a region. Errors of this package match one of these
// with errors.Is and name the path.
var (
	// ErrNoRegion: there is no region at the path. The daemon has not been started,
	// or has not published yet.
	ErrNoRegion = access.ErrNoRegion
	// ErrUntrusted: an untrusted user could write the region.
	ErrUntrusted = access.ErrUntrusted
	// ErrLayout: the region has a layout or a feature that this version does not
	// know.
	ErrLayout = layout.ErrLayout
	// ErrCorrupt: the region's bytes are not what a writer leaves there.
	ErrCorrupt = layout.ErrCorrupt
	// ErrFault: memory of the region is gone: the file was truncated, or its
	// file system is full.
	ErrFault = layout.ErrFault
	// ErrBusy: the writer published faster than the reader could copy, 256 times
	// in a row. The next read may succeed.
	ErrBusy = errors.New("region changes too fast")
	// ErrExpired: the generation is no longer in the ring.
	ErrExpired = errors.New("generation expired")
	// ErrUnsupported: this operating system has no regions.
	ErrUnsupported = errors.New("unsupported platform")
)
