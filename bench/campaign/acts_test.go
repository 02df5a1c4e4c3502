//go:build linux

package campaign

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/image"
)

var actsKills = flag.Int("acts.kills", 0, "how often the campaign of acts kills the daemon at least, and once at each failpoint; 0 is at a few of them")

// actsSome is at how many failpoints a short campaign of acts kills the daemon.
var actsSome = 3

// actsPoints are the failpoints that a daemon passes while an operator commands it.
func actsPoints() (points []string) {
	for _, name := range failpoint.Names {
		for _, about := range []string{"history.", "memory.", "publish.", "region.published", "region.built", "attach.told", "close."} {
			if strings.HasPrefix(name, about) {
				points = append(points, name)
			}
		}
	}
	return slices.DeleteFunc(points, func(name string) bool {
		// The first two are of a start without a history, the others of TestSources.
		return name == "history.created" || name == "history.set-aside" || strings.HasPrefix(name, "history.floor-")
	})
}

// TestActs kills the daemon at every failpoint of history, intent, audit and publication
// and at random moments, while an operator pins, rolls back, overrides, purges and lets
// go, and a reader proves each image. After each kill the history is whole, the stored
// intent is what the audit's entries come to, and every act that was answered is there;
// the next daemon has that intent, makes it so, and enters what was begun as done.
func TestActs(t *testing.T) {
	runtime.LockOSThread() // see crashHost.start
	defer runtime.UnlockOSThread()
	began := time.Now()
	h := newActsHost(t)
	stopReading := h.read()
	defer stopReading()
	points, hit := actsPoints(), map[string]int{}
	if *actsKills == 0 {
		h.chance.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		points = points[:actsSome]
	}
	for said := time.Now(); !t.Failed(); {
		missing := slices.DeleteFunc(slices.Clone(points), func(name string) bool { return hit[name] > 0 })
		if h.kills >= *actsKills && len(missing) == 0 {
			break
		}
		if h.kills > 2**actsKills+400 {
			t.Errorf("no daemon was killed at %q, in %d kills", missing, h.kills)
			break
		}
		point := points[h.chance.IntN(len(points))]
		if len(missing) > 0 {
			point = missing[h.chance.IntN(len(missing))]
		}
		if h.round(point) {
			hit[point]++
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			t.Logf("%v: %s", time.Since(began).Round(time.Second), h)
		}
	}
	stopReading()
	if t.Failed() {
		return
	}
	report(t, "a daemon that is killed at any moment forgets no act, and leaves none without its audit entry or done without its effect",
		fmt.Sprintf("%s, in %v", h, time.Since(began).Round(time.Second)), "0 records torn, 0 acts lost, 0 pins forgotten, 0 images torn")
}

// actsHost is a source, a region and a state directory with an operator.
type actsHost struct {
	testing.TB
	binary                            string
	base, source, knob, region, state string
	chance                            *rand.Rand

	current *crashDaemon
	revised int // revisions of the source
	kills   int
	at      int // of them at failpoints

	answered map[uint64]string // acts by number, with what was asked for
	folded   actsIntent        // what the audit's entries come to
	entries  uint64            // the newest that is folded
	acts     int
	looks    int
	mu       sync.Mutex // of looks
}

// actsIntent is an intent as the audit's entries come to it.
type actsIntent struct {
	pin       uint64            // the act
	overrides map[string]uint64 // of config and key, by act
}

func newActsHost(t testing.TB) *actsHost {
	t.Helper()
	base := memory(t)
	h := &actsHost{
		TB: t, base: base, chance: chance("acts"),
		binary: build(t, "github.com/statesync/statesync/cmd/statesyncd", "-tags=failpoints"),
		source: filepath.Join(base, "source"), knob: filepath.Join(base, "knob"),
		region: filepath.Join(base, "region"), state: filepath.Join(base, "state"),
		answered: map[uint64]string{}, folded: actsIntent{overrides: map[string]uint64{}},
	}
	ok(t, errors.Join(os.Mkdir(h.source, 0o755), os.Mkdir(h.knob, 0o755)))
	h.revise()
	t.Cleanup(func() {
		if h.current != nil {
			h.current.kill()
		}
	})
	return h
}

func (h *actsHost) String() string {
	return fmt.Sprintf("%d kills, %d of them at failpoints; %d acts answered, %d in the audit, %d revisions; %d images proven",
		h.kills, h.at, h.acts, h.entries, h.revised, h.proven())
}

func (h *actsHost) proven() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.looks
}

// revise makes the source's next revision.
func (h *actsHost) revise() {
	h.revised++
	writeConfigs(h, h.source, h.revised, sizedRevision(h.revised, 1, 200))
	temp := filepath.Join(h.knob, ".new")
	ok(h, os.WriteFile(temp, fmt.Appendf(nil, "x: 0\ny: %d\n", h.revised), 0o644))
	ok(h, os.Rename(temp, filepath.Join(h.knob, "knob.yaml")))
}

