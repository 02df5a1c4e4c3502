//go:build unix

package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// errAny stands for whatever reason.
var errAny = errors.New("any error")

// wantRefused fails the test unless an error is a *ConfigError that matches
// target and says which config, key and generation.
func wantRefused(t testing.TB, err, target error, config, key string, generation uint64) {
	t.Helper()
	var refused *client.ConfigError
	if !errors.As(err, &refused) {
		t.Errorf("the error is no *ConfigError, but %v", err)
		return
	}
	if target != errAny {
		wantError(t, err, target)
	}
	wantError(t, err, err, config, key)
	want(t, "the error's config", refused.Config, config)
	want(t, "the error's key", refused.Key, key)
	want(t, "the error's generation", refused.Generation, generation)
}

func TestBindingIsNeverNil(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	zero := client.Bind[weights](c, "absent")
	b := client.Bind[weights](c, "absent", client.WithDefault(weights{Elo: 1500}))
	for what, got := range map[string]*weights{
		"Get": zero.Get(), "In": zero.In(c.Snapshot()), "In(nil)": zero.In(nil),
	} {
		if got == nil || *got != (weights{}) {
			t.Errorf("%s without a default is %v", what, got)
		}
	}
	for what, got := range map[string]*weights{
		"Get": b.Get(), "In": b.In(c.Snapshot()), "In(nil)": b.In(nil),
	} {
		if got == nil || *got != (weights{Elo: 1500}) {
			t.Errorf("%s with a default is %v", what, got)
		}
	}
	wantRefused(t, b.Err(), client.ErrNotFound, "absent", "", 1)
	_, err := b.Lookup(c.Snapshot())
	wantRefused(t, err, client.ErrNotFound, "absent", "", 1)
	_, err = b.Lookup(nil)
	wantRefused(t, err, client.ErrNotFound, "absent", "", 1)

	// Refused at once, there is nothing but the default either.
	r.Set("absent", configs{"elo": "high"})
	want(t, "Get", *b.Get(), weights{Elo: 1500})
	want(t, "In", *b.In(c.Snapshot()), weights{Elo: 1500})
	wantRefused(t, b.Err(), client.ErrWrongType, "absent", "", 2)
}

func TestDefaultIsUsedWhole(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", configs{"elo": 1600})
	b := client.Bind[weights](r.Client(), "matchmaker", client.WithDefault(weights{Elo: 1500, Ping: 0.5}))
	want(t, "a field that the config leaves out", *b.Get(), weights{Elo: 1600})
}

func TestRefusedValueLeavesTheLastOne(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", weights{Elo: 1500})
	c := r.Client()
	refusals := make(chan error, 10)
	b := client.Bind[weights](c, "matchmaker", client.OnError(func(err error) { refusals <- err }))
	g := r.Set("matchmaker", configs{"elo": "high"})
	want(t, "Get", *b.Get(), weights{Elo: 1500})
	for range 100 {
		want(t, "In", *b.In(c.Snapshot()), weights{Elo: 1500})
		value, err := b.Lookup(c.Snapshot())
		want(t, "Lookup", *value, weights{Elo: 1500})
		wantRefused(t, err, client.ErrWrongType, "matchmaker", "", g)
		wantRefused(t, b.Err(), client.ErrWrongType, "matchmaker", "", g)
	}
	wantRefused(t, inTime(t, "OnError is called", refusals), client.ErrWrongType, "matchmaker", "", g)

	// A publication of something else settles nothing anew.
	r.Set("other", weights{})
	want(t, "Refusals", c.Stats().Refusals, 1)

	r.Set("matchmaker", weights{Elo: 1600})
	want(t, "Get", *b.Get(), weights{Elo: 1600})
	must(t, b.Err())
	select {
	case err := <-refusals:
		t.Errorf("OnError was called once more: %v", err)
	default:
	}
}

