package client

import (
	"errors"
	"fmt"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// What can go wrong, to be matched with errors.Is. Besides these,
// fs.ErrPermission says that this user may not read the region.
var (
	// ErrNoRegion: there is no region at the path; no daemon has published yet.
	ErrNoRegion = shm.ErrNoRegion
	// ErrUntrusted: the region could have been written by somebody who is not
	// trusted with it. See WithOwner.
	ErrUntrusted = shm.ErrUntrusted
	// ErrLayout: the region has a layout that this version does not know.
	ErrLayout = shm.ErrLayout
	// ErrUnsupported: this operating system has no regions.
	ErrUnsupported = shm.ErrUnsupported
	// ErrExpired: the config was first asked for on a snapshot whose generation
	// is not in the region any more.
	ErrExpired = shm.ErrExpired
	// ErrNotFound: there is no such config, or it has no such key.
	ErrNotFound = image.ErrNotFound
	// ErrCorrupt: the region is damaged, or its memory is gone. The last good
	// values stay.
	ErrCorrupt = errors.New("damaged region")
	// ErrWrongType: the value is there and is not of the type asked for.
	ErrWrongType = errors.New("wrong type")
	// ErrReplaced: the region has become another one, with another id, while it
	// was waited for a generation of the old one.
	ErrReplaced = errors.New("region replaced")
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("client closed")
)

// damaged makes the many ways in which a region's bytes can be wrong match
// ErrCorrupt.
func damaged(err error) error {
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, shm.ErrCorrupt) || errors.Is(err, shm.ErrFault) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// ConfigError is what is wrong with a config, or with a key of one.
type ConfigError struct {
	Config string
	Key    string // empty for the whole config
	// Generation is the one that was looked at; 0 without a region.
	Generation uint64
	Err        error
}

func (e *ConfigError) Error() string {
	what := "config " + e.Config
	if e.Key != "" {
		what += ", key " + e.Key
	}
	return fmt.Sprintf("%s, generation %d: %v", what, e.Generation, e.Err)
}

// Unwrap is the reason.
func (e *ConfigError) Unwrap() error { return e.Err }

// PanicError is the reason why a value was refused whose decoding or
// validation panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// errGoexit is the reason why a value was refused whose decoding ended its
// goroutine.
var errGoexit = errors.New("runtime.Goexit was called")
