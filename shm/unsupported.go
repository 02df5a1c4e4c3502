//go:build !unix

package shm

import (
	"fmt"
	"time"

	"github.com/statesync/statesync/seqlock"
)

type (
	fileID  struct{}
	waiting struct{}
)

// Open says that there are no regions here: it returns ErrUnsupported.
func Open(dir string, _ Trust) (*Region, error) {
	return nil, fmt.Errorf("%s: %w", dir, ErrUnsupported)
}

// Replaced, Retired, Wait and Wake have no region to be called on.
func (r *Region) Replaced() bool { return false }

// Retired says no.
func (r *Region) Retired() bool { return false }

// Wait returns ErrUnsupported.
func (r *Region) Wait(seqlock.Hot, time.Duration) error { return ErrUnsupported }

// Wake does nothing.
func (r *Region) Wake() error { return nil }
