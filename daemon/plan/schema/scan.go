package schema

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/statesync/statesync/daemon/plan/tree"
)

// scan is what is known of a file before the library sees it.
type scan struct {
	uses       map[Name]File // what was looked up for its references
	files      []string      // the paths that it refers to, each once, sorted
	references []reference   // in the order of the walk

	old bool // the draft is one up to 7

	// What the library may make of it, and more: what is not reached counts, too.
	subschemas int
	program    int64 // see maxProgram
}

// reference is a $ref, $dynamicRef, $recursiveRef or $schema.
type reference struct {
	at       tree.Pos
	draft    bool   // it is a $schema
	text     string // as it is written
	url      string // where it leads, without the fragment
	fragment string
}

// keyword is what the value of a keyword is.
type keyword uint8

const (
	unknown keyword = iota
	isSchema
	isList // of schemas, or one
	isMap  // of schemas
	isData // whatever it looks like
	isReference
)

var keywords = map[string]keyword{
	"$ref": isReference, "$dynamicRef": isReference, "$recursiveRef": isReference, "$schema": isReference,
	"not": isSchema, "if": isSchema, "then": isSchema, "else": isSchema, "items": isList, "additionalItems": isSchema, "contains": isSchema,
	"additionalProperties": isSchema, "propertyNames": isSchema, "unevaluatedItems": isSchema, "unevaluatedProperties": isSchema, "contentSchema": isSchema,
	"allOf": isList, "anyOf": isList, "oneOf": isList, "prefixItems": isList,
	"properties": isMap, "patternProperties": isMap, "dependencies": isMap, "dependentSchemas": isMap, "definitions": isMap, "$defs": isMap,
	"enum": isData, "const": isData, "default": isData, "examples": isData,
}

// expected reports whether a fragment leads to where every draft of the kind has a schema.
func expected(fragment string, old bool) bool {
	steps := strings.Split(fragment, "/")
	if steps[0] != "" {
		return true // an anchor
	}
	for i := 1; i < len(steps); i++ {
		step := steps[i]
		switch step {
		case "if", "then", "else", "contains", "propertyNames", "prefixItems":
			return false
		case "$defs", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties", "contentSchema":
			if old {
				return false
			}
		}
		switch keywords[step] {
		case isSchema:
		case isMap:
			i++
		case isList:
			if _, err := strconv.Atoi(strings.Join(steps[min(i+1, len(steps)):min(i+2, len(steps))], "")); err == nil {
				i++
			}
		default:
			return false
		}
	}
	return true
}

// scanner walks a file.
type scanner struct {
	*scan
	set      *Set
	file     File
	dialect  dialect
	ids      map[string]bool // of the schemas of this file: references to them stay as they are
	patterns map[string]bool
}

// look scans a file. plain is its value for the library, in which references lead to
// URLs of files wherever a file is found for them.
func (s *Set) look(f File, root *tree.Node, plain any) scan {
	w := &scanner{scan: &scan{uses: map[Name]File{}}, set: s, file: f, dialect: dialectOf(root), ids: map[string]bool{}, patterns: map[string]bool{}}
	base, err := url.Parse(schemaURL(f.Path))
	if err != nil { // no path is no URL
		return *w.scan
	}
	w.old = w.dialect.lone
	w.collect(root, base)
	w.walk(root, plain, base, false)
	slices.Sort(w.files)
	w.files = slices.Compact(w.files)
	return *w.scan
}

// dialect is how a file's draft has $ids.
type dialect struct {
	keyword string
	lone    bool // what stands beside a $ref is ignored
}

func dialectOf(root *tree.Node) dialect {
	draft := ""
	if f := root.Field("$schema"); f != nil {
		draft = f.Value.Text
	}
	d := dialect{keyword: "$id", lone: strings.Contains(draft, "json-schema.org/draft-0")}
	if strings.Contains(draft, "json-schema.org/draft-04/") {
		d.keyword = "id"
	}
	return d
}

// ID is the $id of a schema file, resolved, and "" if it has none.
func ID(path string, root *tree.Node) string {
	base, err := url.Parse(schemaURL(path))
	if err != nil {
		return ""
	}
	if id := dialectOf(root).base(root, base); id != base {
		return id.String()
	}
	return ""
}

// base is the base of references in n, without a fragment.
func (d dialect) base(n *tree.Node, outer *url.URL) *url.URL {
	f := n.Field(d.keyword)
	if f == nil || f.Value.Kind != tree.String || d.lone && n.Field("$ref") != nil {
		return outer
	}
	text, _, _ := strings.Cut(f.Value.Text, "#")
	if u, err := outer.Parse(text); err == nil && text != "" {
		return u
	}
	return outer
}

