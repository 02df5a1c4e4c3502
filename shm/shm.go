package shm

import (
	"github.com/statesync/statesync/shm/internal/access"
	"github.com/statesync/statesync/shm/internal/layout"
)

// DefaultDir is the directory of the region that everything uses unless told
// otherwise.
const DefaultDir = "/dev/shm/statesync/default"

// FileName is the name of the region's file in its directory.
const FileName = access.FileName

// LayoutVersion is the layout that this package reads. It is in the file's name.
const LayoutVersion = layout.Version

// DefaultSlots is the number of slots of a region unless told otherwise.
const DefaultSlots = layout.DefaultSlots

type (
	// ID names a region: 128 random bits. A region that grew into a larger file
	// keeps it.
	ID = layout.ID
	// Geometry is how a region's file is divided: the number of its slots, and
	// their size in bytes. It is fixed for the file's life.
	Geometry = layout.Geometry
	// Trust says whose regions a reader accepts; see its fields.
	Trust = access.Trust
	// UntrustedError says which path made a region untrusted, and why. It matches
	// ErrUntrusted.
	UntrustedError = access.UntrustedError
)
