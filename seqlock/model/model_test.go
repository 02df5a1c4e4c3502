package model

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

var full = flag.Bool("full", false, "check the models for K = 2, 3 and 4 and every mutation, instead of K = 2 and the chief ones")

// searches are what the models are exhausted for. The first ones, of K = 2, are
// quick, and reach every statement of the models.
var searches = []search{
	{"ring", 2, "LAST=5 DEATHS=2 READERS=1", true, false},
	{"ring", 2, "LAST=3 DEATHS=1 READERS=2", true, false},
	{"ring", 2, "LAST=4 DEATHS=1 READERS=1 ARM64", true, false},
	{"notify", 2, "LAST=3 DEATHS=2 WAITERS=2 HOSTILE=1", true, false},
	{"retire", 2, "FILES=2 PUBLICATIONS=1 DEATHS=2 FOLLOWERS=1 REMOVALS=1", true, false},
	{"retire", 2, "FILES=2 PUBLICATIONS=3 DEATHS=1 FOLLOWERS=1", true, false},
}

// largeSearches are added by -full.
var largeSearches = []search{
	{"ring", 2, "LAST=4 DEATHS=2 READERS=2", false, false},
	{"ring", 2, "LAST=4 DEATHS=1 READERS=2 ARM64", false, false},
	{"ring", 3, "LAST=7 DEATHS=2 READERS=1", false, false},
	{"ring", 3, "LAST=5 DEATHS=1 READERS=2", false, false},
	{"ring", 3, "LAST=5 DEATHS=1 READERS=1 ARM64", false, false},
	{"ring", 4, "LAST=9 DEATHS=2 READERS=1", false, false},
	{"ring", 4, "LAST=6 DEATHS=1 READERS=2", false, false},
	{"ring", 4, "LAST=6 DEATHS=1 READERS=1 ARM64", false, false},
	{"notify", 2, "LAST=5 DEATHS=2 WAITERS=2 HOSTILE=2", false, false},
	{"notify", 2, "LAST=3 DEATHS=1 WAITERS=3 HOSTILE=1", false, false},
	{"notify", 3, "LAST=5 DEATHS=2 WAITERS=2 HOSTILE=2", false, false},
	{"notify", 4, "LAST=6 DEATHS=2 WAITERS=2 HOSTILE=2", false, false},
	{"retire", 2, "FILES=2 PUBLICATIONS=1 DEATHS=2 FOLLOWERS=2 REMOVALS=1", false, false},
	{"retire", 2, "FILES=3 PUBLICATIONS=2 DEATHS=1 FOLLOWERS=1 REMOVALS=2", false, false},
	{"retire", 3, "FILES=2 PUBLICATIONS=4 DEATHS=1 FOLLOWERS=2", false, false},
	{"retire", 3, "FILES=3 PUBLICATIONS=3 DEATHS=1 FOLLOWERS=1 REMOVALS=1", false, false},
	{"retire", 3, "FILES=3 PUBLICATIONS=1 DEATHS=2 FOLLOWERS=1 REMOVALS=1", false, false},
	{"retire", 4, "FILES=2 PUBLICATIONS=4 DEATHS=1 FOLLOWERS=2", false, false},
	{"retire", 4, "FILES=2 PUBLICATIONS=5 DEATHS=2 FOLLOWERS=1 REMOVALS=1", false, false},
	{"retire", 4, "FILES=3 PUBLICATIONS=4 DEATHS=1 FOLLOWERS=1", false, false},
}

// The promises, in pan's words. The models say what each means.
const (
	oneWholeGeneration = "accepted_one_whole_generation"
	currentWhole       = "current_slot_whole"
	goOn               = "successor_can_go_on"
	neverBackwards     = "never_backwards"
	inOnePass          = "done_in_one_pass"
	noDeadlock         = "invalid end state"

	seen       = "publication_or_attach_seen"
	lateByOne  = "late_by_one_wait_at_most"
	pathWhole  = "region_at_path_is_whole"
	retireEnds = "retired_is_final"
	withinID   = "never_backwards_within_id"
	atNewest   = "followers_at_newest"
	lateByTwo  = "late_by_two_waits_at_most"
)

// promises are all of each model.
var promises = map[string][]string{
	"ring":   {oneWholeGeneration, currentWhole, goOn, neverBackwards, inOnePass, noDeadlock},
	"notify": {seen, lateByOne, neverBackwards, noDeadlock},
	"retire": {pathWhole, retireEnds, withinID, atNewest, lateByTwo, noDeadlock},
}

// mutation is a mistake in the protocol, and promises that it breaks, whatever K is.
type mutation struct {
	what   string
	model  string
	macros string
	breaks []string
	chief  bool // checked without -full, too
}

