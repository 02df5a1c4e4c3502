//go:build linux

package campaign

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/shmtest"
)

// crashScenario is one course of a daemon's life. A trace of one run finds the
// failpoints on it, so that the campaign includes new failpoints by itself.
type crashScenario struct {
	name   string
	before func(h *crashHost)                 // while there is no daemon
	during func(h *crashHost, d *crashDaemon) // once it has published
	again  bool                               // during is repeated until the daemon has died
	from   string                             // the failpoint at which it begins, for one publication; "": the start
}

// action is what a daemon does at a point of the scenario, for failpoint.Env.
func (s *crashScenario) action(what string, p crashPoint) string {
	if s.from == "" {
		return what + ":" + p.String()
	}
	return what + ":" + p.String() + "@" + s.from
}

// key identifies a point for the campaign's coverage. A point in a growth counts
// apart from the same point elsewhere, since making a larger file differs from
// making the first one.
func (s *crashScenario) key(point string) string {
	if s.from == "" {
		return point
	}
	return point + " from " + s.from
}

// crashScenarios are those on a host that does not reboot. Most crashes are in the
// first ones. The others leave readers in a region that was not retired, which they
// find out only by the writer's silence, after five seconds.
var crashScenarios = []*crashScenario{
	{name: "attach"},
	crashReplace,
	crashGrow(0),
	crashGrow(1),
	{name: "layers", before: func(h *crashHost) { h.layered = !h.layered }, during: func(h *crashHost, d *crashDaemon) {
		h.until(d, "what the layers come to", func() bool {
			is, err := h.isLayered()
			return err == nil && is == h.layered
		})
	}},
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
		ok(h, shmtest.RemoveAll(h.region))
		h.publishes(d)
	}},
}

// crashReplace starts a daemon with another geometry than the region's.
var crashReplace = &crashScenario{name: "replace", before: func(h *crashHost) {
	h.shape++
	h.replaced = true
}}

// crashGrow is a daemon that makes a region with slots for images of a level, and
// then publishes a revision of the next level. A successor of a crash grows the region
// with its first publication, if the source stays at that level.
func crashGrow(level int) *crashScenario {
	return &crashScenario{
		name: fmt.Sprintf("grow from level %d", level), from: "grow.begin",
		before: func(h *crashHost) {
			h.setLevel(level)
			crashReplace.before(h)
		},
		during: func(h *crashHost, d *crashDaemon) {
			h.setLevel(level + 1)
			h.until(d, "the region to grow", func() bool {
				found, err := h.look()
				return err == nil && found.id == h.id && found.slot > h.slot
			})
			h.publishes(d)
		},
	}
}

// orphans reports whether readers may have been left in a region that was not retired.
func (s *crashScenario) orphans() bool { return strings.Contains(s.name, "lost") }

// crashPoint is the n-th arrival at a failpoint.
type crashPoint struct {
	name string
	n    int
}

func (p crashPoint) String() string { return fmt.Sprintf("%s:%d", p.name, p.n) }

// mostArrivals bounds n: later publications differ from earlier ones only in the
// slot that they use.
const mostArrivals = 3

// trace runs a scenario without a crash, kills the daemon at its end, and returns the
// points on it, in order.
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
	h.until(d, "the history to have it", func() bool { return strings.Contains(d.log(), "failpoint memory.recorded\n") })
	if d.asked {
		<-d.ended
	} else {
		d.kill()
	}
	h.inspect(d, s.name+", traced")
	arrivals := map[string]int{}
	began := s.from == ""
	for line := range strings.Lines(d.log()) {
		name, at := strings.CutPrefix(strings.TrimSpace(line), "failpoint ")
		if !at {
			continue
		}
		if began = began || name == s.from; !began {
			continue
		}
		if arrivals[name]++; arrivals[name] <= mostArrivals {
			points = append(points, crashPoint{name, arrivals[name]})
		}
		if s.from != "" && name == "region.published" {
			break
		}
	}
	return points
}

// crashWay is a scenario, its points, and those of them not yet tried in this round.
type crashWay struct {
	*crashScenario
	points []crashPoint
	queue  []crashPoint
}

