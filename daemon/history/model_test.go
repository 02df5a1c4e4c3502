package history

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

// model is what a store should hold, in plain maps.
type model struct {
	records []*modelRecord // the oldest first
	pin     *Pin
	pinned  map[string]modelConfig
	entries []Entry
	floors  map[string]string // states by source
	kept    int               // records at most
}

type modelConfig struct {
	kind image.Kind
	text string
}

type modelRecord struct {
	Record
	configs map[string]modelConfig
	layers  map[string]map[string][]byte // nil: the files are not known; a nil content is an unwanted file
	before  map[string]modelConfig       // the configs of the record before, also after that was pruned
}

// world makes publications and keeps the model of them.
type world struct {
	testing.TB
	*rand.Rand
	model
	path     string
	options  Options
	store    *Store
	sections map[string]*image.Section // what is live
	files    map[string]*source.Snapshot
	purged   map[string]map[string]bool // values by config that a Purge took
	gone     map[string]map[string]bool // contents by layer and path that a Purge took
	next     uint64
	called   func() // after each call that writes, and before the next one
}

func newWorld(t testing.TB, path string, seed uint64, o Options) *world {
	w := &world{
		TB: t, Rand: rand.New(rand.NewPCG(seed, 1)), path: path, options: o,
		sections: map[string]*image.Section{}, files: map[string]*source.Snapshot{},
		purged: map[string]map[string]bool{}, gone: map[string]map[string]bool{},
		called: func() {},
	}
	w.kept, w.floors = o.withDefaults().Records, map[string]string{}
	w.open()
	t.Cleanup(func() { shmtest.Must(t, w.store.Close()) })
	return w
}

func (w *world) open() {
	w.Helper()
	store, err := Open(w.path, w.options)
	shmtest.Must(w, err)
	w.store = store
}

// change changes what is live, and returns the publication.
func (w *world) change() Publication {
	w.Helper()
	for range 1 + w.IntN(3) {
		name := fmt.Sprintf("config-%d", w.IntN(6))
		switch w.IntN(5) {
		case 0:
			delete(w.sections, name)
		case 1:
			w.sections[name] = opaque(w, name, strings.Repeat("o", w.IntN(3)))
		default: // few values, so that they come back
			w.sections[name] = document(w, name, fmt.Sprintf(`{"a":%d,"b":%d}`, w.IntN(4), w.IntN(4)))
		}
	}
	w.next += 1 + w.Uint64N(3)
	p := Publication{Record: Record{
		Generation: w.next, Time: time.Unix(int64(w.next), 0).UTC(), Revision: fmt.Sprint("r", w.next), Region: "region",
	}}
	for _, name := range slices.Sorted(maps.Keys(w.sections)) {
		p.Configs = append(p.Configs, w.sections[name])
	}
	p.Content = ContentDigest(p.Configs)
	for _, layer := range []string{"base", "host", "region"} {
		if w.IntN(8) == 0 {
			delete(w.files, layer)
			continue
		}
		p.Layers = append(p.Layers, Layer{Name: layer, Source: "dir:/" + layer, Version: fmt.Sprint(layer, w.next)})
		p.Snapshots = append(p.Snapshots, w.snapshot(layer))
	}
	return p
}

// snapshot changes the files of a layer, or says nothing of them.
func (w *world) snapshot(layer string) *source.Snapshot {
	if w.IntN(3) == 0 {
		return nil
	}
	have := w.files[layer]
	var files []*source.File
	if have != nil {
		files = slices.Clone(have.Files)
	}
	path := fmt.Sprintf("config-%d.yaml", w.IntN(4))
	files = slices.DeleteFunc(files, func(f *source.File) bool { return f.Path == path })
	switch w.IntN(4) {
	case 0:
	case 1:
		files = append(files, &source.File{Path: path})
	default:
		files = append(files, source.NewFile(path, []byte(fmt.Sprintf("a: %d\n", w.IntN(4)))))
	}
	w.files[layer] = source.NewSnapshot(files, have, func(d Digest) string { return d.String() })
	return w.files[layer]
}

