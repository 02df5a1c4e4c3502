// Package diff says by key what is different between two sets of configs.
//
// It walks the sections' indexes, and neither parses nor decodes. Its work grows with
// the configs that differ, and its result is bounded: of each kind of difference the
// counts are exact, and the first Limit keys are listed.
package diff

import (
	"strings"

	"github.com/statesync/statesync/shm/image"
)

// What happened to a config or to a key of it.
const (
	Added   = "added"
	Changed = "changed"
	Removed = "removed"
	Purged  = "purged" // a value is no longer in the history
)

// Limit is how many keys a Diff lists.
const Limit = 1000

// Diff is what is different. Configs are sorted by name.
type Diff struct {
	From    uint64   `json:"from,omitempty"` // generations, where the sets are those of generations
	To      uint64   `json:"to,omitempty"`
	Configs []Config `json:"configs"`
	Added   int      `json:"added"` // configs
	Changed int      `json:"changed"`
	Removed int      `json:"removed"`
	Keys    int      `json:"keys"` // that differ, those of added and removed configs included
	Listed  int      `json:"listed"`
}

// Config is one config that differs.
type Config struct {
	Name string `json:"name"`
	What string `json:"what"` // Added, Changed, Removed or Purged
	// Keys are those that differ, in the order of the newer content, removed ones last. An
	// opaque config, and one whose keys are not all indexed, has the key "" instead.
	Keys []Key `json:"keys"`
}

// Key is one key that differs. The values are canonical JSON, empty where there is none
// and for the bytes of an opaque config.
type Key struct {
	Key    string `json:"key"`
	What   string `json:"what"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Between compares two sets of configs, each sorted by name. It keeps no reference to
// them.
func Between(before, after []*image.Section) *Diff {
	d := &Diff{Configs: []Config{}}
	Walk(before, after, func(old, now *image.Section) {
		switch {
		case old == nil:
			d.Added++
		case now == nil:
			d.Removed++
		default:
			d.Changed++
		}
		d.config(old, now)
	})
	return d
}

// Empty reports whether nothing is different.
func (d *Diff) Empty() bool { return d.Added+d.Changed+d.Removed == 0 }

// MaxNames is how many names of configs a line lists.
const MaxNames = 10

// Names are the names of the first MaxNames of a list, and "…" if there are more.
func Names[T any](list []T, name func(T) string) []string {
	names := []string{}
	for _, of := range list[:min(len(list), MaxNames)] {
		names = append(names, name(of))
	}
	if len(list) > MaxNames {
		names = append(names, "…")
	}
	return names
}

// Walk calls visit for each config that differs, in the order of the names, with nil for
// one that is not there. Sections that are the same memory are not compared.
func Walk(before, after []*image.Section, visit func(old, now *image.Section)) {
	for len(before) > 0 || len(after) > 0 {
		order := 0
		switch {
		case len(before) > 0 && len(after) > 0 && before[0] == after[0]:
			before, after = before[1:], after[1:]
			continue
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = strings.Compare(before[0].Name(), after[0].Name())
		}
		switch {
		case order < 0:
			visit(before[0], nil)
			before = before[1:]
		case order > 0:
			visit(nil, after[0])
			after = after[1:]
		default:
			if !before[0].Equal(after[0]) {
				visit(before[0], after[0])
			}
			before, after = before[1:], after[1:]
		}
	}
}

// config adds a config that differs.
func (d *Diff) config(old, now *image.Section) {
	c := Config{What: Changed, Keys: []Key{}}
	switch {
	case old == nil:
		c.Name, c.What = now.Name(), Added
	case now == nil:
		c.Name, c.What = old.Name(), Removed
	default:
		c.Name = now.Name()
	}
	c.Name = strings.Clone(c.Name)
	if whole(old) || whole(now) {
		d.add(&c, "", c.What, nil, nil)
	} else {
		d.keys(&c, old, now)
	}
	d.Configs = append(d.Configs, c)
}

// whole reports whether a config is compared as a whole.
func whole(s *image.Section) bool { return s != nil && (s.Kind() == image.Opaque || s.Cut()) }

// leaf reports whether a value has none below it.
func leaf(v *image.Value) bool {
	return v.Type != image.Object && v.Type != image.Array || len(v.Text) == 2
}

// keys adds the keys that differ.
func (d *Diff) keys(c *Config, old, now *image.Section) {
	var was image.Value
	if now != nil {
		for key, v := range now.All() {
			if !leaf(&v) {
				continue
			}
			switch {
			case old == nil || old.Lookup(&was, key) != nil || !leaf(&was):
				d.add(c, key, Added, nil, &v)
			case string(was.Text) != string(v.Text):
				d.add(c, key, Changed, &was, &v)
			}
		}
	}
	if old != nil {
		for key, v := range old.All() {
			if leaf(&v) && (now == nil || now.Lookup(&was, key) != nil || !leaf(&was)) {
				d.add(c, key, Removed, &v, nil)
			}
		}
	}
}

func (d *Diff) add(c *Config, key, what string, old, now *image.Value) {
	if d.Keys++; d.Listed == Limit {
		return
	}
	d.Listed++
	k := Key{Key: strings.Clone(key), What: what}
	if old != nil {
		k.Before = string(old.Text)
	}
	if now != nil {
		k.After = string(now.Text)
	}
	c.Keys = append(c.Keys, k)
}
