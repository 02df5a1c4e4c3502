package history

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// Newest returns the newest record, and false if there is none.
func (s *Store) Newest() (r Record, ok bool, err error) {
	err = s.view(func(t *tx) error {
		newest, err := t.records.last()
		if err != nil || newest == 0 {
			return err
		}
		ok = true
		r, err = t.recordOf(newest)
		return err
	})
	return r, ok && err == nil, err
}

// Get returns the record of a generation. The error matches ErrNotKept if there is none,
// and says which are kept.
func (s *Store) Get(g uint64) (r Record, err error) {
	err = s.view(func(t *tx) error {
		r, err = t.recordOf(g)
		return err
	})
	return r, err
}

func (t *tx) recordOf(g uint64) (Record, error) {
	text, err := t.records.get(numberKey(g))
	if err != nil {
		return Record{}, err
	}
	if text == nil {
		return Record{}, t.notKept(g)
	}
	return decodeRecord(g, text)
}

func decodeRecord(g uint64, text []byte) (r Record, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("%w: record %d: %w", ErrDamaged, g, err)
	}
	r.Generation = g
	return r, nil
}

// notKept is the error for a generation that has no record.
func (t *tx) notKept(g uint64) error {
	oldest, err := t.records.first()
	if err != nil {
		return err
	}
	newest, err := t.records.last()
	switch {
	case err != nil:
		return err
	case newest == 0:
		return fmt.Errorf("generation %d is %w: the history is empty", g, ErrNotKept)
	case oldest == newest:
		return fmt.Errorf("generation %d is %w: only %d is", g, ErrNotKept, oldest)
	}
	return fmt.Errorf("generation %d is %w: %d generations are, from %d to %d", g, ErrNotKept, t.totals.records, oldest, newest)
}

// changesOf returns what a record changed.
func (t *tx) changesOf(g uint64) (*changes, error) {
	b, err := t.changes.get(numberKey(g))
	if err != nil {
		return nil, err
	}
	if b == nil {
		if _, err := t.recordOf(g); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: record %d has no changes", ErrDamaged, g)
	}
	return decodeChanges(b)
}

// Changes returns what a record changed, sorted by name.
func (s *Store) Changes(g uint64) (list []Change, err error) {
	err = s.view(func(t *tx) error {
		c, err := t.changesOf(g)
		if err == nil {
			list = c.configs
		}
		return err
	})
	return list, err
}

// newerChanges calls f with the changes of each record above a generation that has a
// record, the newest first.
func (t *tx) newerChanges(g uint64, f func(*changes) error) error {
	if _, err := t.recordOf(g); err != nil {
		return err
	}
	return t.changes.down(0, func(number uint64, value []byte) (bool, error) {
		if number <= g {
			return false, nil
		}
		c, err := decodeChanges(value)
		if err != nil {
			return false, fmt.Errorf("record %d: %w", number, err)
		}
		return true, f(c)
	})
}

// configsAt returns the configs of a record by name: those of the head, with the changes
// of each newer record undone. A change that does not lead to what there is would lead
// back to something that never was.
func (t *tx) configsAt(g uint64) (map[string]Ref, error) {
	configs := map[string]Ref{}
	err := t.configs.each(func(key, value []byte) error {
		r, err := decodeHeadRef(string(key), value)
		configs[r.Name] = r
		return err
	})
	if err != nil {
		return nil, err
	}
	err = t.newerChanges(g, func(c *changes) error {
		for _, change := range c.configs {
			if configs[change.Name] != change.After {
				return fmt.Errorf("%w: the changes of %q do not follow from one another", ErrDamaged, change.Name)
			}
			if change.Before.Name == "" {
				delete(configs, change.Name)
			} else {
				configs[change.Name] = change.Before
			}
		}
		return nil
	})
	return configs, err
}

// Configs returns the configs of a record, sorted by name.
func (s *Store) Configs(g uint64) (refs []Ref, err error) {
	err = s.view(func(t *tx) error {
		configs, err := t.configsAt(g)
		refs = sorted(configs)
		return err
	})
	return refs, err
}

func sorted(configs map[string]Ref) []Ref {
	return slices.SortedFunc(maps.Values(configs), func(a, b Ref) int { return strings.Compare(a.Name, b.Name) })
}

