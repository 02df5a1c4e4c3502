package schema_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/shm/shmtest"
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

// TestSchemaIDs resolves references by $id, then by path.
func TestSchemaIDs(t *testing.T) {
	const (
		wrong  = "m.json:1:7: a: got string, want integer "
		number = `{"$id": "https://example.com/schemas/n.json", "type": "integer"}`
		remote = "can't be used: a schema can only refer to files of the source; copy it there, and refer to it by its $id or by a relative path"
	)
	own := func(id, ref string) string {
		return `{"$id": "` + id + `", "properties": {"a": {"$ref": "` + ref + `"}}}`
	}
	for name, s := range map[string]struct {
		files []string
		want  []string
	}{
		"by $id":            {[]string{"m.schema.json", own("https://example.com/schemas/m.json", "n.json"), "sub/n.schema.json", number}, []string{wrong + "(sub/n.schema.json)"}},
		"without one's own": {[]string{"m.schema.json", `{"properties": {"a": {"$ref": "https://example.com/schemas/n.json"}}}`, "sub/n.schema.json", number}, []string{wrong + "(sub/n.schema.json)"}},
		"by path": {
			[]string{"m.schema.json", own("https://example.com/m.json", "sub/n.schema.json#/$defs/n"), "sub/n.schema.json", `{"$defs": {"n": {"type": "integer"}}}`},
			[]string{wrong + "(sub/n.schema.json#/$defs/n)"},
		},
		"by $id before path": {
			[]string{"m.schema.json", own("https://example.com/schemas/m.json", "n.json"), "x.schema.json", number, "n.json", `{"type": "string"}`},
			[]string{wrong + "(x.schema.json)"},
		},
		"relative $id":      {[]string{"m.schema.json", own("/s/m", "n"), "x.schema.json", `{"$id": "/s/n", "type": "integer"}`}, []string{wrong + "(x.schema.json)"}},
		"urn":               {[]string{"m.schema.json", own("urn:m", "urn:n#/$defs/n"), "x.schema.yaml", "$id: urn:n\n$defs: {n: {type: integer}}\n"}, []string{wrong + "(x.schema.yaml#/$defs/n)"}},
		"anchor":            {[]string{"m.schema.json", own("urn:m", "urn:n#k"), "x.schema.yaml", "$id: urn:n\n$defs: {n: {$anchor: k, type: integer}}\n"}, []string{wrong + "(x.schema.yaml#/$defs/n)"}},
		"its own":           {[]string{"m.schema.json", `{"$id": "urn:m", "$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "urn:m#/$defs/n"}}}`}, []string{wrong + "(m.schema.json#/$defs/n)"}},
		"embedded":          {[]string{"m.schema.json", `{"$id": "https://x/m", "$defs": {"n": {"$id": "n", "type": "integer"}}, "properties": {"a": {"$ref": "n"}}}`}, []string{wrong + "(m.schema.json#/$defs/n)"}},
		"draft 4":           {[]string{"m.schema.json", `{"$schema": "http://json-schema.org/draft-04/schema#", "id": "https://example.com/schemas/m.json", "properties": {"a": {"$ref": "n.json"}}}`, "x.schema.json", number}, []string{wrong + "(x.schema.json)"}},
		"of a config":       {[]string{"m.schema.json", own("urn:m", "urn:n"), "n.json", `{"$id": "urn:n", "type": "integer"}`}, []string{"m.schema.json:1:47: urn:n " + remote}},
		"nowhere":           {[]string{"m.schema.json", own("https://example.com/schemas/m.json", "z.json")}, []string{"m.schema.json:1:76: z.json can't be used: there is no such file in the source; correct the path"}},
		"absolute, nowhere": {[]string{"m.schema.json", own("urn:m", "https://example.com/z.json")}, []string{"m.schema.json:1:47: https://example.com/z.json " + remote}},
		"two": {[]string{"m.schema.json", own("urn:m", "urn:n"), "b.schema.json", `{"$id": "urn:n"}`, "c.schema.json", `{"$id": "urn:n"}`}, []string{
			"c.schema.json: warning: there is no config c for this schema, and no schema refers to it; rename or remove it",
			"m.schema.json:1:47: urn:n can't be used: both b.schema.json and c.schema.json have this $id; change one of them",
		}},
		"data": {
			[]string{"m.schema.json", `{"properties": {"a": {"const": {"$ref": "n.json"}}}}`, "n.json", `{}`},
			[]string{"m.json:1:7: a: 'const' failed (m.schema.json#/properties/a)"},
		},
		"a name like a keyword": {
			[]string{"m.schema.json", `{"properties": {"const": {"$ref": "n.json"}}, "additionalProperties": {"$ref": "n.json"}}`, "n.json", `{"type": "integer"}`},
			[]string{wrong + "(n.json)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := made(plan.New(plan.Options{}), plantest.Files(append(s.files, "m.json", `{"a": "x"}`)...))
			plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), s.want)
		})
	}
}

