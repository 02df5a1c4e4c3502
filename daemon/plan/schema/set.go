package schema

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
)

// schemaBase stands for the root of all layers in the URLs of their files. Nothing
// answers there: a reference leads to a file of the plan or nowhere.
const schemaBase = "statesync://source/"

func schemaURL(file string) string {
	return (&url.URL{Scheme: "statesync", Host: "source", Path: "/" + file}).String()
}

// sourcePath is the path of a file in its schemaURL; false: it is another URL.
func sourcePath(u *url.URL) (string, bool) {
	if u.Scheme+"://"+u.Host+"/" != schemaBase || u.RawQuery != "" {
		return "", false
	}
	return strings.TrimPrefix(u.Path, "/"), true
}

// File is a file of the plan.
type File struct {
	Path string // by which others refer to it: with the prefix of its layer
	Doc  tree.Doc
	File *source.File // nil: there is none
	Twin string       // another file with the same $id, found by it; "": there is none
}

// Name is what a File is looked up by: its path, or its $id.
type Name struct {
	ID   bool
	Text string
}

// Lookup finds a file of the plan.
type Lookup func(Name) File

// Set compiles schemas. Each file is read, checked and compiled once, however many
// schemas refer to it. A verdict depends on the schema and on the files that it
// refers to, and not on what the Set has compiled before. A Set is used for one state
// of the plan's files, by one goroutine.
type Set struct {
	lookup   Lookup
	compiler *jsonschema.Compiler
	meter    *meter
	files    map[string]*file // by path
}

// NewSet makes a Set without schemas.
func NewSet(lookup Lookup) *Set {
	s := &Set{lookup: lookup, compiler: jsonschema.NewCompiler(), meter: &meter{patterns: map[string]*pattern{}}, files: map[string]*file{}}
	s.compiler.UseLoader(s)
	s.compiler.UseRegexpEngine(s.meter.pattern)
	s.compiler.RegisterVocabulary(&jsonschema.Vocabulary{URL: schemaBase, Compile: s.meter.compile})
	registerFormats(s.compiler)
	s.compiler.AssertVocabs() // the meter's: it is called for every subschema
	return s
}

// file is what a Set knows of one file.
type file struct {
	File
	unusable error // why it cannot be loaded
	root     any   // for the library
	scan     scan

	lost     int  // see maxLost; -1: not yet counted
	tried    bool // the library has compiled it, or failed
	failed   bool // or one that it refers to
	problems []*tree.Problem
	compiled *jsonschema.Schema
}

// Compile makes a schema of a file and of those it refers to.
func (s *Set) Compile(f File) *Schema {
	s.files[f.Path] = s.read(f)
	own := s.files[f.Path]
	if own.unusable != nil {
		return &Schema{Uses: map[Name]File{}, Problems: s.unusable(own)}
	}
	result := &Schema{Uses: map[Name]File{}, meter: s.meter}
	var program int64
	lost := 0
	order := s.reached(own)
	for _, f := range order {
		maps.Copy(result.Uses, f.scan.uses)
		result.subschemas += f.scan.subschemas
		program += f.scan.program
		lost += s.lost(f)
	}
	what := ""
	switch {
	case result.subschemas > maxSubschemas:
		what = fmt.Sprintf("the schema has more than %d subschemas, with those it refers to; simplify it", maxSubschemas)
	case program > maxProgram:
		what = fmt.Sprintf("the schema's regular expressions, with those it refers to, take more than %d instructions; simplify them, and repeat less", maxProgram)
	case lost > maxLost:
		what = "the schema has too many references to places where its draft has no schemas; move what they lead to below $defs, or below definitions up to draft 7"
	}
	if what != "" {
		r := tree.NewReport(f.Doc.Layer, f.Doc.File)
		r.Error(tree.Place{}, "", what)
		result.Problems = r.Done()
		return result
	}
	for _, f := range order {
		s.compile(f)
	}
	for _, f := range order {
		result.Problems = append(result.Problems, f.problems...)
	}
	if !own.failed {
		result.compiled = own.compiled
	}
	return result
}

