package history

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/shm/image"
)

// Query says which records Log returns.
type Query struct {
	Before uint64 // generations below this one; 0: all
	Limit  int    // at most so many (default 50, at most 1000)
	Config string // only the records that changed this config
	Key    string // of Config: only the records in which the value at this dotted key changed
}

// Bounds of a query.
const (
	defaultLimit = 50
	maxLimit     = 1000
)

func bound(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// Log returns records, the newest first. With Query.Key, a record that changed the config
// counts also if one of the two values is not known because it was purged.
func (s *Store) Log(q Query) (list []Record, err error) {
	if q.Key != "" && q.Config == "" {
		return nil, fmt.Errorf("the key %q is of no config", q.Key)
	}
	limit := bound(q.Limit)
	err = s.view(func(t *tx) error {
		lens := lens{tx: t}
		return t.records.down(q.Before, func(number uint64, text []byte) (bool, error) {
			wanted, err := lens.wants(q, number)
			if err != nil || !wanted {
				return err == nil, err
			}
			r, err := decodeRecord(number, text)
			list = append(list, r)
			return len(list) < limit, err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// lens looks at what records changed of one config. The value before one record is mostly
// the value after the next older one, so the last section is kept.
type lens struct {
	*tx
	ref     Ref
	section *image.Section
}

// wants reports whether a record is one that a query is about.
func (l *lens) wants(q Query, g uint64) (bool, error) {
	if q.Config == "" {
		return true, nil
	}
	c, err := l.changesOf(g)
	if err != nil {
		return false, err
	}
	i, ok := slices.BinarySearchFunc(c.configs, q.Config, func(c Change, name string) int { return strings.Compare(c.Name, name) })
	if !ok || q.Key == "" {
		return ok, nil
	}
	change := c.configs[i]
	if change.Before.Purged || change.After.Purged {
		return true, nil
	}
	after, err := l.value(change.After, q.Key)
	if err != nil {
		return false, err
	}
	before, err := l.value(change.Before, q.Key)
	return !bytes.Equal(before, after), err
}

// value returns the type and the text of the value at a key, and nil if there is none.
func (l *lens) value(r Ref, key string) ([]byte, error) {
	if r.Name == "" || r.Kind != image.Document {
		return nil, nil
	}
	if l.section == nil || l.ref != r {
		data, err := l.object(r.Sum)
		if err != nil {
			return nil, err
		}
		if l.section, err = image.NewDocument(r.Name, data); err != nil {
			return nil, fmt.Errorf("%w: the config %q: %w", ErrDamaged, r.Name, err)
		}
		l.ref = r
	}
	var v image.Value
	err := l.section.Lookup(&v, key)
	if errors.Is(err, image.ErrNotFound) {
		return nil, nil
	}
	return append([]byte{byte(v.Type)}, v.Text...), err
}
