//go:build linux

package campaign

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/shm/failpoint"
)

var crashKills = flag.Int("crash.kills", 0, "how often the crash campaign kills the daemon at least; 0 is at some of the failpoints, with few kills at random moments")

// What a short campaign tries.
var (
	// crashSome is at how many failpoints it kills the daemon, of those of sealed regions
	// and of the others, besides the first start.
	crashSome = 5
	// crashTraced is how many of the scenarios it has.
	crashTraced = 4
	// crashFirsts is at how many failpoints of the first start it kills the daemon.
	crashFirsts = 2
)

// TestCrash kills the daemon at every failpoint and at random moments, while
// readers prove all that they see. After each kill the region is whole, and the
// next daemon continues with a higher generation: in the same file, unless the
// scenario replaces it.
func TestCrash(t *testing.T) {
	runtime.LockOSThread() // see crashHost.start
	defer runtime.UnlockOSThread()
	began := time.Now()
	limit := max(4, *crashKills/100)
	if *crashKills == 0 {
		limit = crashFirsts
	}
	first := crashFirst(t, limit)
	sealed := crashSealed(t, limit, *crashKills == 0)
	hit := map[string]bool{}
	for _, name := range slices.Concat(first, sealed) {
		hit[name] = true
	}

	h := newCrashHost(t)
	stopWriting := h.keepWriting()
	defer stopWriting()
	d := h.start("")
	h.publishes(d)
	d.kill()
	h.inspect(d, "the first start")
	plan := newCrashPlan(h, hit)
	if *crashKills == 0 {
		plan.chance.Shuffle(len(plan.first), func(i, j int) { plan.first[i], plan.first[j] = plan.first[j], plan.first[i] })
		plan.first = plan.first[:min(len(plan.first), crashSome)]
	}
	c := newCrashCampaign(h, plan)
	c.at, c.elsewhere = len(first)+len(sealed), len(first)+len(sealed)
	c.hit = hit
	stop := c.gather()
	defer stop()
	for said := time.Now(); !c.done(*crashKills) && !t.Failed(); {
		c.round()
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			t.Logf("%v: %s", time.Since(began).Round(time.Second), c)
		}
	}
	if t.Failed() {
		return
	}
	for _, name := range failpoint.Names {
		if *crashKills == 0 || strings.HasPrefix(name, "history.") {
			continue // the tests of daemon/history, and TestActs, kill at the history's
		}
		if !c.hit[name] && (len(sealed) > 0 || !strings.Contains(name, "seal")) {
			t.Errorf("no daemon was killed at the failpoint %s, in %d kills", name, c.kills())
		}
	}

	// At the end the region and every reader arrive at the last revision.
	d = h.start("")
	h.setLevel(0)
	stopWriting()
	last := int(h.written.Load())
	h.until(d, "the last revision", func() bool {
		found, err := h.read()
		return err == nil && found.number == last
	})
	stop()
	found, err := h.look()
	ok(t, err)
	c.crowd.arrive(found.generation)
	c.crowd.leave()
	d.kill()
	h.inspect(d, "the end")
	if h.number != last {
		t.Errorf("the last revision is %d, and the region has %d", last, h.number)
	}
	if t.Failed() {
		return
	}
	report(t, "a daemon that is killed at any moment leaves its readers whole, and its successor continues",
		fmt.Sprintf("%s, in %v", c, time.Since(began).Round(time.Second)),
		"0 torn, 0 backwards, 0 restarts without a publication")
}

// crashCampaign is a host, its readers, and the record of the kills.
type crashCampaign struct {
	*crashHost
	plan   *crashPlan
	crowd  *crashCrowd
	renew  chan struct{}
	chance *rand.Rand

	rounds    int
	elsewhere int             // kills on other hosts
	at        int             // kills at a failpoint
	inGrowth  int             // kills at a failpoint after grow.begin
	starts    int             // kills at a random moment of a start
	hit       map[string]bool // the keys of the failpoints with a kill
	stopped   int             // daemons that were stopped by SIGSTOP
}

func newCrashCampaign(h *crashHost, plan *crashPlan) *crashCampaign {
	return &crashCampaign{crashHost: h, plan: plan, renew: make(chan struct{}, 1), chance: chance("crash campaign")}
}

// done reports whether there were so many kills, and one at each failpoint. It gives
// up on a failpoint that is not reached in twice as many kills and 500 more.
func (c *crashCampaign) done(kills int) bool {
	return c.kills() >= kills && (len(c.plan.first) == 0 || c.kills() >= 2*kills+500)
}

// seldom is true once in n times, and in the short campaign once in three times as
// many.
func (c *crashCampaign) seldom(n int) bool {
	if *crashKills == 0 {
		n *= 3
	}
	return c.chance.IntN(n) == 0
}

func (c *crashCampaign) kills() int { return c.elsewhere + c.killed }

