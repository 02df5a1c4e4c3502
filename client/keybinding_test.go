//go:build unix

package client_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

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

// YAML makes a null of "elo:" with nothing behind it. It does not mean 0.
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

// A bare number would be nanoseconds, which is not what "timeout: 30" means.
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

// An opaque config has no keys: binding one is a mistake.
func TestKeyOfAnOpaqueConfigIsAWrongType(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Set("rules", clienttest.Opaque(`{"n": 1}`))
	b := client.BindKey(r.Client(), "rules", "n", 42)
	want(t, "Get", b.Get(), 42)
	wantError(t, b.Err(), client.ErrWrongType)
}

// A key that a config does not have has the default, and is accepted with it, also
// when validation takes its time.
func TestKeyThatIsMissingIsAcceptedLate(t *testing.T) {
	t.Parallel()
	asleep, wake := make(chan struct{}, 10), make(chan struct{})
	p := created(t, regionIn(t), 1, configs{"a": configs{"n": 7}})
	c := open(t, p.dir())
	k := client.BindKey(c, "a", "n", 42, client.KeyOptions[int]{Validate: func(n *int) error {
		if *n == 42 {
			asleep <- struct{}{}
			<-wake
		}
		return nil
	}})
	p.next(t, configs{"a": configs{"other": 1}})
	inTime(t, "the validation of the default", asleep)
	p.next(t, configs{"a": configs{"n": "x"}})
	s := c.Snapshot()
	want(t, "In before the default is accepted", k.In(s), 7)
	close(wake)
	eventually(t, "the default is accepted", func() bool { return k.Get() == 42 })
	want(t, "In of a later snapshot whose value is rejected", k.In(s), 42)
}