func TestValidation(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", weights{Elo: 1500})
	c := r.Client()
	errLow := errors.New("elo is too low")
	validate := client.WithValidate(func(w *weights) error {
		if w.Elo < 1000 {
			return errLow
		}
		return nil
	})
	b := client.Bind[weights](c, "matchmaker", validate)
	old := c.Snapshot()
	g := r.Set("matchmaker", weights{Elo: 3})
	want(t, "Get", *b.Get(), weights{Elo: 1500})
	wantRefused(t, b.Err(), errLow, "matchmaker", "", g)
	// A binding that only comes now has nothing else.
	late := client.Bind[weights](c, "matchmaker", validate, client.WithDefault(weights{Elo: 42}))
	want(t, "Get of a later binding", *late.Get(), weights{Elo: 42})
	want(t, "In of a later binding", *late.In(old), weights{Elo: 1500})
	// Another binding is not concerned.
	want(t, "Get without validation", *client.Bind[weights](c, "matchmaker").Get(), weights{Elo: 3})
	r.Set("matchmaker", weights{Elo: 1001})
	want(t, "Get", *b.Get(), weights{Elo: 1001})
	must(t, errors.Join(b.Err(), late.Err()))

	key := client.BindKey(c, "matchmaker", "Elo", 1200, client.WithValidate(func(elo *int) error {
		if *elo < 1000 {
			return errLow
		}
		return nil
	}))
	want(t, "KeyBinding.Get", key.Get(), 1001)
	g = r.Set("matchmaker", weights{Elo: 4})
	want(t, "KeyBinding.Get", key.Get(), 1001)
	wantRefused(t, key.Err(), errLow, "matchmaker", "Elo", g)
}

func TestStrictFindsAMisspeltKey(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", configs{"elo": 1500, "pign": 0.5})
	c := r.Client()
	lenient := client.Bind[weights](c, "matchmaker")
	strict := client.Bind[weights](c, "matchmaker", client.Strict(), client.WithDefault(weights{Elo: 42}))
	want(t, "Get", *lenient.Get(), weights{Elo: 1500})
	must(t, lenient.Err())
	want(t, "Get of a strict binding", *strict.Get(), weights{Elo: 42})
	if err := strict.Err(); err == nil || !strings.Contains(err.Error(), "pign") {
		t.Errorf("the error does not name the key: %v", err)
	}
	r.Set("matchmaker", configs{"elo": 1500, "ping": 0.5})
	want(t, "Get of a strict binding", *strict.Get(), weights{Elo: 1500, Ping: 0.5})
	must(t, strict.Err())

	r.Set("service", configs{"matchmaker": configs{"elo": 1500, "pign": 0.5}})
	key := client.BindKey(c, "service", "matchmaker", weights{Elo: 42}, client.Strict())
	want(t, "Get of a strict key", key.Get(), weights{Elo: 42})
	if err := key.Err(); err == nil || !strings.Contains(err.Error(), "pign") {
		t.Errorf("the error does not name the key: %v", err)
	}
}

func TestOpaqueConfigIsAStringOrBytes(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(configs{"rules": clienttest.Opaque("a\x00b"), "empty": clienttest.Opaque(""), "document": weights{}})
	c := r.Client()
	text, bytes := client.Bind[string](c, "rules"), client.Bind[[]byte](c, "rules")
	want(t, "a string", *text.Get(), "a\x00b")
	want(t, "bytes", string(*bytes.Get()), "a\x00b")
	want(t, "an empty one", *client.Bind[string](c, "empty").Get(), "")
	must(t, errors.Join(text.Err(), bytes.Err(), client.Bind[string](c, "empty").Err()))
	wantError(t, client.Bind[weights](c, "rules").Err(), client.ErrWrongType, "opaque", "rules")
	wantError(t, client.Bind[string](c, "document").Err(), client.ErrWrongType)

	// Bytes are a copy of the binding's own.
	doc, err := c.Get("rules")
	must(t, err)
	if &doc.JSON()[0] == &(*bytes.Get())[0] {
		t.Error("a binding shares its bytes with the region's content")
	}
	r.Set("rules", clienttest.Opaque("c"))
	want(t, "a string", *text.Get(), "c")
	want(t, "bytes", string(*bytes.Get()), "c")
}

