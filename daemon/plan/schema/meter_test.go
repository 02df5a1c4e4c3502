package schema_test

import (
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/plan/schema"
	"github.com/statesync/statesync/shm/shmtest"
)

// TestSteps has schemas that would take minutes, or memory without end, because
// of what one keyword is multiplied with, and says that each is ended by its
// steps. Configs and bound are some tenth of what they may be, for the race
// detector.
func TestSteps(t *testing.T) {
	const (
		costly = `(?i)([a-z]{1,50}){1,20}!`
		steps  = "m.json: validating it failed: the schema takes more than 50000 steps; simplify the schema, or split the config"
	)
	defer func(usual int64) { schema.MaxSteps = usual }(schema.MaxSteps)
	schema.MaxSteps = 50_000
	list := "[" + plantest.Repeated(30_000, "%") + "]"
	mapping := "{" + plantest.Repeated(20_000, `"`+strings.Repeat("x", 60)+`%": 0`) + "}"
	ones := strings.Repeat("1,", 5_000)
	text := strings.Repeat("a", 1<<20)
	for name, s := range shmtest.Some(map[string]struct{ schema, config string }{
		"pattern":           {`{"items": {"pattern": "` + costly + `"}}`, `["` + text + `"]`},
		"patternProperties": {`{"patternProperties": {` + plantest.Repeated(1000, `"x*%y": {}`) + `}}`, mapping},
		"propertyNames":     {`{"propertyNames": {"pattern": "` + costly + `"}}`, `{"` + text + `": 0}`},
		"length":            {`{"items": {"allOf": [` + plantest.Repeated(4000, `{"minLength": 1}`) + `]}}`, `["` + text + `"]`},
		"format regex": {
			`{"$schema": "http://json-schema.org/draft-07/schema#", "items": {"format": "regex"}}`,
			"[" + plantest.Repeated(100, `"`+strings.Repeat(`\\pL`, 1300)+`"`) + "]",
		},
		"enum": {`{"items": {"enum": [` + plantest.Repeated(30_000, "-%") + `]}}`, list},
		"const": {
			`{"$defs": {"c": {"const": [[` + plantest.Repeated(5_000, "%") + `]]}}, "allOf": [` + plantest.Repeated(4000, `{"$ref": "#/$defs/c"}`) + "]}",
			"[[" + plantest.Repeated(5_000, "%") + "]]",
		},
		"uniqueItems":        {`{"allOf": [` + plantest.Repeated(4000, `{"uniqueItems": true}`) + "]}", "[" + plantest.Repeated(21, "%") + "," + list + "]"},
		"uniqueItems of few": {`{"allOf": [` + plantest.Repeated(4000, `{"uniqueItems": true}`) + "]}", "[" + plantest.Repeated(20, "["+ones+"%]") + "]"},
		// What fails at once is counted by what applies it.
		"items":                 {`{"if": {"anyOf": [` + plantest.Repeated(2000, `{"items": {"type": "string"}}`) + "]}}", list},
		"unevaluatedProperties": {`{"anyOf": [` + plantest.Repeated(4000, `{"type": "string"}`) + `, {}], "unevaluatedProperties": true}`, mapping},
		"dependentRequired":     {`{"contains": {"dependentRequired": {"a": [` + plantest.Repeated(10_000, `"a%"`) + "]}}}", "[" + plantest.Repeated(20_000, `{"a": 0}`) + "]"},
	}, 2) {
		t.Run(name, func(t *testing.T) {
			r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", s.schema, "m.json", s.config))
			plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{steps})
		})
	}
}

// TestStepsOfUsual has a large config and a schema as people write them.
func TestStepsOfUsual(t *testing.T) {
	schema := `{
		"type": "object", "additionalProperties": {"$ref": "#/$defs/service"}, "propertyNames": {"pattern": "^[a-z][a-z0-9-]{0,62}$"},
		"$defs": {"service": {
			"type": "object", "required": ["id", "kind"], "additionalProperties": false,
			"properties": {
				"id": {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
				"kind": {"enum": ["web", "worker", "cron"]},
				"port": {"type": "integer", "minimum": 1, "maximum": 65535},
				"tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "uniqueItems": true},
				"limits": {"oneOf": [{"type": "null"}, {"type": "object", "patternProperties": {"^(cpu|memory)$": {"type": "number"}}, "additionalProperties": false}]}
			}
		}}}`
	config := "{" + plantest.Repeated(shmtest.Times(20_000, 5_000), `"service-%": {"id": "01234567-89ab-cdef-0123-456789abcdef", "kind": "cron", "port": 80, "tags": ["a", "b", "c"], `+
		`"limits": {"cpu": 1, "memory": 2.5}}`) + "}"
	r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", schema, "m.json", config))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), nil)
}

func TestPatternLimits(t *testing.T) {
	for name, s := range map[string]struct{ schema, want string }{
		"long": {`{"pattern": "` + strings.Repeat("x", 5000) + `"}`, "the regular expression has 5000 bytes, and may have at most 4096; shorten it"},
		"repeated": {
			`{"allOf": [` + plantest.Repeated(60, `{"pattern": "%`+strings.Repeat("xyz", 1000)+`{1000}"}`) + `]}`,
			"the schema's regular expressions, with those it refers to, take more than 200000 instructions; simplify them, and repeat less",
		},
		"classes": {
			`{"allOf": [` + plantest.Repeated(3, `{"patternProperties": {"%`+strings.Repeat(`\\pL`, 1000)+`": true}}`) + `]}`,
			"the schema's regular expressions, with those it refers to, take more than 200000 instructions; simplify them, and repeat less",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", s.schema, "m.json", "[]"))
			if len(r.Problems) == 0 || !strings.Contains(r.Problems[0].Error(), s.want) {
				t.Errorf("problems: %.300q, want %s", plantest.Messages(r.Problems), s.want)
			}
		})
	}
}