// collect finds the $ids of the file.
func (w *scanner) collect(n *tree.Node, outer *url.URL) {
	base := w.dialect.base(n, outer)
	if base != outer {
		w.ids[base.String()] = true
	}
	for _, item := range n.Items {
		w.collect(item, base)
	}
	for _, f := range n.Fields {
		if keywords[f.Key] != isData {
			w.collect(f.Value, base)
		}
	}
}

// walk visits a value that may be a schema, and plain, which is the same for the
// library. Data counts, too, since a reference may lead there, but nothing in it is
// replaced.
func (w *scanner) walk(n *tree.Node, plain any, base *url.URL, data bool) {
	base = w.dialect.base(n, base)
	if n.Kind == tree.Map {
		w.subschemas++
	}
	list, _ := plain.([]any)
	for i, item := range n.Items {
		w.walk(item, list[i], base, data)
	}
	mapping, _ := plain.(map[string]any)
	for _, f := range n.Fields {
		member := mapping[f.Key]
		switch kind := keywords[f.Key]; {
		case kind == isReference && f.Value.Kind == tree.String:
			w.subschemas++ // what it leads to may be anything
			if target := w.refer(f.Key, f.Value, base); target != "" && !data {
				mapping[f.Key] = target
			}
		case kind == isMap && f.Value.Kind == tree.Map:
			members, _ := member.(map[string]any)
			for _, sub := range f.Value.Fields {
				if f.Key == "patternProperties" {
					w.pattern(sub.Key)
				}
				w.schema(sub.Value, members[sub.Key], base, data)
			}
		case kind == isList && f.Value.Kind == tree.List:
			items, _ := member.([]any)
			for i, sub := range f.Value.Items {
				w.schema(sub, items[i], base, data)
			}
		case kind == isSchema || kind == isList:
			w.schema(f.Value, member, base, data)
		default:
			w.walk(f.Value, member, base, data || kind == isData)
		}
		if f.Key == "pattern" && f.Value.Kind == tree.String {
			w.pattern(f.Value.Text)
		}
	}
}

// schema visits a value where a schema stands.
func (w *scanner) schema(n *tree.Node, plain any, base *url.URL, data bool) {
	if n.Kind == tree.Bool {
		w.subschemas++
	}
	w.walk(n, plain, base, data)
}

// pattern counts what a regular expression takes.
func (w *scanner) pattern(text string) {
	if !w.patterns[text] && w.program <= maxProgram {
		w.patterns[text] = true
		w.program += measure(text)
	}
}

// refer finds out where a reference leads. A target that is not "" replaces it.
func (w *scanner) refer(key string, n *tree.Node, base *url.URL) (target string) {
	text, fragment, _ := strings.Cut(n.Text, "#")
	decoded, err := url.PathUnescape(fragment)
	if err != nil {
		return "" // the library says what is wrong
	}
	if key == "$schema" && strings.Contains(text, "://json-schema.org/") {
		w.references = append(w.references, reference{n.At, true, n.Text, text, decoded})
		return "" // the library knows it
	}
	own := schemaURL(w.file.Path)
	to := w.resolve(text, own, base)
	if to == "" {
		return ""
	}
	w.references = append(w.references, reference{n.At, key == "$schema", n.Text, to, decoded})
	if to == own {
		return ""
	}
	if strings.Contains(n.Text, "#") {
		to += "#" + fragment
	}
	return to
}

// resolve is the URL that a reference leads to: that of the file with this $id, else of
// the file at this place, else of the file at this place beside the one at hand.
func (w *scanner) resolve(text, own string, base *url.URL) string {
	if text == "" {
		return own
	}
	u, err := base.Parse(text)
	if err != nil {
		return ""
	}
	if w.ids[u.String()] {
		return own
	}
	found := w.find(Name{ID: true, Text: u.String()})
	if found.Twin != "" {
		return twinsURL(found)
	}
	if found.File != nil {
		w.files = append(w.files, found.Path)
		return schemaURL(found.Path)
	}
	beside := u
	if reference, err := url.Parse(text); err == nil && !reference.IsAbs() && reference.Host == "" {
		if self, err := url.Parse(own); err == nil {
			beside = self.ResolveReference(reference)
		}
	}
	for _, u := range []*url.URL{u, beside} {
		if path, ok := sourcePath(u); ok && w.find(Name{Text: path}).File != nil {
			w.files = append(w.files, path)
			return u.String()
		}
	}
	return beside.String()
}

func (w *scanner) find(name Name) File {
	f := w.set.lookup(name)
	w.uses[name] = f
	return f
}

// twinsScheme is that of a URL for two files with one $id, which leads nowhere.
const twinsScheme = "twins"

func twinsURL(f File) string {
	return (&url.URL{Scheme: twinsScheme, Path: "/" + f.Path + " and " + f.Twin}).String()
}
