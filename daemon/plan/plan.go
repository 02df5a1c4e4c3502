package plan

import (
	"errors"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// Problem is one finding about a file of a layer.
type Problem = tree.Problem //nolint:errname // as there

// Layer is one source's files. Later layers win.
type Layer struct {
	Name string
	// Newest is the newest snapshot of the source, and not nil.
	Newest *source.Snapshot
	// Accepted is the last one that a plan used, nil if there is none. It may be
	// Newest.
	Accepted *source.Snapshot
	// Prefix is the folder below which all names of the layer are, schemas included:
	// "team/" or "".
	Prefix string
	// NoSchemas ignores the schema files of the layer.
	NoSchemas bool
}

// Options are what a Maker can be told.
type Options struct {
	// Opaque are globs in the syntax of [path.Match]. A file whose path in its source
	// or base name one of them matches is an opaque config.
	Opaque []string
	// AllowEmpty accepts a plan without any config.
	AllowEmpty bool
}

// Plan is what layers come to. It is immutable.
type Plan struct {
	// Version is that of the snapshots that were used: of one layer its own, of
	// several "name=version name=version".
	Version string
	// Layers are in the order in which they were given.
	Layers []Used
	// Configs are sorted by name. It is nil when there is an error among Problems: a
	// plan is taken as a whole or not at all. A config that did not change is the same
	// one in the next plan.
	Configs []*Config
	// Problems are the errors that refuse the plan and all warnings, sorted by
	// layer, file and place.
	Problems []*Problem
	// Accepts are the digests of contents that the sources themselves let pass the
	// guards, in files of the name source.AcceptFile.
	Accepts []string
	// Skipped are the files that are neither of a known format nor opaque.
	Skipped []Skipped

	combos []*combo // sorted by name, for Origins
}

// Used is what became of one layer.
type Used struct {
	Name string
	// Snapshot is the snapshot that the plan is made of: the newest, or the accepted
	// one where a file of the newest cannot be used.
	Snapshot *source.Snapshot
	// Problems are why the newest is not used: the first 100 errors, sorted. Count is
	// how many there are. Of a layer that refuses the plan they are in Plan.Problems.
	Problems []*Problem
	Count    int
}

// Config is one config of a plan, immutable.
type Config struct {
	Name    string
	Section *image.Section
	Layer   string // the highest that has the config
	File    string // its file there
}

// Skipped is a file that is not used.
type Skipped struct{ Layer, Path string }

// Refused reports whether there is an error among the problems.
func (p *Plan) Refused() bool { return tree.HasError(p.Problems) }

// Err joins the errors among the problems; nil when there is none. Warnings are
// no errors.
func (p *Plan) Err() error {
	var errs []error
	for _, problem := range p.Problems {
		if !problem.Warning {
			errs = append(errs, problem)
		}
	}
	return errors.Join(errs...)
}

// combo is the files that are one config together. It is kept from one plan to the next
// while they are the same. The first three never change, and are read by plans.
type combo struct {
	name   string
	parts  []*entry // the lowest layer's first; at least one
	schema *entry   // of the highest layer that has one; nil if none has

	result *result // nil: not yet made
	memory int64   // see cost; -1: not yet counted
}

// combined is what the views of a stack come to. It is immutable.
type combined struct {
	stack   []*view
	combos  []*combo // sorted by name
	schemas []*entry // that are applied, sorted by name
}

func (c *combo) top() *entry { return c.parts[len(c.parts)-1] }

// combine groups the files of the layers by config.
func combine(stack []*view) combined {
	total := 0
	for _, v := range stack {
		total += len(v.configs)
	}
	all := combined{stack: slices.Clone(stack), combos: make([]*combo, 0, total), schemas: winners(stack)}
	schemas := all.schemas
	merge(stack, func(v *view) []*entry { return v.configs }, func(same []*entry) {
		for len(schemas) > 0 && schemas[0].name < same[0].name {
			schemas = schemas[1:]
		}
		var schema *entry
		if len(schemas) > 0 && schemas[0].name == same[0].name {
			schema = schemas[0]
		}
		all.combos = append(all.combos, comboOf(same, schema))
	})
	return all
}

// comboOf is the combo of some files: the one that is kept if they are the same. Where
// only the schema is another one, what was made of the files is kept.
func comboOf(parts []*entry, schema *entry) *combo {
	top := parts[len(parts)-1]
	c := top.combo
	same := c != nil && slices.Equal(c.parts, parts)
	if same && c.schema == schema {
		return c
	}
	next := &combo{name: top.name, parts: slices.Clone(parts), schema: schema, memory: -1}
	if same {
		next.result = c.result
	}
	top.combo = next
	return next
}

// winners are the schemas that are applied, sorted by name: of each name the one of the
// highest layer.
func winners(stack []*view) []*entry {
	if len(stack) == 1 {
		return stack[0].schemas
	}
	var list []*entry
	merge(stack, func(v *view) []*entry { return v.schemas }, func(same []*entry) { list = append(list, same[len(same)-1]) })
	return list
}

// merge calls visit for each name in order, with its entries from the lowest layer
// up. Each list is sorted, and has a name once.
func merge(stack []*view, list func(*view) []*entry, visit func(same []*entry)) {
	if len(stack) == 1 {
		for same := range slices.Chunk(list(stack[0]), 1) {
			visit(same)
		}
		return
	}
	rest := make([][]*entry, len(stack))
	for i, v := range stack {
		rest[i] = list(v)
	}
	same := make([]*entry, 0, len(stack))
	for {
		same = same[:0]
		for _, entries := range rest {
			if len(entries) == 0 {
				continue
			}
			if len(same) > 0 {
				order := strings.Compare(entries[0].name, same[0].name)
				if order > 0 {
					continue
				}
				if order < 0 {
					same = same[:0]
				}
			}
			same = append(same, entries[0])
		}
		if len(same) == 0 {
			return
		}
		visit(same)
		for i, entries := range rest {
			if len(entries) > 0 && slices.Contains(same, entries[0]) {
				rest[i] = entries[1:]
			}
		}
	}
}
