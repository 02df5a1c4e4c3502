//go:build unix

package client_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

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
	b := client.Bind(c, "absent", client.Options[weights]{Default: weights{Elo: 1500}})
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

func TestWhatAConfigLeavesOutIsTheDefaults(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", configs{"elo": 1600})
	b := client.Bind(r.Client(), "matchmaker", client.Options[weights]{Default: weights{Elo: 1500, Ping: 0.5}})
	want(t, "a field that the config leaves out", *b.Get(), weights{Elo: 1600, Ping: 0.5})
}

func TestRefusedValueLeavesTheLastOne(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", weights{Elo: 1500})
	c := r.Client()
	refusals := make(chan error, 10)
	b := client.Bind(c, "matchmaker", client.Options[weights]{OnReject: func(err error) { refusals <- err }})
	g := r.Set("matchmaker", configs{"elo": "high"})
	want(t, "Get", *b.Get(), weights{Elo: 1500})
	for range 100 {
		want(t, "In", *b.In(c.Snapshot()), weights{Elo: 1500})
		value, err := b.Lookup(c.Snapshot())
		want(t, "Lookup", *value, weights{Elo: 1500})
		wantRefused(t, err, client.ErrWrongType, "matchmaker", "", g)
		wantRefused(t, b.Err(), client.ErrWrongType, "matchmaker", "", g)
	}
	wantRefused(t, inTime(t, "OnReject is called", refusals), client.ErrWrongType, "matchmaker", "", g)

	// A publication of something else settles nothing anew.
	r.Set("other", weights{})
	want(t, "Rejections", c.Stats().Rejections, 1)

	r.Set("matchmaker", weights{Elo: 1600})
	want(t, "Get", *b.Get(), weights{Elo: 1600})
	must(t, b.Err())
	select {
	case err := <-refusals:
		t.Errorf("OnReject was called once more: %v", err)
	default:
	}
}

func TestValidation(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("matchmaker", weights{Elo: 1500})
	c := r.Client()
	errLow := errors.New("elo is too low")
	validate := func(w *weights) error {
		if w.Elo < 1000 {
			return errLow
		}
		return nil
	}
	b := client.Bind(c, "matchmaker", client.Options[weights]{Validate: validate})
	old := c.Snapshot()
	g := r.Set("matchmaker", weights{Elo: 3})
	want(t, "Get", *b.Get(), weights{Elo: 1500})
	wantRefused(t, b.Err(), errLow, "matchmaker", "", g)
	// A binding that only comes now has nothing else.
	late := client.Bind(c, "matchmaker", client.Options[weights]{Validate: validate, Default: weights{Elo: 42}})
	want(t, "Get of a later binding", *late.Get(), weights{Elo: 42})
	want(t, "In of a later binding", *late.In(old), weights{Elo: 1500})
	// Another binding is not concerned.
	want(t, "Get without validation", *client.Bind[weights](c, "matchmaker").Get(), weights{Elo: 3})
	r.Set("matchmaker", weights{Elo: 1001})
	want(t, "Get", *b.Get(), weights{Elo: 1001})
	must(t, errors.Join(b.Err(), late.Err()))

	key := client.BindKey(c, "matchmaker", "Elo", 1200, client.KeyOptions[int]{Validate: func(elo *int) error {
		if *elo < 1000 {
			return errLow
		}
		return nil
	}})
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
	strict := client.Bind(c, "matchmaker", client.Options[weights]{Strict: true, Default: weights{Elo: 42}})
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
	key := client.BindKey(c, "service", "matchmaker", weights{Elo: 42}, client.KeyOptions[weights]{Strict: true})
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

func TestMoreThanOneOptionsPanics(t *testing.T) {
	t.Parallel()
	c := clienttest.New(t).Client()
	for what, bind := range map[string]func(){
		"Bind":    func() { client.Bind(c, "a", client.Options[weights]{}, client.Options[weights]{}) },
		"BindKey": func() { client.BindKey(c, "a", "k", 1, client.KeyOptions[int]{}, client.KeyOptions[int]{}) },
	} {
		func() {
			defer func() {
				if message := fmt.Sprint(recover()); !strings.Contains(message, "config a") {
					t.Errorf("%s with two options structs: the panic is %s", what, message)
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
	b := client.Bind(c, "matchmaker", client.Options[weights]{Default: weights{Elo: 42}})
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
				b := client.Bind(c, "a", client.Options[number]{Default: number{1 << 60}})
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
