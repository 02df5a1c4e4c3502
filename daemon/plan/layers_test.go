package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/plan/schema"
	"github.com/statesync/statesync/daemon/source"
)

// snapshot is a snapshot of paths and contents, in turns.
func snapshot(version string, pairs ...string) *source.Snapshot {
	return &source.Snapshot{Version: version, Files: plantest.Files(pairs...)}
}

// changed is a snapshot with some files changed, and the others as they are.
func changed(of *source.Snapshot, version string, pairs ...string) *source.Snapshot {
	files := map[string]*source.File{}
	for _, f := range of.Files {
		files[f.Path] = f
	}
	for _, f := range plantest.Files(pairs...) {
		if files[f.Path] = f; len(f.Data) == 0 {
			delete(files, f.Path)
		}
	}
	r := &source.Snapshot{Version: version}
	for _, f := range files {
		r.Files = append(r.Files, f)
	}
	slices.SortFunc(r.Files, func(a, b *source.File) int { return strings.Compare(a.Path, b.Path) })
	return r
}

func make1(t testing.TB, m *Maker, layers ...Layer) *Plan {
	t.Helper()
	p, err := m.Make(context.Background(), layers)
	if err != nil {
		t.Fatal(err)
	}
	if (p.Configs != nil) == p.Refused() && len(p.Configs) > 0 || p.Refused() != (p.Err() != nil) {
		t.Errorf("refused: %v, with %d configs, and the error %v", p.Refused(), len(p.Configs), p.Err())
	}
	return p
}

// inLayers are the problems with their layers.
func inLayers(problems []*Problem) (list []string) {
	for _, p := range problems {
		list = append(list, p.InLayer())
	}
	return list
}

func TestLayers(t *testing.T) {
	p := make1(t, New(Options{Opaque: []string{"*.bin"}}),
		Layer{Name: "base", Newest: snapshot("b1", "a.yaml", "x: 1\ny: {z: 1}", "b.json", `{"b": 1}`, "c.bin", "c", "d.yaml", "d: 1", "e.bin", "e", "n.txt", "n")},
		Layer{Name: "team", Newest: snapshot("t1", "a.toml", "x = 2", "new.yaml", "n: 1"), Prefix: "team/"},
		Layer{Name: "top", Newest: snapshot("o1", "a.json", `{"y": {"z": null, "w": 2}}`, "c.bin", "C", "d.yaml", "~", "e.yaml", "null", "team/a.yaml", "y: 3", "m.txt", "m")},
	)
	plantest.WantStrings(t, "problems", inLayers(p.Problems), nil)
	plantest.WantStrings(t, "configs", contents(p), []string{
		`a={"x":1,"y":{"w":2}}`, `b={"b":1}`, "c=C", `team/a={"x":2,"y":3}`, `team/new={"n":1}`,
	})
	var from, skipped []string
	for _, c := range p.Configs {
		from = append(from, c.Layer+":"+c.File)
	}
	plantest.WantStrings(t, "files", from, []string{"top:a.json", "base:b.json", "top:c.bin", "top:team/a.yaml", "team:new.yaml"})
	for _, s := range p.Skipped {
		skipped = append(skipped, s.Layer+":"+s.Path)
	}
	plantest.WantStrings(t, "skipped", skipped, []string{"base:n.txt", "top:m.txt"})
	if p.Version != "base=b1 team=t1 top=o1" {
		t.Errorf("the version is %s", p.Version)
	}
}