var mutations = []mutation{
	{"the writer leaves out the odd sequence", "ring", "M_SKIP_ODD", []string{oneWholeGeneration}, true},
	{"the tail is punched before the sequence is odd", "ring", "M_PUNCH_EARLY", []string{oneWholeGeneration}, false},
	{"the hot word is published before the slot's words are", "ring", "M_COMMIT_EARLY", []string{currentWhole, inOnePass}, true},
	{"the hot word is published before the sequence is even", "ring", "M_COMMIT_BEFORE_COMPLETE", []string{currentWhole, inOnePass}, false},
	{"the writer reuses the current slot", "ring", "M_REUSE_CURRENT_SLOT", []string{currentWhole}, false},
	{"the reader forgets the second look", "ring", "M_NO_SECOND_LOOK", []string{oneWholeGeneration}, true},
	{"the reader only looks whether the sequence is even", "ring", "M_EVEN_ONLY", []string{oneWholeGeneration}, false},
	{"the reader waits until the slot is whole", "ring", "M_WAIT_FOR_WHOLE", []string{noDeadlock}, false},
	{"plain stores pass the release store before them, as on arm64", "ring", "ARM64 M_PLAIN_STORES", []string{oneWholeGeneration}, true},
	{"plain loads are made behind the second look, as on arm64", "ring", "M_PLAIN_LOADS", []string{oneWholeGeneration}, false},
	{"a successor republishes the current number with other content", "ring", "M_REPUBLISH", []string{currentWhole, oneWholeGeneration, inOnePass}, false},
	{"a jump onto the current slot, by K generations", "ring", "M_JUMP", []string{currentWhole, goOn, inOnePass}, true},
	{"a successor starts over with the first numbers", "ring", "M_START_OVER", []string{neverBackwards}, true},

	{"no wake at attach", "notify", "M_NO_WAKE_AT_ATTACH", []string{seen}, true},
	{"no wake at publish", "notify", "M_NO_WAKE_AT_PUBLISH", []string{seen}, false},
	{"the wake comes before the commit", "notify", "M_WAKE_BEFORE_COMMIT", []string{seen}, false},
	{"the waker forgets a commit that comes during a wake", "notify", "M_CLEAR_BEHIND_WAKE", []string{seen}, true},
	{"the wake is for one waiter", "notify", "M_WAKE_ONE", []string{seen}, false},
	{"the follower looks, and then sleeps without comparing", "notify", "M_COMPARE_APART", []string{seen}, false},
	{"the follower sleeps until another than the newest hot word", "notify", "M_EXPECT_NEWEST", []string{seen}, false},
	{"a successor starts over with the first numbers", "notify", "M_START_OVER", []string{neverBackwards}, false},
	{"the follower waits until the slot is whole", "notify", "M_WAIT_FOR_WHOLE", []string{noDeadlock}, false},
	{"an unbounded wait under a hostile requeue", "notify", "M_UNBOUNDED_WAIT DEATHS=0 HOSTILE=1", []string{lateByOne}, true},

	{"the old file is not retired", "retire", "M_NO_RETIRE", []string{atNewest}, false},
	{"no wake at retirement", "retire", "M_NO_WAKE_AT_RETIRE", []string{atNewest}, false},
	{"the wake comes before the retired bit", "retire", "M_WAKE_BEFORE_RETIRE", []string{atNewest}, false},
	{"the old file is retired after the rename", "retire", "M_RETIRE_AFTER_RENAME", []string{atNewest}, true},
	{"retirement clears the generation", "retire", "M_RETIRE_FORGETS", []string{pathWhole}, false},
	{"a successor continues in a retired file", "retire", "M_GO_ON_IN_RETIRED", []string{retireEnds}, true},
	{"the new file is renamed before its first image is whole", "retire", "M_RENAME_BEFORE_FILL", []string{pathWhole}, false},
	{"a successor renames the half file of a dead writer", "retire", "M_KEEP_TEMP", []string{pathWhole}, true},
	{"a region that grows starts over with the first numbers", "retire", "M_GROWTH_STARTS_OVER", []string{withinID}, true},
	{"a new region has the id of the old one", "retire", "M_SAME_ID", []string{withinID}, false},
	{"the follower looks at the path once, and sleeps on the retired word", "retire", "M_LOOK_ONCE", []string{atNewest}, false},
	{"the follower waits until the slot is whole", "retire", "M_WAIT_FOR_WHOLE", []string{noDeadlock}, false},
	{"the follower never looks at the path of a silent writer", "retire", "M_TRUST_THE_WORD REMOVALS=1", []string{lateByTwo}, false},
}

