//go:build unix

package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
)

// A revision may have a problem in each of 50,000 files. What a refusal remembers
// of it is bounded, and whether it is new is still decided by all of it.
func TestRefusalOfManyProblemsIsBounded(t *testing.T) {
	t.Parallel()
	problems := func(n int) []*plan.Problem {
		var list []*plan.Problem
		for i := range n {
			list = append(list, &plan.Problem{File: fmt.Sprintf("%d.yaml", i), What: strings.Repeat("x", 100)})
		}
		return list
	}
	f := invalid("revision", problems(50_000))
	if len(f.problems) != maxLines || f.count != 50_000 || !strings.Contains(f.String(), "and 49999 more") {
		t.Errorf("it has %d problems of %d: %v", len(f.problems), f.count, f)
	}
	if place := f.place(); !strings.Contains(place, "0.yaml") || strings.Contains(place, "xxx") || !strings.Contains(place, "and 49999 more") {
		t.Errorf("its place is %s", place)
	}
	if len(f.key) > maxLines*200 {
		t.Errorf("its key has %d bytes", len(f.key))
	}
	if invalid("revision", problems(50_000)).key != f.key {
		t.Error("the same problems are new")
	}
	if invalid("revision", problems(49_999)).key == f.key {
		t.Error("one problem less is nothing new")
	}
}