// note enters a publication into the model.
func (w *world) note(p Publication) {
	r := &modelRecord{Record: p.Record, configs: map[string]modelConfig{}, layers: map[string]map[string][]byte{}}
	for _, s := range p.Configs {
		r.configs[s.Name()] = modelConfig{s.Kind(), string(s.Content())}
	}
	var last *modelRecord
	if len(w.records) > 0 {
		last = w.records[len(w.records)-1]
		r.before = last.configs
	}
	for i, l := range p.Layers {
		switch {
		case p.Snapshots[i] != nil:
			r.layers[l.Name] = map[string][]byte{}
			for _, f := range p.Snapshots[i].Files {
				r.layers[l.Name][f.Path] = f.Data
			}
		case last != nil && last.layers[l.Name] != nil:
			r.layers[l.Name] = last.layers[l.Name]
		}
	}
	for name, c := range r.configs {
		if old, there := r.before[name]; !there {
			r.Added++
		} else if old != c {
			r.Changed++
		}
	}
	for name := range r.before {
		if _, there := r.configs[name]; !there {
			r.Removed++
		}
	}
	w.records = append(w.records, r)
	if n := len(w.records) - w.kept; n > 0 {
		w.records = w.records[n:]
	}
}

// step does one random thing.
func (w *world) step() {
	w.Helper()
	switch n := w.IntN(20); {
	case n < 12:
		var list []Publication
		for range 1 + w.IntN(2) {
			list = append(list, w.change())
		}
		shmtest.Must(w, w.store.Record(list...))
		w.called()
		shmtest.Must(w, w.store.Record(list[0])) // is ignored
		w.called()
		for _, p := range list {
			w.note(p)
		}
	case n < 15:
		w.act()
	case n < 16 && len(w.records) > 0:
		w.purge()
	case n < 17:
		w.raise()
	case n < 18 && w.path != "":
		shmtest.Must(w, w.store.Close())
		w.open()
	}
}

// raise raises the floor of a source.
func (w *world) raise() {
	w.Helper()
	source := fmt.Sprintf("git:%d", w.IntN(2))
	to := fmt.Sprint(w.Uint64())
	shmtest.Must(w, w.store.RaiseFloor(source, w.floors[source], to))
	w.called()
	w.floors[source] = to
}

// act pins a record, or releases the pin.
func (w *world) act() {
	w.Helper()
	e := Entry{Time: time.Unix(int64(w.next), 0).UTC(), Command: "pin", By: By{UID: 7, User: "u"}, Why: "test"}
	if len(w.records) == 0 {
		return
	}
	r := w.records[w.IntN(len(w.records))]
	release := w.pin != nil && w.IntN(2) == 0
	done, intent, err := w.store.Act(e, func(number uint64, i *Intent) error {
		if release {
			i.Pin = nil
		} else {
			i.Pin = &Pin{Act: number, Generation: r.Generation, Content: r.Content, By: e.By}
		}
		return nil
	})
	if errors.Is(err, ErrPurged) && !release && w.hasPurged(r.configs) {
		return
	}
	shmtest.Must(w, err)
	w.called()
	w.entries = append(w.entries, done)
	w.pin, w.pinned = intent.Pin, nil
	if !release {
		w.pinned = r.configs
	}
	if w.IntN(2) == 0 {
		shmtest.Must(w, w.store.Done(done.Number, "done", 5))
		w.called()
		w.entries[len(w.entries)-1].Outcome = "done"
	}
}

func (w *world) hasPurged(configs map[string]modelConfig) bool {
	for name, c := range configs {
		if w.purged[name][c.key()] {
			return true
		}
	}
	return false
}

func (c modelConfig) key() string { return c.text }