// TestRefusedTogether is about what no layer alone is to blame for.
func TestRefusedTogether(t *testing.T) {
	p := make1(t, New(Options{Opaque: []string{"*.bin"}}),
		Layer{Name: "base", Newest: snapshot("b1", "a.yaml", "a: [1]", "b.bin", "b", "c.yaml", "c: 1", "ok.yaml", "A: 1")},
		Layer{Name: "top", Newest: snapshot("t1", "a.yaml", "a: {}", "b.yaml", "b: 1", "c.bin", "c"), Accepted: snapshot("t0", "x.yaml", "x: 1")},
	)
	plantest.WantStrings(t, "problems", inLayers(p.Problems), []string{
		"top: a.yaml:1:4: a: a mapping here, but a list at line 1, column 4 of a.yaml in the layer base; make both of one kind",
		"top: b.yaml: the config b is a document here, but opaque in b.bin of the layer base; make both alike, or rename one of the files",
		"top: c.bin: the config c is opaque here, but a document in c.yaml of the layer base; make both alike, or rename one of the files",
	})
	if p.Layers[1].Snapshot.Version != "t1" || p.Layers[1].Problems != nil {
		t.Errorf("the layer fell back: %+v", p.Layers[1])
	}
}

// TestFallBack is about layers whose newest snapshot cannot be decoded.
func TestFallBack(t *testing.T) {
	const syntax = "the file ends where a key in double quotes should be; is it cut off?"
	good, top := snapshot("b1", "a.json", `{"a":1}`, "b.json", `{"b":1}`), snapshot("t1", "a.json", `{"top":1}`)
	for name, s := range map[string]struct {
		newest *source.Snapshot
		want   []string // why the newest is not used
	}{
		"syntax":       {changed(good, "b2", "a.json", `{"a":2}`, "b.json", "{"), []string{"base: b.json:1:2: " + syntax}},
		"clash":        {changed(good, "b2", "a.yaml", "a: 2"), []string{"base: a.yaml: the config a also comes from a.json; rename or remove one of the two files"}},
		"name":         {changed(good, "b2", "x\ny.json", "{}"), []string{`base: "x\ny.json": the config's name "x\ny" has a control character; rename the file`}},
		"null":         {changed(good, "b2", "a.json", "null"), []string{"base: a.json:1:1: the top level is neither a mapping nor a list; give the value a key"}},
		"schema":       {changed(good, "b2", "a.schema.json", "{"), []string{"base: a.schema.json:1:2: " + syntax}},
		"empty opaque": {&source.Snapshot{Version: "b2", Files: append(slices.Clone(good.Files), &source.File{Path: "c.bin"})}, []string{"base: c.bin: empty: a file that was cut off looks the same; remove the file, or write something into it"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(Options{Opaque: []string{"*.bin"}})
			layers := []Layer{{Name: "base", Newest: good}, {Name: "top", Newest: top, Accepted: top}}
			make1(t, m, layers...)
			layers[0].Newest, layers[0].Accepted = s.newest, good
			layers[1].Newest = changed(top, "t2", "a.json", `{"top":2}`)
			var before *Plan
			for range 3 {
				p := make1(t, m, layers...)
				plantest.WantStrings(t, "problems", inLayers(p.Problems), nil)
				plantest.WantStrings(t, "configs", contents(p), []string{`a={"a":1,"top":2}`, `b={"b":1}`})
				plantest.WantStrings(t, "why", inLayers(p.Layers[0].Problems), s.want)
				if p.Version != "base=b1 top=t2" || p.Layers[0].Snapshot != good || p.Layers[0].Count != len(s.want) || p.Layers[1].Problems != nil {
					t.Errorf("%s of %+v", p.Version, p.Layers)
				}
				if before != nil && (p.Configs[0].Section != before.Configs[0].Section || p.Configs[1].Section != before.Configs[1].Section) {
					t.Error("a config was made again")
				}
				before = p
			}
			// Nothing to fall back to: its errors refuse the plan.
			for _, m := range []*Maker{m, New(Options{Opaque: []string{"*.bin"}})} {
				layers[0].Accepted = nil
				p := make1(t, m, layers...)
				plantest.WantStrings(t, "problems", inLayers(p.Problems), s.want)
				if p.Layers[0].Snapshot != s.newest || p.Layers[0].Problems != nil {
					t.Errorf("used: %+v", p.Layers[0])
				}
			}
			// Of one layer: a plan of the accepted snapshot.
			p := make1(t, m, Layer{Name: "base", Newest: s.newest, Accepted: good})
			plantest.WantStrings(t, "configs of one layer", contents(p), []string{`a={"a":1}`, `b={"b":1}`})
			plantest.WantStrings(t, "why of one layer", inLayers(p.Layers[0].Problems), s.want)
			if p.Version != "b1" {
				t.Errorf("the version is %s", p.Version)
			}
		})
	}
}

