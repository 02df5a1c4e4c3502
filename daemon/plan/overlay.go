package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/layer"
	"github.com/statesync/statesync/daemon/plan/schema"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/suggest"
	"github.com/statesync/statesync/shm/image"
)

// Patch sets one key of a config, over all layers.
type Patch struct {
	Config string
	Key    string // dotted, and not empty
	Value  []byte // canonical JSON; null deletes the key
	Name   string // what problems call it: "override 12"
}

// maxValue is how many bytes the value of a patch may have as it is written.
const maxValue = 1 << 20

// Value returns the canonical JSON of a value that is written in YAML, as a patch
// has it. The error says what is wrong with the text.
func Value(text string) ([]byte, error) {
	if len(text) > maxValue {
		return nil, fmt.Errorf("the value has %d bytes, and at most %d are allowed; change the source instead", len(text), maxValue)
	}
	r := tree.NewReport("", "value")
	root := decode.Parse(r, decode.Source{Path: "value.yaml", Data: []byte(text)})
	if root == nil {
		for _, p := range r.Done() {
			if !p.Warning {
				return nil, p
			}
		}
		return nil, fmt.Errorf("the value %q is not understood", text)
	}
	return root.AppendCanonical(nil), nil
}

// Overlay applies patches to configs, and validates the results with the schemas that
// p was validated with; p may be nil, which has none. base finds a config, and returns
// nil where there is none. The result are the configs that changed, sorted by name.
// A patch that does not fit is among the problems, and then there are no configs.
// Overlay uses the schemas, so that it and Maker.Make are for one goroutine at a time.
func Overlay(p *Plan, base func(name string) *image.Section, patches []Patch) (changed []*image.Section, problems []*Problem) {
	byConfig := map[string][]Patch{}
	for _, patch := range patches {
		byConfig[patch.Config] = append(byConfig[patch.Config], patch)
	}
	for name, of := range byConfig {
		o := overlay{name: name, report: &tree.Report{}}
		section := o.apply(base(name), p, of)
		problems = append(problems, o.report.Done()...)
		changed = append(changed, section)
	}
	tree.Sort(problems)
	if tree.HasError(problems) {
		return nil, problems
	}
	slices.SortFunc(changed, func(a, b *image.Section) int { return strings.Compare(a.Name(), b.Name()) })
	return changed, problems
}

// overlay patches one config.
type overlay struct {
	name   string
	report *tree.Report
}

// apply returns the config with all of its patches; nil if there are errors.
func (o *overlay) apply(base *image.Section, p *Plan, patches []Patch) *image.Section {
	o.report.Docs = append(o.report.Docs, tree.Doc{File: o.name})
	for _, patch := range patches {
		o.report.Docs = append(o.report.Docs, tree.Doc{Layer: patch.Name, File: o.name})
	}
	first := tree.Place{Doc: 1}
	switch {
	case base == nil:
		o.report.Error(first, "", fmt.Sprintf("there is no config %s", plain.Text(o.name))+o.meant(p))
		return nil
	case base.Kind() != image.Document:
		o.report.Error(first, "", fmt.Sprintf("the config %s is opaque, and has no keys", plain.Text(o.name)))
		return nil
	}
	root := decode.Config(o.report, decode.Source{Path: o.name + ".json", Data: base.Content()}, false)
	if root == nil {
		return nil
	}
	docs := []*tree.Node{root}
	for i, patch := range patches {
		doc := o.document(root, patch, uint16(i+1))
		if doc == nil {
			return nil
		}
		docs = append(docs, doc)
	}
	guarded(o.report, docs[1], "merging", func() { root = layer.Merge(o.report, docs) })
	if o.report.Errors() > 0 || root == nil {
		return nil
	}
	var s *image.Section
	guarded(o.report, root, "building the config", func() {
		var err error
		if s, err = image.NewDocument(o.name, root.AppendCanonical(nil)); err != nil {
			o.report.Error(first, "", err.Error())
		}
	})
	if c := p.schemaOf(o.name); c != nil && s != nil {
		c.Validate(o.report, root)
	}
	return s
}

// combo finds the files that are a config together; nil if there are none.
func (p *Plan) combo(name string) *combo {
	if p == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(p.combos, name, func(c *combo, name string) int { return strings.Compare(c.name, name) })
	if !ok {
		return nil
	}
	return p.combos[i]
}

// schemaOf is the schema that a config was validated with; nil if there is none.
func (p *Plan) schemaOf(name string) *schema.Schema {
	if c := p.combo(name); c != nil {
		return c.compiled()
	}
	return nil
}

// meant suggests the name of a config.
func (o *overlay) meant(p *Plan) string {
	if p == nil {
		return ""
	}
	names := make([]string, len(p.Configs))
	for i := range p.Configs {
		names[i] = p.Configs[i].Name
	}
	return suggest.DidYouMean(o.name, names)
}

// document is a document that has the key of a patch alone. nil: the key cannot be set.
func (o *overlay) document(root *tree.Node, patch Patch, doc uint16) *tree.Node {
	value := decode.Parse(o.report, decode.Source{Path: "value.json", Data: patch.Value, Doc: doc})
	if value == nil {
		return nil
	}
	way, list := wayTo(root, patch.Key)
	if list != "" {
		o.report.Error(tree.Place{Doc: doc}, patch.Key, fmt.Sprintf("%s is a list, which is only replaced as a whole; override %s", list, list))
		return nil
	}
	for _, key := range slices.Backward(way) {
		value = &tree.Node{Kind: tree.Map, Doc: doc, Fields: []tree.Field{{Key: key, Value: value}}}
	}
	return value
}

// wayTo are the keys that a dotted key leads along: those of n, whose keys may have dots
// of their own, as far as they exist. list is the key of a list that it leads into.
func wayTo(n *tree.Node, key string) (way []string, list string) {
	full := key
	for key != "" {
		if n != nil && n.Kind == tree.List {
			return nil, strings.TrimSuffix(strings.TrimSuffix(full, key), ".")
		}
		end := strings.IndexByte(key+".", '.')
		var next *tree.Node
		if n != nil && n.Kind == tree.Map {
			for i := len(key); i > 0; i = strings.LastIndexByte(key[:i], '.') {
				if f := n.Field(key[:i]); f != nil {
					end, next = i, f.Value
					break
				}
			}
		}
		way = append(way, key[:end])
		key, n = strings.TrimPrefix(key[end:], "."), next
	}
	return way, ""
}
