//go:build linux

package campaign

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/statesync/statesync/client"
)

// metaClient is a client of a script, and where in the history it is.
type metaClient struct {
	*client.Client
	late     bool // it may be behind the region, which was damaged or replaced
	blind    bool // and it may have seen no region at all
	at       int
	id       string
	last     uint64 // generation
	held     *client.Snapshot
	holds    metaContent
	bindings []*metaBinding
	watches  []*metaWatch
}

type metaValue struct{ N int }

// absent is the number of a missing config.
const absent = -1

type metaBinding struct {
	*client.Binding[metaValue]
	name string
	at   int
	set  bool // it has had a value
}

// metaWatch records what a watch yields.
type metaWatch struct {
	name  string
	at    int
	blind bool
	stop  context.CancelFunc
	ended chan struct{}

	mu      sync.Mutex
	yielded []int // since the last sync
	newest  int
	err     error
}

func (c *metaClient) close() {
	_ = c.Close()
	for _, w := range c.watches {
		w.stop()
		<-w.ended
	}
}

func (r *metaRun) doClient(op metaOp) error {
	c := r.clients[op.arg(0)]
	if (c != nil) == (op.verb() == "open" || op.verb() == "lazy") {
		return nil // skipped
	}
	switch op.verb() {
	case "open", "lazy":
		return r.open(op)
	case "close":
		c.close()
		delete(r.clients, op.arg(0))
		for _, b := range c.bindings {
			if err := r.follows(b); err != nil {
				return err
			}
		}
	case "bind":
		c.bindings = append(c.bindings, &metaBinding{
			Binding: client.Bind(c.Client, op.arg(1), client.Options[metaValue]{Default: metaValue{absent}}), name: op.arg(1), at: c.at,
		})
	case "watch":
		c.watches = append(c.watches, c.watch(op.arg(1)))
	case "hold":
		s := c.Snapshot()
		content, err := metaRead(s)
		if err == nil {
			c.held, c.holds = s, content
		}
	case "snap":
		return r.snap(c)
	case "get":
		return r.get(c, op.arg(1))
	}
	return nil
}

func (r *metaRun) open(op metaOp) error {
	var options []client.Option
	lazy := op.verb() == "lazy" || r.setting.lazy
	if lazy {
		options = append(options, client.Lazy())
	} else if r.floor == 0 || r.moved {
		return nil // there may be no region yet, or none at this moment
	}
	c, err := client.Open(filepath.Join(r.base, "region"), options...)
	if err != nil {
		return err
	}
	r.clients[op.arg(0)] = &metaClient{Client: c, at: r.floor, late: r.moved || r.floor == 0, blind: r.moved || r.floor == 0}
	return nil
}

// metaRead is everything that a snapshot has.
func metaRead(s *client.Snapshot) (metaContent, error) {
	content := metaContent{}
	for _, name := range append([]string{"sync"}, metaConfigs...) {
		n, err := metaNumber(s.Get(name))
		switch {
		case errors.Is(err, client.ErrNoRegion):
			return nil, nil //nolint:nilnil // there is no region
		case errors.Is(err, client.ErrNotFound):
		case err != nil:
			return nil, err
		default:
			content[name] = n
		}
	}
	return content, nil
}

func metaNumber(d client.Doc, err error) (int, error) {
	if err != nil {
		return absent, err
	}
	n, err := d.Int("n")
	if err != nil {
		return absent, fmt.Errorf("there is a config without its number: %v", err) // which is no ErrNotFound
	}
	return n, nil
}

// excused reports whether a reader may get an error because the region is damaged, or
// is just being written.
func (r *metaRun) excused(c *metaClient, err error) bool {
	switch {
	case errors.Is(err, client.ErrNoRegion):
		return c.blind
	case errors.Is(err, client.ErrExpired):
		return r.running && r.floor < len(r.history)-1 || c.late
	case errors.Is(err, client.ErrCorrupt):
		return c.late
	}
	return false
}

// from is the oldest entry that a client may have now.
func (r *metaRun) from(c *metaClient) int {
	if c.late || r.moved {
		return c.at
	}
	return max(c.at, r.floor)
}