// next returns the next point. Each point comes once in a round.
func (w *crashWay) next(r *rand.Rand) crashPoint {
	if len(w.queue) == 0 {
		w.queue = slices.Clone(w.points)
		r.Shuffle(len(w.queue), func(i, j int) { w.queue[i], w.queue[j] = w.queue[j], w.queue[i] })
	}
	p := w.queue[0]
	w.queue = w.queue[1:]
	return p
}

// crashPlan chooses the scenario and the point of each crash.
type crashPlan struct {
	chance *rand.Rand
	ways   []*crashWay
	first  []crashStep // tried first: each key once
	round  int
}

// crashStep is a crash at a point on a scenario's way.
type crashStep struct {
	*crashScenario
	crashPoint
}

// newCrashPlan traces all scenarios, or some of them for a short campaign, which makes
// no other steps than the first ones. Those leave out the points in hit.
func newCrashPlan(h *crashHost, hit map[string]bool) *crashPlan {
	plan := &crashPlan{chance: chance("crash plan")}
	planned := maps.Clone(hit)
	scenarios := crashScenarios
	if *crashKills == 0 {
		scenarios = nil
		for _, n := range plan.chance.Perm(len(crashScenarios))[:crashTraced] {
			scenarios = append(scenarios, crashScenarios[n])
		}
	}
	for _, s := range scenarios {
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

// next returns the next step: first those of plan.first, then most often a start in
// the same file or in a new one.
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
		way = plan.ways[5+plan.chance.IntN(len(plan.ways)-5)]
	case plan.round%8 == 0:
		way = plan.ways[2+plan.chance.IntN(3)]
	}
	return crashStep{way.crashScenario, way.next(plan.chance)}
}

// crashFirst kills the first daemon of a host at up to limit points, each on a host
// of its own. It returns the names of the points.
func crashFirst(t *testing.T, limit int) (tried []string) {
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
		if len(tried) < limit {
			tried = append(tried, names[n])
			try(func(h *crashHost) { h.crashAndRecover(s, crashPoint{names[n], 1}) })
		}
	}
	return tried
}

// crashSealed kills daemons with a sealed region, where the file system has seals: at
// each step that sets or lifts the seal, at each arrival, and at other points up to the
// limit. A short campaign does so at crashSome of the steps, once each. It returns the
// names of the points.
func crashSealed(t *testing.T, limit int, short bool) (tried []string) {
	t.Helper()
	if !canSeal(t) {
		t.Log("the file system has no seals: crashes around them are skipped")
		return nil
	}
	h := newCrashHost(t)
	h.seal = true
	stop := h.keepWriting()
	defer stop()
	// A region that grows and gets small images again, whose tail is punched. How often it
	// is depends on which revisions the daemon comes to see.
	s := &crashScenario{name: "sealed start", before: crashReplace.before, again: true, during: func(h *crashHost, d *crashDaemon) {
		for _, level := range []int{1, 0} {
			h.setLevel(level)
			for range mostArrivals + 1 {
				h.publishes(d) // or has died at the point
			}
		}
	}}
	// What a state directory is made with comes once.
	points := slices.DeleteFunc(h.trace(s), func(p crashPoint) bool {
		return p.name == "history.created" || strings.HasPrefix(p.name, "replace.") || strings.HasPrefix(p.name, "reservation.")
	})
	about := func(name string) bool { return strings.Contains(name, "seal") || strings.Contains(name, "punch") }
	for _, n := range chance("crash sealed").Perm(len(points)) {
		p := points[n]
		switch {
		case short && (!about(p.name) || len(tried) == crashSome || slices.Contains(tried, p.name)):
			continue
		case !about(p.name) && len(tried) >= limit:
			continue
		}
		tried = append(tried, p.name)
		h.crashAndRecover(s, p)
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
		h.Errorf("%s: the daemon did not reach %s", s.name, p)
	}
	d := h.start("")
	if !h.publishes(d) {
		h.Fatalf("after a crash at %s the daemon ended by itself:\n%s", p, d.log())
	}
	// A new region is sealed only after its first generation is committed.
	if h.seal && !h.until(d, "the seal", func() bool { return isSealed(h, filepath.Join(h.region, shm.FileName)) }) {
		h.Errorf("after a crash at %s the next daemon ended before it sealed the region:\n%s", p, d.log())
	}
	d.kill()
	h.inspect(d, "after a crash at "+p.String())
}

// canSeal reports whether the regions of these tests can be sealed.
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
