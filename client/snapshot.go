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
	region  *shm.Region // nil: there is none (yet)
	hot     seqlock.Hot // without the retired bit, so that a retired region is looked at each time
	retired bool
	// serial counts the client's snapshots of different content, over all
	// regions: it orders what generations of two regions can't.
	serial    uint64
	published time.Time
	// configs are the carried ones, by their number in the client. A config's
	// first snapshot may be younger than this one, which then has fewer.
	configs []held
	// late are configs that were first asked for on this snapshot when it was
	// no longer the newest.
	late sync.Map // name to *config
}

// held is a config in a snapshot.
type held struct {
	*config
	changed uint64 // generation of last change, in the snapshot's region
}

// config is one config with one content, shared by all snapshots in which it
// is that; so its identity is that of the content.
type config struct {
	name     string
	section  *image.Section // own; nil: there is no config of that name
	own      image.Section
	first    uint64 // generation of last change, in the region it was first seen in
	revision string
	serial   uint64 // of the first snapshot that has it

	mu    sync.Mutex
	cells map[any]any // *Binding[T] to *cell[T]
}

// Generation is the snapshot's generation; 0 where there is no region.
func (s *Snapshot) Generation() uint64 { return s.hot.Generation() }

// RegionID names the region, in hexadecimal; empty where there is none.
// Generations of different regions can't be compared.
func (s *Snapshot) RegionID() string {
	if s.region == nil {
		return ""
	}
	return s.region.ID().String()
}

// Get finds a config in the snapshot's generation. Errors are *ConfigError
// and match ErrNotFound, ErrNoRegion, ErrExpired, ErrCorrupt or ErrClosed.
//
// For a config that was got before, or is bound, it allocates nothing and
// makes no syscall. The first time, it is copied out of the region.
func (s *Snapshot) Get(name string) (Doc, error) {
	c, err := s.config(name)
	if err == nil && c.section != nil {
		return Doc{config: c, generation: s.Generation()}, nil
	}
	if err == nil {
		err = s.absent()
	}
	return Doc{}, &ConfigError{Config: name, Generation: s.Generation(), Err: err}
}

// absent is why a config is not there.
func (s *Snapshot) absent() error {
	if s.hot == 0 {
		return ErrNoRegion
	}
	return ErrNotFound
}

// config finds a config by name.
func (s *Snapshot) config(name string) (*config, error) {
	if n, ok := (*s.client.numbers.Load())[name]; ok && n < len(s.configs) {
		return s.configs[n].config, nil
	}
	if c, ok := s.late.Load(name); ok {
		return c.(*config), nil
	}
	return s.client.lateConfig(s, name)
}

// numbered finds a carried config.
func (s *Snapshot) numbered(n int, name string) (*config, error) {
	if n < len(s.configs) {
		return s.configs[n].config, nil
	}
	return s.config(name)
}

type contextKey struct{}

// NewContext carries a snapshot along, so that everything a request calls
// reads one generation.
func NewContext(ctx context.Context, s *Snapshot) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}

// FromContext is the snapshot that NewContext put there, nil where there is
// none. Binding.In takes nil to mean what Get returns.
func FromContext(ctx context.Context) *Snapshot {
	s, _ := ctx.Value(contextKey{}).(*Snapshot)
	return s
}
