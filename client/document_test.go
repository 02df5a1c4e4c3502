//go:build unix

package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

// document publishes one config, "doc", and gets it.
func document(t *testing.T, value any) client.Doc {
	t.Helper()
	r := clienttest.New(t)
	r.Set("doc", value)
	doc, err := r.Client().Get("doc")
	must(t, err)
	return doc
}

var everyType = configs{
	"int": 1500, "negative": -1, "lowest": math.MinInt64, "highest": math.MaxInt64,
	"beyond": uint64(math.MaxInt64) + 1, "uint": uint64(math.MaxUint64), "exact": 9007199254740993,
	"float": 0.25, "whole": json.Number("1.0"), "huge": json.Number("1e300"), "minus zero": json.Number("-0.0"),
	"true": true, "false": false, "null": nil, "text": "ranked", "empty": "", "escaped": "a\"b\n\u2028ü",
	"wait": "1h30m", "object": configs{"elo": 1600, "": 7, "ü": "umlaut"}, "list": []any{1, "two", []any{true}},
	"team/name": configs{"x.y": 3}, "empty object": configs{}, "empty list": []any{},
}

// accessor is one of Doc's typed accessors, with both of its forms.
type accessor struct {
	get func(key string) (any, error)
	or  func(key string) any
	// missing is the default that or gives.
	missing any
}

func accessors(d client.Doc) map[string]accessor {
	return map[string]accessor{
		"Int":      {func(k string) (any, error) { return erase(d.Int(k)) }, func(k string) any { return d.IntOr(k, 42) }, 42},
		"Uint":     {func(k string) (any, error) { return erase(d.Uint(k)) }, func(k string) any { return d.UintOr(k, 42) }, uint64(42)},
		"Float":    {func(k string) (any, error) { return erase(d.Float(k)) }, func(k string) any { return d.FloatOr(k, 4.2) }, 4.2},
		"Bool":     {func(k string) (any, error) { return erase(d.Bool(k)) }, func(k string) any { return d.BoolOr(k, true) }, true},
		"Str":      {func(k string) (any, error) { return erase(d.Str(k)) }, func(k string) any { return d.StrOr(k, "x") }, "x"},
		"Duration": {func(k string) (any, error) { return erase(d.Duration(k)) }, func(k string) any { return d.DurationOr(k, 42) }, time.Duration(42)},
	}
}

func erase[T any](v T, err error) (any, error) { return v, err }

func TestDocAccessors(t *testing.T) {
	t.Parallel()
	d := document(t, everyType)
	// What each key is to each accessor; where one is left out the value is of
	// a wrong type.
	expected := map[string]map[string]any{
		"int":          {"Int": 1500, "Uint": uint64(1500), "Float": 1500.0},
		"negative":     {"Int": -1, "Float": -1.0},
		"lowest":       {"Int": math.MinInt64, "Float": float64(math.MinInt64)},
		"highest":      {"Int": math.MaxInt64, "Uint": uint64(math.MaxInt64), "Float": float64(math.MaxInt64)},
		"beyond":       {"Uint": uint64(math.MaxInt64) + 1, "Float": float64(1 << 63)},
		"uint":         {"Uint": uint64(math.MaxUint64), "Float": float64(1 << 64)},
		"exact":        {"Int": 9007199254740993, "Uint": uint64(9007199254740993), "Float": 9007199254740992.0},
		"float":        {"Float": 0.25},
		"whole":        {"Float": 1.0},
		"huge":         {"Float": 1e300},
		"minus zero":   {"Float": math.Copysign(0, -1)},
		"true":         {"Bool": true},
		"false":        {"Bool": false},
		"null":         {},
		"text":         {"Str": "ranked"},
		"empty":        {"Str": ""},
		"escaped":      {"Str": "a\"b\n\u2028ü"},
		"wait":         {"Str": "1h30m", "Duration": 90 * time.Minute},
		"object":       {},
		"object.elo":   {"Int": 1600, "Uint": uint64(1600), "Float": 1600.0},
		"object.":      {"Int": 7, "Uint": uint64(7), "Float": 7.0},
		"object.ü":     {"Str": "umlaut"},
		"list":         {},
		"list.0":       {"Int": 1, "Uint": uint64(1), "Float": 1.0},
		"list.1":       {"Str": "two"},
		"list.2":       {},
		"list.2.0":     {"Bool": true},
		"team/name":    {},
		"empty list":   {},
		"empty object": {},
		// An object's own key may have a dot in it.
		"team/name.x.y": {"Int": 3, "Uint": uint64(3), "Float": 3.0},
	}
	for key, values := range expected {
		want(t, "Has "+key, d.Has(key), true)
		for name, a := range accessors(d) {
			got, err := a.get(key)
			value, ok := values[name]
			switch {
			case !ok:
				wantRefused(t, err, client.ErrWrongType, "doc", key, 2)
				want(t, name+"Or "+key, a.or(key), a.missing)
				if !reflect.ValueOf(got).IsZero() {
					t.Errorf("%s %s is an error with a value: %v", name, key, got)
				}
			case err != nil:
				t.Errorf("%s %s: %v", name, key, err)
			default:
				want(t, name+" "+key, got, value)
				want(t, name+"Or "+key, a.or(key), value)
			}
		}
	}
	if f, err := d.Float("minus zero"); !math.Signbit(f) || err != nil {
		t.Errorf("-0.0 is %v (%v)", f, err)
	}
}

