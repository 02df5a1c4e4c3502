//go:build unix

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
	"github.com/statesync/statesync/shm/writer"
)

// What this package uses of shmtest on every page.
const patience = shmtest.Patience

var (
	must       = shmtest.Must
	wantError  = shmtest.WantError
	eventually = shmtest.Eventually
	start      = shmtest.Start
	needRoot   = shmtest.NeedRoot
	memoryTemp = shmtest.MemoryTemp
	regionIn   = shmtest.RegionIn
)

// roles are what a child process can be. Each file adds its own.
var roles = shmtest.Roles{}

func TestMain(m *testing.M) {
	roles.Play()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // else 10,000 lines of what tests provoke
	// What the machine's own user has set is none of the tests' business.
	for _, name := range []string{client.EnvRegion, client.EnvOwner} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	// Most tests wait more than they compute.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		if err := flag.Set("test.parallel", "12"); err != nil {
			panic(err)
		}
	}
	shmtest.Main(closingDefault{m})
}

// closingDefault closes the default client, which an example opens and which a
// program keeps for ever.
type closingDefault struct{ *testing.M }

func (m closingDefault) Run() int {
	code := m.M.Run()
	if err := client.Default().Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return code
}

// want fails the test unless two values are equal.
func want[T comparable](t testing.TB, what string, got, expected T) {
	t.Helper()
	if got != expected {
		t.Errorf("%s: it is %v, and %v was expected", what, got, expected)
	}
}

// inTime returns what a call sends, and fails the test where that takes for
// ever.
func inTime[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	v, _ := shmtest.Within(t, what, from)
	return v
}

// async calls f on a goroutine of its own.
func async[T any](f func() T) <-chan T {
	result := make(chan T, 1)
	go func() { result <- f() }()
	return result
}

// needLinux skips a test where a mapping or a futex is not what it is there.
func needLinux(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/proc/self/maps"); err != nil {
		t.Skip("this takes Linux: /proc, futexes")
	}
}

// patch overwrites bytes of a region's file.
func patch(t testing.TB, path string, offset int64, bytes ...byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(bytes, offset)
	must(t, errors.Join(err, f.Close()))
}

// configs are what a publisher publishes: what encoding/json makes of the
// values, and a string is an opaque config.
type configs map[string]any

// number is a config that says which generation it was published in.
type number struct{ N uint64 }

// numbered are two configs that say so.
func numbered(g uint64) configs { return configs{"a": number{g}, "b": number{g}} }

// publisher is a region's writer as a daemon is one. A test whose timing is of
// no interest uses clienttest instead.
type publisher struct {
	*writer.Writer
	current *image.Image
}

// small are the options of most tests' regions: a ring of four slots of 64 KiB.
var small = writer.Options{Slots: 4, MaxImage: 64 << 10, Mode: 0o600, Group: -1}

func newPublisher(dir string, o writer.Options) (*publisher, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := writer.Own(ctx, dir, o)
	return &publisher{Writer: w}, err
}

// own makes the test the writer of a region.
func own(t testing.TB, dir string) *publisher {
	t.Helper()
	p, err := newPublisher(dir, small)
	must(t, err)
	t.Cleanup(func() { p.close(t) })
	return p
}

// created is the writer of a new region.
func created(t testing.TB, dir string, g uint64, c configs) *publisher {
	t.Helper()
	p := own(t, dir)
	must(t, p.create(g, c))
	return p
}

// close ends the writer as a daemon ends that stops in good order.
func (p *publisher) close(t testing.TB) {
	t.Helper()
	if p.Writer != nil {
		must(t, p.Close())
		p.Writer = nil
	}
}

func (p *publisher) build(g uint64, c configs) (*image.Image, error) {
	sections := make([]*image.Section, 0, len(c))
	for name, value := range c {
		s, err := section(name, value)
		if err != nil {
			return nil, err
		}
		sections = append(sections, s)
	}
	return image.Build(g, fmt.Sprintf("revision-%d", g), sections, p.current)
}

func section(name string, value any) (*image.Section, error) {
	if opaque, ok := value.(string); ok {
		return image.NewOpaque(name, []byte(opaque))
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if text, err = image.Canonical(text); err != nil {
		return nil, err
	}
	return image.NewDocument(name, text)
}

// create makes a new region with g as its first generation, in the place of
// what is there.
func (p *publisher) create(g uint64, c configs) error {
	p.current = nil
	m, err := p.build(g, c)
	if err == nil {
		err = p.Create(g, m.Words())
	}
	p.current = m
	return err
}

// publish commits the next generation.
func (p *publisher) publish(c configs) error {
	m, err := p.build(p.current.Generation()+1, c)
	if err == nil {
		err = p.Publish(m.Generation(), m.Words())
	}
	if err == nil {
		p.current = m
	}
	return err
}

// next is publish in a test; it returns the new generation.
func (p *publisher) next(t testing.TB, c configs) uint64 {
	t.Helper()
	must(t, p.publish(c))
	return p.current.Generation()
}

// damaged publishes the next generation with an image that is not whole, as a
// writer with a defect would, and returns it.
func (p *publisher) damaged(t testing.TB, c configs) uint64 {
	t.Helper()
	m, err := p.build(p.current.Generation()+1, c)
	must(t, err)
	var words [][]uint64
	for _, part := range m.Words() {
		part = slices.Clone(part)
		for i := range part {
			part[i] = ^part[i]
		}
		words = append(words, part)
	}
	must(t, p.Publish(m.Generation(), words))
	p.current = m
	return m.Generation()
}

// attach goes on with the region that is there.
func (p *publisher) attach() error {
	if err := p.Attach(); err != nil {
		return err
	}
	return p.Current(func(g uint64, words []uint64) (err error) {
		p.current, err = image.Load(words, g)
		return err
	})
}

// open opens a client, which is closed at the end of the test.
func open(t testing.TB, dir string, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Open(dir, options...)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// flatOut calls f again and again until the test has seen enough and calls
// stop, which returns when f is at its end.
func flatOut(t testing.TB, f func() error) (stop func()) {
	t.Helper()
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-quit:
				return
			default:
			}
			if err := f(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() { close(quit); <-ended })
	t.Cleanup(stop)
	return stop
}

// dir is the region's directory.
func (p *publisher) dir() string { return filepath.Dir(p.Path()) }