// TestSchemaIDsOfLayers: the $id of a higher layer's file wins, and a file that a higher
// layer replaces has none.
func TestSchemaIDsOfLayers(t *testing.T) {
	const ref = `{"properties": {"a": {"$ref": "urn:n"}}}`
	base := plantest.Files("m.json", `{"a": "x"}`, "m.schema.json", ref, "n.schema.json", `{"$id": "urn:n", "type": "string"}`)
	for name, s := range map[string]struct{ file, schema, want string }{
		"another file": {"x.schema.json", `{"$id": "urn:n", "type": "integer"}`, "m.json:1:7: a: got string, want integer (x.schema.json)"},
		"replaced":     {"n.schema.json", `{"$id": "urn:o"}`, "m.schema.json:1:31: urn:n can't be used: a schema can only refer to files of the source; copy it there, and refer to it by its $id or by a relative path"},
	} {
		t.Run(name, func(t *testing.T) {
			m := plan.New(plan.Options{})
			if r := made(m, base); r.Err() != nil {
				t.Fatal(r.Err())
			}
			r := made(m, base, plantest.Files(s.file, s.schema))
			if got := plantest.Messages(r.Problems); !slices.Contains(got, s.want) {
				t.Errorf("problems: %q, want %s", got, s.want)
			}
		})
	}
}

// TestProblemsOfReferredFiles has what is wrong with a file that several schemas refer to:
// it is said once, of that file.
func TestProblemsOfReferredFiles(t *testing.T) {
	refer := `{"properties": {"a": {"$ref": "d.schema.json"}}}`
	for name, s := range map[string]struct{ file, want string }{
		"invalid": {"{\n\"minimum\": \"x\"}", "d.schema.json:2:12: minimum: got string, want number (the rules of JSON Schema itself)"},
		"pattern": {"{\n\"patternProperties\": {\"(?!a)b\": {}}}", "d.schema.json:2:23: patternProperties.(?!a)b: the schema does not allow this name for a key: \"(?!a)b\" has (?!, " +
			"a negative lookahead, which Go's regular expressions do not have; write what may not match as {\"not\": {\"pattern\": …}} beside the pattern of the rest (the rules of JSON Schema itself)"},
		"reference":         {"{\n\"$ref\": \"e.json\"}", "d.schema.json:2:9: e.json can't be used: there is no such file in the source; correct the path"},
		"pointer":           {"{\n\"$ref\": \"#/nope\"}", "d.schema.json:2:9: d.schema.json#/nope leads nowhere; correct the reference"},
		"pointer elsewhere": {"{\n\"$ref\": \"m.schema.json#/n%20o\"}", "d.schema.json:2:9: m.schema.json#/n%20o leads nowhere; correct the reference"},
		"anchor with $id":   {"{\"$id\": \"urn:d\",\n\"$ref\": \"#nope\"}", "d.schema.json:2:9: d.schema.json#nope leads nowhere; correct the reference"},
	} {
		t.Run(name, func(t *testing.T) {
			r := made(plan.New(plan.Options{}), plantest.Files(
				"d.schema.json", s.file, "m.schema.json", refer, "n.schema.json", refer, "m.json", "{}", "n.json", "{}",
			))
			plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{s.want})
		})
	}
}

