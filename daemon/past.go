//go:build unix

package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/daemon/diff"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// Past is what a daemon remembers of earlier generations. Its methods may be called from
// any goroutine, and read the disk.
type Past struct {
	*history.Store
	options  plan.Options
	recorder *recorder
}

// maxAwait is how long Await waits.
const maxAwait = 500 * time.Millisecond

// Await waits until what was published before is recorded: at most half a second, since a
// disk may hang.
func (p *Past) Await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, maxAwait)
	defer cancel()
	recorded := make(chan struct{})
	p.recorder.do(func() { close(recorded) })
	select {
	case <-recorded:
	case <-ctx.Done():
	}
}

// Past is the daemon's history; nil while it starts.
func (s *State) Past() *Past { return s.past }

// Diff says by key what publishing what waits would change, in one config, or in all if
// config is "".
func (w *Waiting) Diff(config string) *diff.Diff {
	return diff.Between(named(w.live.Sections(), config), named(w.content.sections, config))
}

// named are the configs of a name: one or none, or all if it is "".
func named(configs []*image.Section, name string) []*image.Section {
	if name == "" {
		return configs
	}
	i, ok := find(configs, name)
	if !ok {
		return nil
	}
	return configs[i : i+1]
}

// Between says by key what is different between two recorded generations, in one config,
// or in all if config is "".
func (p *Past) Between(from, to uint64, config string) (*diff.Diff, error) {
	changes, err := p.Diff(from, to)
	if err != nil {
		return nil, err
	}
	var before, after, purged []history.Ref
	for _, c := range changes {
		if config != "" && c.Name != config {
			continue
		}
		switch {
		case c.Before.Purged || c.After.Purged:
			purged = append(purged, history.Ref{Name: c.Name})
		default:
			if c.Before.Name != "" {
				before = append(before, c.Before)
			}
			if c.After.Name != "" {
				after = append(after, c.After)
			}
		}
	}
	old, err := p.Sections(before)
	if err != nil {
		return nil, err
	}
	now, err := p.Sections(after)
	if err != nil {
		return nil, err
	}
	d := diff.Between(old, now)
	for _, ref := range purged {
		d.Changed++
		d.Configs = append(d.Configs, diff.Config{Name: ref.Name, What: diff.Purged, Keys: []diff.Key{}})
	}
	slices.SortFunc(d.Configs, func(a, b diff.Config) int { return strings.Compare(a.Name, b.Name) })
	return d, nil
}

// Config is a config as a recorded generation had it.
func (p *Past) Config(g uint64, name string) (*image.Section, error) {
	refs, err := p.Configs(g)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(refs, name, func(r history.Ref, name string) int { return strings.Compare(r.Name, name) })
	if !ok {
		return nil, fmt.Errorf("generation %d has no config %s: %w", g, plain.Text(name), image.ErrNotFound)
	}
	sections, err := p.Sections(refs[i : i+1])
	if err != nil {
		return nil, err
	}
	return sections[0], nil
}

// addCommits fills in the commits that only the records have. single is the layer of
// origins without one. What cannot be read stays unknown.
func (p *Past) addCommits(g uint64, origins []plan.Origin, single string) {
	for i := range origins {
		o := &origins[i]
		if o.Commit != nil || o.Source == nil {
			continue
		}
		o.Commit, _ = p.Commit(g, cmp.Or(o.Layer, single), o.Source)
	}
}

// Why says where a value of a recorded generation came from, the winner first.
func (p *Past) Why(ctx context.Context, g uint64, config, key string) ([]plan.Origin, error) {
	rec, err := p.Get(g)
	if err != nil {
		return nil, err
	}
	section, err := p.Config(g, config)
	if err != nil {
		return nil, err
	}
	snapshots, err := p.Snapshots(g)
	if err != nil {
		return nil, err
	}
	maker := plan.New(p.options)
	var layers []plan.Layer
	for _, l := range rec.Layers {
		specs, err := Schemes.Parse([]string{l.Source})
		whole := snapshots[l.Name]
		if err != nil || whole == nil {
			continue // of a scheme that this version does not know, or the files are gone
		}
		var files []*source.File
		for _, f := range whole.Files {
			if specs[0].Prefix+maker.Name(f.Path) == config {
				files = append(files, f)
			}
		}
		part := source.NewSnapshot(files, nil, func(source.Digest) string { return l.Version })
		part.Meta = whole.Meta
		layers = append(layers, plan.Layer{
			Name: l.Name, Newest: part, Prefix: specs[0].Prefix, NoSchemas: true,
		})
	}
	made, err := maker.Make(ctx, layers)
	if err != nil {
		return nil, err
	}
	origins, err := made.Origins(config, key)
	p.addCommits(g, origins, "")
	if section.Kind() == image.Opaque {
		return origins, err
	}
	// What an operator held or set at that time is in the record, and in no layer.
	value := string(section.Content())
	if key != "" {
		var v image.Value
		if section.Lookup(&v, key) != nil {
			return origins, err
		}
		value = string(v.Text)
	}
	if len(origins) == 0 || origins[0].Value != value && key != "" {
		act := plan.Origin{Layer: overrideLayer, Value: value, File: "by an operator"}
		if rec.By != nil {
			act.File = rec.Command + " by " + rec.By.Name() + whyText(rec.Why)
		}
		return append([]plan.Origin{act}, origins...), nil
	}
	return origins, nil
}
