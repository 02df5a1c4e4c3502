package decode

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// decodeWith decodes a text with a new decoder, and checks that this leaves the
// default as it was.
func decodeWith(t *testing.T, initial any, text string, strict bool) (any, error) {
	t.Helper()
	d := New(reflect.ValueOf(initial), strict)
	v := reflect.New(reflect.TypeOf(initial))
	err := d.Decode([]byte(text), v.Interface())
	again := reflect.New(v.Type().Elem())
	if d.Decode([]byte("null"), again.Interface()) == nil && !d.initial.IsZero() && hasNoNil(v.Type().Elem()) {
		if !reflect.DeepEqual(again.Elem().Interface(), initial) {
			t.Errorf("decoding %s changed the default to %+v", text, again.Elem())
		}
	}
	return v.Elem().Interface(), err
}

func hasNoNil(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		return false
	}
	return !decodesItself(t)
}

type (
	timeout int64

	limits struct {
		Max  int
		Wait time.Duration
		Tags []string
	}
	pool struct {
		Name   string
		Limits *limits
	}
	base  struct{ Region string }
	outer struct {
		base
		*limits2
		Pools   []pool
		Fixed   [2]pool
		ByName  map[string]pool
		Any     any
		Pointer *limits
		Raw     json.RawMessage
		Skipped []int `json:"-"`
		hidden  []int
	}
	limits2 struct{ Burst int }

	quotedNumber struct {
		N int `json:",string"`
		L []int
	}

	// merging decodes onto what it holds, as methods that call json.Unmarshal with
	// another type do.
	merging struct{ A, B int }
	// adding adds to the map that it holds.
	adding map[string]bool
)

func (m *merging) UnmarshalJSON(text []byte) error {
	type fields merging
	return json.Unmarshal(text, (*fields)(m))
}

func (a *adding) UnmarshalJSON(text []byte) error {
	var names []string
	if err := json.Unmarshal(text, &names); err != nil {
		return err
	}
	if *a == nil {
		*a = make(adding)
	}
	for _, name := range names {
		(*a)[name] = true
	}
	return nil
}

