//go:build unix

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// stateOf is the state of a client's only binding.
func stateOf(t *testing.T, c *client.Client) client.BindingState {
	t.Helper()
	states := c.Bindings()
	if len(states) != 1 {
		t.Fatalf("there are %d bindings, and one was expected", len(states))
	}
	return states[0]
}

func TestStateOfABinding(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	b := client.Bind(c, "a", client.Options[number]{Default: number{42}, Strict: true})
	for _, step := range []struct {
		what             string
		do               func() uint64
		state            client.State
		accepted, newest uint64
		value            uint64
		err              error
	}{
		{"no config", r.Generation, client.StateDefault, 0, 0, 42, client.ErrNotFound},
		{"rejected at first", func() uint64 { return r.Set("a", configs{"N": "x"}) }, client.StateRejected, 0, 2, 42, client.ErrWrongType},
		{"accepted", func() uint64 { return r.Set("a", number{3}) }, client.StateCurrent, 3, 3, 3, nil},
		{"changed elsewhere", func() uint64 { return r.Set("b", number{4}) }, client.StateCurrent, 3, 3, 3, nil},
		{"rejected", func() uint64 { return r.Set("a", configs{"N": "x"}) }, client.StateRejected, 3, 5, 3, client.ErrWrongType},
		{"removed", func() uint64 { return r.Delete("a") }, client.StateRemoved, 3, 0, 3, client.ErrNotFound},
		{"accepted again", func() uint64 { return r.Set("a", number{7}) }, client.StateCurrent, 7, 7, 7, nil},
	} {
		g := step.do()
		s := stateOf(t, c)
		want(t, step.what+": the config", s.Config, "a")
		want(t, step.what+": the type", s.Type, "client_test.number")
		want(t, step.what+": the state", s.State, step.state)
		want(t, step.what+": Accepted", s.Accepted, step.accepted)
		want(t, step.what+": Newest", s.Newest, step.newest)
		want(t, step.what+": Get", b.Get().N, step.value)
		want(t, step.what+": Rejected", c.Stats().Rejected == 1, step.state == client.StateRejected)
		if step.err == nil {
			must(t, s.Err)
			continue
		}
		wantRefused(t, s.Err, step.err, "a", "", g)
		wantRefused(t, b.Err(), step.err, "a", "", g)
	}
}

// Until the content of a config that came back is decoded, the state is what it was.
func TestStateOfAConfigThatComesBack(t *testing.T) {
	t.Parallel()
	asleep, wake := make(chan struct{}, 10), make(chan struct{})
	p := created(t, regionIn(t), 1, configs{"a": number{1}})
	c := open(t, p.dir())
	b := client.Bind(c, "a", client.Options[number]{Validate: func(n *number) error {
		if n.N == 3 {
			asleep <- struct{}{}
			<-wake
		}
		return nil
	}})
	must(t, c.WaitGeneration(t.Context(), p.next(t, configs{})))
	p.next(t, configs{"a": number{3}})
	inTime(t, "the validation", asleep)
	s := stateOf(t, c)
	want(t, "Get", b.Get().N, 1)
	want(t, "the state", s.State, client.StateRemoved)
	want(t, "Accepted", s.Accepted, 1)
	want(t, "Newest", s.Newest, 3)
	must(t, s.Err)
	close(wake)
	eventually(t, "the state is current", func() bool { return stateOf(t, c).State == client.StateCurrent })
}

func TestReadyOfAClosedClient(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	client.Bind[number](c, "a")
	must(t, c.Close())
	for range 50 {
		wantError(t, c.Ready(t.Context()), client.ErrClosed)
		must(t, c.WaitGeneration(t.Context(), 2)) // which was settled before
	}
}

// What is settled needs no wait, and a context that has ended does not matter.
func TestReadyWithAContextThatHasEnded(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	client.Bind[number](c, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		must(t, c.Ready(ctx))
	}
}

func TestStateWithoutARegion(t *testing.T) {
	t.Parallel()
	c := open(t, regionIn(t), client.Lazy())
	client.Bind[number](c, "a")
	want(t, "the state", stateOf(t, c).State, client.StateNoRegion)
	wantError(t, stateOf(t, c).Err, client.ErrNoRegion)
	must(t, c.Ready(t.Context()))
	client.Bind(c, "b", client.Options[number]{Required: true})
	wantError(t, c.Ready(t.Context()), client.ErrNoRegion, "config b")
}

