package plan_test

import (
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

func TestOverlay(t *testing.T) {
	t.Parallel()
	const schema = `{"properties": {"weights": {"properties": {"elo": {"type": "integer", "maximum": 2000}}}}}`
	snapshot := source.NewSnapshot([]*source.File{
		source.NewFile("m.yaml", []byte("weights: {elo: 1000, ping: 0.5}\na.b: {c: 1}\npools: [{size: 1}]\n")),
		source.NewFile("m.schema.json", []byte(schema)),
		source.NewFile("raw.bin", []byte("x")),
	}, nil, func(source.Digest) string { return "v" })
	p, err := plan.New(plan.Options{Opaque: []string{"*.bin"}}).Make(t.Context(), []plan.Layer{{Newest: snapshot}})
	if err != nil || p.Err() != nil {
		t.Fatal(err, p.Err())
	}
	base := func(name string) *image.Section {
		for i := range p.Configs {
			if p.Configs[i].Name == name {
				return p.Configs[i].Section
			}
		}
		return nil
	}
	for _, c := range []struct{ name, config, patches, want, problem string }{
		{"a value", "m", `weights.elo=1500`, `{"a.b":{"c":1},"pools":[{"size":1}],"weights":{"elo":1500,"ping":0.5}}`, ""},
		{"a new key", "m", `weights.x.y=[1, two]`, `{"a.b":{"c":1},"pools":[{"size":1}],"weights":{"elo":1000,"ping":0.5,"x":{"y":[1,"two"]}}}`, ""},
		{"a key with a dot", "m", `a.b.c=2`, `{"a.b":{"c":2},"pools":[{"size":1}],"weights":{"elo":1000,"ping":0.5}}`, ""},
		{"a list", "m", `pools=[]`, `{"a.b":{"c":1},"pools":[],"weights":{"elo":1000,"ping":0.5}}`, ""},
		{"null", "m", `weights.ping=null`, `{"a.b":{"c":1},"pools":[{"size":1}],"weights":{"elo":1000}}`, ""},
		{"two", "m", "weights.elo=1\nweights={elo: 2, z: 3}", `{"a.b":{"c":1},"pools":[{"size":1}],"weights":{"elo":2,"ping":0.5,"z":3}}`, ""},
		{"into a list", "m", `pools.0.size=2`, "", "pools is a list"},
		{"another kind", "m", `weights=3`, "", "a scalar here, but a mapping"},
		{"the schema", "m", `weights.elo=2001`, "", "2000"},
		{"no config", "n", `a=1`, "", "there is no config n"},
		{"opaque", "raw", `a=1`, "", "opaque"},
	} {
		var patches []plan.Patch
		for line := range strings.Lines(c.patches) {
			key, text, _ := strings.Cut(strings.TrimSpace(line), "=")
			value, err := plan.Value(text)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			patches = append(patches, plan.Patch{Config: c.config, Key: key, Value: value, Name: "override"})
		}
		changed, problems := plan.Overlay(p, base, patches)
		var errors []string
		for _, problem := range problems {
			if !problem.Warning {
				errors = append(errors, problem.InLayer())
			}
		}
		switch text := strings.Join(errors, "\n"); {
		case c.problem != "" && (changed != nil || !strings.Contains(text, c.problem)):
			t.Errorf("%s: %v, %s", c.name, changed, text)
		case c.problem == "" && (len(changed) != 1 || string(changed[0].Content()) != c.want):
			t.Errorf("%s: %v, %s", c.name, changed, text)
			if len(changed) == 1 {
				t.Logf("%s", changed[0].Content())
			}
		}
	}
	for _, bad := range []string{"{", "a: b: c", "\xff", strings.Repeat("x", 2<<20)} {
		if v, err := plan.Value(bad); err == nil {
			t.Errorf("%.10q is %.20s", bad, v)
		}
	}
}
