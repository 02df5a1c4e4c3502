package client

import (
	"bytes"
	"context"
	"iter"
)

// Change is what Watch yields: the newest state of a config, or of one of its
// keys.
type Change struct {
	Config string
	Key    string // empty for the whole config
	// From is the generation of the state that was yielded before, 0 for the
	// first; To is that of this one, 0 where there is no region.
	From, To uint64
	// Doc is the config, also where it lacks Key; where there is none it has no
	// keys.
	Doc Doc
	// Err matches ErrNotFound or ErrNoRegion where there is no such config, or
	// no such key.
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
		number := c.carry(name)
		type state struct {
			config *config
			region bool
		}
		var last state
		var text []byte // of the key
		change := Change{Config: name, Key: key}
		for first := true; ctx.Err() == nil && !c.isClosed(); first = false {
			moved := c.moved()
			s := c.Snapshot()
			config, err := s.numbered(number, name)
			if err == nil && config.section == nil {
				err = s.absent()
			}
			if now := (state{config, s.hot != 0}); first || now != last {
				last = now
				change.Doc, change.Err = Doc{}, nil
				var value []byte
				if err != nil {
					change.Err = &ConfigError{Config: name, Key: key, Generation: s.Generation(), Err: err}
				} else {
					change.Doc = Doc{config: config, generation: s.Generation()}
					if key != "" {
						value, change.Err = change.Doc.Raw(key)
					}
				}
				if first || key == "" || err != nil || !bytes.Equal(value, text) {
					change.From, change.To = change.To, s.Generation()
					if !yield(change) {
						return
					}
				}
				text = value
			}
			select {
			case <-moved:
			case <-ctx.Done():
			case <-c.closed:
			}
		}
	}
}
