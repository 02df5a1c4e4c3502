//go:build linux

package campaign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm"
)

// kinds are the errors that package client documents for a region that cannot be
// read. Any other error fails the test.
var memoryKinds = []struct {
	word string
	err  error
}{
	{"no-region", client.ErrNoRegion},
	{"untrusted", client.ErrUntrusted},
	{"layout", client.ErrLayout},
	{"corrupt", client.ErrCorrupt},
	{"expired", client.ErrExpired},
	{"permission", fs.ErrPermission},
}

// memoryKind words an error as one of memoryKinds; empty if it is none.
func memoryKind(err error) string {
	for _, k := range memoryKinds {
		if errors.Is(err, k.err) {
			return k.word
		}
	}
	return ""
}

func init() {
	// memory-read DIR PAUSE reads a region in three ways until its input ends: as an
	// exact reader and as a follower, which share one client, and with a new client each
	// time. Each way pauses between two reads. It prints "exact N", "follows N" and
	// "fresh N" when the number of the revision that the way reads changes, and "refused
	// KIND" when the error of a new client changes. It ends with an error if it sees what
	// a reader must never see.
	roles["memory-read"] = func(ctx context.Context, args []string) error {
		r := &memoryRole{dir: args[0]}
		pause, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		c, err := client.Open(r.dir, client.Lazy())
		if err != nil {
			return err
		}
		binding := client.Bind[proven](c, "a")
		ways := []func() error{
			func() error { return r.exact(c) },
			func() error { return r.follows(binding) },
			func() error { return r.fresh() },
		}
		failed := make(chan error, len(ways)+1)
		steps := make([]atomic.Uint64, len(ways))
		var group sync.WaitGroup
		for i, step := range ways {
			group.Go(func() {
				for ctx.Err() == nil {
					if err := step(); err != nil {
						failed <- err
						return
					}
					steps[i].Add(1)
					time.Sleep(pause)
				}
			})
		}
		// No goroutine hangs. Ticks are counted, and not time, as the whole process
		// may be stopped for long.
		var seen [3]uint64
		var stuck [3]int
		for ctx.Err() == nil {
			select {
			case err := <-failed:
				return err
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			for i := range steps {
				if now := steps[i].Load(); now != seen[i] {
					seen[i], stuck[i] = now, 0
				} else if stuck[i]++; stuck[i] > 150 {
					return fmt.Errorf("reader %d hangs", i)
				}
			}
		}
		group.Wait()
		select {
		case err := <-failed:
			return err
		default:
		}
		r.say("sum %d %d", r.reads.Load(), r.refusals.Load())
		return c.Close()
	}
}

// memoryPace is how long each way of reading of the role memory-read pauses.
var memoryPace = time.Millisecond

// memoryRole is the state of the role memory-read.
type memoryRole struct {
	dir             string
	mu              sync.Mutex // of the output
	last            [3]int
	refused         string
	reads, refusals atomic.Uint64
}

func (r *memoryRole) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// at prints the number of the revision that a way has read, if it has changed.
func (r *memoryRole) at(way int, what string, n int) {
	r.reads.Add(1)
	if n != r.last[way] {
		r.last[way] = n
		r.say("%s %d", what, n)
	}
}

func (r *memoryRole) exact(c *client.Client) error {
	_ = c.Stats()
	n, err := prove(c.Snapshot())
	switch {
	case err != nil && r.last[0] == 0 && memoryKind(err) != "":
		return nil // there was no valid revision yet
	case err != nil:
		return fmt.Errorf("exact, after revision %d: %w (%v)", r.last[0], err, c.Stats().Err)
	case n < r.last[0]:
		return fmt.Errorf("exact: revision %d came after %d", n, r.last[0])
	}
	r.at(0, "exact", n)
	return nil
}

func (r *memoryRole) follows(b *client.Binding[proven]) error {
	n := b.Get().Number
	if n < r.last[1] {
		return fmt.Errorf("follower: revision %d came after %d", n, r.last[1])
	}
	r.at(1, "follows", n)
	return nil
}

func (r *memoryRole) fresh() error {
	n, err := memoryFresh(r.dir)
	if errors.Is(err, shm.ErrBusy) {
		return nil // the hot word was overwritten during the read; the next client sees the damage
	}
	if err != nil {
		kind := memoryKind(err)
		if kind == "" {
			return fmt.Errorf("a new client: %w", err)
		}
		r.refusals.Add(1)
		if kind != r.refused {
			r.refused = kind
			r.say("refused %s", kind)
		}
		return nil
	}
	r.refused = ""
	r.at(2, "fresh", n)
	return nil
}

// refusals is how many refused revisions the daemon's log has.
func (h *memoryHost) refusals() int { return strings.Count(h.daemon.log(), "msg=refused") }

// refuses waits until the newest revision is published or refused, and reports
// whether it was refused.
func (h *memoryHost) refuses(before int) (refused bool) {
	h.Helper()
	await(h, "a publication or a refusal", func() bool {
		h.alive()
		exact, _, _ := h.reader.numbers()
		refused = h.refusals() > before
		return refused || exact == h.number
	})
	return refused
}

// memoryFresh proves a region with a client of its own.
func memoryFresh(dir string) (n int, err error) {
	c, err := client.Open(dir)
	if err != nil {
		return 0, err
	}
	n, err = prove(c.Snapshot())
	_ = c.Stats()
	return n, errors.Join(err, c.Close())
}

// memoryReader is such a process.
type memoryReader struct {
	testing.TB
	*process
	drained chan struct{}

	mu                    sync.Mutex
	exact, follows, fresh int
	refused               map[string]int
	said                  string // its error
	reads, refusals       int    // once it has ended
}

func memoryRead(t testing.TB, dir string) *memoryReader {
	t.Helper()
	return memoryReads(t, spawn(t, "memory-read", dir, memoryPace.String()))
}

// memoryReadAs is one of another user.
func memoryReadAs(t testing.TB, uid uint32, dir string) *memoryReader {
	t.Helper()
	return memoryReads(t, trustSpawn(t, trustAs(uid), "memory-read", dir, memoryPace.String()))
}

func memoryReads(t testing.TB, p *process) *memoryReader {
	t.Helper()
	r := &memoryReader{
		TB: t, process: p, drained: make(chan struct{}), refused: map[string]int{},
	}
	go func() {
		defer close(r.drained)
		for line := range r.Lines {
			r.note(line)
		}
	}()
	return r
}

func (r *memoryReader) note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	n := 0
	_, _ = fmt.Sscanf(rest, "%d", &n) // not a number in all of them
	switch word {
	case "exact":
		r.exact = n
	case "follows":
		r.follows = n
	case "fresh":
		r.fresh = n
	case "refused":
		r.refused[rest]++
	case "sum":
		_, _ = fmt.Sscanf(rest, "%d %d", &r.reads, &r.refusals)
	default:
		r.said += line + "\n"
	}
}