// TestModels exhausts each model within its bounds: no promise is broken, and
// every statement is reached, so that nothing holds for want of trying.
func TestModels(t *testing.T) {
	needSpin(t)
	todo := slices.Clone(searches)
	if *full {
		todo = append(todo, largeSearches...)
	}
	results := make([]found, len(todo))
	t.Run("search", func(t *testing.T) {
		for i, s := range todo {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				f, err := s.run(t)
				if err != nil {
					t.Fatal(err)
				}
				if f.broken != nil {
					t.Fatalf("%v: broken promise: %s; the end of the way to it:\n%s", s, f.broken, lastLines(f.trail, 80))
				}
				t.Logf("%v: %d states, depth %d, %v", s, f.states, f.depth, f.took)
				results[i] = f
			})
		}
	})
	if t.Failed() {
		return
	}
	for model := range promises {
		var never map[string]bool
		for i, s := range todo {
			switch {
			case s.model != model:
			case never == nil:
				never = results[i].unreached
			default:
				for statement := range never {
					if !results[i].unreached[statement] {
						delete(never, statement)
					}
				}
			}
		}
		for statement := range never {
			if !strings.HasSuffix(statement, `"-end-"`) { // of a process that continues for ever
				t.Errorf("no search comes to %s: the model does not show what it is there for", statement)
			}
		}
	}
	states := 0
	for _, f := range results {
		states += f.states
	}
	t.Logf("promise: the protocol hands over whole generations, and every sleeper sees the next | tried: %d searches of 3 models, %d states | lost: nothing",
		len(results), states)
	t.Log(table("model\tK\tbounds\tstates\tdepth\tseconds\tresult", func(row func(...any)) {
		for i, s := range todo {
			f := results[i]
			row(s.model, s.k, s.bounds, f.states, f.depth, fmt.Sprintf("%.1f", f.took.Seconds()), "exhausted, no promise broken")
		}
	}))
}

// TestMutationsAreCaught is the test of TestModels: the protocol with a mistake
// in it must break the promises that the table says, and each promise must be
// broken by a mistake.
func TestMutationsAreCaught(t *testing.T) {
	needSpin(t)
	last := 2
	if *full {
		last = 4
	}
	var todo []search
	var of []mutation
	for _, m := range mutations {
		for k := 2; k <= last && (m.chief || *full); k++ {
			todo = append(todo, search{m.model, k, m.bounds(k) + " " + m.macros, true, true})
			of = append(of, m)
		}
	}
	if testing.Short() && !*full {
		rand.Shuffle(len(todo), func(i, j int) { todo[i], todo[j], of[i], of[j] = todo[j], todo[i], of[j], of[i] })
		todo, of = todo[:4], of[:4]
	}
	broken := make([][]string, len(todo))
	t.Run("mutation", func(t *testing.T) {
		for i, s := range todo {
			t.Run(s.String(), func(t *testing.T) {
				t.Parallel()
				f, err := s.run(t)
				if err != nil {
					t.Fatal(err)
				}
				for _, promise := range of[i].breaks {
					if !slices.Contains(f.broken, promise) {
						t.Errorf("%s: it should break %s, and broke %q in %d states", of[i].what, promise, f.broken, f.states)
					}
				}
				broken[i] = f.broken
			})
		}
	})
	for model, all := range promises {
		for _, promise := range all {
			if !slices.ContainsFunc(mutations, func(m mutation) bool { return m.model == model && slices.Contains(m.breaks, promise) }) {
				t.Errorf("%s: no mutation breaks %s: nothing shows that the model would see it broken", model, promise)
			}
		}
	}
	t.Logf("promise: a mistake in the protocol is noticed | tried: %d searches with a mistake planted | lost: nothing", len(todo))
	t.Log(table("mutation\tmodel\tK\tcaught by", func(row func(...any)) {
		for i, s := range todo {
			caught := strings.Join(broken[i], ", ")
			if caught == "" {
				caught = "NOT CAUGHT"
			}
			row(of[i].what, s.model, s.k, caught)
		}
	}))
}

// bounds are small ones in which mistakes show: a follower can be overtaken. A
// mutation's own macros come behind them.
func (m mutation) bounds(k int) string {
	switch m.model {
	case "ring":
		return fmt.Sprintf("LAST=%d DEATHS=1 READERS=1", k+2)
	case "notify":
		return fmt.Sprintf("LAST=%d WAITERS=2", k+1)
	default:
		return fmt.Sprintf("FILES=2 PUBLICATIONS=%d DEATHS=1 FOLLOWERS=1", k+1)
	}
}

// table lays out rows under a heading.
func table(heading string, rows func(row func(...any))) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "\n%s\n", heading)
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	})
	_ = w.Flush() // into memory
	return text.String()
}