// TestLackingPatterns has what other engines of regular expressions have.
func TestLackingPatterns(t *testing.T) {
	for pattern, want := range map[string]string{
		`^(?!a)b`:   `"^(?!a)b" has (?!, a negative lookahead,`,
		`^(?=.*a)b`: `"^(?=.*a)b" has (?=, a lookahead,`,
		`(?<=a)b`:   `"(?<=a)b" has (?<=, a lookbehind,`,
		`(?<!a)b`:   `"(?<!a)b" has (?<!, a negative lookbehind,`,
		`(?>a)b`:    `"(?>a)b" has (?>, an atomic group,`,
		`(a)\1`:     `"(a)\\1" has \1, a backreference,`,
		`\u00e4`:    `"\\u00e4" has \u, a \u escape,`,
		`a++`:       `"a++" is not a regular expression in Go's syntax: invalid nested repetition operator: ++`,
		`a{2000}`:   `"a{2000}" is not a regular expression in Go's syntax: invalid repeat count: {2000}`,
	} {
		schema := fmt.Sprintf(`{"pattern": %q}`, pattern)
		r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", schema, "m.json", "{}"))
		if got := plantest.Messages(r.Problems); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("problems: %q, want %s", got, want)
		}
	}
}

// TestSharedVerdict compiles a schema alone and after others that share its files: how
// many subschemas and instructions it has does not depend on that.
func TestSharedVerdict(t *testing.T) {
	many := func(n int) string { return `{"$defs": {` + plantest.Repeated(n, `"d%": {"type": "string"}`) + `}}` }
	files := []string{
		"a.schema.json", many(10_001), "b.schema.json", many(10_001), "a.json", "{}", "b.json", "{}",
		"m.schema.json", `{"properties": {"a": {"$ref": "a.schema.json"}, "b": {"$ref": "b.schema.json"}}}`, "m.json", "{}",
	}
	const want = "m.schema.json: the schema has more than 20000 subschemas, with those it refers to; simplify it"
	for range shmtest.Times(3, 1) { // maps are walked in any order
		m := plan.New(plan.Options{})
		r := made(m, plantest.Files(files...))
		plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{want})
		r = made(m, plantest.Files(append(files, "c.json", "{}")...))
		plantest.WantStrings(t, "problems with one more file", plantest.Messages(r.Problems), []string{want})
	}
}

// TestLostReferences has many references to places where a draft has no schemas, for each
// of which the library copies what it knows of the file.
func TestLostReferences(t *testing.T) {
	const what = "m.schema.json: the schema has too many references to places where its draft has no schemas; move what they lead to below $defs, or below definitions up to draft 7"
	schema := func(n int, draft, place string) string {
		return fmt.Sprintf(`{"$schema": "https://json-schema.org/draft%s/schema", %q: {%s}, "allOf": [%s]}`, draft, place,
			plantest.Repeated(n, `"d%": {}`), plantest.Repeated(n, `{"$ref": "#/`+place+`/d%"}`))
	}
	for name, s := range map[string]struct {
		schema string
		want   []string
	}{
		"many":                   {schema(4_000, "/2020-12", "x"), []string{what}},
		"below $defs of draft 7": {schema(4_000, "-07", "$defs"), []string{what}},
		"below definitions":      {schema(1_000, "-07", "definitions"), nil},
		"below $defs":            {schema(1_000, "/2020-12", "$defs"), nil},
		"few":                    {schema(300, "/2020-12", "x"), nil},
	} {
		r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", s.schema, "m.json", "{}"))
		plantest.WantStrings(t, name, plantest.Messages(r.Problems), s.want)
	}
}

// TestKeysOfAlternatives: keys are named where the place is that of the mapping.
func TestKeysOfAlternatives(t *testing.T) {
	const closed = `{"properties": {"host": {}}, "additionalProperties": false}`
	for name, s := range map[string]struct{ schema, want string }{
		"oneOf": {`{"oneOf": [{"type": "null"}, ` + closed + `]}`, `m.json:1:7: a: fits none of the alternatives (oneOf): got object, want null; or the schema has no key "hots", "port" (m.schema.json#/properties/a)`},
		"anyOf": {`{"anyOf": [` + closed + `]}`, `m.json:1:7: a: fits none of the alternatives (anyOf): the schema has no key "hots", "port" (m.schema.json#/properties/a)`},
		"names": {`{"anyOf": [{"propertyNames": {"maxLength": 3}, "required": ["port"], "maxProperties": 1}, {"type": "null"}]}`, `the schema does not allow the key "hots": length 4 is above maxLength 3`},
	} {
		r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", `{"properties": {"a": `+s.schema+`}}`, "m.json", `{"a": {"hots": 1, "port": 2}}`))
		if got := plantest.Messages(r.Problems); len(got) != 1 || !strings.Contains(got[0], s.want) {
			t.Errorf("%s: problems %q, want %s", name, got, s.want)
		}
	}
}
