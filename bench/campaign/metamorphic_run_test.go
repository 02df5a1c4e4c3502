//go:build linux

package campaign

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
)

// metaRun runs one script in one setting, in step with the model.
type metaRun struct {
	testing.TB
	*metaModel
	setting  metaSetting
	base     string
	source   string       // what the daemon follows, as --source takes it
	deliver  func() error // makes that what the source's directory is
	daemon   *process
	clients  map[string]*metaClient
	patience time.Duration

	generation uint64 // at the last sync
	compared   int
	cleanups   []func()
}

// Cleanup registers a function that runs at the end of the run, and not only at the
// end of the test.
func (r *metaRun) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// Failed is about the run.
func (r *metaRun) Failed() bool { return false }

// runScript returns the number of observations that were compared, and the first one
// that the model does not allow.
func runScript(t testing.TB, s metaSetting, ops []metaOp, patience time.Duration) (compared int, err error) {
	base, err := os.MkdirTemp("/dev/shm", "statesync-campaign-")
	ok(t, err)
	r := &metaRun{TB: t, metaModel: newMetaModel(), setting: s, base: base, clients: map[string]*metaClient{}, patience: patience}
	ok(t, os.Mkdir(filepath.Join(base, "source"), 0o755))
	r.source, r.deliver = "dir:"+filepath.Join(base, "source"), func() error { return nil }
	// The lowest layer must not be empty. A schema without a config is no config.
	ok(t, put(filepath.Join(base, "under", "none.schema.json"), "{}"))
	defer func() {
		for _, c := range r.clients {
			c.close()
		}
		for _, f := range r.cleanups {
			f()
		}
		ok(t, os.RemoveAll(base))
	}()
	if s.remote != nil {
		s.remote(r)
	}
	for n, op := range ops {
		if !r.possible(op) {
			continue
		}
		r.apply(op)
		if err := r.do(op); err != nil {
			log := ""
			if r.daemon != nil {
				log = r.daemon.log()
			}
			return r.compared, fmt.Errorf("%s, line %d, %s: %w\nthe daemon's log:\n%s", s.name, n+1, op, err, log)
		}
	}
	return r.compared, nil
}

// do performs an operation, after it was applied to the model.
func (r *metaRun) do(op metaOp) error {
	switch op.verb() {
	case "write", "rename", "delete", "mask", "under", "bare", "break", "mend":
		return errors.Join(r.doSource(op), r.deliver())
	case "start":
		r.daemon = r.setting.start(r, r.setting.slots[op.number(0)])
		return nil
	case "term":
		ready := r.ready
		_ = r.daemon.Process.Signal(syscall.SIGTERM)
		select {
		case <-r.daemon.ended:
		case <-time.After(r.patience):
			return errors.New("the daemon does not end")
		}
		if r.daemon.err != nil && ready {
			return r.daemon.err
		}
		return nil
	case "kill":
		r.daemon.kill()
		return nil
	case "hup":
		return r.daemon.Process.Signal(syscall.SIGHUP)
	case "region":
		for _, c := range r.clients {
			c.late = true
		}
		switch file := filepath.Join(r.base, "region", "region.v1"); op.arg(0) {
		case "delete":
			return ifThere(os.Remove(file))
		case "truncate":
			return ifThere(os.Truncate(file, 0))
		default:
			return os.RemoveAll(filepath.Dir(file))
		}
	case "sync":
		return r.sync()
	}
	return r.doClient(op)
}

// doSource changes the source's directory.
func (r *metaRun) doSource(op metaOp) error {
	path := filepath.Join(r.base, "source", op.arg(0))
	switch op.verb() {
	case "write":
		if r.setting.copy {
			return replace(path+".yaml", metaText(op.number(1)))
		}
		return put(path+".yaml", metaText(op.number(1)))
	case "rename":
		return replace(path+".yaml", metaText(op.number(1)))
	case "break":
		return metaBreak(path, op.arg(1))
	case "mend":
		for _, beside := range []string{".schema.json", ".json"} {
			if err := os.Remove(path + beside); err == nil {
				return nil
			}
		}
		return replace(path+".yaml", metaText(r.files[op.arg(0)]))
	default:
		return r.doLayer(op, path)
	}
}

