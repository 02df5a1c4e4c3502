package decode

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// Config is one decoded config.
type Config struct {
	Name    string
	Section *image.Section
	File    string // the path of the file it comes from
}

// Options are what a Decoder can be told.
type Options struct {
	// Opaque are globs in the syntax of [path.Match]. A file whose path or
	// base name one of them matches is an opaque config.
	Opaque []string
}

// Result is what one revision decodes to.
type Result struct {
	// Configs are sorted by name. It is nil when there is an error among
	// Problems: a revision is taken as a whole or not at all.
	Configs []Config
	// Problems are the errors and warnings, sorted by file and place.
	Problems []*Problem
	// Skipped are the paths of files that are neither of a known format nor
	// opaque.
	Skipped []string
}

// Err joins the errors among the problems; nil when there is none. Warnings are
// no errors.
func (r *Result) Err() error {
	var errs []error
	for _, p := range r.Problems {
		if !p.Warning {
			errs = append(errs, p)
		}
	}
	return errors.Join(errs...)
}

// Decoder turns the files of revisions into configs. It keeps what it made of
// each file, so that a file that is still the same *source.File in the next
// revision costs a look-up. Decode is for one goroutine at a time; Wanted can be
// called from any.
type Decoder struct {
	opaque   []string
	badGlobs []*Problem
	files    map[string]*entry // by path
	round    uint64
}

// New makes a Decoder. A glob of o that is malformed is reported as a problem by
// each Decode.
func New(o Options) *Decoder {
	d := &Decoder{files: map[string]*entry{}}
	for _, glob := range o.Opaque {
		if _, err := path.Match(glob, ""); err != nil {
			d.badGlobs = append(d.badGlobs, &Problem{
				What: fmt.Sprintf("the opaque glob %q is malformed; see Go's path.Match for the syntax", glob),
			})
			continue
		}
		d.opaque = append(d.opaque, glob)
	}
	return d
}

// role is what a file is for.
type role uint8

const (
	skipped role = iota
	document
	opaque
	schema
)

const schemaSuffix = ".schema.json"

// roleOf says what a file is for, and the name of its config.
func (d *Decoder) roleOf(file string) (role, string) {
	extension := path.Ext(file)
	name := strings.TrimSuffix(file, extension)
	for _, glob := range d.opaque {
		whole, _ := path.Match(glob, file)
		base, _ := path.Match(glob, path.Base(file))
		if whole || base {
			return opaque, name
		}
	}
	if owner, ok := strings.CutSuffix(file, schemaSuffix); ok && path.Base(file) != schemaSuffix {
		return schema, owner
	}
	switch extension {
	case ".json", ".yaml", ".yml", ".toml":
		return document, name
	}
	return skipped, ""
}

// Wanted reports whether Decode uses the content of a file of that path. Files for
// which it is false end up in Result.Skipped, and need not be read.
func (d *Decoder) Wanted(file string) bool {
	r, _ := d.roleOf(file)
	return r != skipped
}

// entry is what became of one *source.File.
type entry struct {
	file     *source.File
	round    uint64 // in which it was last part of a revision
	role     role
	name     string
	section  *image.Section // of a config; nil if there are errors
	problems []*Problem
	check    *check // of a schema
}

// kept is what was made of a file; nil where that is yet to be done.
func (d *Decoder) kept(f *source.File) *entry {
	if e := d.files[f.Path]; e != nil && e.file == f {
		return e
	}
	return nil
}

