package schema

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/tree"
)

// finding is one reason why a value does not fit its schema.
type finding struct {
	at  tree.Place
	key string
	err *jsonschema.ValidationError
}

func (f finding) compare(g finding) int {
	return cmp.Or(f.at.Compare(g.at), strings.Compare(f.key, g.key))
}

// explainViolation reports why the value that the path leads to in root does
// not fit: each reason at the place of the value, or key, that it is about.
// names says where keys are that violate a propertyNames.
func explainViolation(r *tree.Report, root *tree.Node, path []string, e *jsonschema.ValidationError, names map[badName][][]string) {
	x := explainer{root: root, path: path, names: names}
	x.explain(e)
	slices.SortStableFunc(x.findings, finding.compare)
	for rest := x.findings; len(rest) > 0; {
		n := 1 // those about the same value, which the library finds in any order
		for n < len(rest) && rest[n].compare(rest[0]) == 0 {
			n++
		}
		if r.Full() { // texts are made for those that are shown only
			r.Uncounted(len(rest))
			return
		}
		var texts []string
		for _, f := range rest[:n] {
			texts = append(texts, fmt.Sprintf("%s (%s)", reason(f.err), schemaPlace(f.err.SchemaURL)))
		}
		slices.Sort(texts)
		for _, text := range slices.Compact(texts) {
			r.Error(rest[0].at, rest[0].key, text)
		}
		rest = rest[n:]
	}
}

type explainer struct {
	root     *tree.Node
	path     []string
	names    map[badName][][]string
	findings []finding
}

// explain goes down to the errors that say something of their own.
func (x *explainer) explain(e *jsonschema.ValidationError) {
	path := slices.Concat(x.path, e.InstanceLocation)
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.AllOf, *kind.Reference:
		for _, cause := range e.Causes {
			x.explain(cause)
		}
		if len(e.Causes) == 0 {
			x.add(x.root.Locate(path).Place(), path, e)
		}
	case *kind.AdditionalProperties:
		for _, key := range k.Properties {
			x.addAtKey(path, key, e)
		}
	case *kind.PropertyNames:
		name := badName{e.SchemaURL, k.Property}
		if places, ok := x.names[name]; ok {
			for _, mapping := range places {
				x.addAtKey(mapping, k.Property, e)
			}
			x.names[name] = nil // all of them are reported now
		} else if x.root.Locate(path).Field(k.Property) != nil {
			x.addAtKey(path, k.Property, e)
		} else {
			x.add(tree.Place{Doc: x.root.Doc}, []string{k.Property}, e)
		}
	default:
		x.add(x.root.Locate(path).Place(), path, e)
	}
}

// addAtKey adds a finding about a key of the mapping that the path leads to.
func (x *explainer) addAtKey(path []string, key string, e *jsonschema.ValidationError) {
	mapping := x.root.Locate(path)
	at := mapping.Place()
	if f := mapping.Field(key); f != nil {
		at = f.Place()
	}
	x.add(at, append(slices.Clip(path), key), e)
}

func (x *explainer) add(at tree.Place, path []string, e *jsonschema.ValidationError) {
	x.findings = append(x.findings, finding{at: at, key: tree.DottedKey(path), err: e})
}

// schemaPlace says which part of which schema a URL names.
func schemaPlace(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || !strings.HasPrefix(raw, schemaBase) {
		return "the rules of JSON Schema itself"
	}
	place := strings.TrimPrefix(u.Path, "/")
	if u.Fragment != "" {
		place += "#" + u.Fragment
	}
	return plain.Text(tree.Clip(place, 200))
}

var english = message.NewPrinter(language.English)