func TestOptionOfAnotherTypePanics(t *testing.T) {
	t.Parallel()
	c := clienttest.New(t).Client()
	for what, bind := range map[string]func(){
		"WithDefault":          func() { client.Bind[weights](c, "a", client.WithDefault(&weights{})) },
		"WithValidate":         func() { client.Bind[weights](c, "a", client.WithValidate(func(*int) error { return nil })) },
		"BindKey WithValidate": func() { client.BindKey(c, "a", "k", 1, client.WithValidate(func(*string) error { return nil })) },
	} {
		func() {
			defer func() {
				if message := fmt.Sprint(recover()); !strings.Contains(message, "config a") {
					t.Errorf("%s of another type: the panic is %s", what, message)
				}
			}()
			bind()
		}()
	}
}

func TestDeletedConfigLeavesTheLastValue(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", weights{Elo: 1500})
	c := r.Client()
	b := client.Bind[weights](c, "matchmaker", client.WithDefault(weights{Elo: 42}))
	k := client.BindKey(c, "matchmaker", "Elo", 42)
	g := r.Delete("matchmaker")
	gone := c.Snapshot()
	check := func() {
		t.Helper()
		value, err := b.Lookup(gone)
		want(t, "Lookup", *value, weights{Elo: 1500})
		wantRefused(t, err, client.ErrNotFound, "matchmaker", "", g)
		want(t, "In", *b.In(gone), weights{Elo: 1500})
		want(t, "KeyBinding.In", k.In(gone), 1500)
	}
	check()
	want(t, "Get", *b.Get(), weights{Elo: 1500})
	want(t, "KeyBinding.Get", k.Get(), 1500)
	wantRefused(t, b.Err(), client.ErrNotFound, "matchmaker", "", g)
	wantRefused(t, k.Err(), client.ErrNotFound, "matchmaker", "Elo", g)

	r.Set("matchmaker", weights{Elo: 1600})
	want(t, "Get", *b.Get(), weights{Elo: 1600})
	want(t, "KeyBinding.Get", k.Get(), 1600)
	must(t, errors.Join(b.Err(), k.Err()))
	check()
}

// A snapshot is immutable: what a binding has in it stays, however much is
// published while a request holds it.
func TestInOfOneSnapshotNeverChanges(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(configs{"deleted": weights{Elo: 1}, "refused": weights{Elo: 1}, "there": weights{Elo: 1}})
	c := r.Client()
	def := client.WithDefault(weights{Elo: -1})
	bindings := map[string]*client.Binding[weights]{
		"deleted": client.Bind[weights](c, "deleted", def),
		"refused": client.Bind[weights](c, "refused", def),
		"there":   client.Bind[weights](c, "there", def),
	}
	r.Publish(configs{"refused": configs{"elo": "x"}, "there": weights{Elo: 1}})
	held := c.Snapshot()
	for name, b := range bindings {
		want(t, "In of "+name, *b.In(held), weights{Elo: 1})
	}
	for n := range 10 {
		value := weights{Elo: 2 + n}
		r.Publish(configs{"deleted": value, "refused": value, "there": value})
	}
	for name, b := range bindings {
		want(t, "In of "+name+", ten changes later", *b.In(held), weights{Elo: 1})
		want(t, "Get of "+name, *b.Get(), weights{Elo: 11})
	}
}