// start starts a daemon with an action at a failpoint.
func (h *actsHost) start(what string) *crashDaemon {
	h.Helper()
	h.current = launchCrashing(h, h.binary, what, "--source=dir:"+h.source, "--source=knob=dir:"+h.knob, "--region="+h.region,
		"--state-dir="+h.state, "--resync=100ms", "--slots=4", "--max-image=1MiB", "--history=40", "--listen=off")
	return h.current
}

// round has a daemon kill itself at a point while it is commanded, unless it does not come
// there: then it is killed at a random moment. It reports whether it came there.
func (h *actsHost) round(point string) (reached bool) {
	h.Helper()
	h.revise() // something to publish and to record
	d := h.start(fmt.Sprintf("kill:%s:%d", point, 1+h.chance.IntN(3)))
	h.command(d, 6)
	if !d.hasEnded() && h.chance.IntN(4) == 0 {
		_ = d.Process.Signal(syscall.SIGTERM)
		<-d.ended
	}
	reached = d.hasEnded() && d.wasKilled()
	h.end(d)
	if reached {
		h.at++
	}
	h.check(d, point)

	d = h.start("")
	h.settles(d, point)
	if h.chance.IntN(2) == 0 {
		h.revise()
	}
	h.command(d, 1+h.chance.IntN(3))
	time.Sleep(chanceUpTo(h.chance, 4*time.Millisecond))
	h.end(d)
	h.check(d, "a random moment")
	return reached
}

func (h *actsHost) end(d *crashDaemon) {
	h.Helper()
	h.current = nil
	if d.end(h) {
		h.kills++
	}
}

// client is the operator's.
func (h *actsHost) client() *control.Client {
	return control.DialSocket(filepath.Join(h.state, control.ControlName), []int{os.Geteuid()})
}

// command gives up to n commands at random, until the daemon ends.
func (h *actsHost) command(d *crashDaemon, n int) {
	h.Helper()
	c := h.client()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-d.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	untilEnd(h, d, "the control socket", func() bool { _, err := c.Status(ctx); return err == nil })
	for range n {
		name, body := "", control.Command{}
		switch h.chance.IntN(9) {
		case 0:
			name = "pin"
		case 1, 2:
			name = "rollback"
		case 3, 4:
			name = "unpin"
		case 5:
			name, body = "override", control.Command{Config: "knob", Key: []string{"x", "z"}[h.chance.IntN(2)], Value: fmt.Sprint(h.chance.IntN(100)), For: "1h"}
		case 6:
			name, body = "override", control.Command{Config: "knob", Key: "x", Value: "7", For: "30ms"}
		case 7:
			name = "override/clear"
		case 8:
			name, body = "purge", control.Command{Config: "knob"}
		}
		reply, err := c.Do(ctx, name, body)
		var refused *control.RefusedError
		switch {
		case d.hasEnded():
			return
		case errors.As(err, &refused) && refused.Code < 500: // it did not fit
		case err != nil:
			if !untilEnd(h, d, "its end after: "+err.Error(), func() bool { return refused != nil }) {
				return
			}
		case reply.Act != 0:
			h.acts++
			h.answered[reply.Act] = name
		}
	}
}

// fold takes the audit's entries, the newest first, into account that are new.
func (h *actsHost) fold(entries []history.Entry) {
	h.Helper()
	for _, e := range slices.Backward(entries) {
		if e.Number <= h.entries {
			continue
		}
		if e.Number != h.entries+1 {
			h.Fatalf("the audit has act %d after %d", e.Number, h.entries)
		}
		h.entries = e.Number
		words := strings.Fields(e.Command)
		switch {
		case words[0] == "pin", words[0] == "rollback":
			h.folded.pin = e.Number
		case words[0] == "unpin":
			h.folded.pin = 0
		case words[0] == "override" && words[1] == "--clear":
			h.folded.overrides = map[string]uint64{}
		case words[0] == "override":
			key, _, _ := strings.Cut(words[2], "=")
			h.folded.overrides[words[1]+" "+key] = e.Number
		case words[0] == "lapse":
			maps.DeleteFunc(h.folded.overrides, func(_ string, act uint64) bool { return fmt.Sprint(act) == words[3] })
		}
		if asked := h.answered[e.Number]; asked != "" && !strings.Contains(strings.ReplaceAll(e.Command, "history ", ""), strings.Split(asked, "/")[0]) {
			h.Errorf("act %d was %s, and the audit has %s", e.Number, asked, e.Command)
		}
	}
	for act := range h.answered {
		if act > h.entries {
			h.Errorf("act %d was answered, and the audit ends at %d", act, h.entries)
		}
	}
	clear(h.answered)
}