// Diff returns what leads from the configs of one record to those of another, sorted by
// name. Either may be the older one.
func (s *Store) Diff(a, b uint64) (list []Change, err error) {
	err = s.view(func(t *tx) error {
		for _, g := range []uint64{a, b} {
			if _, err := t.recordOf(g); err != nil {
				return err
			}
		}
		net := map[string]Change{}
		err := t.changes.down(max(a, b)+1, func(number uint64, value []byte) (bool, error) {
			if number <= min(a, b) {
				return false, nil
			}
			c, err := decodeChanges(value)
			if err != nil {
				return false, err
			}
			for _, change := range c.configs {
				if later, ok := net[change.Name]; ok {
					change.After = later.After
				}
				net[change.Name] = change
			}
			return true, nil
		})
		for _, change := range net {
			if a > b {
				change.Before, change.After = change.After, change.Before
			}
			if change.Before != change.After {
				list = append(list, change)
			}
		}
		slices.SortFunc(list, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
		return err
	})
	return list, err
}

// Older returns the newest record below a generation's whose content differs from that
// record's. The error matches ErrNotKept if there is none.
func (s *Store) Older(g uint64) (found Record, err error) {
	err = s.view(func(t *tx) error {
		from, err := t.recordOf(g)
		if err != nil {
			return err
		}
		ok := false
		err = t.records.down(g, func(number uint64, text []byte) (bool, error) {
			r, err := decodeRecord(number, text)
			if err == nil && r.Content != from.Content {
				found, ok = r, true
			}
			return !ok, err
		})
		if err == nil && !ok {
			err = fmt.Errorf("a generation that is older than %d and has another content is %w", g, ErrNotKept)
		}
		return err
	})
	return found, err
}

// Object returns a copy of a content, verified. The error matches ErrPurged if no record
// has it any more, and ErrDamaged if the file should have it and does not.
func (s *Store) Object(sum Digest) (data []byte, err error) {
	err = s.view(func(t *tx) error {
		data, err = t.object(sum)
		return err
	})
	return data, err
}

// Sections makes the sections of configs, in their order. A section of have with the same
// name, kind and content is taken as it is, which spares reading and parsing it; have is
// sorted by name, as a list of all that is live is.
func (s *Store) Sections(refs []Ref, have ...*image.Section) (sections []*image.Section, err error) {
	err = s.view(func(t *tx) error {
		for _, r := range refs {
			section, err := t.section(r, have)
			if err != nil {
				return fmt.Errorf("the config %s: %w", r.Name, err)
			}
			sections = append(sections, section)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sections, nil
}

func (t *tx) section(r Ref, have []*image.Section) (*image.Section, error) {
	if r.Purged {
		return nil, fmt.Errorf("its value was %w", ErrPurged)
	}
	i, found := slices.BinarySearchFunc(have, r.Name, func(s *image.Section, name string) int {
		return strings.Compare(s.Name(), name)
	})
	if found && have[i].Kind() == r.Kind && sha256.Sum256(have[i].Content()) == r.Sum {
		return have[i], nil
	}
	data, err := t.object(r.Sum)
	if err != nil {
		return nil, err
	}
	if r.Kind == image.Opaque {
		return image.NewOpaque(r.Name, data)
	}
	return image.NewDocument(r.Name, data)
}

// Snapshots returns the snapshots of a record's layers by their names, as far as they were
// given to Record, with the versions of the record. A file whose content was purged is
// there by name only, as one that the source did not want is.
func (s *Store) Snapshots(g uint64) (map[string]*source.Snapshot, error) {
	snapshots := map[string]*source.Snapshot{}
	err := s.view(func(t *tx) error {
		r, err := t.recordOf(g)
		if err != nil {
			return err
		}
		layers, err := t.layersAt(g)
		if err != nil {
			return err
		}
		for _, l := range r.Layers {
			files, ok := layers[l.Name]
			if !ok {
				continue
			}
			if snapshots[l.Name], err = t.snapshot(files, l.Version); err != nil {
				return fmt.Errorf("the layer %s: %w", l.Name, err)
			}
			snapshots[l.Name].Meta = l.Meta
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return snapshots, nil
}

// layersAt is configsAt for the files of the layers.
func (t *tx) layersAt(g uint64) (map[string]map[string]fileRef, error) {
	h, err := t.readHead()
	if err != nil {
		return nil, err
	}
	layers := map[string]map[string]fileRef{}
	for name, l := range h.layers {
		layers[name] = map[string]fileRef{}
		for _, f := range l.files {
			layers[name][f.path] = f.ref
		}
	}
	err = t.newerChanges(g, func(c *changes) error {
		for _, l := range c.layers {
			if err := undoLayer(layers, l); err != nil {
				return err
			}
		}
		return nil
	})
	return layers, err
}

func undoLayer(layers map[string]map[string]fileRef, l layerChange) error {
	files, known := layers[l.name]
	if known != l.knownAfter {
		return fmt.Errorf("%w: the changes of layer %q do not follow from one another", ErrDamaged, l.name)
	}
	if !known {
		files = map[string]fileRef{}
		layers[l.name] = files
	}
	for _, f := range l.files {
		if files[f.path] != f.after {
			return fmt.Errorf("%w: the changes of the file %q of layer %q do not follow from one another", ErrDamaged, f.path, l.name)
		}
		if f.before.state == noFile {
			delete(files, f.path)
		} else {
			files[f.path] = f.before
		}
	}
	if !l.knownBefore {
		delete(layers, l.name)
	}
	return nil
}

// snapshot makes a snapshot of files.
func (t *tx) snapshot(files map[string]fileRef, version string) (*source.Snapshot, error) {
	list := make([]*source.File, 0, len(files))
	for path, ref := range files {
		f := &source.File{Path: path}
		if ref.state == wholeFile {
			data, err := t.object(ref.sum)
			if err != nil {
				return nil, fmt.Errorf("the file %s: %w", path, err)
			}
			f.Data, f.Sum = data, ref.sum
		}
		list = append(list, f)
	}
	return source.NewSnapshot(list, nil, func(Digest) string { return version }), nil
}
