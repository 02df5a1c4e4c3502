//go:build linux

package campaign

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

var sourcesRounds = flag.Int("sources.rounds", 2, "how many rounds the campaign of sources has; from 200 on a daemon must be killed at each of its failpoints")

// sourcesPoints are the failpoints between a change of a source and its readers.
var sourcesPoints = []string{
	"history.floor-begin", "history.floor-done", "plan.file", "region.built", "publish.begun", "publish.committed", "region.published",
	"memory.record", "history.record-begin", "history.record-done",
}

// TestSources has a daemon follow a branch of signed commits and signed bundles over TLS,
// and kills it at random moments and at the failpoints between a source and its readers.
// Changes are pushed, branches rewritten, bundles replayed and forked, and the servers
// fail. A reader sees each commit and bundle whole, never one that must be refused and
// never an older one; it keeps what it has while a server is away, also after a boot; a
// layer that is well moves on. The status has each trouble while it lasts, and afterwards
// the newest changes arrive.
func TestSources(t *testing.T) {
	runtime.LockOSThread() // see crashHost.start
	defer runtime.UnlockOSThread()
	began := time.Now()
	h := newSourcesHost(t)
	for range 2 { // so that there is an older one
		h.git.push()
		h.bundle.push()
	}
	d := h.start("")
	h.arrives(d, "at first")
	h.end(d)
	stopReading := h.reads()
	defer stopReading()
	hit := map[string]bool{}
	for n, said := 0, time.Now(); n < *sourcesRounds && !t.Failed(); n++ {
		point := sourcesPoints[n%len(sourcesPoints)]
		hit[point] = h.round(point) || hit[point]
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			t.Logf("%v: %s", time.Since(began).Round(time.Second), h)
		}
	}
	stopReading()
	for _, point := range sourcesPoints {
		if !hit[point] && *sourcesRounds >= 200 {
			t.Errorf("no daemon was killed at %s", point)
		}
	}
	if t.Failed() {
		return
	}
	report(t, "a source that is rewritten, replayed or away gives no reader a torn, refused or older value, and takes none away",
		fmt.Sprintf("%s, in %v", h, time.Since(began).Round(time.Second)), "0 commits or bundles torn, 0 refused or older ones seen, 0 values lost")
}

func (h *sourcesHost) String() string {
	times := 0
	for _, n := range h.wrongs {
		times += n
	}
	return fmt.Sprintf("%d kills, %d of them at failpoints; %d boots; %d commits and %d bundles; %d ways to go wrong, %d times; %d images read",
		h.kills, h.at, h.reboots, h.git.number, h.bundle.number, len(h.wrongs), times, h.read())
}

func (h *sourcesHost) read() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.looks
}

// round begins with readers that have the newest changes, and ends so. It reports whether a
// daemon killed itself at the point.
func (h *sourcesHost) round(point string) (reached bool) {
	h.Helper()
	early := h.chance.IntN(2) == 0
	if early {
		h.harm()
	}
	d := h.start(fmt.Sprintf("kill:%s:%d", point, 1+h.chance.IntN(4)/3))
	if !early {
		h.tells(d)
		h.harm()
	}
	if h.chance.IntN(3) > 0 {
		h.tells(d)
	}
	select { // to be killed at any moment
	case <-d.ended:
	case <-time.After(chanceUpTo(h.chance, 600*time.Millisecond)):
	}
	boot := h.chance.IntN(3) == 0
	if boot && untilEnd(h, d, "the control socket", func() bool { _, answers := h.status(); return answers }) {
		_ = d.Process.Signal(syscall.SIGTERM)
		<-d.ended
	}
	boot = boot && d.ProcessState.Success() // else the state directory may be a second behind
	if reached = d.hasEnded() && d.wasKilled(); reached {
		h.at++
	}
	h.end(d)
	if boot {
		ok(h, os.RemoveAll(h.region))
		h.reboots++
	}

	d = h.start("")
	h.lives(d, h.tells(d), "behind "+point)
	h.heal(d, "behind "+point)
	if h.chance.IntN(2) == 0 { // a layer that is well moves on
		o, well := h.git, h.bundle
		if h.chance.IntN(2) == 0 {
			o, well = well, o
		}
		h.goWrong(o, o.wrongs)
		h.lives(d, h.tells(d), "in one layer")
		well.push()
		h.lives(d, untilEnd(h, d, "a change beside a layer with "+o.trouble, func() bool { return h.has(well) }), "in one layer")
		h.heal(d, "of one layer")
	}
	time.Sleep(chanceUpTo(h.chance, 4*time.Millisecond))
	h.end(d)
	return reached
}

// tells waits until the status has the trouble of each origin, or the daemon's end.
func (h *sourcesHost) tells(d *crashDaemon) bool {
	h.Helper()
	return untilEnd(h, d, fmt.Sprintf("a status with %q and %q", h.git.trouble, h.bundle.trouble), func() bool {
		return h.says(h.git) && h.says(h.bundle)
	})
}

// lives fails the test if a daemon has ended by itself.
func (h *sourcesHost) lives(d *crashDaemon, came bool, when string) {
	h.Helper()
	if !came {
		h.Fatalf("%s the daemon ended: %v\n%s", when, d.ProcessState, d.log())
	}
}

// heal ends what is wrong, with new changes, which arrive.
func (h *sourcesHost) heal(d *crashDaemon, where string) {
	h.Helper()
	for _, o := range h.origins() {
		o.mode.Store(sourceServes)
		o.trouble = ""
		o.push()
	}
	ok(h, d.Process.Signal(syscall.SIGHUP)) // the next poll of a server that was away may be a minute later
	h.arrives(d, where)
}

// harm has origins change or go wrong, or both.
func (h *sourcesHost) harm() {
	for i, n := range h.chance.Perm(2) {
		o := h.origins()[n]
		wrongs := o.wrongs
		if pushes := h.chance.IntN(3); i == 0 || pushes > 0 { // something is new each time
			for range max(1, pushes) {
				o.push()
			}
			// A fork of a bundle that was not taken is none. A server can fail at any time.
			wrongs = slices.DeleteFunc(slices.Clone(wrongs), func(w wrong) bool { return w.says != anyTrouble })
		}
		if h.chance.IntN(4) < 1+i {
			h.goWrong(o, wrongs)
		}
	}
}

// goWrong has an origin go wrong in the way that was tried least.
func (h *sourcesHost) goWrong(o *origin, ways []wrong) {
	w := ways[h.chance.IntN(len(ways))]
	for _, other := range ways {
		if h.wrongs[other.name] < h.wrongs[w.name] {
			w = other
		}
	}
	w.does()
	o.trouble = w.says
	h.wrongs[w.name]++
}
