package plan

import (
	"context"
	"fmt"
	"slices"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/layer"
	"github.com/statesync/statesync/daemon/plan/schema"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

// pass decodes what is new in a stack of views, one config at a time: the trees of
// one config are all that there are at any time.
type pass struct {
	maker *Maker
	combined

	steps     int64 // of all configs up to here
	most      *combo
	mostSteps int64
	over      *Problem // once steps are more than allowed
	validated int      // how many combos were validated by then
}

// run decodes everything. Its error is that of ctx.
func (p *pass) run(ctx context.Context) error {
	m := p.maker
	m.done.Store(0)
	m.total.Store(p.bytes())
	if err := p.readSchemas(ctx); err != nil {
		return err
	}
	for i, c := range p.combos {
		if p.stale(c) {
			if err := ctx.Err(); err != nil {
				return err
			}
			p.config(c)
		}
		p.count(c)
		if p.over == nil {
			p.validated = i + 1
		}
	}
	for _, v := range p.stack {
		for _, e := range v.extra {
			if err := ctx.Err(); err != nil {
				return err
			}
			p.read(e)
		}
		v.finished()
	}
	return nil
}

// stale reports whether a config has to be made anew, or validated.
func (p *pass) stale(c *combo) bool {
	return c.result == nil || p.over == nil && p.unchecked(c, c.result)
}

// unchecked reports whether a config has to be validated.
func (p *pass) unchecked(c *combo, r *result) bool {
	return r.config.Section != nil && (!r.checked || r.schema != c.compiled())
}

// bytes is how many bytes are to be read, as far as that is known before schemas are
// compiled.
func (p *pass) bytes() (total int64) {
	for _, v := range p.stack {
		for _, e := range v.unread {
			if !e.read {
				total += int64(len(e.file.Data))
			}
		}
	}
	return total
}

// begin makes a file the one at hand; end says that it was read.
func (p *pass) begin(e *entry) { p.maker.file.Store(&e.file.Path) }
func (p *pass) end(e *entry)   { p.maker.done.Add(int64(len(e.file.Data))) }

// readSchemas reads the schema files that are new, and compiles the schemas that are
// new or use a file that changed.
func (p *pass) readSchemas(ctx context.Context) error {
	for _, v := range p.stack {
		for _, e := range v.schemas {
			if e.read {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			p.read(e)
		}
	}
	var set *schema.Set
	ids := p.ids()
	find := func(name schema.Name) schema.File { return p.find(ids, name) }
	anew := p.sets() > maxSets
	for _, e := range p.schemas {
		if e.failed || e.schema != nil && !anew && !e.schema.Outdated(find) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if set == nil {
			set = schema.NewSet(find)
		}
		p.begin(e)
		e.schema = set.Compile(schema.File{Path: e.path, Doc: e.doc, File: e.file})
	}
	return nil
}

// maxSets is how many compiled forms of a file that schemas share are kept: each pass
// that compiles some of them makes one. With more, all schemas are compiled anew.
const maxSets = 8

// sets is how many passes the schemas were compiled in.
func (p *pass) sets() int {
	sets := map[schema.Origin]bool{}
	for _, e := range p.schemas {
		if e.schema != nil {
			sets[e.schema.Origin()] = true
		}
	}
	return len(sets)
}

// find finds what a schema refers to.
func (p *pass) find(ids map[string]schema.File, name schema.Name) schema.File {
	if name.ID {
		return ids[name.Text]
	}
	return lookup(p.stack, name.Text)
}

// ids are the schema files by their $id: of several those of the highest layer.
func (p *pass) ids() map[string]schema.File {
	ids := map[string]schema.File{}
	for _, v := range slices.Backward(p.stack) {
		here := map[string]schema.File{}
		for _, e := range v.schemas {
			f := schema.File{Path: e.path, Doc: e.doc, File: e.file}
			if e.id == "" || lookup(p.stack, e.path) != f {
				continue
			}
			if twin, ok := here[e.id]; ok {
				f, f.Twin = twin, f.Path
			}
			here[e.id] = f
		}
		for id, f := range here {
			if _, ok := ids[id]; !ok {
				ids[id] = f
			}
		}
	}
	return ids
}

// config makes one config of its parts, and validates it while its tree is at hand.
func (p *pass) config(c *combo) {
	old := c.result
	roots, ok := make([]*tree.Node, len(c.parts)), true
	for i, e := range c.parts {
		if !e.read {
			roots[i] = p.read(e)
		}
		ok = ok && !e.failed
	}
	r := &result{config: Config{Name: c.name, Layer: c.top().doc.Layer, File: c.top().doc.File}}
	c.result = r
	if !ok {
		return
	}
	report := &tree.Report{}
	for _, e := range c.parts {
		report.Docs = append(report.Docs, e.doc)
	}
	root := p.merge(c, report, roots)
	switch {
	case old != nil && report.Errors() == 0: // only its schema is another one
		r.config.Section, r.problems = old.config.Section, old.problems
	case root != nil:
		guarded(report, root, "building the config", func() {
			var err error
			if r.config.Section, err = image.NewDocument(c.name, root.AppendCanonical(nil)); err != nil {
				report.Error(tree.Place{Doc: uint16(len(c.parts) - 1)}, "", err.Error())
			}
		})
		r.problems = report.Done()
	case report.Errors() == 0 && c.top().role == opaque:
		var err error
		if r.config.Section, err = image.NewOpaque(c.name, c.top().file.Data); err != nil {
			report.Error(tree.Place{Doc: uint16(len(c.parts) - 1)}, "", err.Error())
		}
		fallthrough
	default:
		r.problems = report.Done()
	}
	if r.config.Section == nil || p.over != nil {
		return
	}
	r.checked, r.schema = true, c.compiled()
	if r.schema != nil && root != nil {
		violations := &tree.Report{Docs: report.Docs}
		r.steps = r.schema.Validate(violations, root)
		r.violations = violations.Done()
	}
}

// merge is the document that the parts of a config come to. It is nil if there are
// errors, which are then in r, if the config is opaque, and if a layer removed it.
func (p *pass) merge(c *combo, r *tree.Report, roots []*tree.Node) (root *tree.Node) {
	first := 0 // the parts below have no effect
	for i, e := range c.parts {
		if i == 0 || e.null || e.role == c.parts[i-1].role || c.parts[i-1].null {
			if e.role == opaque {
				first = i + 1
			}
			continue
		}
		is, was := "a document", "opaque"
		if e.role == opaque {
			is, was = was, is
		}
		r.Error(tree.Place{Doc: uint16(i)}, "", fmt.Sprintf("the config %s is %s here, but %s in %s of the layer %s; make both alike, or rename one of the files",
			plain.Text(c.name), is, was, plain.Text(r.Docs[i-1].File), r.Docs[i-1].Layer))
		return nil
	}
	for first > 0 && first < len(c.parts) && c.parts[first].null {
		first++ // it removed the opaque config
	}
	if first == len(c.parts) {
		return nil
	}
	for i := first; i < len(c.parts); i++ {
		if roots[i] == nil { // it was read before
			e := c.parts[i]
			p.begin(e)
			roots[i] = decode.Config(&tree.Report{Docs: r.Docs}, decode.Source{Path: e.file.Path, Data: e.file.Data, Doc: uint16(i)}, !e.bottom)
		} else {
			number(roots[i], uint16(i))
		}
		if roots[i] == nil {
			r.Error(tree.Place{Doc: uint16(i)}, "", "the file was read well before, and is not now; please report this with the file")
			return nil
		}
	}
	guarded(r, roots[first], "merging", func() { root = layer.Merge(r, roots[first:]) })
	return root
}

// number says which document of its config a tree is, which was not known when it
// was read.
func number(n *tree.Node, doc uint16) {
	if doc == n.Doc {
		return
	}
	n.Doc = doc
	for _, item := range n.Items {
		number(item, doc)
	}
	for i := range n.Fields {
		number(n.Fields[i].Value, doc)
	}
}

// guarded runs f. A panic of it becomes an error of the file that root comes from.
func guarded(r *tree.Report, root *tree.Node, doing string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			r.Error(tree.Place{Doc: root.Doc}, "", fmt.Sprintf("%s failed (%s); please report this with the file", doing, tree.Shown(fmt.Sprint(p))))
		}
	}()
	f()
}