// TestFallBackToBad: the accepted snapshot is no better than the newest, as after an
// upgrade that refuses more.
func TestFallBackToBad(t *testing.T) {
	p := make1(t, New(Options{}), Layer{Name: "base", Newest: snapshot("b2", "a.json", "["), Accepted: snapshot("b1", "a.json", "{")})
	plantest.WantStrings(t, "problems", inLayers(p.Problems), []string{"base: a.json:1:2: the file ends where a key in double quotes should be; is it cut off?"})
	plantest.WantStrings(t, "why", inLayers(p.Layers[0].Problems), []string{"base: a.json:1:2: 0: the file ends where a value should be; is it cut off?"})
}

// TestManyErrorsOfALayer keeps 100 of them, and counts the rest.
func TestManyErrorsOfALayer(t *testing.T) {
	var files []string
	for i := range 1000 {
		files = append(files, fmt.Sprintf("%04d.yaml", i), "a: .nan\nb: .nan\nc: .nan\nd: .nan\ne: .nan\n")
	}
	p := make1(t, New(Options{}), Layer{Name: "base", Newest: snapshot("b2", files...), Accepted: snapshot("b1", "a.yaml", "a: 1")})
	used := p.Layers[0]
	if used.Count != 5000 || len(used.Problems) != 100 || used.Problems[99].File != "0019.yaml" || cap(used.Problems) > 200 {
		t.Errorf("%d of %d problems", len(used.Problems), used.Count)
	}
	plantest.WantStrings(t, "problems", inLayers(p.Problems), nil)
}