func TestDecodeMergesIntoTheDefault(t *testing.T) {
	t.Parallel()
	second := func(n int) time.Duration { return time.Duration(n) * time.Second }
	for _, c := range []struct {
		name          string
		initial, want any
		text          string
	}{
		{"missing field", limits{Max: 1, Wait: 2}, limits{Max: 3, Wait: 2}, `{"Max":3}`},
		{"missing field behind a pointer", pool{"a", &limits{Max: 1, Wait: 2}}, pool{"a", &limits{Max: 3, Wait: 2}}, `{"Limits":{"Max":3}}`},
		{"missing field of an embedded struct", outer{base: base{"eu"}}, outer{base: base{"eu"}, Any: 1.0}, `{"Any":1}`},
		{"missing entry", map[string]int{"a": 1, "b": 2}, map[string]int{"a": 1, "b": 3, "c": 4}, `{"b":3,"c":4}`},
		{
			"missing field in an entry",
			map[string]pool{"p": {"a", &limits{Max: 1, Wait: 2}}},
			map[string]pool{"p": {"b", &limits{Max: 1, Wait: 3}}, "q": {"c", nil}},
			`{"p":{"Name":"b","Limits":{"Wait":"3ns"}},"q":{"Name":"c"}}`,
		},
		{
			"object in any",
			outer{Any: map[string]any{"a": map[string]any{"b": 1.0, "c": []any{2.0}}, "d": true}},
			outer{Any: map[string]any{"a": map[string]any{"b": 3.0, "c": []any{2.0}}, "d": true}},
			`{"Any":{"a":{"b":3}}}`,
		},
		{"other value in any", outer{Any: map[string]any{"a": 1.0}}, outer{Any: "x"}, `{"Any":"x"}`},
		{"struct in any is replaced", outer{Any: limits{Max: 1}}, outer{Any: map[string]any{"Wait": "1s"}}, `{"Any":{"Wait":"1s"}}`},
		{"pointer in any", outer{Any: &limits{Max: 1}}, outer{Any: &limits{Max: 1, Wait: second(1)}}, `{"Any":{"Wait":"1s"}}`},
		{
			"list replaces the list",
			outer{Pools: []pool{{"a", &limits{Max: 1}}, {"b", nil}}},
			outer{Pools: []pool{{"", &limits{Wait: second(1)}}}},
			`{"Pools":[{"Limits":{"Wait":"1s"}}]}`,
		},
		{"list in a map", map[string][]base{"a": {{"x"}, {"y"}}}, map[string][]base{"a": {{}}}, `{"a":[{}]}`},
		{"array", outer{Fixed: [2]pool{{"a", nil}, {"b", nil}}}, outer{Fixed: [2]pool{{"", &limits{}}, {}}}, `{"Fixed":[{"Limits":{}}]}`},
		{"array without references", [2]base{{"a"}, {"b"}}, [2]base{}, `[{}]`},
		{"array that is too short", [1]limits{}, [1]limits{{Max: 1}}, `[{"Max":1},{"Max":2}]`},
		{"empty list", limits{Tags: []string{"a"}}, limits{Tags: []string{}}, `{"Tags":[]}`},
		{"empty list without default", limits{}, limits{Tags: []string{}}, `{"Tags":[]}`},
		{"empty list of structs", outer{Pools: []pool{{}}}, outer{Pools: []pool{}}, `{"Pools":[]}`},
		{"empty object", map[string]int{"a": 1}, map[string]int{"a": 1}, `{}`},
		{"empty object without default", map[string]int(nil), map[string]int{}, `{}`},
		{"bytes", []byte("default"), []byte("abc"), `"YWJj"`},
		{"bytes as a list", []byte("default"), []byte{1}, `[1]`},
		{
			"null",
			outer{
				base: base{"eu"}, Pools: []pool{{}}, Fixed: [2]pool{{"a", nil}}, ByName: map[string]pool{"a": {}},
				Any: map[string]any{"a": 1}, Pointer: &limits{},
			},
			outer{base: base{"eu"}, Fixed: [2]pool{{"a", nil}}},
			`{"Region":null,"Pools":null,"Fixed":null,"ByName":null,"Any":null,"Pointer":null}`,
		},
		{"null durations", limits{Wait: 5}, limits{Wait: 5}, `{"Wait":null}`},
		{"null entries", map[string]int{"a": 1}, map[string]int{"a": 1, "b": 0}, `{"a":null,"b":null}`},
		{"null entries of any", map[string]any{"a": 1}, map[string]any{"a": nil}, `{"a":null}`},
		{"null with the option string", quotedNumber{5, []int{1}}, quotedNumber{5, nil}, `{"N":null,"L":null}`},
		{"null pointer", &limits{Max: 1}, (*limits)(nil), `null`},
		{"null elements", []*int{new(int)}, []*int{nil}, `[null]`},
		{"unexported and skipped fields", outer{hidden: []int{1}, Skipped: []int{2}}, outer{hidden: []int{1}, Skipped: []int{2}, Any: 1.0}, `{"Any":1}`},
		{"unexported embedded pointer", outer{limits2: &limits2{1}}, outer{limits2: &limits2{1}, Any: 1.0}, `{"Any":1}`},
		{"raw text", outer{Raw: json.RawMessage(`"default"`)}, outer{Raw: json.RawMessage(`[1]`)}, `{"Raw":[1]}`},
		{"time", struct{ T time.Time }{time.Unix(1, 0)}, struct{ T time.Time }{time.Unix(2, 0).UTC()}, `{"T":"1970-01-01T00:00:02Z"}`},
		{"address", struct{ A, B netip.Addr }{netip.MustParseAddr("::1"), netip.MustParseAddr("::2")}, struct{ A, B netip.Addr }{netip.MustParseAddr("::1"), netip.MustParseAddr("::3")}, `{"B":"::3"}`},
		{"method of a struct with fields", map[string]merging{"a": {1, 2}}, map[string]merging{"a": {3, 2}}, `{"a":{"A":3}}`},
		{"method of another type", adding{"a": true}, adding{"b": true}, `["b"]`},
		{"type with methods that is missing", map[string]adding{"x": {"a": true}}, map[string]adding{"x": {"a": true}, "y": {"b": true}}, `{"y":["b"]}`},
		{"method of a type without fields", big.NewInt(1 << 40), big.NewInt(7), `7`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeWith(t, c.initial, c.text, false)
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s onto %+v is %+v (%v), want %+v", c.text, c.initial, got, err, c.want)
			}
			// In place only decoding methods make a difference.
			if strings.HasPrefix(c.name, "method") {
				return
			}
			v := reflect.New(reflect.TypeOf(c.initial))
			New(reflect.ValueOf(c.initial), false).reset(v.Elem())
			if err := Onto([]byte(c.text), v.Interface()); err != nil || !reflect.DeepEqual(v.Elem().Interface(), c.want) {
				t.Errorf("%s in place is %+v (%v), want %+v", c.text, v.Elem(), err, c.want)
			}
		})
	}
}

