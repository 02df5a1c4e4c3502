//go:build linux

package campaign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/image"
)

// crashSizes are the least and the greatest size in bytes of a config's payload,
// at each level. An image takes a while to store and to copy, and one of the
// next level outgrows each slot that was made for one of the level below: of 256
// KiB, 2 MiB and 16 MiB.
var crashSizes = [][2]int{{1, 8 << 10}, {90 << 10, 160 << 10}, {750 << 10, 1200 << 10}}

// crashRevision makes revision number n, whose level is in its number.
func crashRevision(n int) map[string]proven {
	sizes := crashSizes[n%len(crashSizes)]
	return sizedRevision(n, sizes[0], sizes[1])
}

// crashUnder is a config that only the lower one of two layers has. It has the others,
// too, with keys of which the higher one overrules all that a reader proves.
const crashUnder = "under"

// crashHost is a source that changes all the time, a region and a state
// directory, with one daemon at a time on them.
type crashHost struct {
	testing.TB
	binary                      string
	base, source, region, state string
	seal                        bool
	shape                       int  // counts the changes of the region's geometry
	layered                     bool // there is a second source below the first

	current *crashDaemon
	killed  int          // daemons that SIGKILL ended
	logs    []string     // of the last few daemons
	written atomic.Int64 // the number of the newest revision in the source
	level   atomic.Int64 // of the source's next revisions

	crashFound      // what was seen last: the region never goes behind it
	replaced   bool // the last crash may have left another file at the path
	growths    int  // how often the region was in a larger file, with its id
}

// crashFound is what is at the region's path.
type crashFound struct {
	id         shm.ID
	generation uint64
	number     int   // of the revision
	slot       int64 // bytes
	retired    bool
}

func newCrashHost(t testing.TB) *crashHost {
	t.Helper()
	base := memory(t)
	h := &crashHost{
		TB: t, base: base,
		binary: build(t, "github.com/statesync/statesync/cmd/statesyncd", "-tags=failpoints"),
		source: filepath.Join(base, "source"), region: filepath.Join(base, "region"), state: filepath.Join(base, "state"),
		replaced: true,
	}
	ok(t, os.Mkdir(h.source, 0o755))
	for _, name := range append([]string{crashUnder}, provenNames...) {
		path := filepath.Join(base, "under", name+".yaml")
		ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
		ok(t, os.WriteFile(path, []byte("number: -1\npayload: overruled\nbelow: {a: 1}\n"), 0o644))
	}
	h.write()
	t.Cleanup(func() {
		if d := h.current; d != nil {
			d.kill()
			h.logs = append(h.logs, "the one that was running:\n"+d.log())
		}
		if h.seal {
			_ = exec.Command("chattr", "-a", filepath.Join(h.region, shm.FileName)).Run()
		}
		if t.Failed() {
			t.Logf("the last daemons wrote:\n%s", strings.Join(h.logs, "---\n"))
		}
	})
	return h
}

// write makes the source's next revision.
func (h *crashHost) write() {
	n := int(h.written.Load()) + 1
	for n%len(crashSizes) != int(h.level.Load()) {
		n++
	}
	writeConfigs(h, h.source, n, crashRevision(n))
	h.written.Store(int64(n))
}

// setLevel has the source written at a level, and waits until it is.
func (h *crashHost) setLevel(level int) {
	h.Helper()
	h.level.Store(int64(level))
	await(h, "a revision of another level", func() bool { return int(h.written.Load())%len(crashSizes) == level })
}

// keepWriting changes the source all the time until the returned function is
// called: as soon as a revision is published, since a source that never comes
// to rest is read seldom, and every now and then when it is not.
func (h *crashHost) keepWriting() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var last uint64
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			case <-time.After(3 * time.Millisecond):
			}
			patient := n < 7<<(2*h.level.Load()) // a large revision takes longer
			if found, err := h.look(); patient && (err != nil || found.generation == last) {
				continue
			} else if err == nil {
				last = found.generation
			}
			h.write()
			n = 0
		}
	}()
	return sync.OnceFunc(func() { close(end); <-ended })
}

