package shm

import "errors"

// What can be wrong with a region. Errors of this package match one of these
// with errors.Is and name the path and the way out.
var (
	// ErrNoRegion: there is nothing at the path. The daemon has not been
	// started, or has not published yet.
	ErrNoRegion = errors.New("no region")
	// ErrUntrusted: somebody who is not trusted with it could write the region.
	ErrUntrusted = errors.New("untrusted region")
	// ErrLayout: the region has a layout or a feature that this version does not
	// know.
	ErrLayout = errors.New("unsupported region layout")
	// ErrCorrupt: the region's bytes are not what a writer leaves there.
	ErrCorrupt = errors.New("corrupt region")
	// ErrFault: memory of the region is gone: the file was truncated, or its
	// file system is full.
	ErrFault = errors.New("region memory is gone")
	// ErrBusy: the writer published faster than the reader could copy, time and
	// again. Reading again is all there is to do.
	ErrBusy = errors.New("region changes too fast")
	// ErrExpired: the generation is not in the ring any more.
	ErrExpired = errors.New("generation expired")
	// ErrLocked: another writer holds the region's lock.
	ErrLocked = errors.New("region is locked by another writer")
	// ErrNoSpace: the pages that the image needs are not to be had.
	ErrNoSpace = errors.New("no space for the image")
	// ErrTooLarge: the image is larger than max-image.
	ErrTooLarge = errors.New("image too large")
	// ErrSealed: the region's file is append-only, and this process lacks the
	// capability to lift that.
	ErrSealed = errors.New("region is sealed")
	// ErrLost: the file that the writer has mapped is not the one at the path,
	// or is not whole any more.
	ErrLost = errors.New("region lost")
	// ErrUnsupported: this operating system has no regions.
	ErrUnsupported = errors.New("unsupported platform")
)