// Methods of big.Int reuse the memory of the old number.
func TestDecodeDoesNotChangeUnexportedMemoryOfTheDefault(t *testing.T) {
	t.Parallel()
	initial := big.NewInt(1 << 40)
	if _, err := decodeWith(t, struct{ N *big.Int }{initial}, `{"N":7}`, false); err != nil {
		t.Fatal(err)
	}
	if initial.Cmp(big.NewInt(1<<40)) != 0 {
		t.Errorf("the default became %v", initial)
	}
}

// A copy cannot have its own pointer there.
func TestDecodeDoesNotWriteThroughAnUnexportedEmbeddedPointer(t *testing.T) {
	t.Parallel()
	initial := struct{ *limits2 }{&limits2{Burst: 1}}
	if v, err := decodeWith(t, initial, `{"Burst":2}`, false); err == nil || initial.Burst != 1 {
		t.Errorf("decoded %+v, %v; the default has %d", v, err, initial.Burst)
	}
}

func TestDecoderHasItsOwnDefault(t *testing.T) {
	t.Parallel()
	initial := map[string]*limits{"a": {Max: 1}}
	d := New(reflect.ValueOf(initial), false)
	initial["a"].Max = 2
	initial["b"] = nil
	var v map[string]*limits
	if err := d.Decode([]byte(`{}`), &v); err != nil || len(v) != 1 || v["a"].Max != 1 {
		t.Errorf("decoded %v, %v", v, err)
	}
}

func TestDecodeOntoChangesInPlace(t *testing.T) {
	t.Parallel()
	behind, entries := &limits{Max: 1}, map[string]any{"a": 1.0}
	v := outer{Pointer: behind, Any: entries, limits2: &limits2{}}
	if err := Onto([]byte(`{"Pointer":{"Max":2},"Any":{"b":2},"Burst":3}`), &v); err != nil {
		t.Fatal(err)
	}
	if v.Pointer != behind || behind.Max != 2 || !reflect.DeepEqual(entries, map[string]any{"a": 1.0, "b": 2.0}) || v.Burst != 3 {
		t.Errorf("decoded %+v, the old limits are %+v, the old map is %v", v, behind, entries)
	}
	a := adding{"a": true}
	if err := Onto([]byte(`["b"]`), &a); err != nil || !reflect.DeepEqual(a, adding{"a": true, "b": true}) {
		t.Errorf("the method was not called on the present value: %v, %v", a, err)
	}
	for _, v := range []any{nil, v, (*outer)(nil)} {
		if err := Onto([]byte(`{}`), v); err == nil {
			t.Errorf("decoding into %T is no error", v)
		}
	}
}

