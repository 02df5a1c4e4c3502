//go:build linux

package campaign

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/shm"
)

func init() {
	// starve-heart REGION looks at the writer's heartbeat each 10 ms until its input
	// ends, and prints the greatest age that it had. It ends with an error if the
	// writer ever counted as dead.
	roles["starve-heart"] = func(ctx context.Context, args []string) error {
		var r *shm.Region
		var last, gap time.Duration
		looks, dead := 0, ""
		for ctx.Err() == nil {
			if r == nil || r.Replaced() {
				next, err := shm.Open(args[0], shm.Trust{})
				if err != nil && r == nil {
					return err
				}
				if err == nil {
					r = next
				}
			}
			now := shm.Boottime() // before the look: this process may be stopped in between
			s, err := r.Status()
			switch {
			case err == nil:
				last = max(last, s.Heartbeat)
			case !errors.Is(err, shm.ErrBusy):
				return err
			}
			gap = max(gap, now-last)
			if now-last >= shm.StaleAfter || err == nil && s.State != shm.Running {
				dead = fmt.Sprintf("the writer counted as dead: it is %v, and its heartbeat is %v old", s.State, now-last)
			}
			looks++
			time.Sleep(10 * time.Millisecond)
		}
		if dead != "" {
			return errors.New(dead)
		}
		fmt.Println("gap", gap.Nanoseconds(), looks)
		return nil
	}
}

// lasts waits for what the greatest input may keep from happening.
func (h *starveHost) lasts(what string, condition func() bool) {
	h.Helper()
	limit := patience
	if *starveLong {
		limit = 20 * patience
	}
	awaitFor(h, limit, what, condition)
}

// starveHost is a memoryHost, whose source is the good layer, with a heavy layer above.
type starveHost struct {
	*memoryHost
	base   string
	env    []string // of the daemon
	tags   string   // the daemon is built with
	limit  int      // of the daemon's address space in KiB; 0: none
	cgroup string   // the file that puts the daemon into a cgroup; "": none
	swaps  int      // of the heavy layer
	status *control.Client
}

func newStarveHost(t testing.TB, flags ...string) *starveHost {
	t.Helper()
	h := &starveHost{memoryHost: newMemoryHost(t, memory(t), flags...), base: t.TempDir()}
	h.flags = append(h.flags, "--source=heavy=dir:"+filepath.Join(h.base, "heavy"))
	h.status = control.Dial(h.region, []int{os.Geteuid()})
	h.swap(nil)
	return h
}

// swap gives the heavy layer other files at once: a small one, and those of an input.
func (h *starveHost) swap(files map[string]string) {
	h.Helper()
	h.swaps++
	name := fmt.Sprint("heavy-", h.swaps)
	write := func(file, text string) {
		path := filepath.Join(h.base, name, file)
		ok(h, os.MkdirAll(filepath.Dir(path), 0o755))
		ok(h, os.WriteFile(path, []byte(text), 0o644))
	}
	write("small.yaml", fmt.Sprintf("swap: %d\n", h.swaps))
	for file, text := range files {
		write(file, text)
	}
	link := filepath.Join(h.base, "heavy")
	ok(h, os.Symlink(name, link+".new"))
	ok(h, os.Rename(link+".new", link))
}

// start starts the daemon, and waits until it answers.
func (h *starveHost) start() {
	h.Helper()
	h.launch()
	await(h, "the daemon to answer", func() bool {
		h.alive()
		_, err := h.ask()
		return err == nil
	})
}

// launch starts the daemon.
func (h *starveHost) launch() {
	h.Helper()
	var tags []string
	if h.tags != "" {
		tags = append(tags, "-tags="+h.tags)
	}
	args := append([]string{build(h, memoryCommand, tags...)}, h.args()...)
	var limits string
	if h.limit > 0 {
		limits += fmt.Sprintf("ulimit -v %d && ", h.limit)
	}
	if h.cgroup != "" {
		limits += fmt.Sprintf("echo $$ >%s && ", h.cgroup)
	}
	if limits != "" {
		args = append([]string{"/bin/sh", "-c", limits + `exec "$@"`, "sh"}, args...)
	}
	cmd := memoryCmd(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), h.env...)
	h.daemon = start(h, cmd)
}

// ask asks the daemon how it stands.
func (h *starveHost) ask() (control.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return h.status.Status(ctx)
}

// load gives the heavy layer an input, and waits until the daemon decodes it. It
// reports whether it does so still.
func (h *starveHost) load(files map[string]string) (decodes bool) {
	h.Helper()
	before, err := h.ask()
	ok(h, err)
	h.swap(files)
	h.lasts("the daemon to decode", func() bool {
		h.alive()
		s, err := h.ask()
		if err != nil {
			return false
		}
		decodes = s.PlanningSince != nil
		was, is := before.Layers[1], s.Layers[1]
		return decodes || is.Newest != was.Newest || is.Version != was.Version
	})
	return decodes
}

// reads waits until all ways of reading are at the good layer's newest revision.
func (h *starveHost) reads(what string) {
	h.Helper()
	h.lasts(what, func() bool {
		h.alive()
		exact, follows, fresh := h.reader.numbers()
		return exact == h.number && follows == h.number && fresh == h.number
	})
}

// terminate sends SIGTERM, and says how long the daemon takes to end.
func (h *starveHost) terminate() time.Duration {
	h.Helper()
	began := time.Now()
	ok(h, h.daemon.Process.Signal(syscall.SIGTERM))
	h.lasts("the daemon to end", func() bool {
		select {
		case <-h.daemon.ended:
			return true
		default:
			return false
		}
	})
	ok(h, h.daemon.err)
	return time.Since(began)
}

// starveWatch is what others see of the daemon for a time.
type starveWatch struct {
	*starveHost
	heart *process
	stop  chan struct{}
	done  chan struct{}
	said  []string // what went wrong

	answers int
	slowest time.Duration // answer of a command
	gap     time.Duration // the longest of the heartbeat
	looks   int           // at the heartbeat
	middle  bool          // SIGTERM came in the middle of decoding
}

// watch has another process look at the heartbeat, and has commands ask the daemon,
// until end.
func (h *starveHost) watch() *starveWatch {
	h.Helper()
	w := &starveWatch{starveHost: h, heart: spawn(h, "starve-heart", h.region), stop: make(chan struct{}), done: make(chan struct{})}
	command := build(h, "github.com/statesync/statesync/cmd/statesync")
	go func() {
		defer close(w.done)
		for {
			for _, args := range [][]string{{"status"}, {"layers"}} {
				began := time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				out, err := exec.CommandContext(ctx, command, append(args, "--region", h.region)...).CombinedOutput()
				cancel()
				if err != nil && !strings.HasPrefix(string(out), "LAYER") { // layers exits with 1 where a layer is not in use
					w.said = append(w.said, fmt.Sprintf("%s: %v: %s", args[0], err, out))
				}
				w.answers++
				w.slowest = max(w.slowest, time.Since(began))
			}
			select {
			case <-w.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return w
}

// end ends the watch. Nothing may have gone wrong.
func (w *starveWatch) end() {
	w.Helper()
	close(w.stop)
	<-w.done
	for _, said := range w.said {
		w.Error(said)
	}
	var gap int64
	lines := strings.Join(w.heart.finish(w), "\n")
	if _, err := fmt.Sscanf(lines, "gap %d %d", &gap, &w.looks); err != nil {
		w.Errorf("the look at the heartbeat: %s", lines)
	}
	w.gap = time.Duration(gap)
}
