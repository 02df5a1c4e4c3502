package diff

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm/image"
)

func sections(t *testing.T, configs map[string]string) (list []*image.Section) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		text, opaque := strings.CutPrefix(configs[name], "opaque ")
		var s *image.Section
		canonical, err := image.Canonical([]byte(text))
		if opaque {
			s, err = image.NewOpaque(name, []byte(text))
		} else if err == nil {
			s, err = image.NewDocument(name, canonical)
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

func text(d *Diff) string {
	var b strings.Builder
	for _, c := range d.Configs {
		fmt.Fprintf(&b, "%s %s:", c.What, c.Name)
		for _, k := range c.Keys {
			fmt.Fprintf(&b, " %s %s(%s>%s)", k.What, k.Key, k.Before, k.After)
		}
		b.WriteString("; ")
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestBetween(t *testing.T) {
	t.Parallel()
	type configs = map[string]string
	for _, c := range []struct {
		before, after configs
		want          string
	}{
		{nil, nil, ""},
		{configs{"a": `{"x": 1}`}, configs{"a": `{"x": 1}`}, ""},
		{nil, configs{"a": `{"x": {"y": 1}}`}, "added a: added x.y(>1)"},
		{configs{"a": `{"x": 1}`}, nil, "removed a: removed x(1>)"},
		{configs{"a": `{"x": 1, "y": {"z": "s"}, "w": 0}`}, configs{"a": `{"x": 2, "y": {"z": "s", "n": null}}`}, "changed a: changed x(1>2) added y.n(>null) removed w(0>)"},
		{configs{"a": `{"x": 1}`}, configs{"a": `{"x": {"y": 1}}`}, "changed a: added x.y(>1) removed x(1>)"},
		{configs{"a": `{"x": {}}`}, configs{"a": `{"x": []}`}, "changed a: changed x({}>[])"},
		{configs{"a": `{"l": [1, 2]}`}, configs{"a": `{"l": [1]}`}, "changed a: removed l.1(2>)"},
		{configs{"a": `opaque x`}, configs{"a": `opaque y`}, "changed a: changed (>)"},
		{configs{"a": `{"x": 1}`, "c": `{"x": 1}`}, configs{"b": `{"x": 1}`, "c": `{"x": 2}`}, "removed a: removed x(1>); added b: added x(>1); changed c: changed x(1>2)"},
	} {
		if got := text(Between(sections(t, c.before), sections(t, c.after))); got != c.want {
			t.Errorf("from %v to %v: %q, want %q", c.before, c.after, got, c.want)
		}
	}
}

func TestBetweenIsBounded(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range 3 {
		many[fmt.Sprint("c", i)] = "{" + numbered(Limit) + "}"
	}
	d := Between(nil, sections(t, many))
	if d.Added != 3 || d.Keys != 3*Limit || d.Listed != Limit || len(d.Configs) != 3 || len(d.Configs[2].Keys) != 0 {
		t.Errorf("%d added, %d keys, %d listed", d.Added, d.Keys, d.Listed)
	}
}

func numbered(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf(`"k%d": %d`, i, i))
	}
	return strings.Join(parts, ",")
}