// reached are the usable files that a file leads to: those that one refers to before
// it, if they do not refer to each other, and the file itself last. It ends early at
// more than one schema may have.
func (s *Set) reached(own *file) (order []*file) {
	seen := map[string]bool{}
	subschemas := 0
	var visit func(f *file)
	visit = func(f *file) {
		seen[f.Path] = true
		subschemas += f.scan.subschemas
		for _, path := range f.scan.files {
			if subschemas > maxSubschemas {
				break
			}
			if !seen[path] {
				if next := s.file(path); next.unusable == nil {
					visit(next)
				}
			}
		}
		order = append(order, f)
	}
	visit(own)
	return order
}

// lost is how many subschemas the library looks through because of references to places
// where a draft has no schemas: for each of them all of the file.
func (s *Set) lost(f *file) int {
	if f.lost >= 0 {
		return f.lost
	}
	f.lost = 0
	seen := map[[2]string]bool{}
	for _, r := range f.scan.references {
		target := f
		if u, err := url.Parse(r.url); err == nil && r.url != schemaURL(f.Path) {
			path, ok := sourcePath(u)
			if !ok {
				continue
			}
			target = s.file(path)
		}
		if to := [2]string{r.url, r.fragment}; !seen[to] && !expected(r.fragment, target.scan.old) {
			seen[to] = true
			f.lost += target.scan.subschemas
		}
	}
	return f.lost
}

// compile compiles a file, once, if none that it refers to has failed.
func (s *Set) compile(f *file) {
	if f.tried || f.failed {
		return
	}
	f.tried = true
	for _, path := range f.scan.files {
		f.failed = f.failed || s.file(path).failed
	}
	if f.failed {
		return
	}
	var err error
	f.compiled, err = safely(func() (*jsonschema.Schema, error) { return s.compiler.Compile(schemaURL(f.Path)) })
	if err == nil {
		return
	}
	f.failed = true
	r := tree.NewReport(f.Doc.Layer, f.Doc.File)
	guarded(r, tree.Place{}, func() {
		blamed, problems := s.explain(f, err)
		blamed.failed = true
		blamed.problems = append(blamed.problems, problems...)
	})
	f.problems = append(f.problems, r.Done()...)
}

// file is the file of a path.
func (s *Set) file(path string) *file {
	f := s.files[path]
	if f == nil {
		f = s.read(s.lookup(Name{Text: path}))
		f.Path = path
		s.files[path] = f
	}
	return f
}

// read reads a file, unless that was done before.
func (s *Set) read(from File) *file {
	if f := s.files[from.Path]; f != nil && f.File == from {
		return f
	}
	f := &file{File: from, lost: -1}
	switch {
	case from.File == nil:
		f.unusable = fmt.Errorf("there is no such file in the source; correct the path")
		return f
	case !decode.Reads(from.File.Path):
		f.unusable = fmt.Errorf("only .json, .yaml, .yml and .toml files can be referred to")
		return f
	}
	root, problems := parse(from)
	if root == nil {
		f.unusable = readError(problems)
		return f
	}
	f.root = root.Plain()
	f.scan = s.look(from, root, f.root)
	return f
}

func parse(f File) (*tree.Node, []*tree.Problem) {
	r := tree.NewReport(f.Doc.Layer, f.Doc.File)
	root := Read(r, f.File)
	return root, slices.DeleteFunc(r.Done(), func(p *tree.Problem) bool { return p.Warning })
}

var errElsewhere = errors.New("a schema can only refer to files of the source; copy it there, and refer to it by its $id or by a relative path")

// Load implements [jsonschema.URLLoader]. The compiler calls it once for each URL that
// it can load.
func (s *Set) Load(raw string) (any, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	path, ok := sourcePath(u)
	switch {
	case u.Scheme == twinsScheme:
		return nil, fmt.Errorf("both %s have this $id; change one of them", plain.Text(strings.TrimPrefix(u.Path, "/")))
	case !ok:
		return nil, errElsewhere
	}
	f := s.file(path)
	return f.root, f.unusable
}

// readError are the problems that a file is unreadable for.
type readError []*tree.Problem

func (e readError) Error() string {
	if e[0].Line == 0 {
		return e[0].What
	}
	return e[0].Error()
}

