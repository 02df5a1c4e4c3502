package schema_test

import (
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
)

// FuzzSchema checks a config against an arbitrary schema. Whatever that says,
// the outcome is a config or an error that names one of the two files, and
// nothing is fetched from anywhere.
func FuzzSchema(f *testing.F) {
	for _, schema := range []string{
		`{}`, `true`, `false`, `[]`, `{"type":"object","required":["a"],"properties":{"a":{"type":"integer","minimum":0}}}`,
		`{"$ref":"#/$defs/x","$defs":{"x":{"$ref":"#/$defs/x"}}}`, `{"$ref":"http://127.0.0.1:1/x.json"}`, `{"$ref":"file:///etc/passwd"}`,
		`{"properties":{"a":{"pattern":"(a+)+$"}}}`, `{"properties":{"a":{"pattern":"("}}}`, `{"$id":"other:x","$ref":"c.schema.json"}`,
		`{"$schema":"http://json-schema.org/draft-04/schema#","minimum":1,"exclusiveMinimum":true}`, `{"enum":[{"a":1},1e999]}`,
		`{"propertyNames":{"maxLength":1},"additionalProperties":false}`, `{"anyOf":[{"type":"null"},{"not":{}}],"$dynamicRef":"#m"}`,
		`{"$id":"urn:c","$ref":"urn:c#/x","x":{"$id":"d","$anchor":"e"}}`, `{"$id":"/s/c","properties":{"a":{"$ref":"c.yaml#/b"},"b":{"$ref":"c"}}}`,
		`{"$schema":"http://json-schema.org/draft-07/schema","properties":{"a":{"format":"uri-template"},"b":{"maxItems":18446744073709551616}}}`,
		`{"multipleOf":0}`, `{"properties":{"a":{"multipleOf":1e-300}}}`, `{"format":"regex","unevaluatedProperties":false,"if":true,"then":false}`,
	} {
		f.Add([]byte(schema), []byte(`{"a":"aaaaaaaaaaaaaaaaaaaaaaaaaaaab","b":[1,2.5,null]}`))
		f.Add([]byte(schema), []byte("a: 1\n"))
	}
	f.Fuzz(func(t *testing.T, schema, data []byte) {
		const config, schemaFile = "c.yaml", "c.schema.json"
		r := made(plan.New(plan.Options{}), []*source.File{{Path: schemaFile, Data: schema}, {Path: config, Data: data}})
		for _, p := range r.Problems {
			if strings.Contains(p.What, "the parser failed") || strings.ContainsAny(p.Error(), "\n\x00") || p.File != config && p.File != schemaFile {
				t.Errorf("problem %q", p.Error())
			}
		}
		if (r.Configs == nil) != (r.Err() != nil) {
			t.Errorf("%d configs, and the error %v", len(r.Configs), r.Err())
		}
	})
}
