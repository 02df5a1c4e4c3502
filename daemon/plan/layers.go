package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/schema"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
)

// role is what a file is for.
type role uint8

const (
	skipped role = iota
	document
	opaque
	schemaFile
	ignored // a schema file of a layer whose schemas are off
	acceptance
)

// schemaSuffix stands before the extension of a schema file.
const schemaSuffix = ".schema"

// roleOf says what a file is for, and the name of its config in its source.
func (m *Maker) roleOf(file string) (role, string) {
	if file == source.AcceptFile {
		return acceptance, ""
	}
	extension := path.Ext(file)
	name := strings.TrimSuffix(file, extension)
	for _, glob := range m.opaque {
		whole, _ := path.Match(glob, file)
		base, _ := path.Match(glob, path.Base(file))
		if whole || base {
			return opaque, name
		}
	}
	if !decode.Reads(file) {
		return skipped, ""
	}
	if owner, ok := strings.CutSuffix(name, schemaSuffix); ok && path.Base(name) != schemaSuffix {
		return schemaFile, owner
	}
	return document, name
}

// entry is what became of one file of a layer. The first five never change, and are
// read by plans.
type entry struct {
	file *source.File
	doc  tree.Doc
	role role
	name string // of its config, with the prefix
	path string // by which schemas refer to it, with the prefix

	bottom   bool  // of the lowest layer, where null is no document
	marks    int64 // see decode.Marks; -1: not yet counted
	read     bool  // the rest is known
	null     bool  // the document is just null
	failed   bool  // there are errors among problems
	problems []*Problem

	id     string         // of a schema file: its $id, resolved
	schema *schema.Schema // of a schema file: compiled; nil if it was not needed or cannot be read
	combo  *combo         // that this is the highest part of, as it was combined last
}

// result is what became of one config.
type result struct {
	config   Config // without a section if there are errors, and if a layer removed the config
	problems []*Problem

	schema     *schema.Schema // that it was validated with, if checked
	checked    bool           // violations and steps are known
	violations []*Problem
	steps      int64
}

// settings are what the entries of a layer depend on beside their files.
type settings struct {
	prefix    string
	noSchemas bool
	bottom    bool
}

// cache is what is kept of one layer. files has the files of the views, and no others.
type cache struct {
	settings
	round uint64
	files map[*source.File]*entry
	views []*view
}

// view is one snapshot of a layer.
type view struct {
	layer    string
	cache    *cache
	snapshot *source.Snapshot
	configs  []*entry // sorted by name, each name once
	extra    []*entry // configs and schemas whose name is there already
	schemas  []*entry // sorted by name
	clashes  []*Problem
	skipped  []Skipped
	accepts  []string // digests
	wanted   int      // files that are not skipped
	bytes    int64    // of all entries
	unread   []*entry // that were not read yet when the view was made

	read     bool       // all files were read: the rest is known
	problems []*Problem // of the entries
	errors   []*Problem // the first maxKept
	count    int        // of all errors
}

// maxAccept is how much of an AcceptFile is read, in bytes.
const maxAccept = 4 << 10

// maxKept is how many errors of a snapshot that is not used are kept.
const maxKept = 100

// arrange finds the views of the newest and of the accepted snapshot of each layer,
// and forgets what belongs to others. An accepted one is nil where there is no other
// than the newest.
func (m *Maker) arrange(layers []Layer) (newest, accepted []*view) {
	m.round++
	newest, accepted = make([]*view, len(layers)), make([]*view, len(layers))
	for i := range layers {
		l := &layers[i]
		c, s := m.layers[l.Name], settings{l.Prefix, l.NoSchemas, i == 0}
		if c == nil || c.settings != s {
			c = &cache{settings: s, files: map[*source.File]*entry{}}
			m.layers[l.Name] = c
		}
		c.round = m.round
		old := c.views
		newest[i] = m.view(l, c, l.Newest)
		views := []*view{newest[i]}
		if l.Accepted != nil && l.Accepted != l.Newest {
			accepted[i] = m.view(l, c, l.Accepted)
			views = append(views, accepted[i])
		}
		c.views = views
		for _, v := range old {
			if !slices.Contains(c.views, v) {
				c.forget(v)
			}
		}
	}
	for name, c := range m.layers {
		if c.round != m.round {
			delete(m.layers, name)
		}
	}
	return newest, accepted
}

// view is that of a snapshot, which is kept as long as the snapshot is.
func (m *Maker) view(l *Layer, c *cache, snapshot *source.Snapshot) *view {
	for _, v := range c.views {
		if v.snapshot == snapshot {
			return v
		}
	}
	for _, v := range c.views {
		if next := m.changed(v, snapshot); next != nil {
			return next
		}
	}
	v := &view{layer: l.Name, cache: c, snapshot: snapshot, configs: make([]*entry, 0, len(snapshot.Files))}
	for _, f := range snapshot.Files {
		e := m.entry(v, f)
		switch e.role {
		case document, opaque:
			v.configs = append(v.configs, e)
		case schemaFile:
			v.schemas = append(v.schemas, e)
		case skipped:
			v.skipped = append(v.skipped, Skipped{l.Name, f.Path})
			continue
		case acceptance:
			v.accepts = append(v.accepts, strings.Fields(string(f.Data[:min(len(f.Data), maxAccept)]))...)
			continue
		case ignored:
		}
		v.wanted++
		if e.role != ignored {
			v.add(e)
		}
	}
	slices.SortStableFunc(v.configs, byName)
	slices.SortStableFunc(v.schemas, byName)
	v.configs = v.unique(v.configs, "the config %s also comes from %s; rename or remove one of the two files")
	v.schemas = v.unique(v.schemas, "the config %s also has the schema %s; rename or remove one of the two files")
	return v
}