// unusable are the problems of a schema that cannot be loaded itself.
func (s *Set) unusable(f *file) []*tree.Problem {
	if unread, ok := errors.AsType[readError](f.unusable); ok {
		return unread
	}
	r := tree.NewReport(f.Doc.Layer, f.Doc.File)
	r.Error(tree.Place{}, "", f.unusable.Error())
	return r.Done()
}

// explain turns the error of compiling a file into problems, at their places where they
// can be found, of the file that is to blame.
func (s *Set) explain(f *file, err error) (blamed *file, problems []*tree.Problem) {
	var (
		invalid  *jsonschema.SchemaValidationError
		unloaded *jsonschema.LoadURLError
		regex    *jsonschema.InvalidRegexError
		pointer  *jsonschema.JSONPointerNotFoundError
		anchor   *jsonschema.AnchorNotFoundError
		in       *jsonschema.ValidationError
		at       tree.Pos
	)
	blamed = f
	what := strings.ReplaceAll(err.Error(), schemaBase, "")
	switch {
	case errors.As(err, &invalid) && errors.As(invalid.Err, &in):
		if where, root, steps := s.find(invalid.URL); root != nil {
			r := tree.NewReport(where.Doc.Layer, where.Doc.File)
			explainViolation(r, root, steps, in, nil)
			return where, r.Done()
		}
	case errors.As(err, &unloaded):
		var r reference
		blamed, r = s.reference(f, func(r reference) bool { return r.url == unloaded.URL })
		at = r.at
		text := r.text
		if strings.HasPrefix(unloaded.URL, schemaBase) || text == "" {
			text, _ = url.PathUnescape(strings.TrimPrefix(unloaded.URL, schemaBase))
		}
		what = fmt.Sprintf("%s can't be used: %v", plain.Text(text), unloaded.Err)
		if r.draft && errors.Is(unloaded.Err, errElsewhere) {
			what = plain.Text(text) + " is neither a draft of JSON Schema that is supported (4, 6, 7, 2019-09, 2020-12) nor the $id of a file of the source; write https://json-schema.org/draft/2020-12/schema, or that of another draft"
		}
	case errors.As(err, &pointer):
		blamed, at, what = s.nowhere(f, pointer.URL)
	case errors.As(err, &anchor):
		_, fragment, _ := strings.Cut(anchor.Reference, "#")
		blamed, at, what = s.nowhere(f, anchor.URL+"#"+fragment)
	case errors.As(err, &regex):
		if where, root, steps := s.find(regex.URL); root != nil {
			blamed, at = where, root.Locate(steps).At
		}
		what = regex.Err.Error()
	}
	r := tree.NewReport(blamed.Doc.Layer, blamed.Doc.File)
	r.Error(tree.Place{Pos: at}, "", what)
	return blamed, r.Done()
}

// nowhere explains a reference to a place that a file does not have.
func (s *Set) nowhere(f *file, target string) (blamed *file, at tree.Pos, what string) {
	base, fragment, _ := strings.Cut(target, "#")
	fragment, _ = url.PathUnescape(fragment)
	blamed, r := s.reference(f, func(r reference) bool { return r.url == base && r.fragment == fragment })
	return blamed, r.at, fmt.Sprintf("%s leads nowhere; correct the reference", plain.Text(strings.TrimPrefix(target, schemaBase)))
}

// reference finds a reference in a file and in those that it leads to.
func (s *Set) reference(f *file, is func(reference) bool) (in *file, r reference) {
	order := s.reached(f)
	for _, in := range slices.Backward(order) { // f first
		if i := slices.IndexFunc(in.scan.references, is); i >= 0 {
			return in, in.scan.references[i]
		}
	}
	return f, reference{}
}

// find takes a URL with a JSON pointer apart. root is nil if it leads to no file
// that was loaded.
func (s *Set) find(raw string) (f *file, root *tree.Node, steps []string) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, nil, nil
	}
	f = s.files[strings.TrimPrefix(u.Path, "/")]
	if f == nil || f.unusable != nil {
		return nil, nil, nil
	}
	for _, step := range strings.Split(u.Fragment, "/")[1:] {
		steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
	}
	root, _ = parse(f.File) // again: it is not kept for those that have no problem
	return f, root, steps
}
