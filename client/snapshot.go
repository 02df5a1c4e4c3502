package client

import (
	"context"
	"sync"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// Snapshot is an immutable view of one generation: everything that is read
// through one Snapshot belongs together. It holds the configs that the client
// uses, stays valid for as long as it is referenced, and may be used by any
// number of goroutines.
type Snapshot struct {
	client  *Client
	region  *shm.Region // nil while there is none
	hot     seqlock.Hot // the hot word without its retired bit: a retired region never equals it
	retired bool
	// serial counts the client's snapshots of different content. It orders them
	// across regions, whose generations are not comparable.
	serial    uint64
	published time.Time
	// versions are those of the tracked configs, by their number in the client. A
	// config that was tracked after the snapshot was made is not among them.
	versions []entry
	// late are configs that were first asked for on this snapshot when it was no
	// longer the newest.
	late sync.Map // name to *version
}

// entry is a version in a snapshot.
type entry struct {
	*version
	changedHere uint64 // generation of last change, in the snapshot's region
}

// version is one content of one config. All snapshots with that content share
// it, so equal pointers mean equal content.
type version struct {
	name     string
	section  *image.Section // own, or nil if there is no config of that name
	own      image.Section
	changed  uint64 // generation of last change, in the region it was copied from
	revision string
	serial   uint64 // of the first snapshot that has it

	// mu guards what follows.
	mu      sync.Mutex
	results map[any]any // *Binding[T] to *result[T]
}

// Generation is the snapshot's generation, 0 without a region.
func (s *Snapshot) Generation() uint64 { return s.hot.Generation() }

// RegionID names the region, in hexadecimal; it is empty without a region.
// Generations of different regions are not comparable.
func (s *Snapshot) RegionID() string {
	if s.region == nil {
		return ""
	}
	return s.region.ID().String()
}

// isNewest reports whether the region has no later generation.
func (s *Snapshot) isNewest() bool {
	if s.region == nil {
		return false
	}
	hot, err := s.region.Hot()
	return err == nil && hot == s.hot
}

type contextKey struct{}

// NewContext returns a context with a snapshot, so that everything a request
// calls reads one generation.
func NewContext(ctx context.Context, s *Snapshot) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// FromContext is the snapshot that NewContext put into a context, else nil.
// Binding.In takes nil to mean what Get returns.
func FromContext(ctx context.Context) *Snapshot {
	s, _ := ctx.Value(contextKey{}).(*Snapshot)
	return s
}