func TestPointerStaysWhileTheConfigDoes(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, configs{"a": weights{Elo: 1}, "other": number{1}})
	c := open(t, dir)
	b, other := client.Bind[weights](c, "a"), client.Bind[number](c, "other")
	first := b.Get()
	follow := func(g uint64) {
		t.Helper()
		must(t, c.WaitGeneration(t.Context(), g))
		want(t, "the other config", *other.Get(), number{g})
		if b.Get() != first || b.In(c.Snapshot()) != first {
			t.Errorf("the pointer has changed in generation %d, and the config has not", g)
		}
	}
	follow(1)
	for g := uint64(2); g < 12; g++ {
		p.next(t, configs{"a": weights{Elo: 1}, "other": number{g}})
		follow(g)
	}
	// In another region generations say nothing, and bytes are compared.
	old := c.Snapshot()
	for g := uint64(12); g < 15; g++ {
		must(t, p.create(g, configs{"a": weights{Elo: 1}, "other": number{g}}))
		eventually(t, "the new region is followed", func() bool { return c.Snapshot().RegionID() == p.ID().String() })
		follow(g)
	}
	if old.RegionID() == c.Snapshot().RegionID() {
		t.Error("the region has not been replaced")
	}
	// Created again with what it had before is another matter: it may change.
	p.next(t, configs{"other": number{15}})
	g := p.next(t, configs{"a": weights{Elo: 2}, "other": number{16}})
	must(t, c.WaitGeneration(t.Context(), g))
	want(t, "Get", *b.Get(), weights{Elo: 2})
	want(t, "the value that was handed out first", *first, weights{Elo: 1})
}

func TestInGivesOldSnapshotsTheirOwnValues(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	c := r.Client()
	b := client.Bind[number](c, "a", client.WithDefault(number{0}))
	k := client.BindKey[uint64](c, "a", "N", 0)
	// Of each generation, what a binding is to have in it.
	steps := []struct {
		config any
		want   uint64
		err    error
	}{
		{configs{"N": "refused at first"}, 0, client.ErrWrongType},
		{number{10}, 10, nil},
		{number{11}, 11, nil},
		{configs{"N": "refused"}, 11, client.ErrWrongType},
		{configs{"N": "refused again"}, 11, client.ErrWrongType},
		{nil, 11, client.ErrNotFound},
		{number{12}, 12, nil},
		{configs{"N": "refused"}, 12, client.ErrWrongType},
		{number{10}, 10, nil}, // a rollback is a change like any other
	}
	snapshots := []*client.Snapshot{c.Snapshot()}
	for _, step := range steps {
		if step.config == nil {
			r.Delete("a")
		} else {
			r.Set("a", step.config)
		}
		snapshots = append(snapshots, c.Snapshot())
		want(t, "Get", b.Get().N, step.want)
		want(t, "KeyBinding.Get", k.Get(), step.want)
	}
	// Newest first, and oldest first: what was asked before makes no difference.
	check := func(i int) {
		t.Helper()
		value, err := b.Lookup(snapshots[i+1])
		what := fmt.Sprintf("in generation %d", i+2)
		want(t, "Lookup "+what, value.N, steps[i].want)
		want(t, "In "+what, b.In(snapshots[i+1]).N, steps[i].want)
		want(t, "KeyBinding.In "+what, k.In(snapshots[i+1]), steps[i].want)
		if !errors.Is(err, steps[i].err) {
			t.Errorf("Lookup %s: %v", what, err)
		}
	}
	for i := range steps {
		check(len(steps) - 1 - i)
	}
	for i := range steps {
		check(i)
	}
	want(t, "In where there was none", b.In(snapshots[0]).N, 0)
}

// A binding that is made when a snapshot is old already still has the
// snapshot's own value, as long as the region has it.
func TestInOfABindingYoungerThanTheSnapshot(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	old := c.Snapshot()
	r.Set("a", number{2})
	b := client.Bind[number](c, "a")
	want(t, "Get", *b.Get(), number{2})
	value, err := b.Lookup(old)
	must(t, err)
	want(t, "Lookup", *value, number{1})
	want(t, "In", *b.In(old), number{1})
	want(t, "Get after In of an old snapshot", *b.Get(), number{2})
	if b.In(old) != value {
		t.Error("the second In decoded once more")
	}

	// What is found out about the past says nothing about the present.
	past := c.Snapshot()
	r.Set("a", configs{"N": "no number"})
	late := client.Bind[number](c, "a")
	wantError(t, late.Err(), client.ErrWrongType)
	want(t, "In", *late.In(past), number{2})
	wantError(t, late.Err(), client.ErrWrongType)
}

