//go:build unix

package client_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/statesync/statesync/client"
)

// slotSize is that of the tests' regions, of four slots.
const slotSize = 64 << 10

// reading is a client under eight goroutines that read in all the ways there
// are, and find that values only go forward.
type reading struct {
	t      *testing.T
	c      *client.Client
	paused sync.RWMutex     // held for reading around a read
	reads  [8]atomic.Uint64 // how many
	newest [8]atomic.Uint64 // the value of the last
}

func startReading(t *testing.T, c *client.Client) *reading {
	t.Helper()
	r := &reading{t: t, c: c}
	b := client.Bind[number](c, "a")
	_, err := c.Get("b") // from now on snapshots carry it
	must(t, err)
	ways := []func() (uint64, error){
		func() (uint64, error) { return b.Get().N, nil },
		func() (uint64, error) {
			s := c.Snapshot()
			n := b.In(s).N
			if g := s.Generation(); n != g {
				return n, fmt.Errorf("In is of %d in generation %d", n, g)
			}
			return n, nil
		},
		func() (uint64, error) {
			s := c.Snapshot()
			d, err := s.Get("a")
			if n := d.UintOr("N", 0); err == nil && n != s.Generation() {
				return n, fmt.Errorf("the snapshot of generation %d has the value %d", s.Generation(), n)
			}
			return s.Generation(), err
		},
		func() (uint64, error) {
			d, err := c.Get("b")
			return d.UintOr("N", 0), err
		},
	}
	quit := make(chan struct{})
	var readers sync.WaitGroup
	for i := range r.newest {
		readers.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				r.paused.RLock()
				n, err := ways[i%len(ways)]()
				r.paused.RUnlock()
				if last := r.newest[i].Load(); n < last && err == nil {
					err = fmt.Errorf("reader %d went back from %d to %d", i, last, n)
				}
				if err != nil {
					t.Error(err)
					return
				}
				r.newest[i].Store(n)
				r.reads[i].Add(1)
				runtime.Gosched() // there are more goroutines here than processors
			}
		})
	}
	t.Cleanup(func() { close(quit); readers.Wait() })
	return r
}

// befall has a mishap befall the file while it is read and written, or between
// that where it would be the race detector that does not survive it.
func (r *reading) befall(befall func(path string) error, path string, writing sync.Locker) {
	r.t.Helper()
	if raceDetector {
		r.paused.Lock()
		defer r.paused.Unlock()
		writing.Lock()
		defer writing.Unlock()
	}
	must(r.t, befall(path))
}

// see waits until every reader has seen a value of at least n.
func (r *reading) see(n uint64) {
	r.t.Helper()
	r.each(fmt.Sprintf("value %d", n), func(i int) bool { return r.newest[i].Load() >= n })
}

// goOn waits until every reader has read a few more times.
func (r *reading) goOn() {
	r.t.Helper()
	var before [8]uint64
	for i := range before {
		before[i] = r.reads[i].Load()
	}
	r.each("a few more reads", func(i int) bool { return r.reads[i].Load() > before[i]+5 })
}

func (r *reading) each(what string, done func(i int) bool) {
	r.t.Helper()
	for i := range r.newest {
		eventually(r.t, fmt.Sprintf("reader %d has %s", i, what), func() bool {
			if r.t.Failed() {
				r.t.FailNow()
			}
			return done(i)
		})
	}
}

// harm is what of a mapped region is not what it was.
type harm int

const (
	none harm = iota
	slots
	all // the hot word, too
)

// mishaps are what befalls a region's file.
var mishaps = []struct {
	name   string
	harms  harm
	befall func(path string) error
}{
	{"truncated to nothing", all, func(path string) error { return os.Truncate(path, 0) }},
	{"truncated in its slots", slots, func(path string) error { return os.Truncate(path, slotsAt+slotSize/2) }},
	{"truncated in its header", slots, func(path string) error { return os.Truncate(path, slotsAt/2) }},
	{"overwritten by a shell", all, func(path string) error { return os.WriteFile(path, []byte("\n"), 0o600) }},
	{"overwritten with noise", all, func(path string) error {
		noise := make([]byte, slotsAt+4*slotSize)
		_, _ = rand.Read(noise)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(noise, 0)
		return errors.Join(err, f.Close())
	}},
	{"overwritten with zeros", all, func(path string) error { return zero(path, 0, slotsAt+4*slotSize) }},
	{"deleted", none, os.Remove},
	{"moved away", none, func(path string) error { return os.Rename(path, path+".old") }},
}

// mappings counts this process's mappings of a region's files.
func mappings(t *testing.T, dir string) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return strings.Count(string(maps), dir+"/")
}

// wantMappings waits until garbage collection has left that many.
func wantMappings(t *testing.T, dir string, n int) {
	t.Helper()
	if _, err := os.Stat("/proc/self/maps"); err != nil {
		return
	}
	eventually(t, fmt.Sprintf("%d mappings stay", n), func() bool { runtime.GC(); return mappings(t, dir) == n })
}
