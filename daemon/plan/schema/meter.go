package schema

import (
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// meter bounds what a schema costs. It counts steps, of a microsecond at most and
// about, before the library takes them: for each subschema that is applied to a
// value, for each member that it or the value has, for the length of strings, and
// for what equality and regular expressions take. Each violation that the library
// keeps costs steps by its memory, of which all steps come to about 80 MiB. A schema that
// applies two subschemas at each level of a config takes 2^depth of them.
type meter struct {
	subschemas int // of the schema at hand
	patterns   map[string]*pattern
	validating bool // false: compiling
	steps      int64
	badNames   map[badName][][]string
}

// badName is a key that violates a propertyNames, for which the meter keeps the
// paths of the mappings: the library's own errors share memory that later ones
// overwrite.
type badName struct{ schema, key string }

// maxBadNames is how many such keys are kept.
const maxBadNames = 1000

// reset begins a validation by a schema with that many subschemas. It ends with
// validating set to false.
func (m *meter) reset(subschemas int) {
	m.subschemas, m.validating, m.steps, m.badNames = subschemas, true, 0, map[badName][][]string{}
}

// spend counts steps that are about to be taken.
func (m *meter) spend(steps int64) {
	m.steps += steps
	if m.steps > MaxSteps {
		panic(stepsError{})
	}
}

// stepsError ends a validation, by a panic, because the library knows no other
// way.
type stepsError struct{}

func (stepsError) Error() string {
	return fmt.Sprintf("the schema takes more than %d steps; simplify the schema, or split the config", MaxSteps)
}

// meteredSchema is what the meter knows of one subschema.
type meteredSchema struct {
	meter   *meter
	weight  int64              // steps for any value
	fan     int64              // steps for each member of a value: how many keywords look at all of them
	unique  bool               // uniqueItems
	dynamic bool               // has a reference whose target depends on what led here
	format  *jsonschema.Format // its own, or nil
	names   *jsonschema.Schema // its propertyNames, or nil

	// What its enum and const allow: they are compared here and not by the
	// library, which does so before anything of ours is called.
	enum, constant *allowed
}

var (
	// subschemas are the keywords that apply one subschema to the value, or to
	// any number of its members; listsOfThem are those that apply a list or
	// mapping of them. Not among them are properties and prefixItems, which
	// apply each to one member.
	subschemas = []string{
		"$ref", "$dynamicRef", "$recursiveRef", "not", "if", "then", "else", "items", "additionalItems", "contains",
		"additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
	}
	listsOfThem = []string{"allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies", "patternProperties"}
)

// compile is called by the library for each subschema, once it has compiled all
// keywords of its own.
func (m *meter) compile(ctx *jsonschema.CompilerContext, schema map[string]any) (jsonschema.SchemaExt, error) {
	compiled := ctx.Enqueue(nil) // the one at hand
	s := &meteredSchema{meter: m, weight: 1, fan: 1, unique: compiled.UniqueItems, format: compiled.Format, names: compiled.PropertyNames}
	for word, keyword := range schema {
		_, plain := keyword.(bool)
		n := members(keyword)
		s.weight += n
		switch {
		case slices.Contains(listsOfThem, word):
			s.fan += n
		case slices.Contains(subschemas, word) && !plain:
			s.fan++
		}
		switch word {
		case "dependencies", "dependentRequired":
			s.weight += size(keyword)
		case "$dynamicRef", "$recursiveRef":
			s.dynamic = true
		}
	}
	if compiled.Enum != nil {
		s.enum, compiled.Enum = newAllowed(compiled.Enum.Values), nil
	}
	if compiled.Const != nil {
		s.constant, compiled.Const = newAllowed([]any{*compiled.Const}), nil
	}
	clampLengths(compiled, schema)
	// Extensions are called after all other keywords, and after some failures not
	// at all. A format is looked at before whatever takes long.
	compiled.Format = &jsonschema.Format{Validate: s.begin}
	if s.format != nil {
		compiled.Format.Name = s.format.Name
	}
	return s, nil
}

// clampLengths mends lengths beyond what an int holds, of which the library takes the
// low bits.
func clampLengths(compiled *jsonschema.Schema, schema map[string]any) {
	for word, length := range map[string]*int{
		"minLength": compiled.MinLength, "maxLength": compiled.MaxLength, "minItems": compiled.MinItems, "maxItems": compiled.MaxItems,
		"minProperties": compiled.MinProperties, "maxProperties": compiled.MaxProperties,
		"minContains": compiled.MinContains, "maxContains": compiled.MaxContains,
	} {
		f, _ := schema[word].(float64)
		u, _ := schema[word].(uint64)
		if length != nil && (f >= math.MaxInt || u > math.MaxInt) {
			*length = math.MaxInt
		}
	}
}

// begin counts what the subschema is going to take for v, and then checks its
// format.
func (s *meteredSchema) begin(v any) error {
	m := s.meter
	steps := s.weight + members(v)*s.fan
	// For each application the library looks for a cycle among those to the same
	// value, which may be as many as there are subschemas; for a dynamic reference
	// among those to all values on the way.
	steps += int64(m.subschemas) / 256
	if s.dynamic {
		steps += int64(m.subschemas) / 8
	}
	m.spend(steps)
	switch v := v.(type) {
	case string:
		m.spend(textSteps(v))
		if s.format != nil {
			m.spend(int64(len(v)) / 8)
		}
	case []any:
		if n := int64(len(v)); s.unique && n > 1 {
			pairs := int64(1) // hashes find them
			if n <= 20 {
				pairs += n / 2 // all are compared
			}
			m.spend(pairs * size(v))
		}
	}
	if s.format != nil {
		return s.format.Validate(v)
	}
	return nil
}

// Validate is called after all other keywords.
func (s *meteredSchema) Validate(ctx *jsonschema.ValidatorContext, v any) {
	if s.constant != nil && !s.constant.has(s.meter, ctx, v) {
		ctx.AddError(&kind.Const{Got: v, Want: s.constant.values[0]})
	}
	if s.enum != nil && !s.enum.has(s.meter, ctx, v) {
		ctx.AddError(&kind.Enum{Got: v, Want: s.enum.values})
	}
	at := int64(len(ctx.ValueLocation()))
	s.meter.spend(violations(ctx) * violationSteps(at))
	mapping, ok := v.(map[string]any)
	if !ok || s.names == nil || len(s.meter.badNames) >= maxBadNames {
		return
	}
	for key := range mapping {
		if s.names.Validate(key) != nil {
			s.meter.spend(violationSteps(at))
			name := badName{s.names.Location, key}
			s.meter.badNames[name] = append(s.meter.badNames[name], slices.Clone(ctx.ValueLocation()))
		}
	}
}

// violationSteps is what a violation costs that the library keeps until the validation
// ends: a step for each 16 bytes, about, since it has the path of its value.
func violationSteps(depth int64) int64 { return 10 + depth }

// The library's list of the violations of the subschema at hand, and those below one of
// them, by index in their structs. Nothing public has them.
var (
	validatorErrors = privateField(reflect.TypeFor[jsonschema.ValidatorContext]().Field(0).Type.Elem(), "errors")
	violationCauses = privateField(reflect.TypeFor[jsonschema.ValidationError](), "Causes")
)

func privateField(in reflect.Type, name string) []int {
	f, ok := in.FieldByName(name)
	if !ok {
		panic("the schema library has no " + in.String() + "." + name)
	}
	return f.Index
}

// violations is how many violations the subschema at hand has, with those of the
// alternatives that it tried in vain.
func violations(ctx *jsonschema.ValidatorContext) int64 {
	errs := reflect.ValueOf(ctx).Elem().Field(0).Elem().FieldByIndex(validatorErrors)
	n := errs.Len()
	for i := range errs.Len() {
		n += errs.Index(i).Elem().FieldByIndex(violationCauses).Len()
	}
	return int64(n)
}

// allowed are the values of an enum or const.
type allowed struct {
	values []any
	texts  map[string]bool
	others []sized
}

type sized struct {
	value any
	size  int64
}

func newAllowed(values []any) *allowed {
	a := &allowed{values: values, texts: map[string]bool{}}
	for _, v := range values {
		if text, ok := v.(string); ok {
			a.texts[text] = true
		} else {
			a.others = append(a.others, sized{v, size(v)})
		}
	}
	return a
}

func (a *allowed) has(m *meter, ctx *jsonschema.ValidatorContext, v any) bool {
	if text, ok := v.(string); ok {
		return a.texts[text]
	}
	for _, other := range a.others {
		steps := int64(1)
		if members(v) > 0 {
			steps = other.size
		}
		m.spend(steps)
		if equal, err := ctx.Equals(v, other.value); equal && err == nil {
			return true
		}
	}
	return false
}

// members is how many members a mapping or list has.
func members(v any) int64 {
	switch v := v.(type) {
	case []any:
		return int64(len(v))
	case map[string]any:
		return int64(len(v))
	}
	return 0
}

// size is how many steps it takes to look at all of a value.
func size(v any) int64 {
	steps := int64(1)
	switch v := v.(type) {
	case string:
		steps += textSteps(v)
	case []any:
		for _, item := range v {
			steps += size(item)
		}
	case map[string]any:
		for key, member := range v {
			steps += textSteps(key) + size(member)
		}
	}
	return steps
}

// textSteps is how many steps it takes to look at all of a text, besides one.
func textSteps(text string) int64 { return int64(len(text)) / 64 }
