//go:build unix

// Package clienttest gives an application's tests regions of their own: each
// is private, lies in a temporary folder and is removed with the test, so that
// tests can run in parallel, and without a daemon.
//
//	func TestMatch(t *testing.T) {
//		region := clienttest.New(t)
//		region.Publish(map[string]any{"matchmaker": map[string]any{"elo": 1500}})
//		service := NewService(region.Client())
//		…
//		region.Set("matchmaker", map[string]any{"elo": 1600})
//		// every binding of region.Client() has the new value now
//	}
//
// A test fails whose program changed a value that a binding handed out: such
// values are shared, and must not be changed.
package clienttest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/internal/hook"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// maxImage is the greatest size of a test region's image, in bytes.
const maxImage = 16 << 20

// growBy is larger than what a region of small configs has room for, in bytes.
const growBy = 1 << 20

// settleTimeout bounds how long a publication waits for the bindings of the
// region's clients, and for their hooks. More is an error of the test.
const settleTimeout = 10 * time.Second

// Region is a private region that a test publishes into, with a heart that beats
// as a daemon's does. Its methods belong to one goroutine.
type Region struct {
	t        testing.TB
	dir      string
	sections map[string]*image.Section
	current  *image.Image
	clients  []*client.Client

	mu     sync.Mutex     // guards what follows, which the heartbeat shares
	writer *writer.Writer // nil while the daemon is stopped
}

// Opaque is a config's content that is not a document, but bytes.
type Opaque []byte

// New makes a region with no configs in it, as generation 1.
func New(t testing.TB) *Region {
	t.Helper()
	r := &Region{t: t, dir: filepath.Join(t.TempDir(), "region"), sections: map[string]*image.Section{}}
	t.Cleanup(r.StopDaemon)
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go r.beat(stop, stopped)
	r.publish()
	return r
}

// beat is the daemon's heart. A heartbeat that fails is the next publication's to
// report.
func (r *Region) beat(stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	for {
		select {
		case <-stop:
			return
		case <-time.After(shm.HeartbeatInterval):
		}
		r.mu.Lock()
		if r.writer != nil && r.writer.Attached() {
			_ = r.writer.Beat()
		}
		r.mu.Unlock()
	}
}

// Dir is the region's directory, for a program that opens it itself.
func (r *Region) Dir() string { return r.dir }

// Generation is the current generation.
func (r *Region) Generation() uint64 { return r.current.Generation() }