// doLayer changes what the two layers come to. With one source the test merges them:
// it has the file whose content is to show.
func (r *metaRun) doLayer(op metaOp, path string) error {
	below := filepath.Join(r.base, "under", op.arg(0)+".json")
	shows, there := r.merged()[op.arg(0)]
	_, above := r.files[op.arg(0)]
	switch {
	case !r.setting.layers && above: // the layer below has no effect
		return nil
	case !r.setting.layers && there:
		return replace(path+".yaml", metaText(shows))
	case !r.setting.layers:
		return ifThere(os.Remove(path + ".yaml"))
	case op.verb() == "delete":
		return os.Remove(path + ".yaml")
	case op.verb() == "mask":
		return replace(path+".yaml", "null\n")
	case op.verb() == "under":
		return replace(below, fmt.Sprintf(`{"n": %d, "below": {"n": %d}}`, op.number(1), op.number(1)))
	default:
		return os.Remove(below)
	}
}

// ifThere ignores that a previous operation removed the file already.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// metaText is a config that says a number; its size changes with it.
func metaText(n int) string {
	return fmt.Sprintf("n: %d\nfill: %q\n", n, strings.Repeat("x", n%5*3000))
}

func metaBreak(path, how string) error {
	switch how {
	case "yaml":
		return replace(path+".yaml", "n: [\n")
	case "empty":
		return os.Truncate(path+".yaml", 0)
	case "schema":
		return replace(path+".schema.json", `{"properties": {"n": {"type": "string"}}}`)
	default:
		return replace(path+".json", `{"n": -1}`)
	}
}

// put writes a file in place.
func put(path, text string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
}

// replace puts a whole file into the place of another.
func replace(path, text string) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	return errors.Join(put(temp, text), os.Rename(temp, path))
}

// until waits for a condition.
func (r *metaRun) until(what string, is func() bool) error {
	for deadline := time.Now().Add(r.patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for: %s", what)
		}
	}
	return nil
}

// sync waits until the daemon has seen all changes. It adds a new config and waits
// for its publication; if nothing can be published, it breaks a file in a new way
// and waits for the daemon to report that.
func (r *metaRun) sync() error {
	region := filepath.Join(r.base, "region")
	var generation uint64
	var seen metaContent
	look := func() (stats client.Stats, err error) {
		c, err := client.Open(region)
		if err != nil {
			return stats, err
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		s := c.Snapshot()
		generation = s.Generation()
		seen, err = metaRead(s)
		return c.Stats(), err
	}
	if len(r.broken) > 0 {
		name := fmt.Sprintf("0sync-%d.yaml", r.syncs)
		file := filepath.Join(r.base, "source", name)
		if err := errors.Join(put(file, ""), r.deliver()); err != nil {
			return err
		}
		complains := func(is bool) func() bool {
			return func() bool {
				stats, err := look()
				return err == nil && stats.Problem != "" && strings.Contains(stats.Problem, name) == is
			}
		}
		err := errors.Join(r.until("a complaint about "+name, complains(true)), os.Remove(file), r.deliver(),
			r.until("a complaint about what is broken", complains(false)))
		if err != nil {
			return err
		}
		at := r.newest(seen)
		if at < r.floor && r.mixed(r.floor, seen) {
			at = len(r.history)
			r.history = append(r.history, seen)
		}
		if at < r.floor {
			return fmt.Errorf("the region holds %v, and of %v was to be expected", seen, r.history[r.floor:])
		}
		r.settled(at)
	} else {
		if err := errors.Join(replace(filepath.Join(r.base, "source", "sync.yaml"), metaText(r.syncs)), r.deliver()); err != nil {
			return err
		}
		expected := r.last()
		err := r.until(fmt.Sprintf("the content %v", expected), func() bool {
			_, err := look()
			return err == nil && same(seen, expected)
		})
		if err != nil {
			return fmt.Errorf("%w; it is %v", err, seen)
		}
		if generation <= r.generation {
			return fmt.Errorf("generation %d came after %d", generation, r.generation)
		}
		r.settled(len(r.history) - 1)
	}
	r.compared++
	r.generation, r.ready = generation, true
	for _, name := range slices.Sorted(maps.Keys(r.clients)) {
		if err := r.caughtUp(r.clients[name], generation); err != nil {
			return fmt.Errorf("client %s: %w", name, err)
		}
	}
	r.damaged, r.moved = false, false
	return nil
}
