package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// Configs yields the configs of the snapshot's generation whose names begin with
// a prefix, sorted by name; the prefix "" means all of them. The iteration ends
// with an error if the configs cannot be read: it matches ErrNoRegion, ErrClosed,
// ErrCorrupt, or ErrExpired if the region has gone on too far, and a newer snapshot
// can be iterated.
//
// It copies the names with the prefix first, and each config out of the region
// when it is yielded, unless the client holds it. Nothing is kept.
func (s *Snapshot) Configs(prefix string) iter.Seq2[Doc, error] {
	return func(yield func(Doc, error) bool) {
		entries, err := s.entries(prefix)
		if err != nil {
			yield(Doc{}, fmt.Errorf("listing the configs of generation %d: %w", s.Generation(), err))
			return
		}
		for _, e := range entries {
			doc, err := s.document(e)
			if !yield(doc, err) || err != nil {
				return
			}
		}
	}
}

// entries are the entries with a prefix, sorted by name.
func (s *Snapshot) entries(prefix string) (entries []image.NamedEntry, err error) {
	err = s.view(func(view *image.View) error {
		entries = entries[:0]
		for e, err := range view.Entries(prefix) {
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

// document is the config of an entry of the snapshot's generation.
func (s *Snapshot) document(e image.NamedEntry) (Doc, error) {
	if n, ok := (*s.client.numbers.Load())[e.Name]; ok && n < len(s.versions) {
		return Doc{version: s.versions[n].version, generation: s.Generation()}, nil
	}
	var v *version
	err := s.view(func(view *image.View) error {
		v = &version{name: e.Name, serial: s.serial}
		return v.load(view, e.Entry)
	})
	if err != nil {
		return Doc{}, &ConfigError{Config: e.Name, Generation: s.Generation(), Err: err}
	}
	return Doc{version: v, generation: s.Generation()}, nil
}

// view has a function read the image of the snapshot's generation in the region,
// as long as it is there. The function may be called more than once.
func (s *Snapshot) view(read func(*image.View) error) error {
	if s.region == nil {
		if s.client.isClosed() {
			return ErrClosed
		}
		return ErrNoRegion
	}
	err := s.region.ReadGeneration(s.Generation(), func(_ seqlock.Hot, words []uint64) error {
		view, err := image.Open(words, s.Generation())
		if err == nil {
			err = read(&view)
		}
		return inRegion(s.region, err)
	})
	if errors.Is(err, ErrExpired) {
		if now, hotErr := s.region.Hot(); hotErr == nil && now&^1 == s.hot {
			// It is the current generation, whose slot no writer may touch.
			err = fmt.Errorf("%s: %w: the slot of its generation %d is not whole", s.region.Path(), shm.ErrCorrupt, s.Generation())
		}
	}
	return damaged(err)
}

// ChangeKind is what happened to a config.
type ChangeKind string

// The kinds of changes.
const (
	ConfigAdded   ChangeKind = "added"
	ConfigChanged ChangeKind = "changed"
	ConfigRemoved ChangeKind = "removed"
)

// PrefixChange is what WatchPrefix yields: what happened to one config.
type PrefixChange struct {
	Kind   ChangeKind
	Config string
	// Generation is the one in which it was seen. A change may be older.
	Generation uint64
	Doc        Doc // the config; of a removed one it has no keys
}

// WatchPrefix yields the configs whose names begin with a prefix: first all of
// them, as added, and then what is added, changed or removed. What happened to a
// config several times while the loop's body was busy is yielded once. While
// there is no region, or an unreadable one, nothing is yielded. The loop ends when
// the context or the client does.
//
// The client remembers the names and copies a config out of the region when it is
// yielded. After each publication, it looks at all names with the prefix.
func (c *Client) WatchPrefix(ctx context.Context, prefix string) iter.Seq[PrefixChange] {
	return func(yield func(PrefixChange) bool) {
		w := prefixWatch{prefix: prefix, seen: make(map[string]image.Entry)}
		for ctx.Err() == nil && !c.isClosed() {
			changed := c.nextChange()
			again, retry := w.look(c.Snapshot(), yield)
			if w.ended {
				return
			}
			if again {
				continue
			}
			select {
			case <-changed:
			case <-retry:
			case <-ctx.Done():
			case <-c.closed:
			}
		}
	}
}

// prefixWatch is a loop over WatchPrefix.
type prefixWatch struct {
	prefix string
	region *shm.Region
	seen   map[string]image.Entry // what was yielded
	ended  bool                   // the loop's body wants no more
}

// look yields how a snapshot differs from what was yielded. again says that the
// region had gone on too far and there is a newer snapshot; retry is nil or when to
// look again at a region that is not readable.
func (w *prefixWatch) look(s *Snapshot, yield func(PrefixChange) bool) (again bool, retry <-chan time.Time) {
	entries, err := s.entries(w.prefix)
	gone := maps.Clone(w.seen)
	for _, e := range entries {
		if err != nil {
			break
		}
		old, there := w.seen[e.Name]
		delete(gone, e.Name)
		if there && w.same(s, old, e.Entry) {
			w.seen[e.Name] = e.Entry
			continue
		}
		change := PrefixChange{Kind: ConfigAdded, Config: e.Name, Generation: s.Generation()}
		if there {
			change.Kind = ConfigChanged
		}
		if change.Doc, err = s.document(e); err != nil {
			break
		}
		w.seen[e.Name] = e.Entry
		if !yield(change) {
			w.ended = true
			return false, nil
		}
	}
	if err != nil {
		if errors.Is(err, ErrExpired) && s.client.Snapshot() != s {
			return true, nil
		}
		if errors.Is(err, ErrNoRegion) {
			return false, nil
		}
		return false, time.After(lastPause)
	}
	w.region = s.region
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		delete(w.seen, name)
		none := Doc{version: &version{name: name}, generation: s.Generation()}
		if !yield(PrefixChange{Kind: ConfigRemoved, Config: name, Generation: s.Generation(), Doc: none}) {
			w.ended = true
			return false, nil
		}
	}
	return false, nil
}

// same reports whether two entries of a name have the same content. Generations
// of last change of two regions say nothing about it.
func (w *prefixWatch) same(s *Snapshot, old, now image.Entry) bool {
	if w.region != nil && s.region.ID() == w.region.ID() {
		return old.Changed == now.Changed
	}
	return old.SameSum(now)
}
