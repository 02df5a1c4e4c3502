// Package schema checks configs by JSON Schemas. It compiles a schema from files of
// the plan, and from nothing else: neither the disk nor the network is ever asked. A
// Set compiles the schemas of a plan, each file once.
// It validates a document and explains what does not fit, each at the place of the
// value or key that it is about.
//
// Schemas are taken to be hostile. A meter counts the steps of a validation before
// the library takes them: most are well below a microsecond, and the worst that a
// schema can do with all of them is some seconds. A panic of the library becomes
// an error.
package schema

import (
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
)

const (
	maxSchema       = 1 << 20 // bytes of one schema file
	maxSchemaValues = 50_000  // in one schema file
	maxSubschemas   = 20_000  // of one schema, with all files that it refers to

	// maxLost is how many subschemas the library may look through for references to
	// places where a draft has no schemas.
	maxLost = 20_000_000
)

// MaxSteps is how many steps validating one config may take. It is the same on every
// host: a verdict depends on it. Only tests set it.
var MaxSteps int64 = 5_000_000

// Schema is a schema compiled from the files it uses. It belongs to one goroutine at a time.
type Schema struct {
	// Uses are what was looked up for it, and found. The schema stays good while all of
	// that is the same.
	Uses map[Name]File
	// Problems are why there is no schema to validate with.
	Problems []*tree.Problem

	compiled   *jsonschema.Schema // nil if there are problems
	meter      *meter             // that of its Set
	subschemas int                // that it reaches, at most
}

// Read reads the file of a schema. It returns nil if there are errors, which are
// then in r.
func Read(r *tree.Report, f *source.File) *tree.Node {
	if len(f.Data) > maxSchema {
		r.Error(tree.Place{}, "", fmt.Sprintf("the file has %d bytes, and a schema at most %d MiB; split it", len(f.Data), maxSchema>>20))
		return nil
	}
	root := decode.Parse(r, decode.Source{Path: f.Path, Data: f.Data, Wide: true})
	if root != nil && root.Size() > maxSchemaValues {
		r.Error(tree.Place{}, "", fmt.Sprintf("the file has more than %d values; split it", maxSchemaValues))
		return nil
	}
	return root
}

// Origin is the same for all schemas of one Set.
type Origin struct{ meter *meter }

// Origin says which Set the schema is of.
func (s *Schema) Origin() Origin { return Origin{s.meter} }

// Memory is about how much memory the compiled form of a file takes, in bytes, by the
// marks between its values: each may be a subschema.
func Memory(marks int64) int64 { return min(marks, maxSubschemas) * 1200 }

// Outdated reports whether the schema would be compiled of other files now.
func (s *Schema) Outdated(find Lookup) bool {
	for name, used := range s.Uses {
		if find(name) != used {
			return true
		}
	}
	return false
}

// Validate validates a document, whose violations are then in r, and returns how
// many steps that took.
func (s *Schema) Validate(r *tree.Report, root *tree.Node) (steps int64) {
	if s.compiled == nil {
		return 0
	}
	s.meter.reset(s.subschemas)
	_, err := safely(func() (struct{}, error) { return struct{}{}, s.compiled.Validate(root.Plain()) })
	var violation *jsonschema.ValidationError
	switch {
	case errors.As(err, &violation):
		guarded(r, tree.Place{Doc: root.Doc}, func() { explainViolation(r, root, nil, violation, s.meter.badNames) })
	case err != nil:
		r.Error(tree.Place{Doc: root.Doc}, "", fmt.Sprintf("validating it failed: %v", err))
	}
	s.meter.badNames, s.meter.validating = nil, false
	return min(s.meter.steps, MaxSteps)
}

// safely turns a panic of f into an error.
func safely[T any](f func() (T, error)) (result T, err error) {
	defer func() {
		switch p := recover(); p := p.(type) {
		case nil:
		case stepsError:
			err = p
		default:
			err = fmt.Errorf("the schema library failed (%s); please report this with the schema", tree.Shown(fmt.Sprint(p)))
		}
	}()
	return f()
}

// guarded runs f, whose panic is an error at a place.
func guarded(r *tree.Report, at tree.Place, f func()) {
	if _, err := safely(func() (struct{}, error) { f(); return struct{}{}, nil }); err != nil {
		r.Error(at, "", err.Error())
	}
}
