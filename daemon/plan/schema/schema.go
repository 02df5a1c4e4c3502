// Package schema checks configs by JSON Schemas. It compiles a schema from files of
// the plan, and from nothing else: neither the disk nor the network is ever asked.
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
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
)

const (
	maxSchema       = 1 << 20 // bytes of one schema file
	maxSchemaValues = 50_000  // in one schema file
	maxSubschemas   = 5_000   // that one schema reaches
)

// MaxSteps is how many steps validating one config may take. It is the same on every
// host: a verdict depends on it. Only tests set it.
var MaxSteps int64 = 5_000_000

// schemaBase stands for the root of all layers in the URLs of their files. Nothing
// answers there: a reference leads to a file of the plan or nowhere.
const schemaBase = "statesync://source/"

func schemaURL(file string) string {
	return (&url.URL{Scheme: "statesync", Host: "source", Path: "/" + file}).String()
}

// File is a file of the plan.
type File struct {
	Path string // by which others refer to it: with the prefix of its layer
	Doc  tree.Doc
	File *source.File
}

// Lookup finds the file that a path refers to. File is nil where there is none.
type Lookup func(path string) File

// Schema is a schema compiled from the files it uses. It belongs to one goroutine at a time.
type Schema struct {
	// Uses are the other files that it was compiled with, by path; nil: the file was
	// not there. The schema stays good while all of them are the same.
	Uses map[string]*source.File
	// Problems are why there is no schema to validate with.
	Problems []*tree.Problem

	compiled *jsonschema.Schema // nil if there are problems
	meter    *meter
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

// Compile makes a schema of a file and of those it refers to.
func Compile(f File, lookup Lookup) *Schema {
	s := &Schema{Uses: map[string]*source.File{}, meter: &meter{}}
	l := &loader{own: f, lookup: lookup, uses: s.Uses, docs: map[string]tree.Doc{}, trees: map[string]*tree.Node{}}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(l)
	compiler.UseRegexpEngine(s.meter.pattern)
	compiler.RegisterVocabulary(&jsonschema.Vocabulary{URL: schemaBase, Compile: s.meter.compile})
	compiler.AssertVocabs() // the meter's: it is called for every subschema
	var err error
	s.compiled, err = safely(func() (*jsonschema.Schema, error) { return compiler.Compile(schemaURL(f.Path)) })
	if err != nil {
		s.compiled = nil
		r := tree.NewReport(f.Doc.Layer, f.Doc.File)
		guarded(r, tree.Place{}, func() { s.Problems = l.explain(err) })
		s.Problems = append(s.Problems, r.Done()...)
	}
	return s
}

// Validate validates a document, whose violations are then in r, and returns how
// many steps that took.
func (s *Schema) Validate(r *tree.Report, root *tree.Node) (steps int64) {
	if s.compiled == nil {
		return 0
	}
	s.meter.reset()
	_, err := safely(func() (struct{}, error) { return struct{}{}, s.compiled.Validate(root.Plain()) })
	var violation *jsonschema.ValidationError
	switch {
	case errors.As(err, &violation):
		guarded(r, tree.Place{Doc: root.Doc}, func() { explainViolation(r, root, nil, violation, s.meter.badNames) })
	case err != nil:
		r.Error(tree.Place{Doc: root.Doc}, "", fmt.Sprintf("validating it failed: %v", err))
	}
	s.meter.badNames = nil
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

// loader loads the files that a schema refers to.
type loader struct {
	own    File
	lookup Lookup
	uses   map[string]*source.File // what was asked for; nil: it was not there
	docs   map[string]tree.Doc     // of what was there
	trees  map[string]*tree.Node   // what could be read
}

// Load is called by the compiler, once for each URL.
func (l *loader) Load(raw string) (any, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	file := strings.TrimPrefix(u.Path, "/")
	if u.Scheme+"://"+u.Host+"/" != schemaBase || u.RawQuery != "" {
		return nil, fmt.Errorf("a schema can only refer to files of the source; copy it there, and refer to it by a relative path")
	}
	f := l.own
	if file != f.Path {
		f = l.lookup(file)
		l.uses[file] = f.File
	}
	if f.File == nil {
		return nil, fmt.Errorf("there is no such file in the source; correct the path")
	}
	l.docs[file] = f.Doc
	if !decode.Reads(file) {
		return nil, fmt.Errorf("only .json, .yaml, .yml and .toml files can be referred to")
	}
	r := tree.NewReport(f.Doc.Layer, f.Doc.File)
	root := Read(r, f.File)
	if root == nil {
		return nil, readError(slices.DeleteFunc(r.Done(), func(p *tree.Problem) bool { return p.Warning }))
	}
	l.trees[file] = root
	return root.Plain(), nil
}

// readError are the problems that a file is unreadable for.
type readError []*tree.Problem

func (e readError) Error() string {
	if e[0].Line == 0 {
		return e[0].What
	}
	return e[0].Error()
}

// explain turns the compiler's error into problems, at their places where they can
// be found.
func (l *loader) explain(err error) []*tree.Problem {
	var (
		file     = l.own.Path
		doc      = l.own.Doc
		unread   readError
		invalid  *jsonschema.SchemaValidationError
		unloaded *jsonschema.LoadURLError
		regex    *jsonschema.InvalidRegexError
		pointer  *jsonschema.JSONPointerNotFoundError
		anchor   *jsonschema.AnchorNotFoundError
		in       *jsonschema.ValidationError
		at       tree.Pos
	)
	what := strings.ReplaceAll(err.Error(), schemaBase, "")
	switch {
	case errors.As(err, &invalid) && errors.As(invalid.Err, &in):
		if where, root, steps := l.find(invalid.URL); root != nil {
			r := tree.NewReport(l.docs[where].Layer, l.docs[where].File)
			explainViolation(r, root, steps, in, nil)
			return r.Done()
		}
	case errors.As(err, &unloaded) && unloaded.URL == schemaURL(file) && errors.As(unloaded.Err, &unread):
		return unread
	case errors.As(err, &unloaded) && unloaded.URL == schemaURL(file):
		what = unloaded.Err.Error()
	case errors.As(err, &unloaded):
		at = l.reference(file, unloaded.URL)
		what = fmt.Sprintf("%s can't be used: %v", tree.Printable(strings.TrimPrefix(unloaded.URL, schemaBase)), unloaded.Err)
	case errors.As(err, &pointer):
		at = l.reference(file, pointer.URL)
		what = fmt.Sprintf("%s leads nowhere; correct the reference", tree.Printable(strings.TrimPrefix(pointer.URL, schemaBase)))
	case errors.As(err, &anchor):
		at = l.reference(file, anchor.Reference)
		what = fmt.Sprintf("%s leads nowhere; correct the reference", tree.Printable(strings.TrimPrefix(anchor.Reference, schemaBase)))
	case errors.As(err, &regex):
		if where, root, steps := l.find(regex.URL); root != nil {
			doc, at = l.docs[where], root.Locate(steps).At
		}
		what = fmt.Sprintf("%s is not a regular expression in Go's syntax: %v", tree.Quoted(regex.Regex), regex.Err)
	}
	r := tree.NewReport(doc.Layer, doc.File)
	r.Error(tree.Place{Pos: at}, "", what)
	return r.Done()
}

// find takes a URL with a JSON pointer apart. root is nil if it leads to no file
// that was loaded.
func (l *loader) find(raw string) (file string, root *tree.Node, steps []string) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", nil, nil
	}
	file = strings.TrimPrefix(u.Path, "/")
	for _, step := range strings.Split(u.Fragment, "/")[1:] {
		steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
	}
	return file, l.trees[file], steps
}

// reference is the place of the reference in the file that resolves to the URL.
func (l *loader) reference(file, target string) (at tree.Pos) {
	base, err := url.Parse(schemaURL(file))
	root := l.trees[file]
	if err != nil || root == nil {
		return tree.Pos{}
	}
	var visit func(n *tree.Node)
	visit = func(n *tree.Node) {
		for _, item := range n.Items {
			visit(item)
		}
		for _, f := range n.Fields {
			visit(f.Value)
			if f.Value.Kind != tree.String || !slices.Contains([]string{"$ref", "$dynamicRef", "$schema"}, f.Key) {
				continue
			}
			if u, err := base.Parse(f.Value.Text); err == nil && at == (tree.Pos{}) {
				whole := u.String()
				u.Fragment, u.RawFragment = "", ""
				if whole == target || u.String() == target {
					at = f.Value.At
				}
			}
		}
	}
	visit(root)
	return at
}