func TestInOfAnotherClientsSnapshotIsGet(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c, other := r.Client(), r.Client()
	b := client.Bind[number](c, "a")
	client.Bind[number](other, "a")
	foreign := other.Snapshot()
	r.Set("a", number{2})
	want(t, "In", *b.In(foreign), number{2})
	value, err := b.Lookup(foreign)
	want(t, "Lookup", *value, number{2})
	if err == nil {
		t.Error("Lookup does not say that the snapshot is another client's")
	}
}

// decodedOnce counts how often it is decoded.
type decodedOnce struct{ N uint64 }

var decodings atomic.Uint64

func (d *decodedOnce) UnmarshalJSON(text []byte) error {
	decodings.Add(1)
	time.Sleep(time.Millisecond) // long enough for the others to come
	type plain decodedOnce
	return json.Unmarshal(text, (*plain)(d))
}

func TestOneChangeIsDecodedOnce(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	b := client.Bind[decodedOnce](c, "a")
	for g := uint64(2); g < 7; g++ {
		var together, done sync.WaitGroup
		together.Add(1)
		for range 1000 {
			done.Go(func() {
				together.Wait()
				s := c.Snapshot()
				if n := b.In(s).N; n != s.Generation() {
					t.Errorf("In is of %d in generation %d", n, s.Generation())
				}
			})
		}
		p.next(t, numbered(g))
		together.Done()
		done.Wait()
		want(t, "Get", b.Get().N, g)
		want(t, "decodings", decodings.Load(), g)
	}
}

func TestBindingsOfOneSnapshotBelongTogether(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	a, b := client.Bind[number](c, "a"), client.BindKey[uint64](c, "b", "N", 0)
	stop := flatOut(t, func() error { return p.publish(numbered(p.current.Generation() + 1)) })
	var apart atomic.Uint64 // how often two Gets were of two generations
	var readers sync.WaitGroup
	deadline := time.Now().Add(patience)
	for range 4 {
		readers.Go(func() {
			var last uint64
			for n := 0; n < 2000 || apart.Load() == 0 && time.Now().Before(deadline); n++ {
				s := c.Snapshot()
				g := s.Generation()
				if x, y := a.In(s).N, b.In(s); x != g || y != g {
					t.Errorf("in generation %d one binding is of %d, the other of %d", g, x, y)
				}
				// Get moves before In returns, and never back.
				x, y := a.Get().N, b.Get()
				if x < g || y < g || x < last {
					t.Errorf("Get is of %d and %d after In of %d, Get before was of %d", x, y, g, last)
				}
				if last = x; x != y {
					apart.Add(1)
				}
			}
		})
	}
	readers.Wait()
	stop()
	if apart.Load() == 0 {
		t.Error("two Gets never came apart under a busy writer: what did the test test?")
	}
	t.Logf("two Gets came apart %d times in %d generations, two Ins of one snapshot never", apart.Load(), p.current.Generation())
}

// bound is what all KeyBindings are tested by.
type bound interface {
	check(t *testing.T, c *client.Client)
}

type boundKey[T any] struct {
	key     string
	missing T
	want    T
}

func (k boundKey[T]) check(t *testing.T, c *client.Client) {
	t.Helper()
	b := client.BindKey(c, "keys", k.key, k.missing)
	if got := b.Get(); !reflect.DeepEqual(got, k.want) {
		t.Errorf("%s as %T is %v, and %v was expected", k.key, got, got, k.want)
	}
	if got := b.In(c.Snapshot()); !reflect.DeepEqual(got, k.want) {
		t.Errorf("%s as %T is %v in the snapshot, and %v was expected", k.key, got, got, k.want)
	}
	if got, err := b.Lookup(c.Snapshot()); !reflect.DeepEqual(got, k.want) || err != nil || b.Err() != nil {
		t.Errorf("%s as %T: %v, %v, Err %v", k.key, got, got, err, b.Err())
	}
}