// Decode decodes the files of one revision, which are sorted by path.
func (d *Decoder) Decode(files []*source.File) Result {
	d.round++
	var (
		result                  Result
		fresh, configs, schemas []*entry
	)
	configs = make([]*entry, 0, len(files))
	for _, f := range files {
		e := d.kept(f)
		if e == nil {
			e = &entry{file: f}
			e.role, e.name = d.roleOf(f.Path)
			d.files[f.Path] = e
			fresh = append(fresh, e)
		}
		e.round = d.round
		switch e.role {
		case document, opaque:
			configs = append(configs, e)
		case schema:
			schemas = append(schemas, e)
		case skipped:
			result.Skipped = append(result.Skipped, f.Path)
		}
	}
	d.forget(len(files))
	slices.SortStableFunc(configs, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	d.compileSchemas(schemas)
	for _, e := range fresh {
		d.read(e)
	}
	result.Problems = slices.Concat(d.badGlobs, nameClashes(configs), d.applySchemas(schemas, configs))
	for _, e := range configs {
		result.Problems = append(result.Problems, e.problems...)
	}
	sortProblems(result.Problems)
	if slices.ContainsFunc(result.Problems, func(p *Problem) bool { return !p.Warning }) {
		return result
	}
	result.Configs = make([]Config, len(configs))
	for i, e := range configs {
		result.Configs[i] = Config{Name: e.name, Section: e.section, File: e.file.Path}
	}
	return result
}

// forget drops the files that are not among the present ones.
func (d *Decoder) forget(present int) {
	if len(d.files) == present {
		return
	}
	for file, e := range d.files {
		if e.round != d.round {
			delete(d.files, file)
		}
	}
}

// nameClashes finds configs of one name among those sorted by name.
func nameClashes(configs []*entry) (problems []*Problem) {
	for i := 1; i < len(configs); i++ {
		if a, b := configs[i-1], configs[i]; a.name == b.name {
			problems = append(problems, &Problem{File: b.file.Path, What: fmt.Sprintf(
				"the config %s also comes from %s; rename or remove one of the two files", printable(b.name), printable(a.file.Path))})
		}
	}
	return problems
}

// read makes a config of a file that was not seen before, and applies its
// schema while the tree is at hand.
func (d *Decoder) read(e *entry) {
	if e.role != document && e.role != opaque {
		return
	}
	b := builder{report: report{file: e.file.Path}}
	defer func() { e.problems = b.done() }()
	if err := image.CheckName(e.name); err != nil {
		b.stop(pos{}, "%v; rename the file", err)
		return
	}
	var err error
	if e.role == opaque {
		if len(e.file.Data) == 0 {
			b.stop(pos{}, "empty: a file that was cut off looks the same; remove the file, or write something into it")
			return
		}
		e.section, err = image.NewOpaque(e.name, e.file.Data)
	} else {
		root := parseConfig(&b, e.file)
		if root == nil {
			return
		}
		e.section, err = image.NewDocument(e.name, root.appendCanonical(nil))
		if s := d.files[e.name+schemaSuffix]; s != nil && s.role == schema && err == nil {
			s.check.apply(e, root)
		}
	}
	if err != nil {
		b.stop(pos{}, "%v", err)
	}
}

// parseConfig is the tree of a document that has no errors, or nil.
func parseConfig(b *builder, f *source.File) *node {
	root := parseFile(b, f)
	switch {
	case b.errors > 0 || root == nil:
		return nil
	case root.kind != mapKind && root.kind != listKind:
		b.stop(root.at, "the top level is neither a mapping nor a list; give the value a key")
	default:
		checkPaths(b, root)
	}
	if b.errors > 0 {
		return nil
	}
	return root
}

const emptyFile = "empty: a file that was cut off looks the same; " +
	"write {} for a config without keys, or remove the file"

// parseFile reads a file of any format. It is nil after an error that leaves no
// tree; with other errors in b, the tree is not to be used.
func parseFile(b *builder, f *source.File) (root *node) {
	defer func() {
		if p := recover(); p != nil {
			b.path = nil
			b.stop(pos{}, "the parser failed (%s); please report this with the file", shown(fmt.Sprint(p)))
			root = nil
		}
	}()
	text := f.Data
	parse, limit := parseYAML, maxMarkup
	switch path.Ext(f.Path) {
	case ".json":
		parse, limit = parseJSON, maxText
	case ".toml":
		parse = parseTOML
	}
	if len(text) > limit {
		b.stop(pos{}, "the file has %d bytes, and this format's limit is %d MiB; split it, or make it an opaque config", len(text), limit>>20)
		return nil
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // a byte order mark
	if i := invalidUTF8(text); i >= 0 {
		cur := newCursor(text)
		b.stop(cur.at(i), "the byte 0x%02x is not UTF-8; save the file as UTF-8, or make it an opaque config", text[i])
		return nil
	}
	return parse(b, text)
}

// invalidUTF8 is where b stops being UTF-8; -1: nowhere.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; ; {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
}
