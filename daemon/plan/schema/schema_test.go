package schema_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
)

// made is the plan of layers of files, the lowest first.
func made(m *plan.Maker, layers ...[]*source.File) *plan.Plan {
	var list []plan.Layer
	for i, files := range layers {
		name := fmt.Sprint("dir", strings.Repeat("+", i))
		list = append(list, plan.Layer{Name: name, Newest: &source.Snapshot{Version: name + "@1", Files: files}})
	}
	p, err := m.Make(context.Background(), list)
	if err != nil {
		panic(err)
	}
	return p
}

// contents are the configs as "name=content".
func contents(p *plan.Plan) []string {
	var list []string
	for _, c := range p.Configs {
		list = append(list, c.Name+"="+string(c.Section.Content()))
	}
	return list
}

func TestSchema(t *testing.T) {
	const (
		common = `{"$defs": {"weights": {"type": "object", "additionalProperties": {"type": "number"}}}}`
		schema = `{
			"type": "object", "required": ["name"], "additionalProperties": false,
			"properties": {
				"name": {"type": "string", "pattern": "^[a-z]+$"},
				"weights": {"$ref": "../common.schema.json#/$defs/weights"},
				"id": {"type": "integer", "minimum": 9007199254740993},
				"half": {"maximum": 0.5},
				"any": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["k"]}]},
				"one": {"oneOf": [{"type": "integer"}, {"minimum": 3}]},
				"list": {"uniqueItems": true, "items": {"type": "integer"}},
				"names": {"propertyNames": {"maxLength": 2}},
				"enum": {"enum": ["a", "b"]},
				"not": {"not": {"type": "null"}},
				"never": false,
				"date": {"format": "date"}
			}
		}`
	)
	for name, s := range map[string]struct {
		file, in string
		problems []string
	}{
		"YAML": {"team/m.yaml", "name: X1\nweights:\n  ok: 1\n  elo: high\nid: 9007199254740992\nhalf: 0.75\nany: {}\none: 4\n" +
			"list: [1, 1, x]\nnames: {abc: 1}\nenum: c\nnot: null\nnever: 1\ndate: not asserted\nzzz: 1\nyyy: 2\n", []string{
			`team/m.yaml:1:7: name: "X1" does not match the pattern "^[a-z]+$" (team/m.schema.json#/properties/name)`,
			"team/m.yaml:4:8: weights.elo: got string, want number (common.schema.json#/$defs/weights/additionalProperties)",
			"team/m.yaml:5:5: id: 9007199254740992 is less than the minimum 9007199254740993 (team/m.schema.json#/properties/id)",
			"team/m.yaml:6:7: half: 0.75 is more than the maximum 0.5 (team/m.schema.json#/properties/half)",
			`team/m.yaml:7:6: any: fits none of the alternatives (anyOf): got object, want string; or missing "k" (team/m.schema.json#/properties/any)`,
			"team/m.yaml:8:6: one: fits the alternatives [0 1] of oneOf, and may fit only one (team/m.schema.json#/properties/one)",
			"team/m.yaml:9:7: list: items at 0 and 1 are equal (team/m.schema.json#/properties/list)",
			"team/m.yaml:9:14: list.2: got string, want integer (team/m.schema.json#/properties/list/items)",
			"team/m.yaml:10:9: names.abc: the schema does not allow this name for a key: length 3 is above maxLength 2 (team/m.schema.json#/properties/names/propertyNames)",
			"team/m.yaml:11:7: enum: value must be one of 'a', 'b' (team/m.schema.json#/properties/enum)",
			"team/m.yaml:12:6: not: the schema does not allow such a value (not) (team/m.schema.json#/properties/not)",
			"team/m.yaml:13:8: never: the schema allows no value here; remove it (team/m.schema.json#/properties/never)",
			"team/m.yaml:15:1: zzz: the schema has no such key; correct or remove it (team/m.schema.json)",
			"team/m.yaml:16:1: yyy: the schema has no such key; correct or remove it (team/m.schema.json)",
		}},
		"TOML": {"team/m.toml", "weights = {a = 1}\n[names]\nx.y = 1\nlong.y = 1\n", []string{
			`team/m.toml:1:1: missing "name" (team/m.schema.json)`,
			"team/m.toml:4:1: names.long: the schema does not allow this name for a key: length 4 is above maxLength 2 (team/m.schema.json#/properties/names/propertyNames)",
		}},
		"JSON": {"team/m.json", "{\"name\": \"n\",\n\"list\": [1,\n 2.0,\n 2]}", []string{
			"team/m.json:2:9: list: items at 1 and 2 are equal (team/m.schema.json#/properties/list)",
		}},
		"fits": {"team/m.yaml", "name: n\nweights: {a: 1, b: 0.5}\nid: 18446744073709551615\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := made(plan.New(plan.Options{}), plantest.Files("common.schema.json", common, "team/m.schema.json", schema, s.file, s.in))
			plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), s.problems)
			if (len(r.Configs) == 1) != (len(s.problems) == 0) {
				t.Errorf("configs: %q", contents(r))
			}
		})
	}
}