// read reads a file that was not seen before. It returns the tree of a document
// without errors; that of a schema is read again where the schema is compiled.
func (p *pass) read(e *entry) (root *tree.Node) {
	if e.read {
		return nil
	}
	p.begin(e)
	r := tree.NewReport(e.doc.Layer, e.doc.File)
	if e.role == schemaFile {
		schemaRoot := schema.Read(r, e.file)
		if e.failed = schemaRoot == nil; !e.failed {
			e.id = schema.ID(e.path, schemaRoot)
		}
		e.problems = slices.DeleteFunc(r.Done(), func(p *Problem) bool { return p.Warning })
		e.read = true
		p.end(e)
		return nil
	}
	if err := image.CheckName(e.name); err != nil {
		r.Error(tree.Place{}, "", fmt.Sprintf("%v; rename the file", err))
	} else if e.role == document {
		root = decode.Config(r, decode.Source{Path: e.file.Path, Data: e.file.Data}, !e.bottom)
		e.null = root != nil && root.Kind == tree.Null
	} else if len(e.file.Data) == 0 {
		r.Error(tree.Place{}, "", "empty: a file that was cut off looks the same; remove the file, or write something into it")
	}
	e.failed = r.Errors() > 0
	e.problems = r.Done()
	e.read = true
	p.end(e)
	return root
}

// count adds the steps of a config to those of all. Configs are counted in the order
// of their names whether they were validated now or before, so that the same one is
// one too many on every host.
func (p *pass) count(c *combo) {
	r := c.result
	if p.over != nil || !r.checked {
		return
	}
	p.steps += r.steps
	if p.most == nil || r.steps > p.mostSteps {
		p.most, p.mostSteps = c, r.steps
	}
	if most := stepsOfAll * schema.MaxSteps; p.steps > most {
		top := p.most.top()
		p.over = &Problem{Layer: top.doc.Layer, File: top.doc.File, What: fmt.Sprintf(
			"validating all configs takes more than %d steps, and the config %s with %d the most of those up to %s; simplify its schema, or split it",
			most, plain.Text(p.most.name), p.mostSteps, plain.Text(c.name))}
	}
}
