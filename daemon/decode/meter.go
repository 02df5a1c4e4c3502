package decode

import (
	"fmt"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// meter bounds what a schema costs. A schema that applies two subschemas at each
// level of a config takes 2^depth steps, so they are counted, by a keyword of
// its own in every subschema: one step for each, one for each member of its
// keywords, and one for each member of the value.
type meter struct {
	subschemas int
	steps      int
	badNames   map[badName][][]string
}

// badName is a key that violates a propertyNames, for which the meter keeps the
// paths of the mappings: the library's own errors share memory that later ones
// overwrite.
type badName struct{ schema, key string }

// maxBadNames is how many such keys are kept.
const maxBadNames = 1000

func (m *meter) reset() {
	m.steps, m.badNames = 0, map[badName][][]string{}
}

// stepsError ends a validation, by a panic, because the library knows no other
// way.
type stepsError struct{}

func (stepsError) Error() string {
	return fmt.Sprintf("the schema takes more than %d steps; simplify the schema, or split the config", maxSteps)
}

func (m *meter) compile(ctx *jsonschema.CompilerContext, schema map[string]any) (jsonschema.SchemaExt, error) {
	m.subschemas++
	if m.subschemas > maxSubschemas {
		return nil, fmt.Errorf("the schema has more than %d subschemas, with those it refers to; simplify it", maxSubschemas)
	}
	s := meteredSchema{meter: m, weight: 1}
	for _, keyword := range schema {
		s.weight += members(keyword)
	}
	if _, ok := schema["propertyNames"]; ok {
		s.names = ctx.Enqueue([]string{"propertyNames"})
	}
	return s, nil
}

func members(v any) int {
	switch v := v.(type) {
	case []any:
		return len(v)
	case map[string]any:
		return len(v)
	}
	return 0
}

// meteredSchema is the meter's keyword in one subschema.
type meteredSchema struct {
	meter  *meter
	weight int
	names  *jsonschema.Schema // its propertyNames, or nil
}

func (s meteredSchema) Validate(ctx *jsonschema.ValidatorContext, v any) {
	s.meter.steps += s.weight + members(v)
	if s.meter.steps > maxSteps {
		panic(stepsError{})
	}
	mapping, ok := v.(map[string]any)
	if !ok || s.names == nil || len(s.meter.badNames) >= maxBadNames {
		return
	}
	for key := range mapping {
		if s.names.Validate(key) != nil {
			name := badName{s.names.Location, key}
			s.meter.badNames[name] = append(s.meter.badNames[name], slices.Clone(ctx.ValueLocation()))
		}
	}
}