func (c *crashCampaign) String() string {
	return fmt.Sprintf("%d kills, %d of them at failpoints, %d in a growth, %d at random moments of a start, the others of publishing; "+
		"%d daemons stopped; the region grew %d times and kept its id; generation %d; %s",
		c.kills(), c.at, c.inGrowth, c.starts, c.stopped, c.growths, c.generation, c.crowd)
}

// gather starts the readers, and disturbs them until the returned function is
// called.
func (c *crashCampaign) gather() (stop func()) {
	c.crowd = newCrashCrowd(c, c.region)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.crowd.molest(ctx, c.renew)
	}()
	return sync.OnceFunc(func() { cancel(); <-ended })
}

// round kills one daemon at a point and the next one at a random moment. Between the
// two, the region is sometimes removed, or its geometry changed.
func (c *crashCampaign) round() {
	step := c.plan.next()
	key := step.key(step.crashPoint.name)
	switch {
	case c.chance.IntN(8) == 0 && (step.during == nil || step.from != "") && c.hit[key]:
		c.stopAt(step)
	case c.crash(step.crashScenario, step.crashPoint):
		c.at++
		c.hit[step.crashPoint.name], c.hit[key] = true, true
		if step.from != "" {
			c.inGrowth++
		}
	}
	if !c.hit[key] {
		c.plan.first = append(c.plan.first, step) // try it again
	}
	orphans := step.orphans()
	wipes := 5
	if *crashKills == 0 {
		wipes = 15
	}
	switch c.rounds++; {
	case c.rounds%wipes == 3: // as a boot does it, which leaves the state directory
		orphans, c.replaced = true, true
		ok(c, os.RemoveAll(c.region))
	case step.crashScenario == crashReplace && c.rounds%3 == 0: // the change of shape is undone
		c.shape--
		c.replaced = true
	}
	if orphans {
		select {
		case c.renew <- struct{}{}:
		default:
		}
	}
	if c.seldom(4) {
		d := c.start("")
		time.Sleep(chanceUpTo(c.chance, 60*time.Millisecond)) // before it publishes, or soon after
		d.kill()
		c.inspect(d, "at a random moment of a start")
		c.starts++
	}
	if c.chance.IntN(2) == 0 { // otherwise the next daemon has to grow the region
		c.level.Store(0)
	}
	defer c.level.Store(0)
	d := c.start("")
	if !c.publishes(d) {
		c.Fatalf("after %s at %s the daemon ended by itself:\n%s", step.crashScenario.name, step.crashPoint, d.log())
	}
	if c.seldom(8) {
		time.Sleep(chanceUpTo(c.chance, 4*time.Millisecond))
		c.rest(d)
	}
	time.Sleep(chanceUpTo(c.chance, []time.Duration{10, 10, 10, 10, 10, 120}[c.chance.IntN(6)]*time.Millisecond)) // some publications
	d.kill()
	c.inspect(d, "at a random moment")
}

// crash starts a daemon that kills itself at a point. It returns false if the daemon
// did not reach the point, and kills it then.
func (h *crashHost) crash(s *crashScenario, p crashPoint) bool {
	h.Helper()
	if s.before != nil {
		s.before(h)
	}
	d := h.start(s.action("kill", p))
	for n := 0; h.publishes(d); n++ {
		if s.during != nil && (n == 0 || s.again) {
			s.during(h, d)
		}
		if n > 2*mostArrivals {
			break
		}
	}
	reached := d.hasEnded() && d.wasKilled()
	d.kill()
	h.inspect(d, fmt.Sprintf("%s, at %s", s.name, p))
	return reached
}

// stopAt has a daemon stop itself at a point. Then it continues or is killed.
func (c *crashCampaign) stopAt(step crashStep) {
	c.Helper()
	if step.before != nil {
		step.before(c.crashHost)
	}
	d := c.start(step.action("stop", step.crashPoint))
	n := 0
	c.until(d, "the daemon to stop itself", func() bool {
		if found, err := c.look(); err == nil && found.generation > c.generation {
			c.publishes(d)
			if n++; n == 1 && step.during != nil {
				c.setLevel((int(c.level.Load()) + 1) % len(crashSizes))
			}
		}
		return d.isStopped() || n > 2*mostArrivals
	})
	c.rest(d)
	d.kill()
	c.inspect(d, fmt.Sprintf("%s, stopped at %s", step.crashScenario.name, step.crashPoint))
}

// rest stops a daemon until the readers have shown that they keep reading. Then the
// daemon continues in half of the cases.
func (c *crashCampaign) rest(d *crashDaemon) {
	c.Helper()
	_ = d.Process.Signal(syscall.SIGSTOP) // one that has ended will be found so
	c.stopped++
	looks := c.crowd.looks.Load()
	await(c, "readers to keep reading while the daemon is stopped", func() bool { return c.crowd.looks.Load() > looks })
	if c.chance.IntN(2) == 0 {
		return
	}
	_ = d.Process.Signal(syscall.SIGCONT)
	if !c.publishes(d) {
		c.Fatalf("the daemon was stopped and continued, and ended by itself:\n%s", d.log())
	}
}