// Client opens a client of the region, which is closed with the test.
func (r *Region) Client(options ...client.Option) *client.Client {
	r.t.Helper()
	options = append([]client.Option{hook.Verifying.(client.Option)}, options...)
	c, err := client.Open(r.dir, options...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.clients = append(r.clients, c)
	r.t.Cleanup(func() {
		if err := hook.Verify(c); err != nil {
			r.t.Error(err)
		}
		if err := c.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return c
}

// Publish commits a whole revision: just these configs, and no others. A
// config's value is what encoding/json makes of it, or Opaque. It returns the
// new generation, or the present one when nothing changed. When it returns, every
// binding of the region's clients has settled it, and its hooks have returned.
// From a hook it would wait for itself, which is an error of the test, and returns 0.
func (r *Region) Publish(configs map[string]any) uint64 {
	r.t.Helper()
	if r.inHook() {
		return 0
	}
	clear(r.sections)
	for name, value := range configs {
		r.sections[name] = r.section(name, value)
	}
	return r.publish()
}

// Set commits one config and leaves the others; see Publish.
func (r *Region) Set(name string, value any) uint64 {
	r.t.Helper()
	if r.inHook() {
		return 0
	}
	r.sections[name] = r.section(name, value)
	return r.publish()
}

// Delete commits that there is no such config; see Publish.
func (r *Region) Delete(name string) uint64 {
	r.t.Helper()
	if r.inHook() {
		return 0
	}
	delete(r.sections, name)
	return r.publish()
}

// StopDaemon stops the region's heart, as if the daemon had ended: the configs
// stay, and Stats says that the daemon is not alive. The next publication starts
// it again.
func (r *Region) StopDaemon() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writer == nil {
		return
	}
	if err := r.writer.Close(); err != nil {
		r.t.Error(err)
	}
	r.writer = nil
}

// SetProblem has the region's status say why a newer revision is not published,
// or with "" that nothing is wrong. Stats has it at once.
func (r *Region) SetProblem(problem string) {
	r.t.Helper()
	r.withWriter(func(w *writer.Writer) error {
		w.Observe(shm.Observation{Observed: "clienttest", SourceGood: shm.Boottime(), Problem: problem})
		return w.Beat()
	})
}

// Replace puts another region, with another id and the same configs, in the place
// of this one, as a daemon does with one that is damaged. It returns when the
// region's clients have gone over, and settled its generation; see Publish.
func (r *Region) Replace() uint64 {
	r.t.Helper()
	if r.inHook() {
		return 0
	}
	return r.commit(r.sectionList(), (*writer.Writer).Create)
}

// Grow publishes the same configs in a larger file of the same region, as a daemon
// does when they outgrow the old one. It takes two generations; see Publish.
func (r *Region) Grow() uint64 {
	r.t.Helper()
	if r.inHook() {
		return 0
	}
	ballast, err := image.NewOpaque("clienttest.ballast", make([]byte, r.current.Size()+growBy))
	if err != nil {
		r.t.Fatal(err)
	}
	r.commit(append(r.sectionList(), ballast), (*writer.Writer).Publish)
	return r.publish()
}

// inHook reports whether the caller is a hook, which is an error of the test. A publication
// in another goroutine may be waiting for it, so nothing of the region is touched before.
func (r *Region) inHook() bool {
	r.t.Helper()
	if !hook.InApplication() {
		return false
	}
	r.t.Errorf("clienttest: a publication in a hook would wait for that hook; nothing was published")
	return true
}

func (r *Region) section(name string, value any) *image.Section {
	r.t.Helper()
	if data, ok := value.(Opaque); ok {
		s, err := image.NewOpaque(name, data)
		if err != nil {
			r.t.Fatal(err)
		}
		return s
	}
	text, err := json.Marshal(value)
	var canonical []byte
	if err == nil {
		canonical, err = image.Canonical(text)
	}
	var s *image.Section
	if err == nil {
		s, err = image.NewDocument(name, canonical)
	}
	if err != nil {
		advice := ""
		switch value.(type) {
		case []byte, string:
			advice = "; for a config of bytes, which is no document, use clienttest.Opaque"
		}
		r.t.Fatalf("config %s: a %T: %v%s", name, value, err, advice)
	}
	return s
}

func (r *Region) sectionList() []*image.Section { return slices.Collect(maps.Values(r.sections)) }

func (r *Region) publish() uint64 {
	r.t.Helper()
	sections := r.sectionList()
	if r.current == nil {
		return r.commit(sections, (*writer.Writer).Create)
	}
	if r.current.Same(sections) {
		return r.current.Generation()
	}
	return r.commit(sections, (*writer.Writer).Publish)
}

// commit writes the next generation, and returns when the clients have settled it.
func (r *Region) commit(sections []*image.Section, write func(*writer.Writer, uint64, [][]uint64) error) uint64 {
	r.t.Helper()
	g := uint64(1)
	if r.current != nil {
		g = r.current.Generation() + 1
	}
	next, err := image.Build(g, "clienttest", sections, r.current)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	for _, c := range r.clients {
		// What the test did until now happens before what hooks do with the generation. The
		// race detector sees that by the bindings' locks; it does not see the region.
		_ = c.Ready(ctx)
	}
	r.withWriter(func(w *writer.Writer) error {
		if err := write(w, g, next.Words()); err != nil {
			return err
		}
		return w.Beat()
	})
	r.current = next
	for _, c := range r.clients {
		if err := settled(ctx, c, g); err != nil && !errors.Is(err, client.ErrClosed) {
			r.t.Errorf("clienttest: generation %d: %v", g, err)
		}
	}
	return g
}

// settled returns when a client has settled a generation, and its hooks have
// returned.
func settled(ctx context.Context, c *client.Client, g uint64) error {
	err := c.WaitGeneration(ctx, g)
	for errors.Is(err, client.ErrReplaced) {
		err = c.WaitGeneration(ctx, g)
	}
	if err == nil {
		_ = c.Ready(ctx) // rejected values are what a test may want
		err = context.Cause(ctx)
	}
	return err
}

// withWriter has a function use the writer, which it starts if it is stopped.
func (r *Region) withWriter(use func(w *writer.Writer) error) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.writer == nil {
		r.writer, err = writer.Own(context.Background(), r.dir, writer.Options{MaxImage: maxImage, Mode: 0o600, Group: -1})
		if err == nil && r.current != nil {
			err = r.writer.Attach()
		}
	}
	if err == nil {
		err = use(r.writer)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}
