package decode

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/statesync/statesync/daemon/source"
)

const (
	maxSchema       = 1 << 20 // bytes of one schema file
	maxSchemaValues = 50_000  // in one schema file
	maxSubschemas   = 5_000   // that one schema reaches
)

// maxSteps is for validating one config, see meter. Only a test sets it.
var maxSteps int64 = 5_000_000

// schemaBase stands for the source's root in the URLs of its files. Nothing
// answers there: a reference leads to a file of the revision or nowhere.
const schemaBase = "statesync://source/"

func schemaURL(file string) string {
	return (&url.URL{Scheme: "statesync", Host: "source", Path: "/" + file}).String()
}

// check is a schema compiled from the files it uses, and what it said of its
// config last.
type check struct {
	compiled *jsonschema.Schema // nil if there are problems
	uses     map[string]*source.File
	problems []*Problem
	meter    *meter

	config     *entry // the one that violations are about
	violations []*Problem
}

// compileSchemas compiles the schemas that are new, or use a file that changed.
func (d *Decoder) compileSchemas(schemas []*entry) {
	for _, e := range schemas {
		if e.check == nil || d.outdated(e.check) {
			e.check = d.compile(e.file)
		}
	}
}

// applySchemas applies to configs that did not change the schemas that did, and
// collects what all schemas say.
func (d *Decoder) applySchemas(schemas, configs []*entry) (problems []*Problem) {
	referred := map[string]bool{} // by another schema
	for _, e := range schemas {
		problems = append(problems, e.check.problems...)
		for file := range e.check.uses {
			if file != e.file.Path {
				referred[file] = true
			}
		}
	}
	for _, e := range schemas {
		i, found := slices.BinarySearchFunc(configs, e.name, func(c *entry, name string) int {
			return strings.Compare(c.name, name)
		})
		switch {
		case !found && !referred[e.file.Path]:
			problems = append(problems, &Problem{File: e.file.Path, Warning: true, What: fmt.Sprintf(
				"there is no config %s for this schema, and no schema refers to it; rename or remove it", printable(e.name))})
		case found && configs[i].role == opaque:
			problems = append(problems, &Problem{File: e.file.Path, Warning: true, What: fmt.Sprintf(
				"the config %s is opaque, so that its schema is not applied; remove the schema", printable(e.name))})
		case found && configs[i].section != nil:
			if c := configs[i]; e.check.config != c {
				e.check.apply(c, parseConfig(&builder{report: report{file: c.file.Path}}, c.file))
			}
			problems = append(problems, e.check.violations...)
		}
	}
	sortProblems(problems)
	return slices.CompactFunc(problems, func(a, b *Problem) bool { return *a == *b })
}

// outdated reports whether a file that the schema used is another one now.
func (d *Decoder) outdated(c *check) bool {
	for file, used := range c.uses {
		if d.file(file) != used {
			return true
		}
	}
	return false
}

// file is the file of that path in the revision at hand, or nil.
func (d *Decoder) file(file string) *source.File {
	if e := d.files[file]; e != nil {
		return e.file
	}
	return nil
}

// compile makes a schema of a file and of those it refers to.
func (d *Decoder) compile(f *source.File) *check {
	c := &check{uses: map[string]*source.File{}, meter: &meter{}}
	l := &loader{decoder: d, uses: c.uses, trees: map[string]*node{}}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(l)
	compiler.UseRegexpEngine(c.meter.pattern)
	compiler.RegisterVocabulary(&jsonschema.Vocabulary{URL: schemaBase, Compile: c.meter.compile})
	compiler.AssertVocabs() // the meter's: it is called for every subschema
	var err error
	c.compiled, err = safely(func() (*jsonschema.Schema, error) { return compiler.Compile(schemaURL(f.Path)) })
	if err != nil {
		c.compiled = nil
		c.problems = l.explain(f.Path, err)
	}
	return c
}

// apply validates a config, whose tree is root.
func (c *check) apply(config *entry, root *node) {
	c.config, c.violations = config, nil
	if c.compiled == nil {
		return
	}
	r := report{file: config.file.Path}
	c.meter.reset()
	_, err := safely(func() (struct{}, error) { return struct{}{}, c.compiled.Validate(root.plain()) })
	var violation *jsonschema.ValidationError
	switch {
	case errors.As(err, &violation):
		explainViolation(&r, root, nil, violation, c.meter.badNames)
	case err != nil:
		r.error(pos{}, "", fmt.Sprintf("validating it failed: %v", err))
	}
	c.violations = r.done()
}