func TestSchemaProblems(t *testing.T) {
	for name, s := range map[string]struct{ schema, want string }{
		"syntax":         {"{\n\"type\": }", "m.schema.json:2:9: type: '}' where a value should be"},
		"empty":          {" ", "m.schema.json:1:1: " + tree.EmptyFile},
		"type":           {"{\n \"properties\": {\"a\": {\"minimum\": \"x\"}}}", "m.schema.json:2:34: properties.a.minimum: got string, want number (the rules of JSON Schema itself)"},
		"no schema":      {"1", "m.schema.json:1:1: got number, want boolean or object (the rules of JSON Schema itself)"},
		"regexp":         {"{\n \"pattern\": \"(\"}", "m.schema.json:2:13: pattern: \"(\" is not a regular expression in Go's syntax: missing closing ): ( (the rules of JSON Schema itself)"},
		"look-ahead":     {`{"pattern": "(?=a)"}`, "m.schema.json:1:13: pattern: \"(?=a)\" has (?=, a lookahead, which Go's regular expressions do not have; write each condition as a pattern of its own, in an allOf (the rules of JSON Schema itself)"},
		"remote":         {"{\n \"$ref\": \"http://example.com/x.json\"}", "m.schema.json:2:10: http://example.com/x.json can't be used: a schema can only refer to files of the source; copy it there, and refer to it by its $id or by a relative path"},
		"disk":           {`{"$ref": "file:///etc/passwd"}`, "m.schema.json:1:10: file:///etc/passwd can't be used: a schema can only refer to files of the source; copy it there, and refer to it by its $id or by a relative path"},
		"outside":        {`{"$ref": "../../../etc/passwd.json"}`, "m.schema.json:1:10: etc/passwd.json can't be used: there is no such file in the source; correct the path"},
		"absolute":       {`{"$ref": "/etc/passwd.json"}`, "m.schema.json:1:10: etc/passwd.json can't be used: there is no such file in the source; correct the path"},
		"other draft":    {`{"$schema": "https://example.com/s"}`, "m.schema.json:1:13: https://example.com/s is neither a draft of JSON Schema that is supported (4, 6, 7, 2019-09, 2020-12) nor the $id of a file of the source; write https://json-schema.org/draft/2020-12/schema, or that of another draft"},
		"mistyped draft": {`{"$schema": "http://json-schema-org/draft-07/schema#"}`, "m.schema.json:1:13: http://json-schema-org/draft-07/schema# is neither a draft of JSON Schema that is supported (4, 6, 7, 2019-09, 2020-12) nor the $id of a file of the source; write https://json-schema.org/draft/2020-12/schema, or that of another draft"},
		"draft 3":        {`{"$schema": "http://json-schema.org/draft-03/schema#"}`, "m.schema.json:1:13: http://json-schema.org/draft-03/schema# is neither a draft of JSON Schema that is supported (4, 6, 7, 2019-09, 2020-12) nor the $id of a file of the source; write https://json-schema.org/draft/2020-12/schema, or that of another draft"},
		"other format":   {`{"$ref": "m.ini"}`, "m.schema.json:1:10: m.ini can't be used: there is no such file in the source; correct the path"},
		"pointer":        {"{\"a\":1,\n\"$ref\": \"#/nope\"}", "m.schema.json:2:9: m.schema.json#/nope leads nowhere; correct the reference"},
		"anchor":         {`{"$ref": "#nope"}`, "m.schema.json:1:10: m.schema.json#nope leads nowhere; correct the reference"},
		"cycle":          {`{"$ref": "#"}`, "m.yaml:1:1: the schema refers to itself without end (m.schema.json)"},
		"subschemas":     {`{"prefixItems": [` + strings.Repeat(`{"type": "string"},`, 20_000) + `{}]}`, "m.schema.json: the schema has more than 20000 subschemas, with those it refers to; simplify it"},
		"values":         {`{"enum": [` + strings.Repeat("1,", 50_000) + "1]}", "m.schema.json: the file has more than 50000 values; split it"},
		"size":           {`{"$comment": "` + strings.Repeat("x", 1<<20) + `"}`, "m.schema.json: the file has 1048592 bytes, and a schema at most 1 MiB; split it"},
		// What is said twice at each level costs 2^90; the examples make each step dear, so that it is over soon.
		"exponential": {`{"examples": [` + strings.Repeat("1,", 10_000) + `1], "properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}`, "m.yaml: validating it failed: the schema takes more than 5000000 steps; simplify the schema, or split the config"},
	} {
		t.Run(name, func(t *testing.T) {
			config := strings.Repeat("{a: ", 90) + "1" + strings.Repeat("}", 90)
			r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", s.schema, "m.yaml", config))
			plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{s.want})
			if r.Configs != nil {
				t.Errorf("configs: %q", contents(r))
			}
		})
	}
}

