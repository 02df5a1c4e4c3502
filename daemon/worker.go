//go:build unix

package daemon

import (
	"context"
	"runtime"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/plan"
)

// worker makes plans, one at a time, on a goroutine of its own: Go cannot stop a
// parser, and the owner must not wait for one. All methods are the owner's.
type worker struct {
	maker *plan.Maker
	diary *diary
	room  func(bytes int64) error // roomFor
	done  chan made               // capacity 1, so that a plan that is not taken ends

	cancel  context.CancelFunc // of the plan that is being made; nil: none is
	job     job
	watched bool // the diary will be written should the job take long
	gaveUp  bool // the plan before was abandoned
}

// inputs are what a plan is made of, and what is set over it.
type inputs struct {
	layers    []plan.Layer // nil: not all sources were read yet
	overrides *overrides
	pinned    *content // what a pin holds, if there are overrides over that
}

// job is a plan to make.
type job struct {
	inputs
	good  *content  // what the newest good plan came to, without overrides; nil before the first
	trial *trial    // of an override, which is among the overrides; nil: they are all in force
	began time.Time // when the look began that brought the newest of them
	since time.Time // when the plan was begun
}

// made is what became of a job.
type made struct {
	job
	plan    *plan.Plan   // nil: of no layers
	asked   []plan.Layer // what the plan was to be made of
	crowded error        // there is no memory for that now
	held    []bool       // the layers whose accepted snapshot takes the newest's place then; nil: no plan is made
	err     error        // it was abandoned

	// content is what the plan, or else job.good, comes to with the overrides; nil if there
	// is neither, or if the problems of the overrides have errors. overlaid is what the
	// pin holds with those that were set after it.
	content     *content
	problems    []*plan.Problem
	overlaid    *content
	pinProblems []*plan.Problem
}

func newWorker(m *plan.Maker) *worker {
	return &worker{maker: m, room: roomFor, done: make(chan made, 1)}
}

func (w *worker) busy() bool { return w.cancel != nil }

// start begins a plan. No other is being made.
func (w *worker) start(ctx context.Context, j job) {
	ctx, w.cancel = context.WithCancel(ctx)
	j.since = time.Now()
	w.job, w.watched = j, false
	go func() { w.done <- w.make(ctx, j) }()
	runtime.Gosched() // the job begins now; the owner goes on beside it, or after it if it is short
}

// watch sets the timer by which the diary is written, unless the job has ended: most have by
// now, and to set a timer wakes a thread.
func (w *worker) watch() {
	if w.watched || !w.busy() || len(w.done) > 0 {
		return
	}
	w.watched = true
	time.AfterFunc(time.Until(w.job.since.Add(noteAfter)), func() { w.diary.update() }) // of a job that has ended it updates nothing
}

// finished takes note of what came from done.
func (w *worker) finished(m made) {
	w.cancel()
	w.cancel = nil
	w.gaveUp = m.err != nil
}

// outdate abandons the plan that is being made, because there is newer input: at the
// next file, if it is less than half done. What was decoded is kept. The plan after an
// abandoned one is always finished, so that input that changes all the time does not
// keep everything from being published.
func (w *worker) outdate() {
	if _, done, total := w.maker.Progress(); !w.gaveUp && 2*done < total {
		w.cancel()
	}
}

// stopWait is how long a daemon that ends waits for the worker to come to the end of
// a file. The process ends without it.
const stopWait = 300 * time.Millisecond

// stop abandons the plan that is being made. It reports whether the worker has ended.
func (w *worker) stop() bool {
	if !w.busy() {
		return true
	}
	w.cancel()
	select {
	case m := <-w.done:
		w.finished(m)
		return true
	case <-time.After(stopWait):
		return false
	}
}

// make runs on the worker's goroutine.
func (w *worker) make(ctx context.Context, j job) made {
	m := made{job: j, asked: j.layers}
	if j.layers != nil && !w.plan(ctx, &m) {
		return m
	}
	base := j.good
	if m.plan != nil && !m.plan.Refused() {
		base = contentOfPlan(m.plan)
	}
	var schemas *plan.Plan
	if base != nil {
		schemas = base.plan
		m.content, m.problems = patched(base, schemas, j.overrides, j.overrides.all())
	}
	if j.pinned != nil {
		m.overlaid, m.pinProblems = patched(j.pinned, schemas, j.overrides, j.overrides.after(j.pinned.pin.Act))
	}
	return m
}

// plan makes the plan of a job. It reports whether there is one.
func (w *worker) plan(ctx context.Context, m *made) bool {
	need := w.maker.Memory(m.layers)
	if m.crowded = w.room(need); m.crowded != nil {
		if m.layers, m.held, need = w.holdBack(m.layers, need); m.held == nil {
			return false
		}
	}
	if need > 0 { // else nothing is decoded that was not decoded before
		defer w.diary.begin(inputsDigest(m.layers), m.since)()
	}
	m.plan, m.err = w.maker.Make(ctx, m.layers)
	return m.err == nil
}

// holdBack replaces the newest snapshots of the layers that need most memory by their
// accepted ones, one after the other until there is room for the rest. held is nil if
// that does not help.
func (w *worker) holdBack(layers []plan.Layer, need int64) (rest []plan.Layer, held []bool, _ int64) {
	rest, held = slices.Clone(layers), make([]bool, len(layers))
	for {
		most, least := -1, need
		for i, l := range rest {
			if l.Accepted == nil || l.Accepted == l.Newest {
				continue
			}
			without := slices.Clone(rest)
			without[i].Newest = l.Accepted
			if n := w.maker.Memory(without); n < least {
				most, least = i, n
			}
		}
		if most < 0 {
			return layers, nil, need
		}
		rest[most].Newest, held[most], need = rest[most].Accepted, true, least
		if w.room(need) == nil {
			return rest, held, need
		}
	}
}

// unasked is how many bytes are taken without a look at the memory cgroup, whose files
// cost more to read than a small config to decode. Sources ask as seldom.
const unasked = 1 << 20

// roomFor reports whether there is memory for decoding or recording what changed. A daemon
// that is killed for it would be killed again at its next start.
func roomFor(need int64) error {
	idle := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}} // the heap has these already
	metrics.Read(idle)
	if need -= int64(idle[0].Value.Uint64()); need < unasked {
		return nil
	}
	return headroom.Check(need)
}