func TestKeyBindingsOfAllTypes(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("keys", configs{
		"int": 1500, "negative": -1, "big": uint64(1)<<63 + 1, "float": 0.5, "whole": json.Number("2.0"),
		"string": `a "b"`, "empty": "", "true": true, "wait": "1m30s",
		"weights": weights{Elo: 1500, Ping: 0.5}, "list": []string{"x", "y"}, "deep": []any{configs{"x": 7}},
	})
	c := r.Client()
	for _, k := range []bound{
		boundKey[int]{"int", 1, 1500},
		boundKey[int64]{"negative", 1, -1},
		boundKey[uint16]{"int", 1, 1500},
		boundKey[uint64]{"big", 1, 1<<63 + 1},
		boundKey[float64]{"float", 1, 0.5},
		boundKey[float64]{"int", 1, 1500},
		boundKey[float64]{"whole", 1, 2},
		boundKey[string]{"string", "x", `a "b"`},
		boundKey[string]{"empty", "x", ""},
		boundKey[bool]{"true", false, true},
		boundKey[time.Duration]{"wait", 1, 90 * time.Second},
		boundKey[weights]{"weights", weights{}, weights{Elo: 1500, Ping: 0.5}},
		boundKey[int]{"weights.Elo", 1, 1500},
		boundKey[[]string]{"list", nil, []string{"x", "y"}},
		boundKey[string]{"list.1", "", "y"},
		boundKey[int]{"deep.0.x", 1, 7},
		boundKey[map[string]float64]{"weights", nil, map[string]float64{"Elo": 1500, "Ping": 0.5}},
		// A key that is not there has its default, and that is no error.
		boundKey[int]{"missing", 42, 42},
		boundKey[string]{"int.missing", "x", "x"},
		boundKey[time.Duration]{"missing", time.Hour, time.Hour},
		boundKey[[]string]{"list.7", []string{"z"}, []string{"z"}},
	} {
		k.check(t, c)
	}
}

func TestKeyOfAWrongTypeLeavesTheLastValue(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("keys", configs{"n": 1, "wait": "15s"})
	c := r.Client()
	n := client.BindKey(c, "keys", "n", 42)
	wait := client.BindKey(c, "keys", "wait", time.Minute)
	g := r.Set("keys", configs{"n": 1.5, "wait": "soon"})
	want(t, "Get", n.Get(), 1)
	want(t, "Get of a duration", wait.Get(), 15*time.Second)
	want(t, "In", n.In(c.Snapshot()), 1)
	wantRefused(t, n.Err(), client.ErrWrongType, "keys", "n", g)
	wantRefused(t, wait.Err(), client.ErrWrongType, "keys", "wait", g)
	// One that comes now has its default.
	late := client.BindKey(c, "keys", "n", 42)
	want(t, "Get of a later binding", late.Get(), 42)
	wantRefused(t, late.Err(), client.ErrWrongType, "keys", "n", g)
	// A key that is gone has its default again.
	r.Set("keys", configs{"wait": "20s"})
	want(t, "Get of a key that is gone", n.Get(), 42)
	want(t, "Get of a duration", wait.Get(), 20*time.Second)
	must(t, errors.Join(n.Err(), wait.Err(), late.Err()))
	r.Set("keys", configs{"n": 2})
	want(t, "Get", n.Get(), 2)
	// But not where the whole config is gone.
	g = r.Delete("keys")
	want(t, "Get without the config", n.Get(), 2)
	wantRefused(t, n.Err(), client.ErrNotFound, "keys", "n", g)
}