func TestDocKeyThatIsNotThere(t *testing.T) {
	t.Parallel()
	d := document(t, everyType)
	for _, key := range []string{
		"", ".", "missing", "int.", "int.x", ".int", "object.elo.x", "object..", "list.3", "list.-1", "list.00", "list.0.0",
		"list.01", "Int", "INT", "text.0", "empty list.0", strings.Repeat("x", 1<<16), "\xff",
	} {
		want(t, "Has "+key, d.Has(key), false)
		for name, a := range accessors(d) {
			_, err := a.get(key)
			if !errors.Is(err, client.ErrNotFound) {
				t.Errorf("%s %.40q: %v", name, key, err)
			}
			want(t, name+"Or", a.or(key), a.missing)
		}
		_, err := d.Raw(key)
		wantError(t, err, client.ErrNotFound)
		wantError(t, d.DecodeKey(key, new(any)), client.ErrNotFound)
	}
	_, err := d.Int("object.missing")
	wantRefused(t, err, client.ErrNotFound, "doc", "object.missing", 2)
}

func TestDocErrorsShowWhatIsThere(t *testing.T) {
	t.Parallel()
	d := document(t, configs{"elo": "high", "long": strings.Repeat("ü", 1000)})
	_, err := d.Int("elo")
	wantError(t, err, client.ErrWrongType, "config doc", "key elo", "generation 2", `"high"`, "string", "int")
	_, err = d.Int("long")
	if len(err.Error()) > 300 {
		t.Errorf("the error is %d bytes long", len(err.Error()))
	}
	if text := err.Error(); strings.ToValidUTF8(text, "") != text {
		t.Errorf("the error is not UTF-8: %q", text)
	}
	_, err = d.Duration("elo")
	wantError(t, err, client.ErrWrongType, "high")
}

// Elements behind the key index's end are slower to find and never not found.
func TestDocArraysLongerThanTheirIndex(t *testing.T) {
	t.Parallel()
	const n = 1500
	type element struct {
		ID   int    `json:"id"`
		Name string `json:"name"`
	}
	pools := make([]element, n)
	for i := range pools {
		pools[i] = element{i, fmt.Sprintf("pool \"%d\"", i)}
	}
	d := document(t, configs{"pools": pools, "after": 7})
	for _, i := range []int{0, 1, 1022, 1023, 1024, 1025, n - 1} {
		key := fmt.Sprintf("pools.%d", i)
		id, err := d.Int(key + ".id")
		must(t, err)
		want(t, key, id, i)
		want(t, key, d.StrOr(key+".name", ""), pools[i].Name)
		var decoded element
		must(t, d.DecodeKey(key, &decoded))
		want(t, key, decoded, pools[i])
		raw, err := d.Raw(key)
		must(t, err)
		if !json.Valid(raw) {
			t.Errorf("%s is not JSON: %s", key, raw)
		}
		_, err = d.Int(key + ".name")
		wantError(t, err, client.ErrWrongType)
		_, err = d.Int(key + ".missing")
		wantError(t, err, client.ErrNotFound)
	}
	for _, key := range []string{"pools.1500", "pools.1500.id", "pools.01025", "pools.1024.id.x", "pools.1024."} {
		want(t, "Has "+key, d.Has(key), false)
	}
	want(t, "what is behind the array", d.IntOr("after", 0), 7)
}

