//go:build linux

package campaign

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/statesync/statesync/shm"
)

// crashScenario is a way through a daemon's life. What lies on it is found out
// by going there once, so that a new failpoint is in the campaign by itself.
type crashScenario struct {
	name   string
	before func(h *crashHost)                 // while there is no daemon
	during func(h *crashHost, d *crashDaemon) // once it has published
	from   string                             // the failpoint at which it begins, for one publication; "": the start
}

// key is a point of the scenario where it matters on which way a point is come
// to: to make a larger file is another thing than to make the first one.
func (s *crashScenario) key(point string) string {
	if s.from == "" {
		return point
	}
	return point + " from " + s.from
}

// crashScenarios are those on a host that lives on. The first of them are where
// most crashes are: others leave readers in a region that nobody retired, which
// they find out by the writer's silence only, after five seconds.
var crashScenarios = []*crashScenario{
	{name: "attach"},
	crashReplace,
	crashGrow(0),
	crashGrow(1),
	{name: "close", during: func(_ *crashHost, d *crashDaemon) {
		d.asked = true
		_ = d.Process.Signal(syscall.SIGTERM) // may have ended already
	}},
	{name: "file lost", during: func(h *crashHost, d *crashDaemon) {
		h.replaced = true
		ok(h, os.Remove(filepath.Join(h.region, shm.FileName)))
		h.publishes(d)
	}},
	{name: "directory lost", during: func(h *crashHost, d *crashDaemon) {
		h.replaced = true
		ok(h, os.RemoveAll(h.region))
		h.publishes(d)
	}},
}

// crashReplace is a region of another geometry than the one that is there.
var crashReplace = &crashScenario{name: "replace", before: func(h *crashHost) {
	h.shape++
	h.replaced = true
}}

// crashGrow is a region with slots for images of a level, and a daemon whose
// first revision is one of the next level.
func crashGrow(level int) *crashScenario {
	return &crashScenario{name: fmt.Sprintf("grow from level %d", level), from: "grow.begin", before: func(h *crashHost) {
		h.setLevel(level)
		crashReplace.before(h)
		d := h.start("")
		if !h.publishes(d) {
			h.Fatalf("before it was to grow, the daemon ended by itself:\n%s", d.log())
		}
		d.kill()
		h.inspect(d, "before it is to grow")
		h.setLevel(level + 1)
	}}
}

// orphans says that readers may have been left in a region that nobody retired.
func (s *crashScenario) orphans() bool { return strings.Contains(s.name, "lost") }

// crashPoint is the n-th arrival at a failpoint.
type crashPoint struct {
	name string
	n    int
}

func (p crashPoint) String() string { return fmt.Sprintf("%s:%d", p.name, p.n) }

// mostArrivals bounds n: later publications are as earlier ones, but for the
// slot that they are in.
const mostArrivals = 3

// trace goes through a scenario without a crash until the end, which is
// SIGKILL, and returns what lies on it, in order.
func (h *crashHost) trace(s *crashScenario) (points []crashPoint) {
	h.Helper()
	if s.before != nil {
		s.before(h)
	}
	defer h.level.Store(0)
	d := h.start("trace")
	for range mostArrivals + 1 { // each slot is written, some of them twice
		if !h.publishes(d) {
			h.Fatalf("%s: the daemon ended by itself:\n%s", s.name, d.log())
		}
	}
	if s.during != nil {
		s.during(h, d)
	}
	h.until(d, "the last good image to be saved", func() bool { return strings.Contains(d.log(), "failpoint last-good.done\n") })
	if s.name == "close" {
		<-d.ended
		h.current = nil
	} else {
		d.kill()
		h.inspect(d, s.name+", traced")
	}
	arrivals := map[string]int{}
	began := s.from == ""
	for line := range strings.Lines(d.log()) {
		name, at := strings.CutPrefix(strings.TrimSpace(line), "failpoint ")
		if !at {
			continue
		}
		began = began || name == s.from
		if arrivals[name]++; began && arrivals[name] <= mostArrivals {
			points = append(points, crashPoint{name, arrivals[name]})
		}
		if began && s.from != "" && name == "region.published" {
			break
		}
	}
	return points
}

// crashWay is a scenario and the points on it that are yet to be tried in this
// round.
type crashWay struct {
	*crashScenario
	points []crashPoint
	queue  []crashPoint
}

// next is the next point: each comes once in a round.
func (w *crashWay) next(r *rand.Rand) crashPoint {
	if len(w.queue) == 0 {
		w.queue = slices.Clone(w.points)
		r.Shuffle(len(w.queue), func(i, j int) { w.queue[i], w.queue[j] = w.queue[j], w.queue[i] })
	}
	p := w.queue[0]
	w.queue = w.queue[1:]
	return p
}

