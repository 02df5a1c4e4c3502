package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// contentsOfFiles are what a file of TestPure may have: good and bad, of all that
// can be wrong alone and together.
var contentsOfFiles = map[string][]string{
	"a.yaml":        {"a: 1", "a: {b: 1, c: x}", "a: ~", "~", "[1]", "a: [1", "A: 1\na: 2"},
	"a.json":        {`{"a":{"b":2}}`, "{", `{"a":{"c":null}}`},
	"b.yaml":        {"x: 1", "x: word", "~", "x: {y: {z: 1}}"},
	"b.bin":         {"bytes", "other bytes"},
	"c.toml":        {"x = 1", "x = 'word'", "x ="},
	"a.schema.json": {"{}", `{"properties":{"a":{"type":"object"}}}`, `{"$ref":"t.json#/t"}`, "{", `{"type":1}`},
	"c.schema.json": {`{"$ref":"t.json#/t"}`, `{"$ref":"d.schema.json"}`},
	"d.schema.json": {"{}", `{"required":["y"]}`},
	"t.json":        {`{"t":{}}`, `{"t":{"required":["y"]}}`, `{"u":1}`},
	"team/a.yaml":   {"a: {b: 5}", "~"},
	"README":        {"text"},
}

// TestPure makes plans of layers that change at random with one Maker, and says that
// each is what a Maker without memory makes of the same layers.
func TestPure(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	paths := make([]string, 0, len(contentsOfFiles))
	for path := range contentsOfFiles {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	options := Options{Opaque: []string{"*.bin"}}
	m := New(options)
	layers := []Layer{{Name: "base"}, {Name: "team", Prefix: "team/"}, {Name: "top"}}
	for i := range layers {
		layers[i].Newest = &source.Snapshot{Version: "0"}
	}
	var refused, fell, made int
	steps := shmtest.Times(3000, 500)
	for step := range steps {
		l := &layers[r.IntN(len(layers))]
		switch r.IntN(20) {
		case 0:
			l.NoSchemas = !l.NoSchemas
		case 1:
			l.Accepted = nil
		case 2:
			l.Newest = l.Accepted
		default:
			path := paths[r.IntN(len(paths))]
			text := ""
			if all := contentsOfFiles[path]; r.IntN(3) > 0 {
				text = all[r.IntN(len(all))]
			}
			l.Newest = changed(l.Newest, fmt.Sprint(step), path, text)
		}
		if l.Newest == nil {
			l.Newest = &source.Snapshot{Version: fmt.Sprint(step)}
		}
		stack := layers[:1+r.IntN(len(layers))]
		if r.IntN(10) > 0 {
			stack = layers
		}
		got, want := make1(t, m, stack...), make1(t, New(options), stack...)
		what := fmt.Sprintf("seed %d, step %d: ", seed, step)
		plantest.WantStrings(t, what+"problems", inLayers(got.Problems), inLayers(want.Problems))
		plantest.WantStrings(t, what+"configs", contents(got), contents(want))
		for i := range stack {
			a, b := got.Layers[i], want.Layers[i]
			plantest.WantStrings(t, what+"why", inLayers(a.Problems), inLayers(b.Problems))
			if a.Snapshot != b.Snapshot || a.Count != b.Count {
				t.Errorf("%sused %+v, want %+v", what, a, b)
			}
			if a.Snapshot != stack[i].Newest {
				fell++
			}
			if !got.Refused() {
				stack[i].Accepted = a.Snapshot
			}
		}
		if t.Failed() {
			t.FailNow()
		}
		if left := m.Memory(stack); left != 0 {
			t.Fatalf("%s%d bytes are left to decode", what, left)
		}
		if got.Refused() {
			refused++
		} else {
			made++
		}
	}
	t.Logf("%d plans, %d refused, %d layers fell back", made, refused, fell)
	if enough := steps / 30; made < enough || refused < enough || fell < enough {
		t.Error("the changes are not what they should be")
	}
}

// FuzzLayers merges three files of any content, and says that what comes out of them
// is a config or a problem of one of the three; and that a Maker that has seen the
// lower ones makes the same of it.
func FuzzLayers(f *testing.F) {
	for _, texts := range [][3]string{
		{"a: 1", `{"a":null}`, "a = 2"},
		{"a: {b: [1]}", `{"a":{"b":{}}}`, "a.b = 1"},
		{"a.b: 1", `{"a":{"b":2}}`, "A = 1"},
		{"[1]", "null", "x = 1"},
		{"a: &x {b: 1}\nc: *x", `{"c":{"b":null}}`, "[c]\nd = 1"},
		{"a: 1", "[]", ""},
	} {
		f.Add([]byte(texts[0]), []byte(texts[1]), []byte(texts[2]))
	}
	f.Fuzz(func(t *testing.T, low, middle, high []byte) {
		layers := []Layer{
			{Name: "low", Newest: &source.Snapshot{Files: []*source.File{{Path: "c.yaml", Data: low}}}},
			{Name: "middle", Newest: &source.Snapshot{Files: []*source.File{{Path: "c.json", Data: middle}}}},
			{Name: "high", Newest: &source.Snapshot{Files: []*source.File{{Path: "c.toml", Data: high}}}},
		}
		files := map[string]string{"low": "c.yaml", "middle": "c.json", "high": "c.toml"}
		p := make1(t, New(Options{AllowEmpty: true}), layers...)
		for _, problem := range p.Problems {
			if files[problem.Layer] != problem.File || problem.File == "" || plain.Text(problem.Error()) != problem.Error() {
				t.Errorf("problem %q", problem.InLayer())
			}
		}
		m := New(Options{AllowEmpty: true})
		make1(t, m, layers[:1]...)
		make1(t, m, layers[:2]...)
		again := make1(t, m, layers...)
		plantest.WantStrings(t, "problems", inLayers(again.Problems), inLayers(p.Problems))
		plantest.WantStrings(t, "configs", contents(again), contents(p))
		for _, c := range p.Configs {
			if origins, err := p.Origins(c.Name, ""); err != nil || len(origins) == 0 || origins[0].Deleted {
				t.Errorf("%s comes from %v, %v", c.Name, origins, err)
			}
			asked := 0
			for key := range c.Section.All() {
				if asked++; asked > 10 {
					break // each reads the files again
				}
				if origins, err := p.Origins(c.Name, key); err != nil || origins[0].Deleted {
					t.Errorf("%s comes from %v, %v", key, origins, err)
				}
			}
		}
	})
}

// TestGuarded is about a bug of merging, or of building a config.
func TestGuarded(t *testing.T) {
	r := tree.NewReport("base", "a.yaml")
	guarded(r, &tree.Node{}, "merging", func() { panic("oops") })
	plantest.WantStrings(t, "problems", inLayers(r.Done()), []string{"base: a.yaml: merging failed (oops); please report this with the file"})
}
