// Reader reads a region in every way that package client has, until its
// standard input ends. It says "WAY N" when the number of the revision changes
// that it reads in a way, and ends with an error when it sees anything that a
// reader is promised never to see. It is compiled against the client of this
// tree and against those of released versions, which holds them to each other's
// names, too.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/statesync/statesync/client"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	if err := read(ctx, os.Args[1]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// numbered is the config that most of the ways read.
type numbered struct {
	N    int            `json:"n"`
	Many map[string]int `json:"many"`
}

type reader struct {
	*client.Client
	number *client.Binding[numbered]
	twin   *client.KeyBinding[int]
	opaque *client.Binding[string]
	id     string

	mu   sync.Mutex
	said map[string]int
}

func read(ctx context.Context, dir string) error {
	c, err := client.Open(dir, client.Wait(30*time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	r := &reader{
		Client: c, id: c.Snapshot().RegionID(), said: map[string]int{},
		number: client.Bind[numbered](c, "team/number"),
		twin:   client.BindKey(c, "twin", "in.n", 0),
		opaque: client.Bind[string](c, "opaque"),
	}
	failed := make(chan error, 2)
	go r.watch(ctx, failed)
	go r.wait(ctx, failed)
	for ctx.Err() == nil {
		if err := r.look(); err != nil {
			return err
		}
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// say says a number that is new, and none may be older than the one before.
func (r *reader) say(way string, n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch before := r.said[way]; {
	case n < before:
		return fmt.Errorf("%s went from %d back to %d", way, before, n)
	case n > before:
		fmt.Println(way, n)
		r.said[way] = n
	}
	return nil
}

// look reads in the ways that wait for nothing.
func (r *reader) look() error {
	if err := r.say("get", r.number.Get().N); err != nil {
		return err
	}
	s := r.Snapshot()
	n := r.number.In(s).N
	doc, err := s.Get("team/number")
	if err != nil {
		return err
	}
	if err := same(doc, n); err != nil {
		return fmt.Errorf("generation %d: %w", s.Generation(), err)
	}
	if twin, opaque := r.twin.In(s), *r.opaque.In(s); twin != n || opaque != strconv.Itoa(n)+"\n" {
		return fmt.Errorf("generation %d: one config has %d, others %d and %q", s.Generation(), n, twin, opaque)
	}
	// Every other revision has one more config.
	if _, err := s.Get("odd"); n%2 == 1 && err != nil || n%2 == 0 && !errors.Is(err, client.ErrNotFound) {
		return fmt.Errorf("generation %d of revision %d: odd: %v", s.Generation(), n, err)
	}
	if err := values(s); err != nil {
		return fmt.Errorf("generation %d: %w", s.Generation(), err)
	}
	for _, err := range []error{r.number.Err(), r.twin.Err(), r.opaque.Err(), r.Stats().Err} {
		if err != nil {
			return err
		}
	}
	if id := s.RegionID(); id != r.id {
		return fmt.Errorf("the region was %s, and is %s", r.id, id)
	}
	if err := r.say("generation", int(s.Generation())); err != nil {
		return err
	}
	return r.say("snapshot", n)
}

// same holds each key of a config, as its index leads to it, against a number.
func same(doc client.Doc, n int) error {
	var all numbered
	if err := doc.Decode(&all); err != nil {
		return err
	}
	if got, err := doc.Int("n"); err != nil || got != n || len(all.Many) == 0 {
		return fmt.Errorf("n is %d and not %d, with %d others: %v", got, n, len(all.Many), err)
	}
	for key := range all.Many {
		if got, err := doc.Int("many." + key); err != nil || got != n {
			return fmt.Errorf("%s is %d, and not %d: %v", key, got, n, err)
		}
	}
	return nil
}

// values reads a value of each type.
func values(s *client.Snapshot) error {
	doc, err := s.Get("values")
	if err != nil {
		return err
	}
	i, err1 := doc.Int("int")
	u, err2 := doc.Uint("uint")
	f, err3 := doc.Float("float")
	b, err4 := doc.Bool("bool")
	t, err5 := doc.Str("text")
	d, err6 := doc.Duration("deep.0.time")
	raw, err7 := doc.Raw("deep")
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return err
	}
	const want = `-1500 18446744073709551615 0.25 true "a \"quoted\"\tword" 15s [{"time":"15s"},null]`
	if got := fmt.Sprintf("%d %d %v %t %q %v %s", i, u, f, b, t, d, raw); got != want {
		return fmt.Errorf("the values are %s", got)
	}
	if _, err := doc.Int("text"); !errors.Is(err, client.ErrWrongType) {
		return fmt.Errorf("a text as an integer: %v", err)
	}
	if _, err := doc.Int("absent"); !errors.Is(err, client.ErrNotFound) {
		return fmt.Errorf("an absent key: %v", err)
	}
	return nil
}

// watch reads as changes come.
func (r *reader) watch(ctx context.Context, failed chan<- error) {
	for change := range r.WatchKey(ctx, "team/number", "n") {
		n, err := change.Doc.Int("n")
		if err = errors.Join(change.Err, err); err == nil {
			err = r.say("watch", n)
		}
		if err != nil {
			failed <- err
			return
		}
	}
}

// wait reads what a generation brought that it waited for.
func (r *reader) wait(ctx context.Context, failed chan<- error) {
	for g := uint64(1); ; g++ {
		err := r.WaitGeneration(ctx, g)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = r.say("wait", r.twin.Get())
		}
		if err != nil {
			failed <- err
			return
		}
	}
}