// safely turns a panic of f into an error.
func safely[T any](f func() (T, error)) (result T, err error) {
	defer func() {
		switch p := recover(); p := p.(type) {
		case nil:
		case stepsError:
			err = p
		default:
			err = fmt.Errorf("the schema library failed (%s); please report this with the schema", shown(fmt.Sprint(p)))
		}
	}()
	return f()
}

// loader loads the files that a schema refers to from the revision at hand.
type loader struct {
	decoder *Decoder
	uses    map[string]*source.File // what was asked for; nil: it was not there
	trees   map[string]*node        // what could be read
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
	f := l.decoder.file(file)
	l.uses[file] = f
	switch {
	case f == nil:
		return nil, fmt.Errorf("there is no such file in the source; correct the path")
	case path.Ext(file) != ".json":
		return nil, fmt.Errorf("only .json files can be referred to")
	case len(f.Data) > maxSchema:
		return nil, fmt.Errorf("the file has %d bytes, and a schema at most %d MiB; split it", len(f.Data), maxSchema>>20)
	}
	b := &builder{report: report{file: file}}
	root := parseFile(b, f)
	if b.errors > 0 {
		return nil, syntaxError(slices.DeleteFunc(b.done(), func(p *Problem) bool { return p.Warning }))
	}
	if root.size() > maxSchemaValues {
		return nil, fmt.Errorf("the file has more than %d values; split it", maxSchemaValues)
	}
	l.trees[file] = root
	return root.plain(), nil
}

// syntaxError are the problems that a file is unreadable for.
type syntaxError []*Problem

func (e syntaxError) Error() string { return e[0].Error() }

// explain turns the compiler's error about the schema of that file into
// problems, at their places where they can be found.
func (l *loader) explain(file string, err error) []*Problem {
	var (
		r        = report{file: file}
		syntax   syntaxError
		invalid  *jsonschema.SchemaValidationError
		unloaded *jsonschema.LoadURLError
		regex    *jsonschema.InvalidRegexError
		pointer  *jsonschema.JSONPointerNotFoundError
		anchor   *jsonschema.AnchorNotFoundError
		in       *jsonschema.ValidationError
		at       pos
	)
	what := strings.ReplaceAll(err.Error(), schemaBase, "")
	switch {
	case errors.As(err, &invalid) && errors.As(invalid.Err, &in):
		if where, root, steps := l.find(invalid.URL); root != nil {
			r.file = where
			explainViolation(&r, root, steps, in, nil)
			return r.done()
		}
	case errors.As(err, &unloaded) && unloaded.URL == schemaURL(file) && errors.As(unloaded.Err, &syntax):
		return syntax
	case errors.As(err, &unloaded) && unloaded.URL == schemaURL(file):
		what = unloaded.Err.Error()
	case errors.As(err, &unloaded):
		at = l.reference(file, unloaded.URL)
		what = fmt.Sprintf("%s can't be used: %v", printable(strings.TrimPrefix(unloaded.URL, schemaBase)), unloaded.Err)
	case errors.As(err, &pointer):
		at = l.reference(file, pointer.URL)
		what = fmt.Sprintf("%s leads nowhere; correct the reference", printable(strings.TrimPrefix(pointer.URL, schemaBase)))
	case errors.As(err, &anchor):
		at = l.reference(file, anchor.Reference)
		what = fmt.Sprintf("%s leads nowhere; correct the reference", printable(strings.TrimPrefix(anchor.Reference, schemaBase)))
	case errors.As(err, &regex):
		if where, root, steps := l.find(regex.URL); root != nil {
			r.file, at = where, root.locate(steps).at
		}
		what = fmt.Sprintf("%s is not a regular expression in Go's syntax: %v", quoted(regex.Regex), regex.Err)
	}
	r.error(at, "", what)
	return r.done()
}

// find takes a URL with a JSON pointer apart. root is nil if it leads to no file
// that was loaded.
func (l *loader) find(raw string) (file string, root *node, steps []string) {
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
func (l *loader) reference(file, target string) (at pos) {
	base, err := url.Parse(schemaURL(file))
	root := l.trees[file]
	if err != nil || root == nil {
		return pos{}
	}
	var visit func(n *node)
	visit = func(n *node) {
		for _, item := range n.items {
			visit(item)
		}
		for _, f := range n.fields {
			visit(f.value)
			if f.value.kind != stringKind || !slices.Contains([]string{"$ref", "$dynamicRef", "$schema"}, f.key) {
				continue
			}
			if u, err := base.Parse(f.value.text); err == nil && at == (pos{}) {
				whole := u.String()
				u.Fragment, u.RawFragment = "", ""
				if whole == target || u.String() == target {
					at = f.value.at
				}
			}
		}
	}
	visit(root)
	return at
}
