package decode

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

type rich struct {
	base
	*limits2
	Tree    *tree
	Pools   []pool
	Fixed   [2]limits
	ByName  map[string]pool
	ByID    map[int8]*limits
	Any     any
	Raw     json.RawMessage
	At      time.Time
	Address netip.Addr
	Timeout timeout
	Bytes   []byte
	Merging merging
	Names   adding
	Quoted  int `json:",string"`
}

type tree struct {
	Children map[string]*tree
	Next     []tree
	Wait     time.Duration
}

// FuzzDecode decodes hostile text: neither a panic nor a change of the default
// is acceptable, whatever the text.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		`{"Region":"eu","Burst":1,"Tree":{"Children":{"a":{"Wait":"1s","Next":[{},null]}}}}`,
		`{"Pools":[{"Name":"a","Limits":{"Max":1,"Wait":"1m","Tags":["x"]}}],"Fixed":[{},{},{}]}`,
		`{"ByName":{"p":{"Limits":null}},"ByID":{"-1":{}},"Any":{"a":{"b":[1]}},"Raw":[1, 2]}`,
		`{"At":"2020-01-01T00:00:00Z","Address":"::1","Timeout":"1h","Bytes":"YWJj"}`,
		`{"Merging":{"A":1},"Names":["x"],"Quoted":"7","unknown":[{}]}`,
		`{"Tree":{"Wait":30}}`, `[[[`, `{"Any":{"":{"":{}}}}`, `null`, `{"tree":{"next":[{"next":[{"next":[]}]}]}}`,
	} {
		f.Add([]byte(text), true)
	}
	initial := rich{
		Tree: &tree{Children: map[string]*tree{"a": {Wait: 1}}}, Pools: []pool{{"a", &limits{Tags: []string{"t"}}}},
		ByName: map[string]pool{"p": {"p", &limits{Max: 1}}}, ByID: map[int8]*limits{-1: {}},
		Any: map[string]any{"a": map[string]any{"b": []any{1.0}}}, Raw: json.RawMessage(`{}`), Bytes: []byte("b"),
		Names: adding{"n": true}, Merging: merging{1, 2}, Fixed: [2]limits{{Max: 1}},
	}
	text, err := json.Marshal(initial)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, config []byte, strict bool) {
		d := New(reflect.ValueOf(initial), strict)
		v := new(rich)
		err := d.Decode(config, v)
		if err == nil && !json.Valid(config) {
			t.Errorf("invalid JSON is no error")
		}
		scribble(reflect.ValueOf(v))
		onto := initial
		new(copier).own(reflect.ValueOf(&onto).Elem())
		if ontoErr := Onto(config, &onto); !strict && (err == nil) != (ontoErr == nil) {
			t.Errorf("decode returns %v, Onto %v", err, ontoErr)
		}
		if after, err := json.Marshal(initial); err != nil || string(after) != string(text) {
			t.Errorf("the default became %s, %v", after, err)
		}
		if after, err := json.Marshal(d.initial.Interface()); err != nil || string(after) != string(text) {
			t.Errorf("the decoder's default became %s, %v", after, err)
		}
	})
}
