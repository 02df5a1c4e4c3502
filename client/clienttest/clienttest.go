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
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/internal/hook"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// maxImage is the greatest size of a test region's image, in bytes.
const maxImage = 16 << 20

// settleTimeout bounds how long a publication waits for the bindings of the
// region's clients. A binding that takes longer is the test's own affair.
const settleTimeout = 10 * time.Second

// Region is a private region that a test publishes into. It belongs to one
// goroutine.
type Region struct {
	t        testing.TB
	dir      string
	writer   *writer.Writer
	sections map[string]*image.Section
	current  *image.Image
	clients  []*client.Client
}

// Opaque is a config's content that is not a document, but bytes.
type Opaque []byte

// New makes a region with no configs in it, as generation 1.
func New(t testing.TB) *Region {
	t.Helper()
	r := &Region{t: t, dir: filepath.Join(t.TempDir(), "region"), sections: map[string]*image.Section{}}
	var err error
	r.writer, err = writer.Own(context.Background(), r.dir, writer.Options{MaxImage: maxImage, Mode: 0o600, Group: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.writer.Close(); err != nil {
			t.Error(err)
		}
	})
	r.publish()
	return r
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
// new generation, which every binding of the region's clients has settled, or
// the present one when nothing changed.
func (r *Region) Publish(configs map[string]any) uint64 {
	r.t.Helper()
	clear(r.sections)
	for name, value := range configs {
		r.sections[name] = r.section(name, value)
	}
	return r.publish()
}

// Set commits one config and leaves the others; see Publish.
func (r *Region) Set(name string, value any) uint64 {
	r.t.Helper()
	r.sections[name] = r.section(name, value)
	return r.publish()
}

// Delete commits that there is no such config; see Publish.
func (r *Region) Delete(name string) uint64 {
	r.t.Helper()
	delete(r.sections, name)
	return r.publish()
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
	if err != nil {
		r.t.Fatalf("config %s: %v", name, err)
	}
	canonical, err := image.Canonical(text)
	if err != nil {
		r.t.Fatalf("config %s: %v", name, err)
	}
	s, err := image.NewDocument(name, canonical)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *Region) publish() uint64 {
	r.t.Helper()
	sections := make([]*image.Section, 0, len(r.sections))
	for s := range maps.Values(r.sections) {
		sections = append(sections, s)
	}
	if r.current != nil && r.current.Same(sections) {
		return r.current.Generation()
	}
	g := uint64(1)
	if r.current != nil {
		g = r.current.Generation() + 1
	}
	next, err := image.Build(g, "clienttest", sections, r.current)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.current == nil {
		err = r.writer.Create(g, next.Words())
	} else {
		err = r.writer.Publish(g, next.Words())
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.current = next
	if err := r.writer.Beat(); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	for _, c := range r.clients {
		_ = c.WaitGeneration(ctx, g) // a closed client has nothing to settle
	}
	return g
}