// crashDaemon is a daemon in a process of its own.
type crashDaemon struct {
	*exec.Cmd
	ended chan struct{}
	err   error // how it ended, once it has
	asked bool  // to end in good order

	mu  sync.Mutex
	out bytes.Buffer
}

func (d *crashDaemon) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.Write(b)
}

func (d *crashDaemon) log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.String()
}

// start starts a daemon with an action at a failpoint, as in package failpoint.
func (h *crashHost) start(what string) *crashDaemon {
	h.Helper()
	var args []string
	if h.layered {
		args = append(args, "--source=under=dir:"+filepath.Join(h.base, "under"))
	}
	args = append(args,
		"--source=dir:"+h.source, "--region="+h.region, "--state-dir="+h.state, "--resync=1s", "--log-level=debug",
		fmt.Sprintf("--slots=%d", 2+h.shape%3), fmt.Sprintf("--max-image=%dMiB", 16*(1+h.shape%2)),
	)
	if h.seal {
		args = append(args, "--seal")
	}
	h.current = launchCrashing(h, h.binary, what, args...)
	return h.current
}

// launchCrashing starts a daemon with an action at a failpoint. The daemon dies with the
// test: the test's goroutine is locked to its thread.
func launchCrashing(t testing.TB, binary, what string, args ...string) *crashDaemon {
	t.Helper()
	d := &crashDaemon{Cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	d.Env = append(os.Environ(), failpoint.Env+"="+what)
	d.Stderr = d
	d.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ok(t, d.Start())
	go func() {
		defer close(d.ended)
		d.err = d.Wait()
	}()
	return d
}

// kill sends SIGKILL and waits for the end.
func (d *crashDaemon) kill() {
	_ = d.Process.Kill() // may have ended already
	<-d.ended
}

// end kills a daemon unless it has ended, and reports whether SIGKILL ended it. It fails
// the test if the daemon failed by itself.
func (d *crashDaemon) end(t testing.TB) (killed bool) {
	t.Helper()
	d.kill()
	if killed = d.wasKilled(); !killed && !d.ProcessState.Success() {
		t.Fatalf("the daemon ended by itself: %v\n%s", d.ProcessState, d.log())
	}
	return killed
}

func (d *crashDaemon) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// wasKilled reports whether SIGKILL ended it, be it its own or the test's.
func (d *crashDaemon) wasKilled() bool {
	status, ok := d.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// isStopped reports whether a signal has stopped it.
func (d *crashDaemon) isStopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.Process.Pid))
	_, fields, found := bytes.Cut(stat, []byte(") "))
	return err == nil && found && bytes.HasPrefix(fields, []byte("T"))
}

func (h *crashHost) until(d *crashDaemon, what string, condition func() bool) bool {
	h.Helper()
	return untilEnd(h, d, what, condition)
}

// untilEnd waits for a condition or the daemon's end, and reports whether the condition
// came true.
func untilEnd(t testing.TB, d *crashDaemon, what string, condition func() bool) bool {
	t.Helper()
	came := false
	await(t, what, func() bool {
		came = condition()
		return came || d.hasEnded()
	})
	return came
}

// look returns the state of the region, without the number of its revision.
func (h *crashHost) look() (found crashFound, err error) {
	r, err := shm.Open(h.region, shm.Trust{})
	if err != nil {
		return found, err
	}
	hot, err := r.Hot()
	return crashFind(r, hot), err
}

func crashFind(r *shm.Region, hot seqlock.Hot) crashFound {
	return crashFound{id: r.ID(), generation: hot.Generation(), slot: r.Geometry().SlotSize, retired: hot.Retired()}
}

// publishes waits until the daemon has published a new generation, and compares it
// with what was there before. It returns false if the daemon has ended.
func (h *crashHost) publishes(d *crashDaemon) bool {
	h.Helper()
	var found crashFound
	came := h.until(d, "a publication", func() bool {
		var err error
		found, err = h.look()
		return err == nil && found.generation > h.generation
	})
	if came {
		found.number = h.number // look does not read it
		h.seen(found)
		h.replaced = found.retired // and the daemon may die before another file is there
	}
	return came
}

