package decode

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

type (
	byValue   struct{ N int }
	byPointer struct{ N int }
	byText    string
	second    struct{ N int }
	helpful   struct{ N int }

	list    struct{ Next *list }
	badList struct {
		Next *badList
		Last byPointer
	}
	generic[T any] struct{ Value T }
	unexported     struct{ Value byPointer }
	sameName       struct{ Time time.Time }
)

func (byValue) UnmarshalJSON([]byte) error    { return nil }
func (*byPointer) UnmarshalJSON([]byte) error { return nil }
func (*byText) UnmarshalText([]byte) error    { return nil }
func (*second) UnmarshalJSONFrom(any) error   { return nil }
func (helpful) Sum() int                      { return 0 }
func (helpful) MarshalJSON() ([]byte, error)  { return nil, nil }

func TestPlainTypesRunNoCodeOfTheApplication(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value any // a pointer to the type
		plain bool
	}{
		{new(int), true},
		{new(string), true},
		{new([]byte), true},
		{new(any), true},
		{new(map[string]any), true},
		{new(map[int][]*float64), true},
		{new([2]struct{ A, B *string }), true},
		{new(time.Time), true},
		{new(time.Duration), true},
		{new(netip.Addr), true},
		{new(map[netip.Prefix]time.Time), true},
		{new(json.Number), true},
		{new(json.RawMessage), true},
		{new(sameName), true},
		{new(helpful), true},
		{new(list), true},
		{new(map[string]list), true},
		{new(generic[list]), true},
		{new(struct{ F func() }), true}, // encoding/json refuses it
		{new(struct{ hidden byPointer }), true},
		{new(struct {
			Skipped byPointer `json:"-"`
		}), true},

		{new(byValue), false},
		{new(byPointer), false},
		{new(*byPointer), false},
		{new(byText), false},
		{new(second), false},
		{new([]byPointer), false},
		{new([1]byPointer), false},
		{new(map[string]byPointer), false},
		{new(map[byText]int), false},
		{new(map[string]map[string][]**byPointer), false},
		{new(struct{ Deep struct{ Value byPointer } }), false},
		{new(struct{ byPointer }), false},
		{new(struct{ *byValue }), false},
		{new(struct{ unexported }), false},
		{new(struct{ time.Time }), false}, // its promoted method is not of package time
		{new(struct {
			Dash byPointer `json:"-,"` //nolint:staticcheck // SA5008: the name is a dash on purpose
		}), false},
		{new(badList), false},
		{new(struct {
			First  list
			Second badList
		}), false},
		{new(generic[byPointer]), false},
		{new(struct{ I interface{ Sum() int } }), false},
		{new(json.Unmarshaler), false},
		{new(error), false},
		{new(big.Int), false},
	} {
		if typ := reflect.TypeOf(c.value).Elem(); factsOf(typ).plain != c.plain {
			t.Errorf("%v: plain is %v", typ, !c.plain)
		}
	}
}