// check holds what a daemon left behind against the audit.
func (h *actsHost) check(d *crashDaemon, where string) {
	h.Helper()
	path := filepath.Join(h.base, "copy.db")
	text, err := os.ReadFile(filepath.Join(h.state, "history.db"))
	if errors.Is(err, os.ErrNotExist) {
		return // it died before
	}
	ok(h, err)
	ok(h, os.WriteFile(path, text, 0o600))
	store, err := history.Open(path, history.Options{Records: 40})
	if err != nil {
		h.Fatalf("killed at %s: %v\n%s", where, err, d.log())
	}
	defer store.Close()
	entries, err := store.Audit(0, 1000)
	ok(h, err)
	h.fold(entries)
	intent, err := store.Intent()
	ok(h, err)
	h.compare(where, &intent)
	records, err := store.Log(history.Query{Limit: 1000})
	ok(h, err)
	for _, r := range records {
		refs, err := store.Configs(r.Generation)
		ok(h, err)
		h.prove(store, refs, where)
	}
	if intent.Pin == nil {
		return
	}
	refs, err := store.Pinned()
	ok(h, err)
	pinned := h.prove(store, refs, where)
	// What is done has had its effect: the region holds what is pinned.
	newest := entries[slices.IndexFunc(entries, func(e history.Entry) bool { return e.Number == intent.Pin.Act })]
	if entries[0].Number == newest.Number && !newest.Done.IsZero() {
		if got := h.live(); got != pinned {
			h.Fatalf("killed at %s: %q is done, and the region holds revision %d, not %d\n%s", where, newest.Command, got, pinned, d.log())
		}
	}
}

// compare holds a stored intent against what the audit comes to.
func (h *actsHost) compare(where string, intent *history.Intent) {
	h.Helper()
	got := actsIntent{overrides: map[string]uint64{}}
	if intent.Pin != nil {
		got.pin = intent.Pin.Act
	}
	for _, o := range intent.Overrides {
		got.overrides[o.Config+" "+o.Key] = o.Act
	}
	if got.pin != h.folded.pin || !maps.Equal(got.overrides, h.folded.overrides) {
		h.Fatalf("killed at %s: the intent is %+v, and the audit comes to %+v", where, got, h.folded)
	}
}

// prove verifies the configs of a record, and returns the number of their revision.
func (h *actsHost) prove(store *history.Store, refs []history.Ref, where string) int {
	h.Helper()
	kept := slices.DeleteFunc(slices.Clone(refs), func(r history.Ref) bool { return r.Name == "knob" }) // it is purged at times
	sections, err := store.Sections(kept)
	if err != nil {
		h.Fatalf("killed at %s: %v", where, err)
	}
	m, err := image.Build(1, "", sections, nil)
	ok(h, err)
	n, err := crashProveImage(m)
	if err != nil {
		h.Fatalf("killed at %s: %v", where, err)
	}
	return n
}

// live is the number of the revision that the region holds.
func (h *actsHost) live() int {
	h.Helper()
	found, err := (&crashHost{TB: h.TB, region: h.region}).read()
	ok(h, err)
	return found.number
}

// settles waits until a daemon has the intent, has made it so, and has entered all acts as
// done.
func (h *actsHost) settles(d *crashDaemon, where string) {
	h.Helper()
	c := h.client()
	var status control.Status
	var entries []control.Entry
	came := untilEnd(h, d, "the daemon to settle", func() bool {
		var err error
		if status, err = c.Status(context.Background()); err != nil || !status.Converged {
			return false
		}
		entries, err = c.Audit(context.Background(), 0, 50)
		return err == nil && !slices.ContainsFunc(entries, func(e control.Entry) bool { return e.Done.IsZero() })
	})
	if !came {
		h.Fatalf("after a kill at %s the daemon ended: %v\n%s", where, d.ProcessState, d.log())
	}
	h.fold(entries)
	intent := &history.Intent{}
	if status.Pin != nil {
		intent.Pin = &history.Pin{Act: status.Pin.Act}
	}
	for _, o := range status.Overrides {
		intent.Overrides = append(intent.Overrides, history.Override{Act: o.Act, Config: o.Config, Key: o.Key})
	}
	// What lapses while this looks is in the status or in the audit.
	for key, act := range h.folded.overrides {
		if !slices.ContainsFunc(status.Overrides, func(o control.Override) bool { return o.Act == act }) && strings.HasSuffix(key, " x") {
			delete(h.folded.overrides, key)
			defer func() { h.folded.overrides[key] = act }()
		}
	}
	h.compare(where+", and started again", intent)
}

// read proves what the region holds all the time, until the returned function is called.
func (h *actsHost) read() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		reader := &crashHost{TB: h.TB, region: h.region}
		var last uint64
		for {
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
			found, err := reader.read()
			switch {
			case errors.Is(err, shm.ErrNoRegion):
				continue
			case err != nil:
				h.Errorf("a reader: %v", err)
				return
			case found.generation < last:
				h.Errorf("a reader went back from generation %d to %d", last, found.generation)
				return
			}
			last = found.generation
			h.mu.Lock()
			h.looks++
			h.mu.Unlock()
		}
	}()
	return sync.OnceFunc(func() { close(end); <-ended })
}
