package layer_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/layer"
	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

// documents reads documents, which are those of the layers l0, l1 and so on: JSON if
// they begin with a quoted key, else YAML.
func documents(t testing.TB, texts ...string) (*tree.Report, []*tree.Node) {
	t.Helper()
	r, docs := &tree.Report{}, make([]*tree.Node, len(texts))
	for i, text := range texts {
		file := "c.yaml"
		if strings.HasPrefix(text, `{"`) {
			file = "c.json"
		}
		r.Docs = append(r.Docs, tree.Doc{Layer: fmt.Sprint("l", i), File: file})
		docs[i] = decode.Config(r, decode.Source{Path: file, Data: []byte(text), Doc: uint16(i)}, true)
		if docs[i] == nil {
			t.Fatal(plantest.Messages(r.Done()))
		}
	}
	return r, docs
}

func messages(problems []*tree.Problem) (list []string) {
	for _, p := range problems {
		list = append(list, p.InLayer())
	}
	return list
}

// merged is what documents come to, as canonical JSON.
func merged(t testing.TB, texts ...string) (string, []string) {
	t.Helper()
	r, docs := documents(t, texts...)
	root := layer.Merge(r, docs)
	if root == nil {
		return "", messages(r.Done())
	}
	return string(root.AppendCanonical(nil)), messages(r.Done())
}

func TestMerge(t *testing.T) {
	const nothing = "null removes the config, but no layer below has it; remove the file"
	for name, s := range map[string]struct {
		docs     []string
		want     string
		problems []string
	}{
		"mappings by key":            {docs: []string{"a: {x: 1, y: 1}\nb: 1", "a: {y: 2, z: 2}\nc: 2"}, want: `{"a":{"x":1,"y":2,"z":2},"b":1,"c":2}`},
		"lists replace":              {docs: []string{"a: [1, 2, 3]", "a: [4]"}, want: `{"a":[4]}`},
		"a list at the top":          {docs: []string{"[1, 2]", "[{a: ~}]"}, want: `[{"a":null}]`},
		"mappings in lists":          {docs: []string{"a: [{x: 1}]", "a: [{y: 2}]"}, want: `{"a":[{"y":2}]}`},
		"scalars replace":            {docs: []string{"a: 1", "a: word"}, want: `{"a":"word"}`},
		"null alone":                 {docs: []string{"a: ~\nb: {c: ~}"}, want: `{"a":null,"b":{"c":null}}`},
		"null deletes":               {docs: []string{"a: {x: 1, y: 2}\nb: [1]\nc: 1", "a: {x: ~}\nb: ~\nc: ~"}, want: `{"a":{"y":2}}`},
		"null over nothing":          {docs: []string{"a: 1", "b: ~\nc: {d: ~}"}, want: `{"a":1,"b":null,"c":{"d":null}}`},
		"null over null":             {docs: []string{"a: ~\nb: 1", "a: ~"}, want: `{"b":1}`},
		"null over what was deleted": {docs: []string{"a: 1\nb: 1", "a: ~", "a: ~"}, want: `{"b":1}`},
		"value over null":            {docs: []string{"a: ~", "a: {x: 1}"}, want: `{"a":{"x":1}}`},
		"mapping over what was deleted": {
			docs: []string{"a: {x: 1}", "a: ~", "a: {y: ~, z: 1}"}, want: `{"a":{"y":null,"z":1}}`,
		},
		"list over what was a mapping":  {docs: []string{"a: {x: 1}", "a: ~", "a: [1]"}, want: `{"a":[1]}`},
		"an empty mapping":              {docs: []string{"a: {x: 1}", "a: {}"}, want: `{"a":{"x":1}}`},
		"nothing remains of a mapping":  {docs: []string{"a: {x: 1}", "a: {x: ~}"}, want: `{"a":{}}`},
		"null removes":                  {docs: []string{"a: 1", "~"}},
		"null removes what is not":      {docs: []string{"~", "~"}, problems: []string{"l0: c.yaml:1:1: warning: " + nothing}},
		"null below":                    {docs: []string{"~", "a: 1"}, want: `{"a":1}`, problems: []string{"l0: c.yaml:1:1: warning: " + nothing}},
		"a config over one that is not": {docs: []string{"a: 1", "~", "b: ~"}, want: `{"b":null}`},
		"mapping over scalar": {docs: []string{"x: 1\na: 1", "a:\n  b: 1"}, problems: []string{
			"l1: c.yaml:2:3: a: a mapping here, but a scalar at line 2, column 4 of c.yaml in the layer l0; make both of one kind",
		}},
		"all other kinds": {docs: []string{"{a: [1], b: {}, c: {}, d: 1}", "{a: {}, b: [], c: x, d: []}"}, problems: []string{
			"l1: c.yaml:1:5: a: a mapping here, but a list at line 1, column 5 of c.yaml in the layer l0; make both of one kind",
			"l1: c.yaml:1:12: b: a list here, but a mapping at line 1, column 13 of c.yaml in the layer l0; make both of one kind",
			"l1: c.yaml:1:19: c: a scalar here, but a mapping at line 1, column 20 of c.yaml in the layer l0; make both of one kind",
			"l1: c.yaml:1:25: d: a list here, but a scalar at line 1, column 27 of c.yaml in the layer l0; make both of one kind",
		}},
		"kinds at the top": {docs: []string{"[1]", "a: 1"}, problems: []string{
			"l1: c.yaml:1:1: a mapping here, but a list at line 1, column 1 of c.yaml in the layer l0; make both of one kind",
		}},
		"one dotted key": {docs: []string{"a: {b: 1}", "a.b: 2"}, problems: []string{
			"l1: c.yaml:1:1: a.b: another path joins to the same dotted key, at line 1, column 5 of c.yaml in the layer l0; rename one of the two keys",
		}},
		"case": {docs: []string{"a: {Elo: 1, x: 1, X: 1}", "a: {elo: 2}"}, want: `{"a":{"Elo":1,"X":1,"elo":2,"x":1}}`, problems: []string{
			`l0: c.yaml:1:19: warning: a.X: the key differs only in case from "x" at line 1, column 13, and encoding/json takes them for one; rename one of them`,
			`l1: c.yaml:1:5: warning: a.elo: the key differs only in case from "Elo" at line 1, column 5 of c.yaml in the layer l0, and encoding/json takes them for one; rename one of them`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := merged(t, s.docs...)
			plantest.WantStrings(t, "problems", problems, s.problems)
			if got != s.want {
				t.Errorf("merged to %s, want %s", got, s.want)
			}
		})
	}
}