func TestSchemasOfLayers(t *testing.T) {
	const (
		text   = `{"properties": {"a": {"type": "string"}, "b": {"type": "string"}}}`
		number = `{"properties": {"a": {"type": "number"}, "b": {"$ref": "types.json#/b"}}}`
		types  = `{"b": {"type": "number"}}`
	)
	base := Layer{Name: "base", Newest: snapshot("b1", "m.yaml", "a: 1\nb: x", "m.schema.json", text, "types.json", types)}
	m := New(Options{})
	plan := func(layers ...Layer) []string {
		return inLayers(make1(t, m, append([]Layer{base}, layers...)...).Problems)
	}
	const ours = "base: m.yaml:1:4: a: got number, want string (m.schema.json#/properties/a)"
	plantest.WantStrings(t, "one layer", plan(), []string{ours})
	plantest.WantStrings(t, "a violation is where the value is", plan(Layer{Name: "top", Newest: snapshot("t1", "m.yaml", "# a comment\nb: 2")}), []string{
		ours, "top: m.yaml:2:4: b: got number, want string (m.schema.json#/properties/b)",
	})
	plantest.WantStrings(t, "what is replaced is not checked", plan(Layer{Name: "top", Newest: snapshot("t1", "m.json", `{"a": "y"}`)}), nil)
	plantest.WantStrings(t, "the highest schema wins", plan(Layer{Name: "top", Newest: snapshot("t1", "m.schema.json", number)}), []string{
		"base: m.yaml:2:4: b: got string, want number (types.json#/b)",
	})
	plantest.WantStrings(t, "a reference is the highest file", plan(Layer{Name: "top", Newest: snapshot("t1", "m.schema.json", number, "types.json", `{"b": {}}`)}), nil)
	plantest.WantStrings(t, "schemas are off", plan(Layer{Name: "top", Newest: snapshot("t1", "m.schema.json", number, "m.yaml", "a: y"), NoSchemas: true}), nil)
	plantest.WantStrings(t, "off, and broken", plan(Layer{Name: "top", Newest: snapshot("t1", "m.schema.json", "{", "m.yaml", "a: y"), NoSchemas: true}), nil)
	plantest.WantStrings(t, "off, and referred to", plan(Layer{Name: "top", Newest: snapshot("t1", "m.schema.json", `{"$ref": "n.schema.json"}`)},
		Layer{Name: "off", Newest: snapshot("t1", "n.schema.json", "{}"), NoSchemas: true}), []string{
		"top: m.schema.json:1:10: n.schema.json can't be used: there is no such file in the source; correct the path",
	})
	plantest.WantStrings(t, "without a config", plan(Layer{Name: "top", Newest: snapshot("t1", "m.yaml", "~", "n.schema.json", "{}")}), []string{
		"top: n.schema.json: warning: there is no config n for this schema, and no schema refers to it; rename or remove it",
	})
	plantest.WantStrings(t, "missing keys", plan(Layer{Name: "top", Newest: snapshot("t1", "m.yaml", "a: ~\nb: ~", "m.schema.json", `{"required": ["a"]}`)}), []string{
		`top: m.yaml:1:1: missing "a" (m.schema.json)`,
	})
	// With a prefix, a schema and what it refers to are below the prefix, too.
	team := Layer{Name: "team", Prefix: "team/", Newest: snapshot("t1", "m.yaml", "a: 1\nb: x", "m.schema.json", number, "types.json", types, "n.schema.json", `{"$ref": "../types.json#/b"}`, "n.yaml", "{}")}
	plantest.WantStrings(t, "prefix", plan(team), []string{
		ours,
		"team: m.yaml:2:4: b: got string, want number (team/types.json#/b)",
		"team: n.yaml:1:1: got object, want number (types.json#/b)",
	})
	plantest.WantStrings(t, "a schema over a prefix", plan(team, Layer{Name: "top", Newest: snapshot("t1", "m.schema.json", "{}", "team/m.schema.json", "{}", "team/n.yaml", "~")}), nil)
}

// TestWorkOfLayers: one changed file makes its own config anew, and no other.
func TestWorkOfLayers(t *testing.T) {
	m := New(Options{})
	base := snapshot("b1", "a.yaml", "a: 1", "b.yaml", "b: 1", "c.yaml", "c: 1", "c.schema.json", "{}")
	top := snapshot("t1", "a.yaml", "x: 1", "b.yaml", "y: 1", "d.yaml", "d: 1")
	sections := func() map[string]any {
		list := map[string]any{}
		for _, c := range make1(t, m, Layer{Name: "base", Newest: base}, Layer{Name: "top", Newest: top}).Configs {
			list[c.Name] = c.Section
		}
		return list
	}
	before := sections()
	for i, step := range []struct {
		base, top []string
		changed   string
	}{
		{nil, nil, ""},
		{[]string{"a.yaml", "a: 2"}, nil, "a"},
		{nil, []string{"b.yaml", "y: 2"}, "b"},
		{nil, []string{"d.yaml", "d: 2"}, "d"},
		{[]string{"c.schema.json", "true"}, nil, ""},
		{nil, []string{"c.schema.json", "{}"}, ""},
		{nil, []string{"a.yaml", ""}, "a"},
		{[]string{"a.yaml", ""}, []string{"a.yaml", "x: 1"}, "a"},
	} {
		base, top = changed(base, fmt.Sprint("b", i), step.base...), changed(top, fmt.Sprint("t", i), step.top...)
		after := sections()
		for name, s := range after {
			if (s != before[name]) != (name == step.changed) {
				t.Errorf("step %d: %s: made anew: %v", i, name, s != before[name])
			}
		}
		before = after
	}
}