// healthy fails the test if the reader has died.
func (r *memoryReader) healthy() {
	r.Helper()
	select {
	case <-r.ended:
		<-r.drained
		r.Fatalf("a reader ended: %v: %s", r.err, r.said)
	default:
	}
}

// numbers are the revisions that the three ways of reading are at.
func (r *memoryReader) numbers() (exact, follows, fresh int) {
	r.Helper()
	r.healthy()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exact, r.follows, r.fresh
}

// sees waits until all ways of reading are at revision n.
func (r *memoryReader) sees(what string, n int) {
	r.Helper()
	await(r, fmt.Sprintf("%s: revision %d", what, n), func() bool {
		exact, follows, fresh := r.numbers()
		return exact == n && follows == n && fresh == n
	})
}

// tells waits until new clients get an error of a kind, once more than before.
func (r *memoryReader) tells(what, kind string) {
	r.Helper()
	await(r, what+": "+kind, func() bool {
		r.healthy()
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.refused[kind] > 0
	})
}

// end ends the reader in an orderly way, and returns how often it read and was refused.
func (r *memoryReader) end() (reads, refusals int) {
	r.Helper()
	_ = r.stdin.Close()
	<-r.drained
	<-r.ended
	if r.err != nil || r.said != "" {
		r.Errorf("a reader: %v: %s", r.err, r.said)
	}
	return r.reads, r.refusals
}

