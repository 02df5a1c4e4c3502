package decode

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestDecodeErrorsNameThePath(t *testing.T) {
	t.Parallel()
	type config struct {
		Weights struct{ Timeout time.Duration }
		Plain   struct{ Elo int }
		Pools   []pool
		Names   map[string][]string
		Numbers map[int]uint8
		Named   timeout
		Address netip.Addr
		Quoted  int `json:",string"`
		Merged  merging
		*limits2
	}
	const form = ` is not a duration; write it like "15s" or "1h30m"`
	for _, c := range []struct {
		text, want string
		wrongType  bool
	}{
		{`{"Weights":{"Timeout":30}}`, `Weights.Timeout: 30 is a number, not a duration; write "30s"`, true},
		{`{"Weights":{"Timeout":-1.5}}`, `Weights.Timeout: -1.5 is a number, not a duration; write "-1.5s"`, true},
		{`{"Weights":{"Timeout":1e3}}`, `Weights.Timeout: 1e3` + form, true},
		{`{"Weights":{"Timeout":1500000000}}`, `Weights.Timeout: 1500000000` + form, true},
		{`{"Weights":{"Timeout":"15 s"}}`, `Weights.Timeout: "15 s"` + form, true},
		{`{"Weights":{"Timeout":""}}`, `Weights.Timeout: ""` + form, true},
		{`{"Weights":{"Timeout":[]}}`, `Weights.Timeout: []` + form, true},
		{`{"weights":[]}`, `weights: cannot decode array into struct { Timeout time.Duration }`, true},
		{`{"Plain":{"Elo":"x"}}`, `Plain.Elo: cannot decode string into int`, true},
		{`{"Plain":{"Elo":1.5}}`, `Plain.Elo: cannot decode number 1.5 into int`, true},
		{`{"Pools":[{},{"Name":1}]}`, `Pools.1.Name: cannot decode number into string`, true},
		{`{"Pools":[{"Limits":{"Wait":1}}]}`, `Pools.0.Limits.Wait: 1 is a number, not a duration; write "1s"`, true},
		{`{"Names":{"a.b":["",1]}}`, `Names.a.b.1: cannot decode number into string`, true},
		{`{"Numbers":{"1":256}}`, `Numbers.1: cannot decode number 256 into uint8`, true},
		{`{"Numbers":{"x":1}}`, `Numbers.x: cannot decode number x into int`, true},
		{`{"Named":"15 s"}`, `Named: cannot decode string into decode.timeout`, true},
		{`{"Address":"x"}`, `Address: ParseAddr("x"): unable to parse IP`, false},
		{`{"Quoted":1}`, `Quoted: json: invalid use of ,string struct tag, trying to unmarshal unquoted value into int`, false},
		{`{"Quoted":"1.5"}`, `Quoted: cannot decode number 1.5 into int`, true},
		{`{"Merged":{"A":"x"}}`, `Merged.A: cannot decode string into int`, true},
		{`{"Burst":1}`, `Burst: the embedded pointer to the unexported struct decode.limits2 cannot be set`, false},
		{`[]`, `cannot decode array into decode.config`, true},
		{`{"Pools":[`, `unexpected end of JSON input`, false},
		{`{} x`, `invalid character 'x' after top-level value`, false},
	} {
		for _, initial := range []config{{}, {limits2: &limits2{}, Pools: []pool{{}}}} {
			_, err := decodeWith(t, initial, c.text, false)
			if err == nil || err.Error() != c.want || errors.Is(err, ErrWrongType) != c.wrongType {
				t.Errorf("%s: %v (wrong type %v), want %s", c.text, err, errors.Is(err, ErrWrongType), c.want)
			}
		}
		if err := Onto([]byte(c.text), new(config)); err == nil || err.Error() != c.want {
			t.Errorf("%s in place: %v, want %s", c.text, err, c.want)
		}
	}
	var wrong *json.UnmarshalTypeError
	_, err := decodeWith(t, config{}, `{"Pools":[{"Name":1}]}`, false)
	if !errors.As(err, &wrong) || wrong.Field != "Pools.0.Name" {
		t.Errorf("the cause is %+v", wrong)
	}
	// A default does not hide an error either.
	if _, err := decodeWith(t, []pool{{}}, `[{"Limits":[]}]`, false); err == nil || err.Error() != "0.Limits: cannot decode array into decode.limits" {
		t.Errorf("list: %v", err)
	}
}

type weights struct{ Parity, Elo int }

func TestStrictFindsUnknownFields(t *testing.T) {
	t.Parallel()
	type config struct {
		Weights weights `json:"weights"`
		Pools   []pool  `json:"pools"`
		ByName  map[string]*pool
		Any     any
		Merged  merging
		Unnamed struct{ Name string }
	}
	for _, c := range []struct{ text, want string }{
		{`{"weights":{"party":1}}`, `weights.party: no such field in decode.weights; did you mean "weights.Parity"?`},
		{`{"weights":{"color":1}}`, `weights.color: no such field in decode.weights`},
		{`{"pools":[{},{"naem":1}]}`, `pools.1.naem: no such field in decode.pool; did you mean "pools.1.Name"?`},
		{`{"ByName":{"a":{"limit":1}}}`, `ByName.a.limit: no such field in decode.pool; did you mean "ByName.a.Limits"?`},
		{`{"ByName":{"a":{"Limits":{"x":1}}}}`, `ByName.a.Limits.x: no such field in decode.limits`},
		{`{"Unnamed":{"nam":1}}`, `Unnamed.nam: no such field; did you mean "Unnamed.Name"?`},
		{`{"weight":{}}`, `weight: no such field in decode.config; did you mean "weights"?`},
		{`{"ANY":{"a":1},"Merged":{"C":1}}`, ``}, // not within types with methods
	} {
		for _, initial := range []config{{}, {Pools: []pool{{}}, ByName: map[string]*pool{"a": {}}, Any: map[string]any{"b": 1}}} {
			_, err := decodeWith(t, initial, c.text, true)
			if err == nil != (c.want == "") || err != nil && err.Error() != c.want || errors.Is(err, ErrWrongType) {
				t.Errorf("%s: %v, want %s", c.text, err, c.want)
			}
		}
		if _, err := decodeWith(t, config{}, c.text, false); err != nil {
			t.Errorf("%s, not strict: %v", c.text, err)
		}
	}
}