// TestMergeBounds has documents that obey the bounds and do not together.
func TestMergeBounds(t *testing.T) {
	// These are too large for parsing them under the race detector.
	two := func(value func(doc uint16) *tree.Node) []string {
		r := &tree.Report{Docs: []tree.Doc{{Layer: "l0", File: "c.json"}, {Layer: "l1", File: "c.json"}}}
		docs := make([]*tree.Node, 2)
		for i, key := range []string{"a", "b"} {
			docs[i] = &tree.Node{Kind: tree.Map, Doc: uint16(i), Fields: []tree.Field{{Key: key, Value: value(uint16(i))}}}
		}
		layer.Merge(r, docs)
		return messages(r.Done())
	}
	plantest.WantStrings(t, "values", two(func(doc uint16) *tree.Node {
		items := make([]*tree.Node, 600_000)
		for i := range items {
			items[i] = &tree.Node{Doc: doc, At: tree.Pos{Line: int32(i + 1), Column: 1}}
		}
		return &tree.Node{Kind: tree.List, Doc: doc, Items: items}
	}), []string{
		"l1: c.json:399998:1: b.399997: with the layers below: more than 1000000 values, with aliases expanded; split the config, or make it an opaque one",
	})
	text := strings.Repeat("x", 40<<20)
	plantest.WantStrings(t, "text", two(func(doc uint16) *tree.Node {
		return &tree.Node{Kind: tree.String, Doc: doc, At: tree.Pos{Line: 1, Column: 6}, Text: text}
	}), []string{
		"l1: c.json:1:6: b: with the layers below: more than 64 MiB of keys and strings, with aliases expanded; split the config, or make it an opaque one",
	})
	long := func(key string) string {
		return `{"` + strings.Repeat("k", 1<<20) + `":{"` + key + `":[` + strings.Repeat("1,", 200) + "1]}}"
	}
	if _, problems := merged(t, long("a"), long("b")); len(problems) != 1 || !strings.Contains(problems[0], "dotted keys up to here take more than 256 MiB") {
		t.Errorf("dotted keys: %.300q", problems)
	}
	deep := strings.Repeat("{a: ", 100) + "%" + strings.Repeat("}", 100)
	if got, problems := merged(t, strings.ReplaceAll(deep, "%", "1"), strings.ReplaceAll(deep, "%", "2")); problems != nil || !strings.Contains(got, ":2}") {
		t.Errorf("as deep as allowed: %s, %q", got, problems)
	}
}

