//go:build unix

package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long an event is waited for: far longer than it takes.
const patience = 20 * time.Second

// await waits until a condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// journal keeps the log as lines of JSON.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

// find lists the lines with a message.
func (j *journal) find(message string) []map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(j.buf.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err == nil && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// setup is a source, a region and a state directory of a test's own.
type setup struct {
	testing.TB
	dir     string // of the source
	opt     Options
	journal *journal
	daemon  *running // that was started last; nil: none
}

// newSetup makes one, and lets the test run beside others: most of them wait.
func newSetup(t *testing.T) *setup {
	t.Helper()
	t.Parallel()
	return newSetupBeside(t)
}

// newSetupBeside makes one for a test that has others.
func newSetupBeside(t *testing.T) *setup {
	t.Helper()
	base := memory(t)
	s := &setup{TB: t, dir: filepath.Join(base, "source"), journal: &journal{}}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.opt = Options{
		Sources:  sources(t, "dir:"+s.dir),
		Region:   filepath.Join(base, "region"),
		Writer:   writer.Options{MaxImage: 1 << 20, Group: -1},
		StateDir: filepath.Join(base, "state"),
		Resync:   100 * time.Millisecond,
		Log:      slog.New(slog.NewJSONHandler(s.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log:\n%s", s.journal)
		}
	})
	return s
}

// sources are what --source would be given.
func sources(t testing.TB, texts ...string) []source.Spec {
	t.Helper()
	specs, err := Schemes.Parse(texts)
	if err != nil {
		t.Fatal(err)
	}
	return specs
}

// memory is a directory on a tmpfs where there is one.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "statesync-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// put puts a file into the source by rename.
func (s *setup) put(name, text string) {
	s.Helper()
	path := filepath.Join(s.dir, name)
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		s.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		s.Fatal(err)
	}
}

func (s *setup) remove(name string) {
	s.Helper()
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
		s.Fatal(err)
	}
}

// running is a daemon in its Run.
type running struct {
	*Daemon
	cancel context.CancelFunc
	ended  chan error
	over   bool // it was stopped
}

// run starts a daemon, which is stopped at the latest when the test ends.
func (s *setup) run() *running {
	s.Helper()
	return s.runWith(func(*Daemon) {})
}

// runWith is run with a daemon that was changed before.
func (s *setup) runWith(change func(*Daemon)) *running {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Daemon: New(s.opt), cancel: cancel, ended: make(chan error, 1)}
	change(r.Daemon)
	go func() { r.ended <- r.Run(ctx) }()
	s.Cleanup(func() { r.stop(s) })
	s.daemon = r
	return r
}

// step looks at the source of a daemon that was started without its loop, and publishes
// what it has.
func step(t testing.TB, d *Daemon) {
	t.Helper()
	follower := d.layers[0].follower
	n := follower.Recheck()
	await(t, "a look", func() bool { return follower.Look() != nil && follower.Look().Rechecks >= n })
	err := d.look(t.Context())
	if err == nil && d.worker.busy() {
		err = d.decide(t.Context(), <-d.worker.done)
	}
	d.turned()
	if err != nil {
		t.Fatal(err)
	}
}

// stop ends the daemon in good order.
func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	r.over = true
	if err, ok := <-r.ended; ok {
		close(r.ended)
		if err != nil {
			t.Errorf("the daemon ended with: %v", err)
		}
	}
}

// reload asks for a reload.
func (r *running) reload(t testing.TB) {
	t.Helper()
	if _, err := r.Do(t.Context(), Request{Command: Reload{}}); err != nil {
		t.Error(err)
	}
}

// reconciled waits until the source was looked at n more times.
func (r *running) reconciled(t testing.TB, n uint64) {
	t.Helper()
	until := r.State().Looks + n
	await(t, "readings of the source", func() bool { return r.State().Looks >= until })
}

// once runs Once with the setup's options.
func (s *setup) once() error {
	s.Helper()
	return New(s.opt).Once(context.Background())
}

// published is what a reader finds in the region.
type published struct {
	id         shm.ID
	retired    bool
	generation uint64
	revision   string
	configs    map[string]string
	changed    map[string]uint64
	status     shm.Status
}

// look reads the region as a stranger does. Without a region it is zero. A daemon that
// has to wait for a processor while it writes leaves the region busy until it has one.
func (s *setup) look() published {
	s.Helper()
	var p published
	var err error
	await(s, "the region not to be busy", func() bool {
		p, err = s.read()
		return !errors.Is(err, shm.ErrBusy)
	})
	if err != nil && !errors.Is(err, shm.ErrNoRegion) {
		s.Fatal(err)
	}
	return p
}

// read is look at a region that may be damaged.
func (s *setup) read() (published, error) {
	r, err := shm.Open(s.opt.Region, shm.Trust{})
	if err != nil {
		return published{}, err
	}
	p := published{id: r.ID(), retired: r.Retired()}
	_, err = r.Read(func(hot seqlock.Hot, words []uint64) error {
		p.generation, p.configs, p.changed = hot.Generation(), map[string]string{}, map[string]uint64{}
		v, err := image.Open(words, hot.Generation())
		if err != nil {
			return err
		}
		if p.revision, err = v.Revision(); err != nil {
			return err
		}
		for i := range v.Len() {
			e, err := v.Entry(i)
			if err != nil {
				return err
			}
			section, err := v.Section(e)
			if err != nil {
				return err
			}
			if found, err := v.Find(image.HashName(section.Name())); err != nil || found != e {
				return fmt.Errorf("%s: %w", section.Name(), err)
			}
			p.configs[section.Name()], p.changed[section.Name()] = string(section.Content()), e.Changed
		}
		return nil
	})
	if err != nil {
		return published{}, err
	}
	if p.status, err = r.Status(); err != nil {
		return published{}, err
	}
	return p, nil
}

// sees waits until the region holds just these configs.
func (s *setup) sees(configs map[string]string) published {
	s.Helper()
	var p published
	await(s, fmt.Sprintf("the configs %v", configs), func() bool {
		p = s.look()
		return p.generation > 0 && maps.Equal(p.configs, configs)
	})
	// Readers have it before the daemon says so.
	if d := s.daemon; d != nil && !d.over {
		await(s, "the state of the publication", func() bool { return d.State().Generation >= p.generation })
	}
	return p
}

// logs waits until a line with a message was logged.
func (s *setup) logs(message string) map[string]any {
	s.Helper()
	await(s, "a log line: "+message, func() bool { return s.journal.find(message) != nil })
	return s.journal.find(message)[0]
}

// mustNotExist fails when there is something at a path.
func mustNotExist(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s exists (%v)", path, err)
	}
}
