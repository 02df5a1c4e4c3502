//go:build unix

package daemon

import (
	"fmt"
	"regexp"
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
			list = append(list, &plan.Problem{File: fmt.Sprintf("%d.yaml", i), What: strings.Repeat("x", 100), Plain: "no"})
		}
		return list
	}
	refused := func(n int) *refusal { return invalid(&plan.Plan{Version: "revision", Problems: problems(n)}) }
	f := refused(50_000)
	if len(f.problems) != maxLines || f.count != 50_000 || !strings.Contains(f.String(), "and 49999 more") {
		t.Errorf("it has %d problems of %d: %v", len(f.problems), f.count, f)
	}
	if place := f.place(); !strings.Contains(place, "0.yaml") || strings.Contains(place, "xxx") || !strings.Contains(place, "and 49999 more") {
		t.Errorf("its place is %s", place)
	}
	if len(f.key) > maxLines*200 {
		t.Errorf("its key has %d bytes", len(f.key))
	}
	if refused(50_000).key != f.key {
		t.Error("the same problems are new")
	}
	if refused(49_999).key == f.key {
		t.Error("one problem less is nothing new")
	}
}

// Values of configs are in the region's status, which only its readers see. They are in
// no other place unless they were asked for.
func TestLogQuotesNoValues(t *testing.T) {
	t.Parallel()
	for _, values := range []bool{false, true} {
		s := newSetupBeside(t)
		s.opt.LogValues = values
		s.put("a.schema.json", `{"properties": {"p": {"pattern": "^x"}, "n": {"maximum": 5}, "m": {"format": "email"}}, "$schema": "http://json-schema.org/draft-07/schema#"}`)
		s.put("a.yaml", "p: S3cret-a\nn: 987654321\nm: S3cret-b\n")
		s.put("b.yaml", "n: 99999999999999999999987654321\n")
		s.put("c.json", `{"n": 0987654321}`)
		d := s.run()
		await(t, "the refusal", func() bool { return d.State().Problem != "" })
		d.stop(t)
		secret := regexp.MustCompile(`S3cret|987654321`)
		if shown := secret.MatchString(s.journal.String()); shown != values {
			t.Errorf("values %v: the log is\n%s", values, s.journal)
		}
		if n := len(s.journal.find("refused")); n != 3+2 {
			t.Errorf("%d refusals", n)
		}
		if !secret.MatchString(d.State().Problem) || secret.MatchString(d.State().Place) || !strings.Contains(d.State().Place, "a.yaml:") {
			t.Errorf("%q and %q", d.State().Problem, d.State().Place)
		}
	}
}
