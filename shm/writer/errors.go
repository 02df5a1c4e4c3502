package writer

import "errors"

// What can stop a writer. Errors of this package match one of
// these or of package shm's with errors.Is, and name the path.
var (
	// ErrLocked: another writer holds the region's lock.
	ErrLocked = errors.New("region is locked by another writer")
	// ErrNoSpace: the pages that the image needs are not available.
	ErrNoSpace = errors.New("no space for the image")
	// ErrTooLarge: the image is larger than Options.MaxImage.
	ErrTooLarge = errors.New("image too large")
	// ErrSealed: the region's file is append-only, and this process lacks the
	// capability to lift that.
	ErrSealed = errors.New("region is sealed")
	// ErrLost: the file that the writer has mapped is no longer the one at the path,
	// or no longer whole.
	ErrLost = errors.New("region lost")
)