// TestLayersOfMany: what is kept of a config does not hold on to that of others, and
// layers that are gone are forgotten.
func TestLayersOfMany(t *testing.T) {
	m := New(Options{AllowEmpty: true})
	layers := make([]Layer, 100)
	for i := range layers {
		layers[i] = Layer{Name: fmt.Sprint("l", i), Newest: snapshot("v", "a.yaml", fmt.Sprintf("k%d: %d\nlast: %[1]d", i, i), fmt.Sprintf("b%d.yaml", i), "b: 1")}
	}
	p := make1(t, m, layers...)
	if len(p.Configs) != 101 || !strings.Contains(string(p.Configs[0].Section.Content()), `"k99":99,"last":99`) {
		t.Errorf("%d configs, the first %s", len(p.Configs), p.Configs[0].Section.Content())
	}
	if parts := m.layers["l99"].views[0].configs[0].combo.parts; cap(parts) > 2*100 {
		t.Errorf("a config keeps %d parts", cap(parts))
	}
	make1(t, m, layers[0])
	if len(m.layers) != 1 {
		t.Errorf("%d layers are kept", len(m.layers))
	}
	if p := make1(t, m); p.Refused() || p.Version != "" {
		t.Errorf("no layers: %v", p.Err())
	}
	// The lowest layer is another one now: null is no document of it.
	layers[1].Newest = snapshot("v", "a.yaml", "~")
	if p := make1(t, m, layers[0], layers[1]); p.Refused() {
		t.Error(p.Err())
	}
	if p := make1(t, m, layers[1]); !p.Refused() {
		t.Error("null is a document of the lowest layer")
	}
	if p := make1(t, m, layers[1], layers[1]); !p.Refused() || !strings.Contains(p.Err().Error(), "two layers are named l1") {
		t.Errorf("two layers of one name: %v", p.Err())
	}
}

func TestEmpty(t *testing.T) {
	const empty = "no config is left; an empty result is taken for a mistake unless --allow-empty is given"
	one := []Layer{{Name: "base", Newest: snapshot("b1", "a.yaml", "a: 1")}, {Name: "top", Newest: snapshot("t1", "a.yaml", "~")}}
	plantest.WantStrings(t, "two layers", inLayers(make1(t, New(Options{}), one...).Problems), []string{empty})
	plantest.WantStrings(t, "allowed", inLayers(make1(t, New(Options{AllowEmpty: true}), one...).Problems), nil)
	plantest.WantStrings(t, "one layer", inLayers(make1(t, New(Options{}), Layer{Name: "base", Newest: snapshot("b1", "README", "x")}).Problems), []string{empty})
	if p := make1(t, New(Options{AllowEmpty: true}), one...); p.Configs == nil {
		t.Error("a plan that is empty on purpose has no configs")
	}
}

// abandoned is a context that is done after so many looks at it.
type abandoned struct {
	context.Context
	looks int
}

