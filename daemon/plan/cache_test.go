package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// sections are the sections by config name: the same pointer is a config that
// was not decoded again.
func sections(t *testing.T, r *Plan) map[string]*image.Section {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	m := map[string]*image.Section{}
	for _, c := range r.Configs {
		m[c.Name] = c.Section
	}
	return m
}

func TestUnchanged(t *testing.T) {
	d := New(Options{Opaque: []string{"*.bin"}})
	in := plantest.Files("a.yaml", "A: 1\na: 2\n", "b.json", `{"b":1}`, "c.bin", "x", "d.txt", "x")
	first := made(d, in)
	before := sections(t, first)

	again := made(d, in)
	plantest.WantStrings(t, "problems", plantest.Messages(again.Problems), plantest.Messages(first.Problems))
	plantest.WantStrings(t, "skipped", skippedPaths(again), []string{"d.txt"})
	if len(again.Problems) != 1 || !again.Problems[0].Warning {
		t.Errorf("the warning is gone: %q", plantest.Messages(again.Problems))
	}
	for name, s := range sections(t, again) {
		if before[name] != s {
			t.Errorf("%s was decoded again", name)
		}
	}

	in[1] = &source.File{Path: "b.json", Data: []byte(`{"b":2}`)}
	changed := made(d, in)
	after := sections(t, changed)
	if after["a"] != before["a"] || after["c"] != before["c"] || after["b"] == before["b"] {
		t.Error("what was decoded again is not b alone")
	}
	plantest.WantStrings(t, "configs", contents(changed), []string{`a={"A":1,"a":2}`, `b={"b":2}`, "c=x"})
	plantest.WantStrings(t, "problems", plantest.Messages(changed.Problems), plantest.Messages(first.Problems))
}

// TestUnchangedError checks that a bad file is reported as long as it is there,
// and that the good ones are not decoded again meanwhile.
func TestUnchangedError(t *testing.T) {
	d := New(Options{})
	good, bad := plantest.Files("a.json", "{}"), plantest.Files("b.json", "{")
	before := sections(t, made(d, good))
	for range 2 {
		r := made(d, []*source.File{good[0], bad[0]})
		plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{"b.json:1:2: the file ends where a key in double quotes should be; is it cut off?"})
		if r.Configs != nil {
			t.Errorf("configs: %q", contents(r))
		}
	}
	if after := sections(t, made(d, good)); after["a"] != before["a"] {
		t.Error("a was decoded again")
	}
}

func TestForgotten(t *testing.T) {
	d := New(Options{})
	in := plantest.Files("a.json", "{}", "b.json", "{}", "b.schema.json", "{}")
	before := sections(t, made(d, in))
	made(d, in[:1])
	if len(d.layers["dir"].files) != 1 {
		t.Errorf("%d files are kept", len(d.layers["dir"].files))
	}
	after := sections(t, made(d, in))
	if after["a"] != before["a"] || after["b"] == before["b"] {
		t.Error("a must be kept, b decoded again")
	}
}

// TestSchemaChanges changes a config, its schema, and the files that the schema
// refers to, one at a time.
func TestSchemaChanges(t *testing.T) {
	d := New(Options{})
	revision := map[string]string{}
	kept := map[string]*source.File{}
	decode := func(changes ...string) []string {
		t.Helper()
		for i := 0; i < len(changes); i += 2 {
			revision[changes[i]] = changes[i+1]
			delete(kept, changes[i])
			if changes[i+1] == "" {
				delete(revision, changes[i])
			}
		}
		var pairs []string
		for file, data := range revision {
			pairs = append(pairs, file, data)
		}
		in := plantest.Files(pairs...)
		for i, f := range in {
			if kept[f.Path] == nil {
				kept[f.Path] = f
			}
			in[i] = kept[f.Path]
		}
		return plantest.Messages(made(d, in).Problems)
	}
	const (
		bad    = "m.yaml:1:4: a: got number, want string (m.schema.json#/properties/a)"
		nested = "m.yaml:1:4: a: got number, want string (types.schema.json#/$defs/a)"
		gone   = "m.schema.json:1:31: types.schema.json can't be used: there is no such file in the source; correct the path"
		alone  = "m.schema.json: warning: there is no config m for this schema, and no schema refers to it; rename or remove it"
		byType = `{"properties": {"a": {"type": "string"}}}`
		byRef  = `{"properties": {"a": {"$ref": "types.schema.json#/$defs/a"}}}`
		types  = `{"$defs": {"a": {"type": "string"}}}`
		others = `{"$defs": {"a": {"type": "integer"}}}`
	)
	for i, step := range []struct {
		changes []string
		want    []string
	}{
		{[]string{"m.yaml", "a: 1", "other.yaml", "a: 1"}, nil},
		{[]string{"m.schema.json", byType}, []string{bad}},
		{nil, []string{bad}},
		{[]string{"other.yaml", "a: 2"}, []string{bad}},
		{[]string{"m.yaml", "a: x"}, nil},
		{[]string{"m.yaml", "a: 1"}, []string{bad}},
		{[]string{"m.schema.json", "{}"}, nil},
		{[]string{"m.schema.json", byRef}, []string{gone}},
		{[]string{"types.schema.json", types}, []string{nested}},
		{[]string{"types.schema.json", others}, nil},
		{nil, nil},
		{[]string{"types.schema.json", ""}, []string{gone}},
		{[]string{"m.schema.json", ""}, nil},
		{[]string{"m.schema.json", byType, "m.yaml", ""}, []string{alone}},
		{[]string{"m.yaml", "a: 1"}, []string{bad}},
	} {
		plantest.WantStrings(t, fmt.Sprint("step ", i), decode(step.changes...), step.want)
	}
}