func byName(a, b *entry) int { return strings.Compare(a.name, b.name) }

// entry finds the entry of a file of a view.
func (m *Maker) entry(v *view, f *source.File) *entry {
	c := v.cache
	e := c.files[f]
	if e == nil {
		e = &entry{file: f, doc: tree.Doc{Layer: v.layer, File: f.Path}, bottom: c.bottom, marks: -1}
		e.role, e.name = m.roleOf(f.Path)
		e.name, e.path = c.prefix+e.name, c.prefix+f.Path
		if e.role == schemaFile && c.noSchemas {
			e.role = ignored
		}
		c.files[f] = e
	}
	return e
}

// add counts an entry.
func (v *view) add(e *entry) {
	v.bytes += int64(len(e.file.Data))
	if !e.read {
		v.unread = append(v.unread, e)
	}
}

// changed makes the view of a snapshot out of that of another one with the same paths, if
// nothing but configs has another content: nothing is sorted, and only what changed is
// looked up. It returns nil if there are other changes.
func (m *Maker) changed(v *view, snapshot *source.Snapshot) *view {
	old := v.snapshot.Files
	if !v.read || len(v.extra) > 0 || !slices.EqualFunc(old, snapshot.Files, func(a, b *source.File) bool { return a == b || a.Path == b.Path }) {
		return nil
	}
	next := &view{
		layer: v.layer, cache: v.cache, snapshot: snapshot, configs: slices.Clone(v.configs),
		schemas: v.schemas, skipped: v.skipped, accepts: v.accepts, wanted: v.wanted, bytes: v.bytes,
	}
	for i, f := range snapshot.Files {
		if f == old[i] {
			continue
		}
		switch e := m.entry(next, f); e.role {
		case document, opaque:
			at, _ := slices.BinarySearchFunc(next.configs, e, byName)
			next.configs[at] = e
			next.bytes -= int64(len(old[i].Data))
			next.add(e)
		case skipped:
		default:
			return nil
		}
	}
	return next
}

// unique sets apart the entries whose name another file has already, and returns the
// others.
func (v *view) unique(list []*entry, clash string) []*entry {
	kept := list[:min(1, len(list))]
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		if a.name != b.name {
			kept = append(kept, b)
			continue
		}
		v.extra = append(v.extra, b)
		v.clashes = append(v.clashes, &Problem{
			Layer: v.layer, File: b.file.Path, What: fmt.Sprintf(clash, plain.Text(b.name), plain.Text(a.file.Path)),
		})
	}
	return kept
}

// entries are all that can have problems of their own, with the order of ties.
func (v *view) entries(visit func(*entry)) {
	for _, list := range [][]*entry{v.configs, v.extra, v.schemas} {
		for _, e := range list {
			visit(e)
		}
	}
}

// forget drops the files of an old view that are in no present one.
func (c *cache) forget(old *view) {
	for i, f := range old.snapshot.Files {
		if !slices.ContainsFunc(c.views, func(v *view) bool { return v.has(f, i) }) {
			delete(c.files, f)
		}
	}
}

// has reports whether a file is in the view. It is looked for at its place in another
// view first.
func (v *view) has(f *source.File, at int) bool {
	files := v.snapshot.Files
	if at < len(files) && files[at] == f {
		return true
	}
	at, found := slices.BinarySearchFunc(files, f.Path, func(f *source.File, p string) int { return strings.Compare(f.Path, p) })
	return found && files[at] == f
}

// finished collects the errors of a view whose files were all read.
func (v *view) finished() {
	if v.read {
		return
	}
	v.read = true
	errs := slices.Clone(v.clashes)
	v.entries(func(e *entry) {
		v.problems = append(v.problems, e.problems...)
		if e.failed {
			for _, p := range e.problems {
				if !p.Warning {
					errs = append(errs, p)
				}
			}
		}
	})
	tree.Sort(errs)
	v.count = len(errs)
	v.errors = slices.Clone(errs[:min(len(errs), maxKept)])
}

// lookup finds the file that schemas refer to by a path: the highest layer's.
func lookup(stack []*view, file string) schema.File {
	for _, v := range slices.Backward(stack) {
		own, ok := strings.CutPrefix(file, v.cache.prefix)
		if !ok {
			continue
		}
		i, ok := slices.BinarySearchFunc(v.snapshot.Files, own, func(f *source.File, p string) int { return strings.Compare(f.Path, p) })
		if !ok {
			continue
		}
		if e := v.cache.files[v.snapshot.Files[i]]; e.role != ignored {
			return schema.File{Path: file, Doc: e.doc, File: e.file}
		}
	}
	return schema.File{}
}

// cost is about how much memory the trees of the file take, in bytes.
func (e *entry) cost(checked bool) int64 {
	if e.marks < 0 {
		e.marks = decode.Marks(e.file.Path, e.file.Data)
	}
	return decode.Memory(e.file.Path, e.marks, checked)
}