// TestMergeLeavesItsInput merges the same trees twice.
func TestMergeLeavesItsInput(t *testing.T) {
	r, docs := documents(t, "a: {x: 1, y: {z: 1}}", "a: {x: ~, y: {z: ~, w: 1}}", "a: {x: 2}")
	first := string(layer.Merge(r, docs).AppendCanonical(nil))
	if again := string(layer.Merge(r, docs).AppendCanonical(nil)); again != first {
		t.Errorf("merged to %s, and then to %s", first, again)
	}
}

// The model: the same rules over the values of encoding/json.

type tombstone struct{}

func isMap(v any) bool  { _, ok := v.(map[string]any); return ok }
func isList(v any) bool { _, ok := v.([]any); return ok }

// modelOver is high over low, with present false where there is nothing below.
func modelOver(low any, present bool, high any, conflict *bool) any {
	if !present {
		return high
	}
	if high == nil {
		return tombstone{}
	}
	if _, was := low.(tombstone); was || low == nil {
		return high
	}
	if isMap(low) != isMap(high) || isList(low) != isList(high) {
		*conflict = true
		return high
	}
	if !isMap(high) {
		return high
	}
	result := map[string]any{}
	for k, v := range low.(map[string]any) {
		result[k] = v
	}
	for k, v := range high.(map[string]any) {
		below, ok := result[k]
		result[k] = modelOver(below, ok, v, conflict)
	}
	return result
}

func withoutTombstones(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	result := map[string]any{}
	for k, v := range m {
		if _, gone := v.(tombstone); !gone {
			result[k] = withoutTombstones(v)
		}
	}
	return result
}

