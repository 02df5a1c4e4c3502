package schema_test

import (
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/plan/plantest"
)

// TestSchemaFormats has schemas, and files that they refer to, in each format.
func TestSchemaFormats(t *testing.T) {
	const wrong = "m.json:1:7: a: got string, want integer "
	for name, s := range map[string]struct {
		files []string
		want  []string
	}{
		"JSON": {[]string{"m.schema.json", `{"properties": {"a": {"type": "integer"}}}`}, []string{wrong + "(m.schema.json#/properties/a)"}},
		"YAML": {[]string{"m.schema.yaml", "properties:\n  a: {type: integer}\n"}, []string{wrong + "(m.schema.yaml#/properties/a)"}},
		"yml":  {[]string{"m.schema.yml", "properties:\n  a: {type: integer}\n"}, []string{wrong + "(m.schema.yml#/properties/a)"}},
		"TOML": {[]string{"m.schema.toml", "[properties.a]\ntype = 'integer'\n"}, []string{wrong + "(m.schema.toml#/properties/a)"}},
		"YAML to TOML": {
			[]string{"m.schema.yaml", "properties: {a: {$ref: 'types.schema.toml#/$defs/n'}}", "types.schema.toml", "['$defs'.n]\ntype = 'integer'\n"},
			[]string{wrong + "(types.schema.toml#/$defs/n)"},
		},
		"JSON to a YAML config": {
			[]string{"m.schema.json", `{"properties": {"a": {"$ref": "types.yaml#/n"}}}`, "types.yaml", "n: {type: integer}\n"},
			[]string{wrong + "(types.yaml#/n)"},
		},
		"problem in YAML": {[]string{"m.schema.yaml", "properties:\n  a:\n    type: integr\n"}, []string{
			"m.schema.yaml:3:11: properties.a.type: fits none of the alternatives (anyOf): value must be one of 'array', 'boolean', 'integer', 'null', 'number', 'object', 'string'; " +
				"or got string, want array (the rules of JSON Schema itself)",
		}},
		"two of one name": {[]string{"m.schema.json", `{}`, "m.schema.yaml", `{}`}, []string{
			"m.schema.yaml: the config m also has the schema m.schema.json; rename or remove one of the two files",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := made(plan.New(plan.Options{}), plantest.Files(append(s.files, "m.json", `{"a": "x"}`)...))
			plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), s.want)
		})
	}
}

// TestSchemaFormatsOfLayers has the schema of a name in another format in each layer.
func TestSchemaFormatsOfLayers(t *testing.T) {
	r := made(
		plan.New(plan.Options{}),
		plantest.Files("m.json", `{"a": "x"}`, "m.schema.json", `{"properties": {"a": {"type": "string"}}}`, "t.json", `{"type": "string"}`),
		plantest.Files("m.schema.yaml", "properties: {a: {$ref: t.json}}", "t.json", `{"type": "integer"}`),
	)
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{"m.json:1:7: a: got string, want integer (t.json)"})
}

// TestWideBounds has bounds beyond 64 bits, which are floats.
func TestWideBounds(t *testing.T) {
	for name, s := range map[string]struct{ schema, want string }{
		"maximum":       {`{"maximum": 18446744073709551616}`, ""},
		"minimum":       {`{"minimum": 18446744073709551616}`, "m.json:1:7: a: 5 is less than the minimum 18446744073709552000 (m.schema.json#/properties/a)"},
		"negative":      {`{"maximum": -18446744073709551616}`, "m.json:1:7: a: 5 is more than the maximum -18446744073709552000 (m.schema.json#/properties/a)"},
		"const":         {`{"const": 340282366920938463463374607431768211456}`, "m.json:1:7: a: value must be 3.402823669209385e+38 (m.schema.json#/properties/a)"},
		"beyond floats": {`{"maximum": 1e999}`, "m.schema.json:1:34: properties.a.maximum: 1e999 is beyond a 64-bit float; write it as a string"},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			if s.want != "" {
				want = []string{s.want}
			}
			r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", `{"properties": {"a": `+s.schema+`}}`, "m.json", `{"a": 5}`))
			plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), want)
		})
	}
}

// TestWideLengths has lengths that are more than the library counts to.
func TestWideLengths(t *testing.T) {
	const most = "18446744073709551616, "
	schema := `{"maxProperties": 18446744073709551615, "properties": {
		"a": {"maxLength": ` + most + `"maxItems": ` + most + `"maxProperties": ` + most + `"maxContains": ` + most + `"contains": {}},
		"b": {"minLength": ` + most + `"minItems": 1}}}`
	r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", schema, "m.json", `{"a": "x", "b": "x"}`))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		"m.json:1:17: b: length 1 is below minLength 9223372036854775807 (m.schema.json#/properties/b)",
	})
}
