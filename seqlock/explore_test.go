package seqlock

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// This file drives one writer and up to two readers through every order in
// which their steps can happen, and judges every state between two steps. The
// writer may die after each of its steps and be followed by another, and may
// retire the ring between two publications. mutate_test.go does the same with
// actors that make mistakes, each of which has to be found.
//
// Every step is one access to shared memory, so the orders of the steps are
// all that there is to see as long as accesses take effect in program order.
// They do on both machines that this package is made for: on amd64 the stores
// of the only writer become visible in order and a reader's loads are not
// reordered, and on arm64 LDAR and STLR keep their order among each other.
// asm_test.go looks whether these are the instructions.
//
// Readers store nothing, which is checked too, so that what holds for one of
// them holds for any number; runs with two are there to not take that on
// faith.

// property is one of the package comment's promises, and in a mask a set of
// them.
type property uint8

const (
	unmixed       property = 1 << iota // the words of an accepted copy were stored by one writer for one generation
	committed                          // they are the ones that were committed as the accepted generation
	wholeHot                           // the generation that the hot word names is whole
	forward                            // a reader never goes back
	prompt                             // a reader alone is done within promptSteps
	noMarks                            // a reader stores nothing
	finalRetire                        // nothing is committed in a retired ring
	allProperties = 1<<iota - 1
)

// bounds limit a run.
type bounds struct {
	slots       uint8
	first, last uint8 // generations
	deaths      uint8
	readers     uint8
}

func (b bounds) String() string {
	return fmt.Sprintf("%d slots, generations %d to %d, %d deaths, %d readers", b.slots, b.first, b.last, b.deaths, b.readers)
}

// state is a moment of a run.
type state struct {
	memory    saved
	writer    writer
	readers   [mostReaders]reader
	committer uint8 // the writer that committed the current generation
}

// move leads from one state to another.
type move uint8

const (
	writerGoesOn move = iota
	writerDies
	writerRetires
	firstReader // and the second one behind it
)

// reached is a state and how it was reached first.
type reached struct {
	state state
	from  int // index of the state before; -1 for the start
	move  move
}

// violation is a promise that was not kept.
type violation struct {
	property property
	what     string
	story    []string // the moves that lead there
}

func (v *violation) Error() string {
	return v.what + " after\n\t" + strings.Join(v.story, "\n\t")
}

// explorer walks through all states, breadth first: the story of what it finds
// is one of the shortest.
type explorer struct {
	protocol
	bounds
	check  property
	memory *memory
	seen   map[state]struct{}
	order  []reached

	// What happened in a run; without it nothing was shown.
	copies, overtaken int
	longest           int // steps of a reader alone
}

// explore walks through a protocol's states until they are exhausted or a
// property to check is violated.
func explore(p protocol, b bounds, check property) (*explorer, error) {
	e := &explorer{protocol: p, bounds: b, check: check, memory: newMemory(b.slots), seen: map[state]struct{}{}}
	e.visit(state{writer: writer{generation: b.first}}, -1, 0)
	for i := 0; i < len(e.order); i++ {
		for m := range firstReader + move(b.readers) {
			to, possible, broken := e.apply(m, e.order[i].state)
			if !possible {
				continue
			}
			if e.visit(to, i, m) && broken == nil {
				broken = e.judge(to)
			}
			if broken != nil {
				broken.story = append(e.story(i), e.tell(m, e.order[i].state))
				return e, broken
			}
		}
	}
	return e, nil
}

// visit reports whether a state is new.
func (e *explorer) visit(s state, from int, m move) bool {
	if _, known := e.seen[s]; known {
		return false
	}
	e.seen[s] = struct{}{}
	e.order = append(e.order, reached{s, from, m})
	return true
}

// apply makes one move, if it is possible, and looks whether the move itself
// broke a promise.
func (e *explorer) apply(m move, from state) (to state, possible bool, broken *violation) {
	to = from
	w := &to.writer
	e.memory.restore(&from.memory)
	switch m {
	case writerGoesOn:
		if w.finished || w.generation > e.last {
			return to, false, nil
		}
		e.publish[w.step].do(e.memory, w)
		if w.step++; int(w.step) == len(e.publish) {
			w.step, w.generation = 0, e.next(w.generation, e.slots)
		}
	case writerRetires:
		if w.finished || w.step != 0 {
			return to, false, nil
		}
		e.memory.ring.Retire()
		w.finished = true
	case writerDies:
		if w.incarnation == e.deaths {
			return to, false, nil
		}
		// Only writers store to the hot word, so that it makes no difference
		// when the successor looks at it.
		generation, ok := e.attach(e.memory.ring.Hot(), e.slots)
		*w = writer{generation: generation, incarnation: w.incarnation + 1, finished: !ok}
	default:
		r := &to.readers[m-firstReader]
		var out outcome
		out, broken = e.readOn(r, from.committer)
		switch {
		case out == again:
			e.overtaken++
		case out == onward && r.step == 0:
			e.copies++
		}
	}
	e.memory.save(&to.memory)
	before, after := Hot(from.memory.hot), Hot(to.memory.hot)
	if after.Generation() != before.Generation() {
		to.committer = w.incarnation
	}
	switch {
	case broken != nil:
	case m >= firstReader && to.memory != from.memory:
		broken = e.violated(noMarks, "a reader stored to the memory")
	case before.Retired() && after != before:
		broken = e.violated(finalRetire, "the hot word of a retired ring was stored to")
	}
	return to, true, broken
}