func TestDocRawJSONAndDecode(t *testing.T) {
	t.Parallel()
	d := document(t, configs{"b": configs{"elo": 1500, "ping": 0.5}, "a": []any{1, json.Number("2.0"), uint64(math.MaxUint64)}})
	want(t, "JSON", string(d.JSON()), `{"a":[1,2.0,18446744073709551615],"b":{"elo":1500,"ping":0.5}}`)
	raw, err := d.Raw("b")
	must(t, err)
	want(t, "Raw", string(raw), `{"elo":1500,"ping":0.5}`)
	// A view that was appended to does not run into what is behind it.
	_ = append(raw, 'x')
	raw, err = d.Raw("a.0")
	must(t, err)
	_ = append(raw, 'x')
	want(t, "JSON", string(d.JSON()), `{"a":[1,2.0,18446744073709551615],"b":{"elo":1500,"ping":0.5}}`)

	var w weights
	must(t, d.DecodeKey("b", &w))
	want(t, "DecodeKey", w, weights{Elo: 1500, Ping: 0.5})
	var whole struct{ B weights }
	must(t, d.Decode(&whole))
	want(t, "Decode", whole.B, weights{Elo: 1500, Ping: 0.5})
	wantRefused(t, d.DecodeKey("a", &w), client.ErrWrongType, "doc", "a", 2)
	wantRefused(t, d.Decode(new([]int)), client.ErrWrongType, "doc", "", 2)
	wantRefused(t, d.Decode(new(string)), client.ErrWrongType, "doc", "", 2)
	if err := d.Decode(w); err == nil {
		t.Error("Decode into what is no pointer succeeded")
	}
	want(t, "Opaque", d.Opaque(), false)
	want(t, "Name", d.Name(), "doc")
}

func TestDocOfAnOpaqueConfig(t *testing.T) {
	t.Parallel()
	d := document(t, clienttest.Opaque("\x00\xffrules"))
	want(t, "Opaque", d.Opaque(), true)
	want(t, "JSON", string(d.JSON()), "\x00\xffrules")
	var text string
	var bytes []byte
	must(t, errors.Join(d.Decode(&text), d.Decode(&bytes)))
	want(t, "a string", text, "\x00\xffrules")
	want(t, "bytes", string(bytes), "\x00\xffrules")
	want(t, "Has", d.Has("rules"), false)
	_, err := d.Int("rules")
	wantError(t, err, client.ErrNotFound)
	wantRefused(t, d.Decode(&weights{}), client.ErrWrongType, "doc", "", 2)
}

func TestZeroDocHasNoKeys(t *testing.T) {
	t.Parallel()
	var d client.Doc
	want(t, "Name", d.Name(), "")
	want(t, "Generation", d.Generation(), 0)
	want(t, "Changed", d.Changed(), 0)
	want(t, "Revision", d.Revision(), "")
	want(t, "Opaque", d.Opaque(), false)
	want(t, "Has", d.Has("a"), false)
	if d.JSON() != nil {
		t.Error("it has JSON")
	}
	for name, a := range accessors(d) {
		_, err := a.get("a")
		wantError(t, err, client.ErrNotFound)
		want(t, name+"Or", a.or("a"), a.missing)
	}
	_, err := d.Raw("a")
	wantError(t, err, client.ErrNotFound)
	wantError(t, d.DecodeKey("a", new(any)), client.ErrNotFound)
	wantError(t, d.Decode(new(any)), client.ErrNotFound)
}

func TestDocSaysWhereItIsFrom(t *testing.T) {
	t.Parallel()
	dir := regionIn(t)
	p := created(t, dir, 41, configs{"a": number{1}, "b": number{1}})
	c := open(t, dir)
	p.next(t, configs{"a": number{1}, "b": number{2}})
	p.next(t, configs{"a": number{1}, "b": number{3}})
	check := func(name string, generation, changed uint64, revision string) {
		t.Helper()
		d, err := c.Get(name)
		must(t, err)
		want(t, name+"'s generation", d.Generation(), generation)
		want(t, name+"'s generation of last change", d.Changed(), changed)
		want(t, name+"'s revision", d.Revision(), revision)
	}
	check("a", 43, 41, "revision-41")
	check("b", 43, 43, "revision-43")
	old := c.Snapshot()
	p.next(t, configs{"a": number{1}, "b": number{4}})
	check("a", 44, 41, "revision-41")
	check("b", 44, 44, "revision-44")
	d, err := old.Get("b")
	must(t, err)
	want(t, "the generation in an old snapshot", d.Generation(), 43)
	want(t, "the value in an old snapshot", d.IntOr("N", 0), 3)
}

// The defaults are for the hot path: a key that is mostly left out costs what
// one costs that is there.
func TestDocDefaultsAllocateNothing(t *testing.T) {
	d := document(t, everyType)
	for what, read := range map[string]func(){
		"IntOr of a missing key":      func() { d.IntOr("missing", 1) },
		"StrOr of a missing key":      func() { d.StrOr("missing", "x") },
		"DurationOr of a missing key": func() { d.DurationOr("missing", 1) },
		"BoolOr of a null":            func() { d.BoolOr("null", true) },
		"Has":                         func() { d.Has("int") },
		"Has of a missing key":        func() { d.Has("missing") },
	} {
		if n := testing.AllocsPerRun(1000, read); n != 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
}