// crashPlan is what is tried where.
type crashPlan struct {
	chance *rand.Rand
	ways   []*crashWay
	first  []crashStep // comes first: each key once
	round  int
}

// crashStep is a crash at a point on a scenario's way.
type crashStep struct {
	*crashScenario
	crashPoint
}

// newCrashPlan traces all scenarios.
func newCrashPlan(h *crashHost) *crashPlan {
	plan := &crashPlan{chance: chance("crash plan")}
	planned := map[string]bool{}
	for _, s := range crashScenarios {
		way := &crashWay{crashScenario: s, points: h.trace(s)}
		plan.ways = append(plan.ways, way)
		for _, p := range way.points {
			if key := s.key(p.name); !planned[key] {
				planned[key] = true
				plan.first = append(plan.first, crashStep{s, p})
			}
		}
	}
	return plan
}

// next is the next step: what is new first, then most often a start in the
// same file, or in a new one.
func (plan *crashPlan) next() crashStep {
	if len(plan.first) > 0 {
		step := plan.first[0]
		plan.first = plan.first[1:]
		return step
	}
	plan.round++
	way := plan.ways[plan.round%2]
	switch {
	case plan.round%25 == 0:
		way = plan.ways[4+plan.chance.IntN(len(plan.ways)-4)]
	case plan.round%8 == 0:
		way = plan.ways[2+plan.chance.IntN(2)]
	}
	return crashStep{way.crashScenario, way.next(plan.chance)}
}

// crashFirst tries a first start, on a host of its own for each of at most limit
// crashes. It returns at how many points there was one.
func crashFirst(t *testing.T, limit int) (crashes int) {
	t.Helper()
	s := &crashScenario{name: "first start"}
	try := func(do func(h *crashHost)) {
		h := newCrashHost(t)
		stop := h.keepWriting()
		defer stop()
		do(h)
	}
	var names []string
	try(func(h *crashHost) { names = onceEach(h.trace(s)) })
	for _, n := range chance("crash first").Perm(len(names)) {
		if crashes < limit {
			crashes++
			try(func(h *crashHost) { h.crashAndRecover(s, crashPoint{names[n], 1}) })
		}
	}
	return crashes
}

// crashSealed is crashFirst for a start with a sealed region, where there are
// seals: the steps at which the seal is put on or taken off, and others up to
// the limit. It returns the names of the points at which there was a crash.
func crashSealed(t *testing.T, limit int) (tried []string) {
	t.Helper()
	if !canSeal(t) {
		t.Log("no seals here, and so no crashes around them")
		return nil
	}
	h := newCrashHost(t)
	h.seal = true
	stop := h.keepWriting()
	defer stop()
	// A region that grows and gets small images again, whose tail is punched.
	s := &crashScenario{name: "sealed start", before: crashReplace.before, during: func(h *crashHost, d *crashDaemon) {
		for _, level := range []int{1, 0} {
			h.setLevel(level)
			for range mostArrivals + 1 {
				h.publishes(d) // or has died at the point
			}
		}
	}}
	points := h.trace(s)
	about := func(name string) bool { return strings.Contains(name, "seal") || strings.Contains(name, "punch") }
	for _, n := range chance("crash sealed").Perm(len(points)) {
		if p := points[n]; about(p.name) || len(tried) < limit {
			tried = append(tried, p.name)
			h.crashAndRecover(s, p)
		}
	}
	return tried
}

// onceEach are the names of points.
func onceEach(points []crashPoint) (names []string) {
	for _, p := range points {
		if p.n == 1 {
			names = append(names, p.name)
		}
	}
	return names
}

// crashAndRecover has a daemon kill itself at a point, and another one publish.
func (h *crashHost) crashAndRecover(s *crashScenario, p crashPoint) {
	h.Helper()
	if !h.crash(s, p) {
		h.Errorf("%s: %s was not come to", s.name, p)
	}
	d := h.start("")
	if !h.publishes(d) {
		h.Fatalf("after a crash at %s the daemon ended by itself:\n%s", p, d.log())
	}
	d.kill()
	h.inspect(d, "after a crash at "+p.String())
	if h.seal && !isSealed(h, filepath.Join(h.region, shm.FileName)) {
		h.Errorf("after a crash at %s and another start the region is not sealed", p)
	}
}

// canSeal says whether the regions of these tests can be sealed.
func canSeal(t *testing.T) bool {
	t.Helper()
	path := filepath.Join(memory(t), "probe")
	ok(t, os.WriteFile(path, nil, 0o600))
	if exec.Command("chattr", "+a", path).Run() != nil {
		return false
	}
	ok(t, exec.Command("chattr", "-a", path).Run())
	return true
}

func isSealed(t testing.TB, path string) bool {
	t.Helper()
	out, err := exec.Command("lsattr", path).Output()
	ok(t, err)
	flags, _, _ := strings.Cut(string(out), " ")
	return strings.Contains(flags, "a")
}