// TestSchemaReferences checks what a broken file does to the schemas that refer
// to it, and that names are taken as they are.
func TestSchemaReferences(t *testing.T) {
	refer := `{"$ref": "sub/x%20%23y.json#/defs/n"}`
	r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", refer, "m.json", `{"n":1}`, "sub/x #y.json", `{"defs":{"n":{"type":"array"}}}`))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{"m.json:1:1: got object, want array (sub/x #y.json#/defs/n)"})

	r = made(plan.New(plan.Options{}), plantest.Files("m.schema.json", `{"$ref": "d.json"}`, "d.json", "{\n\"type\":", "m.yaml", "{}"))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		"d.json:2:8: type: the file ends where a value should be; is it cut off?",
		"m.schema.json:1:10: d.json can't be used: d.json:2:8: type: the file ends where a value should be; is it cut off?",
	})

	// Two schemas refer to the same bad one, which is a schema itself: one problem.
	r = made(plan.New(plan.Options{}), plantest.Files("d.schema.json", `{"type": 1}`,
		"m.schema.json", `{"$ref": "d.schema.json"}`, "m.yaml", "{}", "n.schema.json", `{"$ref": "d.schema.json"}`, "n.yaml", "{}"))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		"d.schema.json:1:10: type: fits none of the alternatives (anyOf): value must be one of 'array', 'boolean', 'integer', 'null', 'number', 'object', 'string'; " +
			"or got number, want array (the rules of JSON Schema itself)",
	})
}

func TestSchemaWithoutConfig(t *testing.T) {
	r := made(plan.New(plan.Options{Opaque: []string{"*.bin"}}), plantest.Files(
		"a.schema.json", "{}", "b.bin", "x", "b.schema.json", `{"$ref": "shared.schema.json"}`, "shared.schema.json", "{}",
	))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		"a.schema.json: warning: there is no config a for this schema, and no schema refers to it; rename or remove it",
		"b.schema.json: warning: the config b is opaque, so that its schema is not applied; remove the schema",
	})
	plantest.WantStrings(t, "configs", contents(r), []string{"b=x"})
}

