package decode

import (
	"strconv"
	"strings"
	"testing"
)

// repeated is n of a text with commas between, lines with line ends; % in it is
// the number of each.
func repeated(n int, text string) string { return numbered(n, text, ",") }
func lines(n int, text string) string    { return numbered(n, text, "\n") }

func numbered(n int, text, between string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(text, "%", strconv.Itoa(i))
	}
	return strings.Join(parts, between)
}

// TestSteps has schemas that would take minutes, or memory without end, because
// of what one keyword is multiplied with, and says that each is ended by its
// steps. Configs and bound are some tenth of what they may be, for the race
// detector.
func TestSteps(t *testing.T) {
	const (
		costly = `(?i)([a-z]{1,50}){1,20}!`
		steps  = "m.json: validating it failed: the schema takes more than 50000 steps; simplify the schema, or split the config"
	)
	defer func(usual int64) { maxSteps = usual }(maxSteps)
	maxSteps = 50_000
	list := "[" + repeated(30_000, "%") + "]"
	mapping := "{" + repeated(20_000, `"`+strings.Repeat("x", 60)+`%": 0`) + "}"
	ones := strings.Repeat("1,", 5_000)
	text := strings.Repeat("a", 1<<20)
	for name, s := range map[string]struct{ schema, config string }{
		"pattern":           {`{"items": {"pattern": "` + costly + `"}}`, `["` + text + `"]`},
		"patternProperties": {`{"patternProperties": {` + repeated(1000, `"x*%y": {}`) + `}}`, mapping},
		"propertyNames":     {`{"propertyNames": {"pattern": "` + costly + `"}}`, `{"` + text + `": 0}`},
		"length":            {`{"items": {"allOf": [` + repeated(4000, `{"minLength": 1}`) + `]}}`, `["` + text + `"]`},
		"format regex": {
			`{"$schema": "http://json-schema.org/draft-07/schema#", "items": {"format": "regex"}}`,
			"[" + repeated(100, `"`+strings.Repeat(`\\pL`, 1300)+`"`) + "]",
		},
		"enum": {`{"items": {"enum": [` + repeated(30_000, "-%") + `]}}`, list},
		"const": {
			`{"$defs": {"c": {"const": [[` + repeated(5_000, "%") + `]]}}, "allOf": [` + repeated(4000, `{"$ref": "#/$defs/c"}`) + "]}",
			"[[" + repeated(5_000, "%") + "]]",
		},
		"uniqueItems":        {`{"allOf": [` + repeated(4000, `{"uniqueItems": true}`) + "]}", "[" + repeated(21, "%") + "," + list + "]"},
		"uniqueItems of few": {`{"allOf": [` + repeated(4000, `{"uniqueItems": true}`) + "]}", "[" + repeated(20, "["+ones+"%]") + "]"},
		// What fails at once is counted by what applies it.
		"items":                 {`{"if": {"anyOf": [` + repeated(2000, `{"items": {"type": "string"}}`) + "]}}", list},
		"unevaluatedProperties": {`{"anyOf": [` + repeated(4000, `{"type": "string"}`) + `, {}], "unevaluatedProperties": true}`, mapping},
		"dependentRequired":     {`{"contains": {"dependentRequired": {"a": [` + repeated(10_000, `"a%"`) + "]}}}", "[" + repeated(20_000, `{"a": 0}`) + "]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Options{}).Decode(files("m.schema.json", s.schema, "m.json", s.config))
			wantStrings(t, "problems", messages(r.Problems), []string{steps})
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
	config := "{" + repeated(20_000, `"service-%": {"id": "01234567-89ab-cdef-0123-456789abcdef", "kind": "cron", "port": 80, "tags": ["a", "b", "c"], `+
		`"limits": {"cpu": 1, "memory": 2.5}}`) + "}"
	d := New(Options{})
	r := d.Decode(files("m.schema.json", schema, "m.json", config))
	wantStrings(t, "problems", messages(r.Problems), nil)
	t.Logf("%d steps for %d bytes", d.files["m.schema.json"].check.meter.steps, len(config))
}

func TestPatternLimits(t *testing.T) {
	for name, s := range map[string]struct{ schema, want string }{
		"long": {`{"pattern": "` + strings.Repeat("x", 5000) + `"}`, "the regular expression has 5000 bytes, and may have at most 4096; shorten it"},
		"repeated": {
			`{"allOf": [` + repeated(60, `{"pattern": "%`+strings.Repeat("xyz", 1000)+`{1000}"}`) + `]}`,
			"up to here the schema's regular expressions take more than 200000 instructions; simplify them, and repeat less",
		},
		"classes": {
			`{"allOf": [` + repeated(3, `{"patternProperties": {"%`+strings.Repeat(`\\pL`, 1000)+`": true}}`) + `]}`,
			"up to here the schema's regular expressions take more than 200000 instructions; simplify them, and repeat less",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := New(Options{}).Decode(files("m.schema.json", s.schema, "m.json", "[]"))
			if len(r.Problems) == 0 || !strings.Contains(r.Problems[0].Error(), s.want) {
				t.Errorf("problems: %.300q, want %s", messages(r.Problems), s.want)
			}
		})
	}
}