// purge takes a config's values out.
func (w *world) purge() {
	w.Helper()
	name := fmt.Sprintf("config-%d", w.IntN(6))
	layer, path := "base", name+".yaml"
	_, err := w.store.Purge(name, func(l, p string) bool { return l == layer && p == path }, Entry{Time: time.Unix(int64(w.next), 0).UTC(), Command: "purge " + name})
	shmtest.Must(w, err)
	w.called()
	last := w.records[len(w.records)-1]
	keep := map[string]bool{}
	for _, configs := range []map[string]modelConfig{last.configs, w.pinned} {
		if c, there := configs[name]; there {
			keep[c.key()] = true
		}
	}
	if w.purged[name] == nil {
		w.purged[name] = map[string]bool{}
	}
	if w.gone[layer+path] == nil {
		w.gone[layer+path] = map[string]bool{}
	}
	for _, r := range w.records {
		for _, configs := range []map[string]modelConfig{r.configs, r.before} {
			if c, there := configs[name]; there && !keep[c.key()] {
				w.purged[name][c.key()] = true
			}
		}
		if data := r.layers[layer][path]; data != nil && !bytes.Equal(data, last.layers[layer][path]) {
			w.gone[layer+path][string(data)] = true
		}
	}
	w.entries = append(w.entries, Entry{Number: uint64(len(w.entries) + 1), Command: "purge " + name, Outcome: "purged"})
}

// compare holds everything that the store returns against the model.
func (w *world) compare() {
	w.Helper()
	shmtest.Must(w, w.store.view((*tx).verify))
	stats := w.store.Stats()
	if stats.Records != len(w.records) {
		w.Fatalf("%d records, and %d in the model", stats.Records, len(w.records))
	}
	log, err := w.store.Log(Query{Limit: 1000})
	shmtest.Must(w, err)
	for i, r := range log {
		want := w.records[len(w.records)-1-i].Record
		if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", want) {
			w.Fatalf("the record is\n%+v\nand should be\n%+v", r, want)
		}
	}
	for _, r := range w.records {
		w.compareRecord(r)
	}
	floors, err := w.store.Floors()
	shmtest.Must(w, err)
	got := map[string]string{}
	for source, f := range floors {
		got[source] = f.State
	}
	if !maps.Equal(got, w.floors) {
		w.Fatalf("the floors are %v, and should be %v", got, w.floors)
	}
	if len(w.records) > 0 {
		a, b := w.records[w.IntN(len(w.records))], w.records[w.IntN(len(w.records))]
		w.compareDiff(a, b)
	}
	pinned, err := w.store.Pinned()
	shmtest.Must(w, err)
	w.compareRefs("the pin", pinned, w.pinned, false)
	audit, err := w.store.Audit(0, 1000)
	shmtest.Must(w, err)
	if len(audit) != min(len(w.entries), 1000) {
		w.Fatalf("%d entries, and %d in the model", len(audit), len(w.entries))
	}
	for i, e := range audit {
		if want := w.entries[len(w.entries)-1-i]; e.Number != want.Number || e.Command != want.Command || e.Outcome != want.Outcome {
			w.Fatalf("the entry is %+v and should be %+v", e, want)
		}
	}
}

// compareRefs holds configs and their contents against those of the model.
func (w *world) compareRefs(what string, refs []Ref, configs map[string]modelConfig, mayPurge bool) {
	w.Helper()
	if len(refs) != len(configs) {
		w.Fatalf("%s has %d configs and should have %d", what, len(refs), len(configs))
	}
	for i, r := range refs {
		if i > 0 && refs[i-1].Name >= r.Name {
			w.Fatalf("%s is not sorted", what)
		}
		want, there := configs[r.Name]
		switch {
		case !there || r.Kind != want.kind:
			w.Fatalf("%s has %+v and should have %+v", what, r, want)
		case r.Purged:
			if !mayPurge || !w.purged[r.Name][want.key()] {
				w.Fatalf("%s has lost %s", what, r.Name)
			}
			if _, err := w.store.Sections([]Ref{r}); !errors.Is(err, ErrPurged) {
				w.Fatalf("the section of a purged value: %v", err)
			}
		default:
			sections, err := w.store.Sections([]Ref{r})
			shmtest.Must(w, err)
			if s := sections[0]; string(s.Content()) != want.text || s.Kind() != want.kind || s.Name() != r.Name {
				w.Fatalf("%s has %s as %s and should have %s", what, r.Name, s.Content(), want.text)
			}
		}
	}
}