// memoryHost is a source, a region and a state directory, and a daemon.
type memoryHost struct {
	testing.TB
	source, region, state string
	flags                 []string
	daemon                *process
	reader                *memoryReader
	number                int // of the source's newest revision
	chance                *rand.Rand
}

const memoryCommand = "github.com/statesync/statesync/cmd/statesyncd"

// newMemoryHost makes a host with a region in an existing directory, and a source with
// a first revision.
func newMemoryHost(t testing.TB, parent string, flags ...string) *memoryHost {
	t.Helper()
	base := t.TempDir()
	h := &memoryHost{
		TB: t, source: filepath.Join(base, "source"), region: filepath.Join(parent, "region"),
		state: filepath.Join(base, "state"), flags: flags, chance: chance(t.Name() + filepath.Base(parent)),
	}
	ok(t, os.Mkdir(h.source, 0o755))
	h.publish(100)
	return h
}

// publish gives the source its next revision.
func (h *memoryHost) publish(size int) {
	h.Helper()
	h.number++
	writeRevision(h, h.source, h.number, size)
}

func (h *memoryHost) args() []string {
	return append([]string{"--source=dir:" + h.source, "--region=" + h.region, "--state-dir=" + h.state, "--resync=200ms"}, h.flags...)
}

// start starts the daemon.
func (h *memoryHost) start() {
	h.Helper()
	h.daemon = start(h, memoryCmd(build(h, memoryCommand), h.args()...))
}

// alive fails the test if the daemon or the reader has died.
func (h *memoryHost) alive() {
	h.Helper()
	select {
	case <-h.daemon.ended:
		h.Fatalf("the daemon ended: %v\n%s", h.daemon.err, h.daemon.log())
	default:
	}
	if h.reader != nil {
		h.reader.healthy()
	}
}

// stop ends the daemon in an orderly way.
func (h *memoryHost) stop() {
	h.Helper()
	ok(h, h.daemon.Process.Signal(syscall.SIGTERM))
	<-h.daemon.ended
	ok(h, h.daemon.err)
}

func (h *memoryHost) file() string { return filepath.Join(h.region, "region.v1") }

// look returns the result of a new client.
func (h *memoryHost) look() (id string, generation uint64, err error) {
	c, err := client.Open(h.region)
	if err != nil {
		return "", 0, err
	}
	s := c.Snapshot()
	_, err = prove(s)
	return s.RegionID(), s.Generation(), errors.Join(err, c.Close())
}

// memoryTmpfs mounts a file system of so many pages for the test.
func memoryTmpfs(t testing.TB, pages int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs takes root")
	}
	parent := memory(t) // and not t.TempDir, which only its owner can search
	ok(t, os.Chmod(parent, 0o755))
	dir := filepath.Join(parent, "tmpfs")
	ok(t, os.Mkdir(dir, 0o755))
	if err := unix.Mount("campaign", dir, "tmpfs", 0, memorySize(pages)); err != nil {
		t.Skipf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// memoryResize changes the size of a mounted file system, to at least what is in use and
// one page.
func memoryResize(t testing.TB, dir string, pages int) {
	t.Helper()
	await(t, "the file system to have another size", func() bool {
		err := unix.Mount("campaign", dir, "tmpfs", unix.MS_REMOUNT, memorySize(max(pages, 1+memoryUsed(t, dir))))
		if errors.Is(err, unix.EINVAL) { // the daemon has taken pages since
			return false
		}
		ok(t, err)
		return true
	})
}

func memorySize(pages int) string {
	return fmt.Sprintf("size=%d,mode=0755", pages*os.Getpagesize())
}

// memoryUsed is how many pages of a file system are in use.
func memoryUsed(t testing.TB, dir string) int {
	t.Helper()
	var st unix.Statfs_t
	ok(t, unix.Statfs(dir, &st))
	return int(st.Blocks - st.Bfree)
}