// readOn makes a reader's next step.
func (e *explorer) readOn(r *reader, committer uint8) (out outcome, broken *violation) {
	if r.step == 0 {
		r.committer = committer
	}
	out = e.read[r.step].do(e.memory, r)
	switch {
	case out == wait:
		return out, nil
	case out == onward && int(r.step) < len(e.read)-1:
		r.step++
		return out, nil
	}
	if out == onward {
		if !sameOrigin(r.copied) {
			broken = e.violated(unmixed, "what was accepted as generation %d is %s", r.generation, origin(r.copied))
		}
		if broken == nil && !whole(r.copied, r.generation, r.committer) {
			broken = e.violated(committed, "what was accepted as generation %d, committed by writer %d, is %s",
				r.generation, r.committer, origin(r.copied))
		}
		if broken == nil && r.generation < r.accepted {
			broken = e.violated(forward, "generation %d was accepted behind %d", r.generation, r.accepted)
		}
		r.accepted = r.generation
	}
	*r = reader{accepted: r.accepted} // a pass leaves nothing else behind
	return out, broken
}

// judge looks at a state.
func (e *explorer) judge(s state) *violation {
	if g := uint8(Hot(s.memory.hot).Generation()); g != 0 {
		sequence, words := s.memory.sequences[g%e.slots], s.memory.words[g%e.slots]
		if sequence != 2*g+2 || !whole(words, g, s.committer) {
			broken := e.violated(wholeHot, "in the slot of the current generation %d, committed by writer %d, are under the sequence %d %s",
				g, s.committer, sequence, origin(words))
			if broken != nil {
				return broken
			}
		}
	}
	if e.check&prompt == 0 {
		return nil
	}
	e.memory.restore(&s.memory)
	for _, r := range s.readers[:e.readers] {
		steps := 0
		for out := again; out == again || out == wait || r.step != 0; steps++ {
			if steps == promptSteps {
				return e.violated(prompt, "a reader alone is not done within %d steps", steps)
			}
			out, _ = e.readOn(&r, s.committer)
		}
		e.longest = max(e.longest, steps)
	}
	return nil
}

// violated is the violation of a property, or nil if that is not looked for.
func (e *explorer) violated(p property, format string, args ...any) *violation {
	if e.check&p == 0 {
		return nil
	}
	return &violation{property: p, what: fmt.Sprintf(format, args...)}
}

// story tells the moves that led to a state.
func (e *explorer) story(i int) []string {
	var moves []string
	for at := e.order[i]; at.from >= 0; at = e.order[at.from] {
		moves = append(moves, e.tell(at.move, e.order[at.from].state))
	}
	slices.Reverse(moves)
	return moves
}

// tell tells a move that is made in a state.
func (e *explorer) tell(m move, in state) string {
	w := in.writer
	switch m {
	case writerGoesOn:
		return fmt.Sprintf("writer %d, generation %d: %s", w.incarnation, w.generation, e.publish[w.step].name)
	case writerDies:
		return fmt.Sprintf("writer %d dies", w.incarnation)
	case writerRetires:
		return fmt.Sprintf("writer %d: Retire", w.incarnation)
	}
	r := in.readers[m-firstReader]
	return fmt.Sprintf("\treader %d, generation %d: %s", m-firstReader, r.generation, e.read[r.step].name)
}

var full = flag.Bool("full", false, "walk through the large bounds of TestEveryInterleaving, too")

func TestEveryInterleaving(t *testing.T) {
	for _, c := range []struct {
		bounds
		large bool
	}{
		{bounds{slots: 2, first: 1, last: 5, deaths: 2, readers: 1}, false},
		{bounds{slots: 3, first: 1, last: 6, deaths: 2, readers: 1}, false},
		{bounds{slots: 2, first: 4, last: 7, deaths: 2, readers: 1}, false},
		{bounds{slots: 2, first: 1, last: 3, deaths: 1, readers: 2}, false},
		{bounds{slots: 2, first: 1, last: 4, deaths: 1, readers: 2}, true},
		{bounds{slots: 3, first: 1, last: 7, deaths: 2, readers: 1}, true},
	} {
		t.Run(c.String(), func(t *testing.T) {
			if c.large && !*full {
				t.Skip("only with -full")
			}
			e, err := explore(asBuilt(), c.bounds, allProperties)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states; %d copies accepted and %d passes overtaken; a reader alone is done in %d steps at most",
				len(e.order), e.copies, e.overtaken, e.longest)
			if e.copies == 0 || e.overtaken == 0 {
				t.Error("no copy was accepted, or no pass overtaken: this run shows nothing")
			}
			if e.longest != promptSteps {
				t.Errorf("a reader alone was done in %d steps at most: promptSteps says %d", e.longest, promptSteps)
			}
		})
	}
}