func (w *world) compareRecord(r *modelRecord) {
	w.Helper()
	refs, err := w.store.Configs(r.Generation)
	shmtest.Must(w, err)
	last := w.records[len(w.records)-1]
	w.compareRefs(fmt.Sprint("generation ", r.Generation), refs, r.configs, r != last)
	changed, err := w.store.Changes(r.Generation)
	shmtest.Must(w, err)
	w.compareChanges(fmt.Sprint("the changes of ", r.Generation), changed, r.before, r.configs)

	snapshots, err := w.store.Snapshots(r.Generation)
	shmtest.Must(w, err)
	if len(snapshots) != len(r.layers) {
		w.Fatalf("generation %d has the files of %d layers and should have those of %d", r.Generation, len(snapshots), len(r.layers))
	}
	for name, files := range r.layers {
		s := snapshots[name]
		if s == nil || len(s.Files) != len(files) || s.Version != fmt.Sprint(name, r.Generation) {
			w.Fatalf("generation %d has the layer %s as %+v", r.Generation, name, s)
		}
		for _, f := range s.Files {
			want, there := files[f.Path]
			lost := f.Data == nil && want != nil && r != last && w.gone[name+f.Path][string(want)]
			if !there || !lost && (!bytes.Equal(f.Data, want) || (f.Data == nil) != (want == nil)) {
				w.Fatalf("generation %d has %s %s as %q and should have %q", r.Generation, name, f.Path, f.Data, want)
			}
		}
	}
}

// compareChanges holds changes against those between two sets of configs. Of values that
// were purged only the name and the kind count.
func (w *world) compareChanges(what string, list []Change, before, after map[string]modelConfig) {
	w.Helper()
	seen := map[string]bool{}
	for _, c := range list {
		seen[c.Name] = true
		old, was := before[c.Name]
		now, is := after[c.Name]
		if was != (c.Before.Name != "") || is != (c.After.Name != "") || was && old.kind != c.Before.Kind || is && now.kind != c.After.Kind {
			w.Fatalf("%s: %+v, and the model has %+v and %+v", what, c, old, now)
		}
		if was == is && old == now && !c.Before.Purged && !c.After.Purged {
			w.Fatalf("%s: %s did not change", what, c.Name)
		}
	}
	for name := range before {
		if before[name] != after[name] && !seen[name] {
			w.Fatalf("%s: without %s", what, name)
		}
	}
	for name := range after {
		if before[name] != after[name] && !seen[name] {
			w.Fatalf("%s: without %s", what, name)
		}
	}
}

func (w *world) compareDiff(a, b *modelRecord) {
	w.Helper()
	list, err := w.store.Diff(a.Generation, b.Generation)
	shmtest.Must(w, err)
	w.compareChanges(fmt.Sprintf("the difference of %d and %d", a.Generation, b.Generation), list, a.configs, b.configs)

	name := fmt.Sprintf("config-%d", w.IntN(6))
	log, err := w.store.Log(Query{Config: name, Limit: 1000})
	shmtest.Must(w, err)
	var want []uint64
	for _, r := range slices.Backward(w.records) {
		if r.before[name] != r.configs[name] {
			want = append(want, r.Generation)
		}
	}
	var got []uint64
	for _, r := range log {
		got = append(got, r.Generation)
	}
	if !slices.Equal(got, want) {
		w.Fatalf("%s changed in %v, and the model has %v", name, got, want)
	}
	older, err := w.store.Older(b.Generation)
	for _, r := range slices.Backward(w.records) {
		if r.Generation < b.Generation && r.Content != b.Content {
			if err != nil || older.Generation != r.Generation {
				w.Fatalf("older than %d is %d, %v; it should be %d", b.Generation, older.Generation, err, r.Generation)
			}
			return
		}
	}
	if !errors.Is(err, ErrNotKept) {
		w.Fatalf("older than %d is %d, %v", b.Generation, older.Generation, err)
	}
}

// A store holds what a plain model of it holds, whatever is done in whatever order.
func TestModel(t *testing.T) {
	seeds := uint64(2)
	if *long {
		seeds = 50
	}
	for seed := range seeds {
		for _, where := range []string{"file", "memory"} {
			t.Run(fmt.Sprintf("%s %d", where, seed), func(t *testing.T) {
				path := ""
				if where == "file" {
					path = filepath.Join(t.TempDir(), "history")
				}
				w := newWorld(t, path, seed, Options{Records: 12})
				for range 8 {
					for range 4 {
						w.step()
					}
					w.compare()
				}
			})
		}
	}
}