// reason is what an error says, without its place. Numbers are exact, unlike
// those of the library's own texts.
func reason(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case nil:
		return "does not fit the schema"
	case *kind.Minimum:
		return fmt.Sprintf("%s is less than the minimum %s", value(k.Got), exact(k.Want))
	case *kind.Maximum:
		return fmt.Sprintf("%s is more than the maximum %s", value(k.Got), exact(k.Want))
	case *kind.ExclusiveMinimum:
		return fmt.Sprintf("%s is not more than %s", value(k.Got), exact(k.Want))
	case *kind.ExclusiveMaximum:
		return fmt.Sprintf("%s is not less than %s", value(k.Got), exact(k.Want))
	case *kind.MultipleOf:
		return fmt.Sprintf("%s is not a multiple of %s", value(k.Got), exact(k.Want))
	case *kind.Pattern:
		return fmt.Sprintf("%s does not match the pattern %s", tree.QuotedValue(k.Got), tree.Quoted(k.Want))
	case *kind.MinLength:
		return fmt.Sprintf("length %d is below minLength %d", k.Got, k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("length %d is above maxLength %d", k.Got, k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("length %d is below minItems %d", k.Got, k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("length %d is above maxItems %d", k.Got, k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("size %d is below minProperties %d", k.Got, k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("size %d is above maxProperties %d", k.Got, k.Want)
	case *kind.Required:
		return "missing " + quotedList(k.Missing)
	case *kind.AdditionalProperties:
		return "the schema has no such key; correct or remove it"
	case *kind.PropertyNames:
		return "the schema does not allow this name for a key" + causes(e)
	case *kind.FalseSchema:
		return "the schema allows no value here; remove it"
	case *kind.Not:
		return "the schema does not allow such a value (not)"
	case *kind.AnyOf:
		return "fits none of the alternatives (anyOf)" + causes(e)
	case *kind.OneOf:
		if len(k.Subschemas) == 0 {
			return "fits none of the alternatives (oneOf)" + causes(e)
		}
		return fmt.Sprintf("fits the alternatives %v of oneOf, and may fit only one", k.Subschemas)
	case *kind.RefCycle:
		return "the schema refers to itself without end"
	case *kind.Contains:
		return "no item fits what the list must contain" + causes(e)
	case *kind.Format:
		if _, ok := errors.AsType[patternError](k.Err); ok {
			return k.Err.Error()
		}
		return fmt.Sprintf("%s is not a valid %s: %s", tree.QuotedValue(fmt.Sprint(k.Got)), k.Want, tree.AboutValue(fmt.Sprint(k.Err)))
	}
	return plain.Text(tree.Clip(e.ErrorKind.LocalizedString(english), 300))
}

// causes are the first reasons under an error, each with the value's path from
// there.
func causes(e *jsonschema.ValidationError) string {
	var (
		reasons []string
		looked  int
		visit   func(c *jsonschema.ValidationError)
	)
	visit = func(c *jsonschema.ValidationError) {
		if looked++; looked > 100 || len(reasons) > 3 {
			return
		}
		switch c.ErrorKind.(type) {
		case *kind.Schema, *kind.Group, *kind.AllOf, *kind.AnyOf, *kind.OneOf, *kind.Reference:
			if len(c.Causes) > 0 {
				for _, cause := range c.Causes {
					visit(cause)
				}
				return
			}
		}
		text := reason(c)
		switch k := c.ErrorKind.(type) { // which key it is does not follow from the place
		case *kind.AdditionalProperties:
			text = "the schema has no key " + quotedList(k.Properties)
		case *kind.PropertyNames:
			text = "the schema does not allow the key " + tree.Quoted(k.Property) + causes(c)
		}
		if deeper := c.InstanceLocation[min(len(e.InstanceLocation), len(c.InstanceLocation)):]; len(deeper) > 0 {
			text = tree.Shown(tree.DottedKey(deeper)) + " " + text
		}
		if !slices.Contains(reasons, text) {
			reasons = append(reasons, text)
		}
	}
	for _, cause := range e.Causes {
		visit(cause)
	}
	if len(reasons) > 3 {
		reasons[3] = "…"
	}
	if len(reasons) == 0 {
		return ""
	}
	return ": " + strings.Join(reasons, "; or ")
}

// value is a number of the config, for a message.
func value(r *big.Rat) string { return tree.Value(exact(r)) }

// exact is a number.
func exact(r *big.Rat) string {
	if r.IsInt() {
		return tree.Clip(r.Num().String(), 60)
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func quotedList(names []string) string {
	names = slices.Sorted(slices.Values(names))
	var list []string
	for _, name := range names[:min(10, len(names))] {
		list = append(list, tree.Quoted(name))
	}
	if len(names) > 10 {
		list = append(list, "…")
	}
	return strings.Join(list, ", ")
}