func TestMisspeltKeyIsFound(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("m", configs{"weights": configs{"elo": 1500, "ping": 0.5}})
	c := r.Client()
	optional := client.BindKey(c, "m", "weights.ello", 1200)
	s := stateOf(t, c)
	want(t, "the value", optional.Get(), 1200)
	want(t, "the state", s.State, client.StateDefault)
	want(t, "the hint", s.Hint, "no such key; did you mean weights.elo")
	must(t, s.Err)
	must(t, c.Ready(t.Context()))

	rejections := make(chan error, 1)
	strict := client.BindKey(c, "m", "weights.ello", 1200, client.KeyOptions[int]{
		Strict: true, OnReject: func(err error) { rejections <- err },
	})
	for _, err := range []error{strict.Err(), c.Ready(t.Context()), inTime(t, "OnReject is called", rejections)} {
		wantError(t, err, err, "config m", "key weights.ello", "no such key; did you mean weights.elo")
	}
	want(t, "the state", c.Bindings()[1].State, client.StateRejected)
}

func TestReadyJoinsItsReasons(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(configs{"a": number{1}, "c": number{1}})
	c := r.Client()
	client.Bind[number](c, "a")
	client.Bind(c, "b", client.Options[number]{Required: true})
	client.BindKey(c, "c", "N", 0, client.KeyOptions[int]{Required: true})
	client.Bind[number](c, "d")
	wantError(t, c.Ready(t.Context()), client.ErrNotFound, "config b")
	r.Publish(configs{"a": configs{"N": "x"}, "b": number{1}})
	err := c.Ready(t.Context())
	wantError(t, err, client.ErrWrongType, "config a")
	wantError(t, err, client.ErrNotFound, "config c, key N") // removed
	r.Publish(configs{"a": number{2}, "b": number{1}, "c": number{1}})
	must(t, c.Ready(t.Context()))
}

func TestReadyWaitsForHooks(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := open(t, r.Dir())
	inside, leave := make(chan struct{}), make(chan struct{})
	var returned atomic.Bool
	client.Bind(c, "a", client.Options[number]{OnChange: func(client.Changed[number]) {
		close(inside)
		<-leave
		returned.Store(true)
	}})
	inTime(t, "the hook is called", inside)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	wantError(t, c.Ready(ctx), context.DeadlineExceeded)
	must(t, c.WaitGeneration(t.Context(), 1)) // which waits for no hook
	ready := async(func() error { return c.Ready(t.Context()) })
	close(leave)
	must(t, inTime(t, "Ready returns", ready))
	want(t, "the hook has returned", returned.Load(), true)
}

func TestReadyInCodeThatItWaitsFor(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	errs := make(chan error, 3)
	ask := func() error { err := c.Ready(t.Context()); errs <- err; return err }
	client.Bind(c, "a", client.Options[number]{OnChange: func(client.Changed[number]) { _ = ask() }})
	wantError(t, inTime(t, "OnChange asks", errs), client.ErrInHook)
	client.Bind(c, "a", client.Options[number]{
		Validate: func(*number) error { return ask() }, OnReject: func(error) { _ = ask() },
	})
	wantError(t, inTime(t, "Validate asks", errs), client.ErrInHook)
	wantError(t, inTime(t, "OnReject asks", errs), client.ErrInHook)
}

func TestStatesAndStatsAsJSON(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", configs{"N": "x"})
	c := r.Client()
	client.Bind[number](c, "a")
	text, err := json.Marshal(c.Bindings())
	must(t, err)
	for _, field := range []string{`"Config":"a"`, `"State":"rejected"`, `"Newest":2`, `"Err":"config a, generation 2: N: cannot decode string into uint64"`} {
		if !strings.Contains(string(text), field) {
			t.Errorf("there is no %s in %s", field, text)
		}
	}
	text, err = json.Marshal(client.Stats{Age: 1500 * time.Millisecond, Err: errors.New("bad")})
	must(t, err)
	for _, field := range []string{`"Age":1.5`, `"Err":"bad"`, `"SourceLastGood":0`} {
		if !strings.Contains(string(text), field) {
			t.Errorf("there is no %s in %s", field, text)
		}
	}
}
