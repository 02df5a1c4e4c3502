package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// ring is the past as far as the region still holds it: whole generations, but neither
// the layers they came from nor which process had them published.
type ring struct{ *shm.Region }

// load copies a generation.
func (r *ring) load(g uint64) (m *image.Image, err error) {
	err = r.ReadGeneration(g, func(_ seqlock.Hot, words []uint64) (err error) {
		m, err = image.Load(words, g)
		return err
	})
	return m, err
}

// live copies the current generation.
func (r *ring) live() (m *image.Image, err error) {
	_, err = r.Read(func(hot seqlock.Hot, words []uint64) (err error) {
		m, err = image.Load(words, hot.Generation())
		return err
	})
	return m, err
}

// all copies every generation that is whole, the newest first.
func (r *ring) all() ([]*image.Image, error) {
	m, err := r.live()
	if err != nil {
		return nil, err
	}
	list := []*image.Image{m}
	slots := uint64(r.Geometry().Slots)
	for n := uint64(1); n < slots && n < m.Generation(); n++ {
		if m, err := r.load(m.Generation() - n); err == nil {
			list = append(list, m)
		}
	}
	return list, nil
}

// at copies the generation of a number, or the live one for 0.
func (r *ring) at(g uint64) (*image.Image, error) {
	if g == 0 {
		return r.live()
	}
	m, err := r.load(g)
	if err == nil {
		return m, nil
	}
	if list, _ := r.all(); len(list) > 0 {
		var held []string
		for _, m := range slices.Backward(list) {
			held = append(held, fmt.Sprint(m.Generation()))
		}
		err = fmt.Errorf("generation %d is not in the region, which holds %s", g, strings.Join(held, ", "))
	}
	return nil, err
}

// recordOf says of a generation what its image does. before is the image of the one
// before it; nil: it is not known what the generation changed.
func recordOf(m, before *image.Image, live bool) (control.Record, *diff.Diff) {
	r := control.Record{
		Generation: m.Generation(), Time: m.Published(), Revision: m.Revision(), Live: live,
		Digest: history.DigestText(history.ContentDigest(m.Sections())), Layers: []control.RecordLayer{},
	}
	if before == nil {
		return r, nil
	}
	d := diff.Between(before.Sections(), m.Sections())
	r.Changes = control.Changes{Added: d.Added, Changed: d.Changed, Removed: d.Removed, Names: diff.Names(d.Configs, func(c diff.Config) string { return c.Name })}
	return r, d
}

func (r *ring) Log(_ context.Context, q control.LogQuery) ([]control.Record, error) {
	list, err := r.all()
	if err != nil {
		return nil, err
	}
	records := []control.Record{}
	for i, m := range list {
		if q.Before != 0 && m.Generation() >= q.Before || q.Limit != 0 && len(records) == q.Limit {
			continue
		}
		var before *image.Image
		if i+1 < len(list) && list[i+1].Generation() == m.Generation()-1 {
			before = list[i+1]
		}
		record, changed := recordOf(m, before, i == 0)
		if q.Config == "" || wants(q, m, changed) {
			records = append(records, record)
		}
	}
	return records, nil
}

// wants reports whether a generation changed what a query is about.
func wants(q control.LogQuery, m *image.Image, d *diff.Diff) bool {
	if d == nil { // the one before it is not known
		return slices.ContainsFunc(slices.Collect(m.Configs()), func(c image.Config) bool {
			return c.Name() == q.Config && c.Changed == m.Generation()
		})
	}
	return slices.ContainsFunc(d.Configs, func(c diff.Config) bool {
		return c.Name == q.Config && (q.Key == "" || slices.ContainsFunc(c.Keys, func(k diff.Key) bool {
			return k.Key == "" || k.Key == q.Key || strings.HasPrefix(k.Key, q.Key+".")
		}))
	})
}

func (r *ring) Show(_ context.Context, g uint64, config string) (shown control.Show, err error) {
	m, err := r.at(g)
	if err != nil {
		return shown, err
	}
	hot, err := r.Hot()
	if err != nil {
		return shown, err
	}
	before, _ := r.load(m.Generation() - 1) // what it changed is not known without
	var d *diff.Diff
	shown.Record, d = recordOf(m, before, hot.Generation() == m.Generation())
	if config == "" {
		for _, s := range m.Sections() {
			shown.Configs = append(shown.Configs, s.Name())
		}
		if d != nil {
			for _, c := range d.Configs {
				shown.Changed = append(shown.Changed, control.ConfigChange{Name: c.Name, What: c.What})
			}
		}
		return shown, nil
	}
	for _, s := range m.Sections() {
		if s.Name() == config {
			shown.Config = &control.Config{Name: config, Kind: s.Kind().String(), Content: s.Content()}
			return shown, nil
		}
	}
	return shown, fmt.Errorf("generation %d has no config %s", m.Generation(), config)
}

func (r *ring) Diff(_ context.Context, from, to, config string) (*diff.Diff, error) {
	after, err := r.image(to)
	if err != nil {
		return nil, err
	}
	before, err := r.image(from)
	if err != nil {
		return nil, err
	}
	only := func(m *image.Image) []*image.Section {
		return slices.DeleteFunc(slices.Clone(m.Sections()), func(s *image.Section) bool { return config != "" && s.Name() != config })
	}
	d := diff.Between(only(before), only(after))
	d.From, d.To = before.Generation(), after.Generation()
	return d, nil
}

// image copies the generation that a word of a diff names.
func (r *ring) image(word string) (*image.Image, error) {
	switch word {
	case control.Live:
		return r.live()
	case control.Next:
		return nil, fmt.Errorf("what waits is not in the region")
	case control.Previous:
		list, err := r.all()
		if err != nil {
			return nil, err
		}
		for _, m := range list[1:] {
			if !m.Same(list[0].Sections()) {
				return m, nil
			}
		}
		return nil, fmt.Errorf("the region holds no older generation that differs")
	}
	g, _ := number(word)
	return r.at(g)
}
