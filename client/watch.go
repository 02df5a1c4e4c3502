package client

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/statesync/statesync/shm"
)

// Change is what Watch yields: the newest state of a config, or of one of its
// keys.
type Change struct {
	Config string
	Key    string // empty for the whole config
	// From is the generation of the state that was yielded before, 0 for the
	// first; To is that of this one, 0 without a region.
	From, To uint64
	// Doc is the config, whether it has Key or not. If there is no such config, it
	// has its name and no keys.
	Doc Doc
	// Err matches ErrNotFound if there is no such config or no such key, or
	// ErrNoRegion.
	Err error
}

// Watch yields the state of a config: first the present one, even if that is
// absent, and then the newest one after each change. What changed twice while
// the loop's body was busy is yielded once; there is no queue to fill. The
// loop ends when the context or the client does.
func (c *Client) Watch(ctx context.Context, config string) iter.Seq[Change] {
	return c.watch(ctx, config, "")
}

// WatchKey is Watch for one key: changes elsewhere in the config are not
// yielded.
func (c *Client) WatchKey(ctx context.Context, config, key string) iter.Seq[Change] {
	return c.watch(ctx, config, key)
}

func (c *Client) watch(ctx context.Context, name, key string) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		number := c.track(name)
		// seen is what was looked at last: the version, and whether there was a region.
		type seen struct {
			version *version
			region  bool
		}
		var last seen
		var lastText []byte  // of the key
		var lastCause string // why there was no value
		change := Change{Config: name, Key: key}
		for first := true; ctx.Err() == nil && !c.isClosed(); first = false {
			changed := c.nextChange()
			s := c.Snapshot()
			v, err := s.numbered(number, name)
			if now := (seen{v, s.hot != 0}); first || now != last {
				last = now
				text, cause := change.set(s, v, err)
				if first || key == "" || cause != lastCause || !bytes.Equal(text, lastText) {
					change.From, change.To = change.To, s.Generation()
					if !yield(change) {
						return
					}
				}
				lastCause, lastText = cause, text
			}
			select {
			case <-changed:
			case <-ctx.Done():
			case <-c.closed:
			}
		}
	}
}

// set fills in a version of the config in a snapshot, or the reason why there is
// none. It returns the text of the key, and in a word why there is no value.
func (change *Change) set(s *Snapshot, v *version, err error) (text []byte, cause string) {
	if v == nil {
		v = &version{name: change.Config}
	}
	if err == nil && v.section == nil {
		err = s.absent()
	}
	change.Doc, change.Err = Doc{version: v, generation: s.Generation()}, nil
	switch {
	case err != nil:
		change.Err = &ConfigError{Config: change.Config, Key: change.Key, Generation: s.Generation(), Err: err}
		cause = err.Error()
	case change.Key != "":
		if text, change.Err = change.Doc.Raw(change.Key); change.Err != nil {
			cause = "no key"
		}
	}
	return text, cause
}

// WaitGeneration blocks until every binding has settled generation g of the
// region or a later one: accepted its value, or rejected it. It does not wait for hooks. The error matches
// the context's, ErrReplaced if the region becomes another one meanwhile, or
// ErrClosed. A region that grows into a larger file stays the region that it is.
func (c *Client) WaitGeneration(ctx context.Context, g uint64) error {
	var region *shm.Region
	for {
		changed := c.nextChange()
		s := c.Snapshot()
		switch {
		case region == nil:
			region = s.region
		case s.region != nil && s.region.ID() != region.ID():
			return fmt.Errorf("waiting for generation %d of region %s: %w by %s", g, region.ID(), ErrReplaced, s.RegionID())
		}
		if s.hot != 0 && s.Generation() >= g {
			c.mu.Lock()
			bindings := slices.Clone(c.bindings)
			c.mu.Unlock()
			for _, b := range bindings {
				if err := b.await(ctx, s); err != nil {
					return err
				}
			}
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for generation %d, at %d: %w", g, s.Generation(), context.Cause(ctx))
		case <-c.closed:
			return ErrClosed
		}
	}
}

// nextChange is closed when the newest snapshot is not the present one any more.
func (c *Client) nextChange() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// wakeWaiters ends the waits for the newest snapshot to change. The caller
// holds mu.
func (c *Client) wakeWaiters() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}