// snap compares a snapshot.
func (r *metaRun) snap(c *metaClient) error {
	if c.held != nil {
		for _, name := range metaConfigs {
			n, err := metaNumber(c.held.Get(name))
			// The client does not cache that a config is missing, and looks it up again
			// in a generation that may be gone.
			gone := errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrNoRegion) || errors.Is(err, client.ErrExpired) || errors.Is(err, client.ErrCorrupt)
			if _, there := c.holds[name]; there && err != nil || err != nil && !gone || !c.holds.has(name, n) {
				return fmt.Errorf("a snapshot that was kept had %v and has %d for %s, error %v", c.holds, n, name, err)
			}
			r.compared++
		}
	}
	s := c.Snapshot()
	content, err := metaRead(s)
	if err != nil {
		if r.excused(c, err) {
			return nil
		}
		return err
	}
	r.compared++
	if content == nil && c.blind {
		return nil
	}
	at := r.next(r.from(c), func(entry metaContent) bool { return same(entry, content) })
	if at < 0 && r.mixed(r.from(c), content) {
		at = r.from(c)
	}
	if at < 0 {
		return fmt.Errorf("generation %d has %v, and one of %v was to be expected", s.Generation(), content, r.history[r.from(c):])
	}
	c.at = at
	if c.blind = c.blind && content == nil; s.RegionID() == c.id && s.Generation() < c.last {
		return fmt.Errorf("generation %d came after %d", s.Generation(), c.last)
	}
	c.id, c.last = s.RegionID(), s.Generation()
	for _, b := range c.bindings {
		value, err := b.Lookup(s)
		n, there := content[b.name]
		switch {
		case there && (err != nil || value.N != n || b.In(s).N != n):
			return fmt.Errorf("the binding of %s has %d in generation %d, error %v, and %d was to be expected", b.name, value.N, s.Generation(), err, n)
		case !there && !errors.Is(err, client.ErrNotFound) && !errors.Is(err, client.ErrNoRegion):
			return fmt.Errorf("the binding of %s, which is not there, has %d in generation %d, error %v", b.name, value.N, s.Generation(), err)
		}
		r.compared++
		if err := r.follows(b); err != nil {
			return err
		}
	}
	return nil
}

// follows compares the value of a binding without a snapshot: it is one that was
// published, and the binding never goes back.
func (r *metaRun) follows(b *metaBinding) error {
	n := b.Get().N
	if n == absent && !b.set {
		r.compared++
		return nil
	}
	at := r.nextWith(b.at, b.name, n)
	if at < 0 || n == absent {
		return fmt.Errorf("the binding of %s has %d, and one of %v was to be expected", b.name, n, r.history[b.at:])
	}
	b.at, b.set = at, true
	r.compared++
	return nil
}

// get compares one config.
func (r *metaRun) get(c *metaClient, name string) error {
	n, err := metaNumber(c.Get(name))
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		if r.excused(c, err) || errors.Is(err, client.ErrNoRegion) && r.history[r.from(c)] == nil {
			return nil
		}
		return err
	}
	at := r.nextWith(r.from(c), name, n)
	if at < 0 {
		return fmt.Errorf("%s is %d, error %v, and one of %v was to be expected", name, n, err, r.history[r.from(c):])
	}
	c.at = at
	r.compared++
	return nil
}

// has reports whether a config has a number, or is absent.
func (c metaContent) has(name string, n int) bool {
	is, there := c[name]
	return there && is == n || !there && n == absent
}

func (c *metaClient) watch(name string) *metaWatch {
	ctx, stop := context.WithCancel(context.Background())
	w := &metaWatch{name: name, at: c.at, blind: c.blind, stop: stop, ended: make(chan struct{}), newest: absent}
	go func() {
		defer close(w.ended)
		for change := range c.Watch(ctx, name) {
			n, err := metaNumber(change.Doc, change.Err)
			w.mu.Lock()
			if err == nil || errors.Is(err, client.ErrNotFound) {
				w.yielded = append(w.yielded, n)
			} else if !errors.Is(err, client.ErrNoRegion) && !errors.Is(err, client.ErrCorrupt) { // damage that is being repaired
				w.err = err
			}
			w.newest = n
			w.mu.Unlock()
		}
	}()
	return w
}

// caughtUp waits until a client has the state of the sync: at once, or soon if the
// region was replaced.
func (r *metaRun) caughtUp(c *metaClient, generation uint64) error {
	expected := r.last()
	if c.late || r.moved {
		err := r.until("a client in the new region", func() bool {
			content, err := metaRead(c.Snapshot())
			return err == nil && same(content, expected)
		})
		if err != nil {
			return err
		}
	}
	if c.late || r.moved {
		c.at = r.floor
	}
	c.late, c.blind = false, false
	if err := r.snap(c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.patience)
	defer cancel()
	err := c.WaitGeneration(ctx, generation)
	for errors.Is(err, client.ErrReplaced) { // it was still in the old one, of the same content
		err = c.WaitGeneration(ctx, generation)
	}
	if err != nil {
		return err
	}
	for _, b := range c.bindings {
		if n, there := expected[b.name]; there && b.Get().N != n {
			return fmt.Errorf("the binding of %s has %d after WaitGeneration, and %d was to be expected", b.name, b.Get().N, n)
		}
		r.compared++
	}
	for _, w := range c.watches {
		if err := r.watched(w, expected); err != nil {
			return err
		}
	}
	return nil
}

// watched compares what a watch yielded: published states in their order, and the
// current one at the end.
func (r *metaRun) watched(w *metaWatch, expected metaContent) error {
	var yielded []int
	err := r.until("a watch of "+w.name, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.err != nil || expected.has(w.name, w.newest)
	})
	w.mu.Lock()
	err = errors.Join(err, w.err)
	yielded, w.yielded = slices.Clone(w.yielded), nil
	w.mu.Unlock()
	if err != nil {
		return err
	}
	for _, n := range yielded {
		at := r.nextWith(w.at, w.name, n)
		if at < 0 {
			return fmt.Errorf("the watch of %s yielded %v, and %d was to be expected of %v", w.name, yielded, n, r.history[w.at:])
		}
		w.at = at
		r.compared++
	}
	return nil
}