// model is what JSON texts come to: "" for nothing.
func model(t *testing.T, texts []string) (want string, conflict bool) {
	var result any
	for i, text := range texts {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if result = modelOver(result, i > 0, v, &conflict); i == 0 && v == nil {
			result = tombstone{} // of a document that is just null nothing remains
		}
	}
	if _, removed := result.(tombstone); removed || conflict {
		return "", conflict
	}
	text, err := json.Marshal(withoutTombstones(result))
	if err == nil {
		text, err = image.Canonical(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text), false
}

// random is a value; mostly a mapping near the top.
func random(r *rand.Rand, depth int) any {
	switch n := r.IntN(10); {
	case depth < 4 && n < 6:
		m := map[string]any{}
		for range r.IntN(4) {
			m[string(rune('a'+r.IntN(4)))] = random(r, depth+1)
		}
		return m
	case depth < 4 && n == 6:
		list := []any{}
		for range r.IntN(3) {
			list = append(list, random(r, depth+2))
		}
		return list
	case n < 8:
		return nil
	default:
		return r.IntN(100)
	}
}

// TestMergeModel merges random documents, and compares with the model. Of each value
// of the result it also asks where it comes from.
func TestMergeModel(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var conflicts, removed, whole, keys int
	for range 5000 {
		texts := make([]string, 1+r.IntN(4))
		for i := range texts {
			v := random(r, 0)
			for !isMap(v) && !isList(v) && (v != nil || i == 0) {
				v = random(r, 0)
			}
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = string(text)
		}
		want, conflict := model(t, texts)
		report, docs := documents(t, texts...)
		root := layer.Merge(report, docs)
		switch {
		case conflict:
			conflicts++
			if report.Errors() == 0 {
				t.Fatalf("seed %d: %q: no error", seed, texts)
			}
		case want == "":
			removed++
			if root != nil || report.Errors() > 0 {
				t.Fatalf("seed %d: %q: not removed: %q", seed, texts, messages(report.Done()))
			}
		case root == nil || string(root.AppendCanonical(nil)) != want:
			t.Fatalf("seed %d: %q merged to %v, %q, want %s", seed, texts, root, messages(report.Done()), want)
		default:
			whole++
			keys += checkWhy(t, docs, root, nil)
		}
	}
	t.Logf("%d conflicts, %d removed, %d merged, %d keys explained", conflicts, removed, whole, keys)
	if conflicts == 0 || removed == 0 || whole == 0 || keys == 0 {
		t.Error("the documents are not what they should be")
	}
}

// checkWhy says that what Why lets win is what the merged document has: of a
// mapping its place, of anything else the value itself. Of keys that the result
// does not have, nothing wins.
func checkWhy(t *testing.T, docs []*tree.Node, n *tree.Node, path []string) (keys int) {
	key := strings.Join(path, ".")
	origins := layer.Why(docs, key)
	if len(origins) == 0 || origins[0].Value == nil || origins[0].Place != n.Place() {
		t.Fatalf("%s is at %v, and comes from %v", key, n.Place(), origins)
	}
	if n.Kind != tree.Map && string(origins[0].Value.AppendCanonical(nil)) != string(n.AppendCanonical(nil)) {
		t.Fatalf("%s comes from %v", key, origins)
	}
	for i, o := range origins[1:] {
		if o.Place.Doc >= origins[i].Place.Doc {
			t.Fatalf("%s: not ordered: %v", key, origins)
		}
	}
	keys = 1
	if n.Kind == tree.Map {
		for _, missing := range []string{"a", "b", "c", "d"} {
			if n.Field(missing) != nil {
				continue
			}
			for i, o := range layer.Why(docs, strings.Join(append(path, missing), ".")) {
				if i == 0 && o.Value != nil {
					t.Fatalf("%s has no %s, but it comes from %v", key, missing, o.Place)
				}
			}
		}
		for _, f := range n.Fields {
			keys += checkWhy(t, docs, f.Value, append(path, f.Key))
		}
	}
	return keys
}

func TestWhy(t *testing.T) {
	for name, s := range map[string]struct {
		docs []string
		key  string
		want []string
	}{
		"winner and loser": {[]string{"a: {x: 1}", "b: 1", "a: {x: 2}"}, "a.x", []string{"l2:1:8 2", "l0:1:8 1"}},
		"a mapping":        {[]string{"a: {x: 1}", "a: {y: 2}"}, "a", []string{`l1:1:4 {"y":2}`, `l0:1:4 {"x":1}`}},
		"the whole":        {[]string{"a: 1", "b: 2"}, "", []string{`l1:1:1 {"b":2}`, `l0:1:1 {"a":1}`}},
		"deleted":          {[]string{"a: {x: 1}", "a: {x: ~}"}, "a.x", []string{"l1:1:8 deleted", "l0:1:8 1"}},
		"deleted above":    {[]string{"a: {x: 1}", "a: ~", "a: {y: 1}"}, "a.x", []string{"l1:1:4 deleted", "l0:1:8 1"}},
		"null":             {[]string{"b: 1", "a: ~"}, "a", []string{"l1:1:4 null"}},
		"null again":       {[]string{"a: {x: 1}", "a: ~", "a: {x: ~}"}, "a.x", []string{"l2:1:8 null", "l1:1:4 deleted", "l0:1:8 1"}},
		"removed":          {[]string{"a: 1", "~", "b: 1"}, "a", []string{"l1:1:1 deleted", "l0:1:4 1"}},
		"removed, whole":   {[]string{"a: 1", "~"}, "", []string{"l1:1:1 deleted", `l0:1:1 {"a":1}`}},
		"in a list":        {[]string{"a: [1, [2, 3]]", "a: [4, [~]]"}, "a.1.0", []string{"l1:1:9 null", "l0:1:9 2"}},
		"a shorter list":   {[]string{"a: [1, 2]", "a: [3]"}, "a.1", []string{"l1:1:4 deleted", "l0:1:8 2"}},
		"dots in keys":     {[]string{"a.b: {c.d: 1}", "a.b: {c: {d.e: 2}}"}, "a.b.c.d", []string{"l0:1:12 1"}},
		"no such key":      {[]string{"a: 1"}, "a.b", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, docs := documents(t, s.docs...)
			var got []string
			for _, o := range layer.Why(docs, s.key) {
				value := "deleted"
				if o.Value != nil {
					value = string(o.Value.AppendCanonical(nil))
				}
				got = append(got, fmt.Sprintf("%s:%d:%d %s", r.Docs[o.Place.Doc].Layer, o.Place.Line, o.Place.Column, value))
			}
			plantest.WantStrings(t, "origins", got, s.want)
		})
	}
}
