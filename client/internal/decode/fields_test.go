package decode

import (
	"encoding"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

type (
	level1 struct {
		A, B int
		level2
	}
	level2 struct{ A, C, D int }
	Also   struct{ C, D int }
	Tagged struct {
		X int `json:"A"`
	}
	Tagged2 struct {
		Y int `json:"A"`
	}
	Again1 struct{ level2 }
	Again2 struct{ level2 }
	Number int
	number int
	Cyclic struct {
		*Cyclic
		A int
	}
	pointerTo *byPointerMethod
	// byPointerMethod has a method that refuses.
	byPointerMethod struct{ A int }
	key             struct{ s string }
	textKey         string
)

func (*byPointerMethod) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil
	}
	return fmt.Errorf("refused")
}

func (k *key) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("empty")
	}
	k.s = string(text)
	return nil
}

func (k *textKey) UnmarshalText(text []byte) error {
	*k = textKey("key " + string(text))
	return nil
}

var _ encoding.TextUnmarshaler = new(key)

// decodeEverywhere decodes with a walker that leaves nothing to encoding/json
// that it can do itself.
func decodeEverywhere(text string, v reflect.Value) error {
	w := newWalker([]byte(text), false)
	w.everywhere = true
	return w.decode(v.Elem())
}

// TestFieldsAreThoseOfEncodingJSON decodes one document per key and value into
// types with all kinds of fields.
func TestFieldsAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	keys := []string{
		"A", "a", "B", "b", "C", "D", "X", "Y", "-", "name", "Name", "NAME", "", "Number", "number", "level2", "inner", "ſ", "K", "k", `a"b`, "Time", "Addr",
	}
	values := []string{`1`, `"1"`, `"\"x\""`, `"x"`, `null`, `"null"`, `true`, `{}`, `{"A":1}`, `{"a":{"b":1}}`, `[]`, `[1]`, `["x"]`, `1.5`, `""`, `300`, `"2020-01-01T00:00:00Z"`, `"::1"`, `[{"A":1,"B":2},{"A":3}]`}
	for _, v := range []any{
		level1{},
		struct{ level1 }{},
		struct{ *level1 }{},
		struct{ *Also }{},
		struct {
			level2
			Also
		}{},
		struct {
			level2
			Tagged
		}{},
		reflect.Zero(reflect.StructOf([]reflect.StructField{
			{Name: "Tagged", Type: reflect.TypeFor[Tagged](), Anonymous: true},
			{Name: "Tagged2", Type: reflect.TypeFor[Tagged2](), Anonymous: true},
		})).Interface(),
		struct {
			Again1
			Again2
		}{},
		struct {
			level2
			Again1
		}{},
		struct {
			Number
			number
		}{},
		struct {
			*Number
			*Also `json:"a"`
		}{},
		struct {
			level2 `json:"inner"`
			Name   string `json:"name"`
		}{},
		struct {
			A int `json:"name"`
			B int `json:"NAME"`
			C int `json:"Name,omitempty"`
		}{},
		struct {
			A int `json:"-"`
			B int `json:"-,"`   //nolint:staticcheck // SA5008: the name is a dash on purpose
			C int `json:"a\"b"` //nolint:staticcheck // SA5008: not a name on purpose
			D int `json:",omitempty"`
		}{},
		struct {
			A int      `json:",string"`
			B *int8    `json:",string"`
			C string   `json:",string"`
			D *float64 `json:"d,omitempty,string"`
			X bool     `json:",string"`
			Y []int    `json:",string"` //nolint:staticcheck // SA5008: without effect on purpose
			K any      `json:",string"` //nolint:staticcheck // SA5008: without effect on purpose
		}{},
		struct {
			S int `json:"ſ"`
			K int `json:"K"`
		}{},
		Cyclic{},
		struct {
			A int
			a int
			B []level2
			C [1]*level2
			D map[string]level1
		}{},
		struct {
			A byPointerMethod
			B *byPointerMethod
			C struct{ byPointerMethod }
			D *struct{ byPointerMethod }
			X []struct{ byPointerMethod }
			Y pointerTo
			K map[string]struct{ byPointerMethod }
		}{},
		struct {
			Time time.Time
			Addr *netip.Addr
			A    struct{ time.Time }
			B    struct{ *netip.Addr }
		}{},
		struct {
			time.Time
			A int
		}{},
		struct {
			A map[key]level2
			B map[textKey]level2
			C map[Number]level2
			D map[float64]level2
			X map[uint8]level2
			Y map[any]level2
		}{},
		struct {
			A error
			B encoding.TextUnmarshaler
			C func()
			D chan int
			X complex128
			Y any
		}{},
	} {
		typ := reflect.TypeOf(v)
		for _, key := range keys {
			for _, value := range values {
				name, _ := json.Marshal(key)
				text := fmt.Sprintf(`{%s:%s,"B":null}`, name, value)
				got, want := reflect.New(typ), reflect.New(typ)
				wantErr := json.Unmarshal([]byte(text), want.Interface())
				err := decodeEverywhere(text, got)
				if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got.Interface(), want.Interface()) {
					t.Errorf("%v: %s\nis   %+v (%v),\nwant %+v (%v)", typ, text, got.Elem(), err, want.Elem(), wantErr)
				}
			}
		}
	}
}

// encoding/json panics for these.
func TestEmbeddedPointerWithTagToUnexportedStructIsAnError(t *testing.T) {
	t.Parallel()
	var v struct {
		*level2 `json:"inner"`
	}
	if err := decodeEverywhere(`{"inner":{"A":1}}`, reflect.ValueOf(&v)); err == nil {
		t.Errorf("decoded %+v", v)
	}
}