// A key of null is what YAML makes of "elo:" with nothing behind it: it is not
// a 0 that somebody wrote.
func TestKeyOfNullIsNoZero(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("keys", configs{"elo": nil, "name": nil})
	c := r.Client()
	want(t, "an int", client.BindKey(c, "keys", "elo", 1500).Get(), 1500)
	want(t, "a string", client.BindKey(c, "keys", "name", "ranked").Get(), "ranked")
	pointer := client.BindKey(c, "keys", "elo", new(int))
	if got := pointer.Get(); got != nil || pointer.Err() != nil {
		t.Errorf("a pointer, which can be nil: %v, %v", got, pointer.Err())
	}
}

// A bare number would be nanoseconds, which nobody means by "timeout: 30".
func TestDurationHasAUnit(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("keys", configs{"timeout": 30})
	c := r.Client()
	b := client.BindKey(c, "keys", "timeout", time.Minute)
	want(t, "BindKey", b.Get(), time.Minute)
	wantError(t, b.Err(), client.ErrWrongType)
	doc, err := c.Get("keys")
	must(t, err)
	_, err = doc.Duration("timeout")
	wantError(t, err, client.ErrWrongType)
}

// An opaque config has no keys, and who binds one has a mistake to find.
func TestKeyOfAnOpaqueConfigIsAWrongType(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("rules", clienttest.Opaque(`{"n": 1}`))
	b := client.BindKey(r.Client(), "rules", "n", 42)
	want(t, "Get", b.Get(), 42)
	wantError(t, b.Err(), client.ErrWrongType)
}

// Where a config is absent or refused, reading costs no more than where it is
// there: a lazy program without a daemon serves its requests from defaults.
func TestReadingWhatIsAbsentAllocatesNothing(t *testing.T) {
	r := clienttest.New(t)
	r.Publish(configs{"deleted": number{1}, "refused": number{1}})
	c := r.Client()
	lazy := open(t, regionIn(t), client.Lazy())
	deleted, refused := client.Bind[number](c, "deleted"), client.Bind[number](c, "refused")
	absent, key := client.Bind[number](c, "absent"), client.BindKey(c, "absent", "n", 1)
	without := client.Bind[number](lazy, "absent")
	r.Publish(configs{"refused": configs{"n": "x"}})
	now, never, old := c.Snapshot(), lazy.Snapshot(), c.Snapshot()
	r.Publish(configs{"refused": number{2}, "deleted": number{2}})
	for what, read := range map[string]func(){
		"In of an absent config":          func() { absent.In(now) },
		"In of a key of an absent config": func() { key.In(now) },
		"In without a region":             func() { without.In(never) },
		"In of an old snapshot, refused":  func() { refused.In(old) },
		"In of an old snapshot, deleted":  func() { deleted.In(old) },
		"In of a newer snapshot, deleted": func() { deleted.In(now) },
	} {
		if n := testing.AllocsPerRun(1000, read); n != 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
}

func TestManyBindingsOfOneConfig(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("a", number{1})
	c := r.Client()
	bindings := make([]*client.Binding[number], 100)
	for i := range bindings {
		bindings[i] = client.Bind[number](c, "a")
	}
	typed := client.Bind[map[string]int](c, "a")
	r.Set("a", number{2})
	for i, b := range bindings {
		want(t, fmt.Sprintf("binding %d", i), *b.Get(), number{2})
	}
	want(t, "a binding of another type", (*typed.Get())["N"], 2)
}

// Bindings may be made from everywhere at once, also while generations pass.
func TestBindConcurrently(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 1, numbered(1))
	c := open(t, dir)
	stop := flatOut(t, func() error { return p.publish(numbered(p.current.Generation() + 1)) })
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 20 {
				s := c.Snapshot()
				b := client.Bind[number](c, "a", client.WithDefault(number{1 << 60}))
				if got := b.Get().N; got < s.Generation() || got == 1<<60 {
					t.Errorf("a fresh binding is of %d after generation %d", got, s.Generation())
				}
				absent := client.BindKey(c, fmt.Sprintf("absent-%d-%d", i, n), "k", n)
				want(t, "an absent one", absent.Get(), n)
			}
		})
	}
	all.Wait()
	stop()
}