func TestDecodeDurations(t *testing.T) {
	t.Parallel()
	const s = time.Second
	type named struct{ T timeout }
	for _, c := range []struct {
		want any
		text string
	}{
		{15 * s, `"15s"`},
		{time.Duration(0), `"0"`},
		{90 * time.Minute, `"1h30\u006d"`},
		{limits{Wait: -s}, `{"wait":"-1s"}`},
		{[]time.Duration{s, 0, 2 * s}, `["1s",null,"2s"]`},
		{[2]time.Duration{s}, `["1s"]`},
		{map[string]time.Duration{"a": s}, `{"a":"1s"}`},
		{map[int][]map[string]time.Duration{1: {{"a": s}}}, `{"1":[{"a":"1s"}]}`},
		{new(s), `"1s"`},
		{new(new(s)), `"1s"`},
		{struct{ time.Duration }{s}, `{"Duration":"1s"}`},
		{struct{ limits }{limits{Wait: s}}, `{"Wait":"1s"}`},
		{struct{ P []*limits }{[]*limits{{Wait: s}, nil}}, `{"P":[{"Wait":"1s"},null]}`},
		{struct {
			D time.Duration  `json:",string"`
			P *time.Duration `json:",string"`
		}{s, new(s)}, `{"D":"1s","P":"1s"}`},
		{map[string]any{"a": "1s"}, `{"a":"1s"}`},
		{map[time.Duration]int{5: 1}, `{"5":1}`},
		{named{timeout(s)}, `{"T":"1s"}`},
		{named{5}, `{"T":5}`},
		{struct {
			T timeout `json:",string"`
		}{5}, `{"T":"5"}`},
	} {
		got, err := decodeWith(t, reflect.Zero(reflect.TypeOf(c.want)).Interface(), c.text, true)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s is %+v (%v), want %+v", c.text, got, err, c.want)
		}
	}
}

// A duration is not a reason to decode the rest in another way.
func TestDecodeKeepsIntegersExact(t *testing.T) {
	t.Parallel()
	type exact struct {
		D time.Duration
		I int64
		U map[string]uint64
	}
	want := exact{1, 1<<63 - 1, map[string]uint64{"a": 1<<64 - 1}}
	got, err := decodeWith(t, exact{}, `{"D":"1ns","I":9223372036854775807,"U":{"a":18446744073709551615}}`, false)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestDecoderIsPlainUnlessThereIsAForeignPointer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		initial any
		plain   bool
	}{
		{outer{}, true},
		{outer{Any: map[string]any{"a": []any{limits{}}}}, true},
		{outer{Any: map[string]any{"a": []any{&limits{}}}}, false},
		{merging{}, false},
	} {
		if d := New(reflect.ValueOf(c.initial), false); d.plain != c.plain {
			t.Errorf("%+v: plain is %v", c.initial, d.plain)
		}
	}
}

func TestDecoderRefusesADefaultThatContainsItself(t *testing.T) {
	t.Parallel()
	l := &list{}
	l.Next = l
	m := map[string]any{}
	m["m"] = m
	for _, initial := range []any{l, m} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New takes a %T that contains itself", initial)
				}
			}()
			New(reflect.ValueOf(initial), false)
		}()
	}
}

func TestDecodeCopiesOnlyWhatTheDefaultNeeds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		initial any
		strict  bool
		walks   bool
	}{
		{weights{1, 2}, false, false},
		{outer{}, false, true}, // it has durations
		{struct{ A []weights }{}, false, false},
		{struct{ A []weights }{[]weights{}}, false, true},
		{struct{ A any }{"x"}, false, false},
		{struct{ T time.Time }{time.Unix(1, 0)}, false, false},
		{weights{}, true, true},
	} {
		if d := New(reflect.ValueOf(c.initial), c.strict); d.walks != c.walks {
			t.Errorf("%+v, strict %v: walks is %v", c.initial, c.strict, d.walks)
		}
	}
}
