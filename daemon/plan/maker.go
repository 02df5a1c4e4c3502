package plan

import (
	"context"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/schema"
	"github.com/statesync/statesync/daemon/plan/tree"
)

const (
	// stepsOfAll is how many times the steps of one config all configs of a plan may
	// take together, those included that did not change. A plan is so refused or not
	// on every host alike, however fast it is and whatever it knows already.
	stepsOfAll = 20

	// maxMemory is how much memory the files of a plan may take together, in bytes, if
	// all were decoded at once. It is counted without a look at the host or at what is
	// kept, for the same reason.
	maxMemory = 4 << 30
)

// Maker makes plans. It keeps what it made of each file and of each config, so
// that what is still the same *source.File in the next plan costs a look-up. Memory
// and Make are for one goroutine at a time; Wanted and Progress can be called from
// any.
type Maker struct {
	opaque     []string
	badGlobs   []*Problem
	allowEmpty bool
	layers     map[string]*cache // by name
	round      uint64
	newest     combined

	file        atomic.Pointer[string]
	done, total atomic.Int64
}

// New makes a Maker. A glob of o that is malformed is a problem of each plan.
func New(o Options) *Maker {
	m := &Maker{allowEmpty: o.AllowEmpty, layers: map[string]*cache{}}
	for _, glob := range o.Opaque {
		if _, err := path.Match(glob, ""); err != nil {
			m.badGlobs = append(m.badGlobs, &Problem{
				What: fmt.Sprintf("the opaque glob %q is malformed; see Go's path.Match for the syntax", glob),
			})
			continue
		}
		m.opaque = append(m.opaque, glob)
	}
	return m
}

// Wanted reports whether Make uses the content of a file of that path in its source.
// Files for which it is false end up in Plan.Skipped, and need not be read.
func (m *Maker) Wanted(file string) bool {
	r, _ := m.roleOf(file)
	return r != skipped
}

// Name is the name that the config of a file has in its source, and for a schema file
// that of the config that it is for.
func (m *Maker) Name(file string) string {
	_, name := m.roleOf(file)
	return name
}

// Progress is how far Make is while it runs: the file at hand, and how many bytes
// are decoded of those that have to be. Both numbers begin anew where the accepted
// snapshot of a layer replaces its newest.
func (m *Maker) Progress() (file string, done, total int64) {
	if f := m.file.Load(); f != nil {
		file = *f
	}
	return file, m.done.Load(), m.total.Load()
}

// Make makes a plan of layers, the lowest first. Its error is that of ctx: it ends
// between two files, and keeps what was decoded for the next call.
//
// A layer whose newest snapshot has an error in a file of its own is replaced by its
// accepted one. What is wrong with the layers together refuses the plan.
func (m *Maker) Make(ctx context.Context, layers []Layer) (*Plan, error) {
	defer func() { m.file.Store(nil) }()
	if bad := checkNames(layers); bad != nil {
		return newPlan(layers, nil).refuse(bad), nil
	}
	newest, accepted := m.arrange(layers)
	stack := slices.Clone(newest)
	fallBack(stack, accepted) // those that are known to be bad
	for {
		p := m.pass(stack)
		plan := newPlan(layers, stack)
		if need := p.memory(false); need > maxMemory {
			return plan.refuse(&Problem{What: fmt.Sprintf("decoding all files takes about %d MiB of memory, and at most %d MiB are allowed; "+
				"split the large ones, or make them opaque configs", need>>20, maxMemory>>20)}), nil
		}
		if err := p.run(ctx); err != nil {
			return nil, err
		}
		if fallBack(stack, accepted) {
			continue
		}
		for i, v := range stack {
			if v != newest[i] {
				plan.Layers[i].Problems, plan.Layers[i].Count = newest[i].errors, newest[i].count
			}
		}
		m.fill(plan, p)
		return plan, nil
	}
}

// pass begins a pass over a stack. A stack is combined once: Make follows Memory.
func (m *Maker) pass(stack []*view) *pass {
	if !slices.Equal(m.newest.stack, stack) {
		m.newest = combine(stack)
	}
	return &pass{maker: m, combined: m.newest}
}

// fallBack replaces the views that are known to have errors by the accepted ones, where
// there are such, and reports whether there was one.
func fallBack(stack, accepted []*view) (some bool) {
	for i, v := range stack {
		if v.count > 0 && accepted[i] != nil && v != accepted[i] {
			stack[i], some = accepted[i], true
		}
	}
	return some
}

