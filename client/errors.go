package client

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/statesync/statesync/client/internal/decode"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// Errors to be matched with errors.Is. Besides these, fs.ErrPermission means
// that this user may not read the region.
var (
	// ErrNoRegion: there is no region at the path; no daemon has published yet.
	ErrNoRegion = shm.ErrNoRegion
	// ErrUntrusted: an untrusted user could have written the region. See
	// WithOwner.
	ErrUntrusted = shm.ErrUntrusted
	// ErrLayout: the region has a layout that this version does not know.
	ErrLayout = shm.ErrLayout
	// ErrUnsupported: this operating system has no regions.
	ErrUnsupported = shm.ErrUnsupported
	// ErrExpired: the config was first asked for on a snapshot whose generation
	// the region no longer holds.
	ErrExpired = shm.ErrExpired
	// ErrNotFound: there is no such config, or it has no such key.
	ErrNotFound = image.ErrNotFound
	// ErrCorrupt: the region is damaged, or its memory is gone. The last good
	// values stay.
	ErrCorrupt = errors.New("damaged region")
	// ErrWrongType: the value is not of the type asked for.
	ErrWrongType = decode.ErrWrongType
	// ErrReplaced: another region, with another id, took the place of the one
	// whose generation WaitGeneration was waiting for.
	ErrReplaced = errors.New("region replaced")
	// ErrBusy: the daemon published faster than the region could be read. The next
	// try may succeed.
	ErrBusy = shm.ErrBusy
	// ErrClosed: the client was closed.
	ErrClosed = errors.New("client closed")
)

// damaged makes errors about a region's bytes match ErrCorrupt.
func damaged(err error) error {
	if errors.Is(err, image.ErrCorrupt) || errors.Is(err, shm.ErrCorrupt) || errors.Is(err, shm.ErrFault) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// advise adds to an error of opening or reading a region what an operator of the
// application can do about it.
func advise(err error) error {
	var untrusted *shm.UntrustedError
	advice := ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, &untrusted) && untrusted.Owner >= 0:
		advice = fmt.Sprintf("to trust that user, set %s=%d or use client.WithOwner(%d)", EnvOwner, untrusted.Owner, untrusted.Owner)
	case untrusted != nil && untrusted.Mode != 0:
		advice = "chmod go-w it"
	case errors.Is(err, ErrNoRegion):
		advice = "start statesyncd, or open the directory that it publishes into"
	case errors.Is(err, fs.ErrPermission):
		advice = "run this process in the region's group"
	case errors.Is(err, ErrLayout):
		advice = "build the application with the client of the daemon's version"
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}

// ConfigError is an error about a config, or about a key of one.
type ConfigError struct {
	Config string
	Key    string // empty for the whole config
	// Generation is that of the snapshot; 0 without a region.
	Generation uint64
	Err        error
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("%s, generation %d: %v", describe(e.Config, e.Key), e.Generation, e.Err)
}

// Unwrap is the reason.
func (e *ConfigError) Unwrap() error { return e.Err }