// TestUnchangedWork counts allocations: nothing is done for a file that did not
// change, so that their number does not grow with the number of files.
func TestUnchangedWork(t *testing.T) {
	count := func(n int) float64 {
		d := New(Options{})
		in := many(n)
		made(d, in)
		return testing.AllocsPerRun(10, func() { made(d, in) })
	}
	if few, lots := count(100), count(3000); lots > few+5 {
		t.Errorf("%v allocations for 100 unchanged files, %v for 3000", few, lots)
	}
}

// TestChangedWork is TestUnchangedWork for one file that changes.
func TestChangedWork(t *testing.T) {
	count := func(n int) float64 {
		d := New(Options{})
		in := many(n)
		made(d, in)
		return testing.AllocsPerRun(10, func() {
			changed := *in[n/2]
			in[n/2] = &changed
			made(d, in)
		})
	}
	if few, lots := count(100), count(3000); lots > few+5 {
		t.Errorf("%v allocations for one of 100 files, %v for one of 3000", few, lots)
	}
}

// The views of both snapshots are kept from Memory to Make, and as long as these are given.
func TestViewsAreKept(t *testing.T) {
	m := New(Options{})
	in := many(3)
	layers := dir(in)
	m.Memory(layers)
	if _, err := m.Make(t.Context(), layers); err != nil {
		t.Fatal(err)
	}
	in[1] = &source.File{Path: in[1].Path, Data: []byte("name: changed\n")}
	next := dir(in)
	next[0].Accepted = layers[0].Newest
	m.Memory(next)
	views := m.layers["dir"].views
	if _, err := m.Make(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if len(views) != 2 || !slices.Equal(views, m.layers["dir"].views) {
		t.Errorf("the views %v are %v now", views, m.layers["dir"].views)
	}
}

// many is a snapshot of n small files, sorted by path.
func many(n int) []*source.File {
	in := make([]*source.File, n)
	for i := range in {
		in[i] = &source.File{
			Path: fmt.Sprintf("team%02d/service%05d.yaml", i*100/n, i),
			Data: fmt.Appendf(nil, "name: service%d\nweights:\n  elo: %d\n", i, i),
		}
	}
	return in
}

// TestSharedCopies edits schemas that share a file, one after another: the number of
// compiled forms of that file stays bounded.
func TestSharedCopies(t *testing.T) {
	const schemas = 30
	m := New(Options{})
	files := []string{"shared.schema.json", "{}"}
	for i := range schemas {
		files = append(files, fmt.Sprintf("c%02d.schema.json", i), `{"$ref": "shared.schema.json"}`, fmt.Sprintf("c%02d.json", i), "{}")
	}
	in := plantest.Files(files...)
	for i := range in {
		changed := *in[i]
		in[i] = &changed
		if err := made(m, in).Err(); err != nil {
			t.Fatal(err)
		}
		p := &pass{}
		for _, v := range m.layers["dir"].views {
			p.schemas = v.schemas
		}
		if n := p.sets(); n > maxSets+1 {
			t.Fatalf("%d compiled forms after %d edits", n, i+1)
		}
	}
}