func (a *abandoned) Err() error {
	if a.looks--; a.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestAbandoned ends Make between any two files. What it decoded it keeps, so that
// repeating it gets to the end.
func TestAbandoned(t *testing.T) {
	layers := []Layer{
		{Name: "base", Newest: snapshot("b1", "a.yaml", "a: 1", "a.schema.json", "{}", "b.yaml", "b: 1", "c.json", "{", "c.yaml", "c: 1"), Accepted: snapshot("b0", "d.yaml", "d: 1", "e.yaml", "e: 1")},
		{Name: "top", Newest: snapshot("t1", "a.yaml", "x: 1", "f.yaml", "f: 1")},
	}
	want := make1(t, New(Options{}), layers...)
	m := New(Options{})
	for tries := 1; ; tries++ {
		p, err := m.Make(&abandoned{t.Context(), 1}, layers)
		if err == nil {
			plantest.WantStrings(t, "configs", contents(p), contents(want))
			plantest.WantStrings(t, "why", inLayers(p.Layers[0].Problems), inLayers(want.Layers[0].Problems))
			if left := m.Memory(layers); tries < 5 || left != 0 {
				t.Errorf("it took %d tries, and %d bytes are left to decode", tries, left)
			}
			return
		}
		if !errors.Is(err, context.Canceled) || p != nil {
			t.Fatal(p, err)
		}
		if tries > 100 {
			t.Fatal("it does not get on")
		}
	}
}

// TestProgress asks for it while Make runs. The race detector looks on.
func TestProgress(t *testing.T) {
	m := New(Options{})
	layers := []Layer{{Name: "base", Newest: &source.Snapshot{Version: "b1", Files: many(2000)}}}
	var total int64
	for _, f := range layers[0].Newest.Files {
		total += int64(len(f.Data))
	}
	done := make(chan struct{})
	var plan *Plan
	var group sync.WaitGroup
	group.Go(func() {
		defer close(done)
		plan = make1(t, m, layers...)
	})
	var last int64
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		file, n, all := m.Progress()
		if n < last || n > all || all != 0 && all != total || file != "" && !strings.HasSuffix(file, ".yaml") {
			t.Fatalf("%s: %d of %d bytes, after %d", file, n, all, last)
		}
		last = n
		if origins, err := New(Options{}).Make(context.Background(), nil); err != nil || origins == nil {
			t.Fatal(err)
		}
	}
	group.Wait()
	if file, n, all := m.Progress(); file != "" || n != total || all != total || len(plan.Configs) != 2000 {
		t.Errorf("at the end: %q, %d of %d bytes, %d configs", file, n, all, len(plan.Configs))
	}
}

// TestStepsOfAll: the sum of all steps is bounded, and the verdict is the same for a
// Maker that knows the configs already, and with any order of arrival.
func TestStepsOfAll(t *testing.T) {
	defer func(usual int64) { schema.MaxSteps = usual }(schema.MaxSteps)
	schema.MaxSteps = 1000
	var files []string
	for i := range 30 {
		n := 250
		if i == 7 {
			n = 270
		}
		files = append(files, fmt.Sprintf("m%02d.json", i), "["+plantest.Repeated(n, "%")+"]", fmt.Sprintf("m%02d.schema.json", i), `{"items": {"type": "integer"}}`)
	}
	all := snapshot("v1", files...)
	fresh := make1(t, New(Options{}), Layer{Name: "base", Newest: all})
	if len(fresh.Problems) != 1 || fresh.Problems[0].File != "m07.json" || !strings.Contains(fresh.Problems[0].What, "more than 20000 steps, and the config m07 with ") {
		t.Fatalf("problems: %q", inLayers(fresh.Problems))
	}
	m := New(Options{})
	for n := 2; n <= len(all.Files); n += 8 { // the last first
		p := make1(t, m, Layer{Name: "base", Newest: &source.Snapshot{Version: "v", Files: all.Files[len(all.Files)-n:]}})
		if n < 30 && p.Refused() {
			t.Fatal(p.Err())
		}
	}
	for range 2 {
		plantest.WantStrings(t, "problems", inLayers(make1(t, m, Layer{Name: "base", Newest: all}).Problems), inLayers(fresh.Problems))
	}
	// Fewer files are fine again, and each of them is checked.
	bad := changed(&source.Snapshot{Files: all.Files[:20]}, "v2", "m00.json", `["x"]`)
	plantest.WantStrings(t, "problems", inLayers(make1(t, m, Layer{Name: "base", Newest: bad}).Problems), []string{
		"base: m00.json:1:2: 0: got string, want integer (m00.schema.json#/items)",
	})
}

// TestMemoryOfAll: what all files would take is bounded, and nothing is decoded if it
// is more.
func TestMemoryOfAll(t *testing.T) {
	data := make([]byte, 64<<20)
	files := make([]*source.File, 12)
	for i := range files {
		files[i] = &source.File{Path: fmt.Sprintf("%02d.bin", i), Data: data}
	}
	m := New(Options{Opaque: []string{"*.bin"}})
	p := make1(t, m, Layer{Name: "base", Newest: &source.Snapshot{Version: "v", Files: files}}, Layer{Name: "top", Newest: snapshot("t", "x.yaml", "[")})
	plantest.WantStrings(t, "problems", inLayers(p.Problems), []string{
		"decoding all files takes about 4608 MiB of memory, and at most 4096 MiB are allowed; split the large ones, or make them opaque configs",
	})
	if m.layers["base"].views[0].configs[0].read {
		t.Error("a file was decoded")
	}
}