// checkNames finds what a Maker cannot tell layers apart by.
func checkNames(layers []Layer) *Problem {
	if len(layers) > math.MaxUint16 {
		return &Problem{What: fmt.Sprintf("%d layers are too many", len(layers))}
	}
	seen := make(map[string]bool, len(layers))
	for _, l := range layers {
		if seen[l.Name] {
			return &Problem{Layer: l.Name, What: fmt.Sprintf("two layers are named %s; give them different names", l.Name)}
		}
		seen[l.Name] = true
	}
	return nil
}

// newPlan is a plan of the views of a stack; without one, of the newest snapshots.
func newPlan(layers []Layer, stack []*view) *Plan {
	p := &Plan{Layers: make([]Used, len(layers))}
	versions := make([]string, len(layers))
	for i := range layers {
		p.Layers[i] = Used{Name: layers[i].Name, Snapshot: layers[i].Newest}
		if stack != nil {
			p.Layers[i].Snapshot = stack[i].snapshot
		}
		versions[i] = layers[i].Name + "=" + p.Layers[i].Snapshot.Version
	}
	p.Version = strings.Join(versions, " ")
	if len(layers) == 1 {
		p.Version = p.Layers[0].Snapshot.Version
	}
	return p
}

func (p *Plan) refuse(problem *Problem) *Plan {
	p.Problems = []*Problem{problem}
	return p
}

// fill completes a plan with what a pass found.
func (m *Maker) fill(plan *Plan, p *pass) {
	plan.combos = p.combos
	plan.Problems = slices.Clone(m.badGlobs)
	for _, v := range p.stack {
		plan.Problems = append(plan.Problems, v.clashes...)
		plan.Skipped = append(plan.Skipped, v.skipped...)
		plan.Accepts = append(plan.Accepts, v.accepts...)
	}
	plan.Problems = append(plan.Problems, p.schemaProblems()...)
	wanted := 0
	for _, v := range p.stack {
		plan.Problems = append(plan.Problems, v.problems...)
		wanted += v.wanted
	}
	configs := make([]*Config, 0, len(p.combos))
	for _, c := range p.combos {
		plan.Problems = append(plan.Problems, c.result.problems...)
		if c.result.config.Section != nil {
			configs = append(configs, &c.result.config)
		}
	}
	if p.over != nil {
		plan.Problems = append(plan.Problems, p.over)
	}
	empty := len(configs) == 0 && (len(p.stack) > 1 || wanted == 0) // one layer may have schemas alone
	if empty && !m.allowEmpty && !tree.HasError(plan.Problems) {
		plan.Problems = append(plan.Problems, &Problem{What: "no config is left; an empty result is taken for a mistake unless --allow-empty is given"})
	}
	tree.Sort(plan.Problems)
	if !tree.HasError(plan.Problems) {
		plan.Configs = configs
	}
}

// schemaProblems are what the schemas say, of themselves and of the configs.
func (p *pass) schemaProblems() (problems []*Problem) {
	if len(p.schemas) == 0 {
		return nil
	}
	referred := map[string]bool{} // by another schema, by path
	for _, e := range p.schemas {
		if e.schema == nil {
			continue
		}
		problems = append(problems, e.schema.Problems...)
		for _, used := range e.schema.Uses {
			referred[used.Path] = true
		}
	}
	combos := p.combos
	for _, e := range p.schemas {
		for len(combos) > 0 && combos[0].name < e.name {
			combos = combos[1:]
		}
		found := len(combos) > 0 && combos[0].name == e.name
		switch {
		case !found && !referred[e.path]:
			problems = append(problems, &Problem{Layer: e.doc.Layer, File: e.doc.File, Warning: true, What: fmt.Sprintf(
				"there is no config %s for this schema, and no schema refers to it; rename or remove it", plain.Text(e.name))})
		case found && combos[0].top().role == opaque:
			problems = append(problems, &Problem{Layer: e.doc.Layer, File: e.doc.File, Warning: true, What: fmt.Sprintf(
				"the config %s is opaque, so that its schema is not applied; remove the schema", plain.Text(e.name))})
		}
	}
	for _, c := range p.combos[:p.validated] {
		problems = append(problems, c.result.violations...)
	}
	tree.Sort(problems)
	return slices.CompactFunc(problems, func(a, b *Problem) bool { return *a == *b })
}

// compiled is the schema of a combo, nil if there is none to apply.
func (c *combo) compiled() *schema.Schema {
	if c.schema == nil || c.top().role == opaque {
		return nil
	}
	return c.schema.schema
}