// TestMoreReasons has the keywords that TestSchema leaves out.
func TestMoreReasons(t *testing.T) {
	schema := `{"properties": {
		"a": {"exclusiveMinimum": 1}, "b": {"exclusiveMaximum": 1}, "c": {"multipleOf": 2}, "d": {"minLength": 2}, "e": {"minItems": 1},
		"f": {"maxItems": 1}, "g": {"minProperties": 1}, "h": {"maxProperties": 1}, "i": {"oneOf": [{"type": "null"}, {"type": "array"}]},
		"j": {"contains": {"const": 1}}, "k": {"const": {"x": 1}}, "l": {"dependentRequired": {"x": ["y", "z"]}}, "m": {"required": ["z", "y"]},
		"n": {"minContains": 2, "contains": {"type": "null"}}, "o": {"properties": {"p": {}}, "unevaluatedProperties": false},
		"p": {"allOf": [{"type": "string"}, {"type": "null"}]}}}`
	config := "a: 1\nb: 1\nc: 3\nd: é\ne: []\nf: [1, 2]\ng: {}\nh: {x: 1, y: 1}\ni: 1\nj: [{}, 2]\nk: 1\nl: {x: 1}\nm: {}\n" +
		"n: [~]\no: {q: 1}\np: 1\n"
	r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", schema, "m.yaml", config))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		"m.yaml:1:4: a: 1 is not more than 1 (m.schema.json#/properties/a)",
		"m.yaml:2:4: b: 1 is not less than 1 (m.schema.json#/properties/b)",
		"m.yaml:3:4: c: 3 is not a multiple of 2 (m.schema.json#/properties/c)",
		"m.yaml:4:4: d: length 1 is below minLength 2 (m.schema.json#/properties/d)",
		"m.yaml:5:4: e: length 0 is below minItems 1 (m.schema.json#/properties/e)",
		"m.yaml:6:4: f: length 2 is above maxItems 1 (m.schema.json#/properties/f)",
		"m.yaml:7:4: g: size 0 is below minProperties 1 (m.schema.json#/properties/g)",
		"m.yaml:8:4: h: size 2 is above maxProperties 1 (m.schema.json#/properties/h)",
		"m.yaml:9:4: i: fits none of the alternatives (oneOf): got number, want null; or got number, want array (m.schema.json#/properties/i)",
		"m.yaml:10:4: j: no item fits what the list must contain: 0 value must be 1; or 1 value must be 1 (m.schema.json#/properties/j)",
		"m.yaml:11:4: k: 'const' failed (m.schema.json#/properties/k)",
		"m.yaml:12:4: l: properties 'y', 'z' required, if 'x' exists (m.schema.json#/properties/l)",
		`m.yaml:13:4: m: missing "y", "z" (m.schema.json#/properties/m)`,
		"m.yaml:14:4: n: min 2 items required to match contains schema, but matched 1 items at 0 (m.schema.json#/properties/n)",
		"m.yaml:15:8: o.q: the schema allows no value here; remove it (m.schema.json#/properties/o/unevaluatedProperties)",
		"m.yaml:16:4: p: got number, want null (m.schema.json#/properties/p/allOf/1)",
		"m.yaml:16:4: p: got number, want string (m.schema.json#/properties/p/allOf/0)",
	})
}

func TestOldDraft(t *testing.T) {
	r := made(plan.New(plan.Options{}), plantest.Files("m.json", `{"d": "x"}`, "m.schema.json",
		`{"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"d": {"format": "date"}}}`))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		`m.json:1:7: d: "x" is not a valid date: parsing time "x" as "2006-01-02": cannot parse "x" as "2006" (m.schema.json#/properties/d)`,
	})
}

// TestManyViolations checks that what is reported is bounded, and the same each
// time although the library walks maps.
func TestManyViolations(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	in := plantest.Files("m.schema.json", `{"additionalProperties": {"type": "string"}}`, "m.yaml", b.String())
	first := plantest.Messages(made(plan.New(plan.Options{}), in).Problems)
	if len(first) != 21 || first[20] != "m.yaml:20:6: 80 more errors of this file are not shown" {
		t.Errorf("%d problems, the last %s", len(first), first[len(first)-1])
	}
	for range 5 {
		plantest.WantStrings(t, "problems", plantest.Messages(made(plan.New(plan.Options{}), in).Problems), first)
	}
}

// TestPropertyNames checks the places of bad names in several mappings: the
// library's own are those of the values that it looked at later.
func TestPropertyNames(t *testing.T) {
	r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json",
		`{"additionalProperties": {"$ref": "#"}, "propertyNames": {"pattern": "^[a-z]$"}}`,
		"m.yaml", "a:\n  b:\n    XX: {}\n  c:\n    XX: {d: {YY: {}}}\ne: {f: {}}\n"))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		`m.yaml:3:5: a.b.XX: the schema does not allow this name for a key: "XX" does not match the pattern "^[a-z]$" (m.schema.json#/propertyNames)`,
		`m.yaml:5:5: a.c.XX: the schema does not allow this name for a key: "XX" does not match the pattern "^[a-z]$" (m.schema.json#/propertyNames)`,
		`m.yaml:5:14: a.c.XX.d.YY: the schema does not allow this name for a key: "YY" does not match the pattern "^[a-z]$" (m.schema.json#/propertyNames)`,
	})
}