func TestOrigins(t *testing.T) {
	p := make1(t, New(Options{Opaque: []string{"*.bin"}}),
		Layer{Name: "base", Newest: snapshot("b1", "m.yaml", "a: 1\nb: {c: 1}", "m.schema.json", "{}", "o.bin", "x", "q.bin", "q")},
		Layer{Name: "mid", Newest: snapshot("m2", "m.json", `{"b": {"c": null}}`, "bad.json", "{"), Accepted: snapshot("m1", "m.json", `{"b": {"c": null}}`)},
		Layer{Name: "top", Newest: snapshot("t1", "m.toml", "a = 2", "o.bin", "y", "q.yaml", "~")},
		Layer{Name: "last", Newest: snapshot("l1", "q.yaml", "a: 1")},
	)
	if p.Refused() {
		t.Fatal(p.Err())
	}
	for _, s := range []struct {
		name, key string
		want      []string
	}{
		{"m", "a", []string{`top t1 m.toml:1:5 2 base/m.schema.json`, `base b1 m.yaml:1:4 1 base/m.schema.json`}},
		{"m", "b.c", []string{`mid m1 m.json:1:13 deleted base/m.schema.json`, `base b1 m.yaml:2:8 1 base/m.schema.json`}},
		{"o", "", []string{"top t1 o.bin:0:0 opaque /", "base b1 o.bin:0:0 opaque /"}},
		{"q", "", []string{`last l1 q.yaml:1:1 {"a":1} /`, "top t1 q.yaml:1:1 deleted /", "base b1 q.bin:0:0 opaque /"}},
		{"q", "a", []string{"last l1 q.yaml:1:4 1 /"}},
		{"m", "z", []string{"no layer has the key z of the config m"}},
		{"o", "z", []string{"the config o is opaque, and has no keys"}},
		{"n", "z", []string{"no layer has the config n"}},
	} {
		origins, err := p.Origins(s.name, s.key)
		var got []string
		for _, o := range origins {
			value := o.Value
			if o.Deleted {
				value = "deleted"
			} else if o.Opaque {
				value = "opaque"
			}
			got = append(got, fmt.Sprintf("%s %s %s:%d:%d %s %s/%s", o.Layer, o.Version, o.File, o.Line, o.Column, value, o.SchemaLayer, o.SchemaFile))
		}
		if err != nil {
			got = append(got, err.Error())
		}
		plantest.WantStrings(t, s.name+" "+s.key, got, s.want)
	}
}

// TestOriginsWhileMaking asks a plan while the next one is made. The race detector
// looks on.
func TestOriginsWhileMaking(t *testing.T) {
	m := New(Options{})
	base, top := snapshot("b1", "m.yaml", "a: 1", "m.schema.json", "{}"), snapshot("t1", "m.yaml", "a: 2")
	p := make1(t, m, Layer{Name: "base", Newest: base}, Layer{Name: "top", Newest: top})
	var group sync.WaitGroup
	group.Go(func() {
		for i := range 200 {
			make1(t, m, Layer{Name: "base", Newest: base}, Layer{Name: "top", Newest: changed(top, "t", "m.yaml", fmt.Sprint("a: ", i))})
			make1(t, m, Layer{Name: "base", Newest: base})
		}
	})
	for range 200 {
		origins, err := p.Origins("m", "a")
		if err != nil || len(origins) != 2 || origins[0].Value != "2" || origins[0].Version != "t1" {
			t.Fatal(origins, err)
		}
	}
	group.Wait()
}