// seen fails the test if the region went back from what was seen last.
func (h *crashHost) seen(found crashFound) {
	h.Helper()
	switch {
	case found.id != h.id && !h.replaced:
		h.Fatalf("the region became another one, %v instead of %v, without a cause", found.id, h.id)
	case found.id != h.id && found.generation <= h.generation:
		h.Fatalf("region %v has generation %d, and %v before it had %d", found.id, found.generation, h.id, h.generation)
	case found.generation < h.generation || found.number < h.number:
		h.Fatalf("went back from generation %d, revision %d, to %d, %d", h.generation, h.number, found.generation, found.number)
	case found.id == h.id && found.slot != h.slot && found.generation <= h.generation:
		h.Fatalf("region %v has slots of %d bytes in place of %d, and no later generation than %d", h.id, found.slot, h.slot, h.generation)
	case found.id == h.id && found.slot < h.slot:
		h.Fatalf("region %v shrank from slots of %d bytes to %d", h.id, h.slot, found.slot)
	case found.id == h.id && found.slot > h.slot:
		h.growths++
	}
	h.crashFound = found
}

// inspect verifies the region that a daemon left when it died: it is whole, and not
// behind what was there before.
func (h *crashHost) inspect(d *crashDaemon, where string) {
	h.Helper()
	h.current = nil
	h.logs = append(h.logs, fmt.Sprintf("%s: %v\n%s", where, d.ProcessState, d.log()))
	h.logs = h.logs[max(0, len(h.logs)-3):]
	switch {
	case d.wasKilled():
		h.killed++
	case !d.asked || !d.ProcessState.Success():
		h.Fatalf("%s: the daemon ended by itself: %v", where, d.ProcessState)
	}
	found, err := h.read()
	if errors.Is(err, shm.ErrNoRegion) && h.replaced {
		return // it was removed, and the daemon died before it made a new one
	}
	if err != nil {
		h.Fatalf("%s: the region that the daemon left: %v", where, err)
	}
	h.seen(found)
	// A retired region has no successor yet: the daemon died in between, and the next
	// one makes another region.
	h.replaced = h.replaced || found.retired
}

// read verifies the region's image, by the digests inside it.
func (h *crashHost) read() (found crashFound, err error) {
	r, err := shm.Open(h.region, shm.Trust{})
	if err != nil {
		return found, err
	}
	var words []uint64
	_, err = r.Read(func(hot seqlock.Hot, in []uint64) error {
		found, words = crashFind(r, hot), make([]uint64, len(in))
		seqlock.LoadWords(words, in)
		return nil
	})
	if err == nil {
		found.number, err = crashProve(found.generation, words)
	}
	return found, err
}

// isLayered reports whether what the region holds comes from both layers.
func (h *crashHost) isLayered() (bool, error) {
	c, err := client.Open(h.region)
	if err != nil {
		return false, err
	}
	_, err = c.Snapshot().Get(crashUnder)
	is := err == nil
	if errors.Is(err, client.ErrNotFound) {
		err = nil
	}
	return is, errors.Join(err, c.Close())
}

// crashProve is prove for a copy of an image.
func crashProve(generation uint64, words []uint64) (number int, err error) {
	m, err := image.Load(words, generation)
	if err != nil {
		return 0, fmt.Errorf("generation %d: %w", generation, err)
	}
	return crashProveImage(m)
}

func crashProveImage(m *image.Image) (number int, err error) {
	generation := m.Generation()
	configs := map[string]proven{}
	for _, s := range m.Sections() {
		var c proven
		if err := json.Unmarshal(s.Content(), &c); err != nil {
			return 0, fmt.Errorf("generation %d: %s: %w", generation, s.Name(), err)
		}
		configs[s.Name()] = c
	}
	number = configs[provenNames[0]].Number
	sum := digest(configs)
	for _, name := range provenNames {
		if c := configs[name]; c.Digest != sum || c.Number != number {
			return 0, fmt.Errorf("generation %d: %s: revision %d with digest %s, and the payloads have %s",
				generation, name, c.Number, c.Digest, sum)
		}
	}
	return number, nil
}
