//go:build unix

package daemon

import (
	"fmt"
	"testing"

	"github.com/statesync/statesync/shm/image"
)

// imageOf is an image of documents whose content is their number.
func imageOf(t *testing.T, g uint64, configs map[string]int) *image.Image {
	t.Helper()
	var sections []*image.Section
	for name, n := range configs {
		s, err := image.NewDocument(name, fmt.Appendf(nil, `{"n":%d}`, n))
		if err != nil {
			t.Fatal(err)
		}
		sections = append(sections, s)
	}
	m, err := image.Build(g, "test", sections, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestChangesOfAPublication(t *testing.T) {
	t.Parallel()
	many := map[string]int{}
	for i := range 20 {
		many[fmt.Sprintf("c%02d", i)] = i
	}
	for _, c := range []struct {
		before, now map[string]int
		want        string
	}{
		{nil, map[string]int{"a": 1, "b": 1}, "[added 2 changed 0 removed 0 names a, b] INFO"},
		{map[string]int{"a": 1, "b": 1}, map[string]int{"a": 1, "b": 1}, "[added 0 changed 0 removed 0 names ] INFO"},
		{map[string]int{"a": 1, "c": 1, "d": 1}, map[string]int{"a": 2, "b": 1, "d": 1}, "[added 1 changed 1 removed 1 names a, b, c] WARN"},
		{map[string]int{"a": 1, "z": 1}, map[string]int{}, "[added 0 changed 0 removed 2 names a, z] WARN"},
		{many, map[string]int{}, "[added 0 changed 0 removed 20 names c00, c01, c02, c03, c04, c05, c06, c07, c08, c09, …] WARN"},
	} {
		var before *image.Image
		if c.before != nil {
			before = imageOf(t, 1, c.before)
		}
		what := changesBetween(sectionsOf(before), sectionsOf(imageOf(t, 2, c.now)))
		if got := fmt.Sprint(what.attributes(), " ", what.level()); got != c.want {
			t.Errorf("from %v to %v: %s, and %s was expected", c.before, c.now, got, c.want)
		}
	}
}
