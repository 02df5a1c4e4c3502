package decode

import (
	"encoding"
	"encoding/json"
	"reflect"
	"sync"
	"time"
)

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

	durationKind = reflect.TypeFor[time.Duration]()
	int64Kind    = reflect.TypeFor[int64]()
	anyMap       = reflect.TypeFor[map[string]any]()
)

// typeFacts are what decoding must know about a type. All but itself and opaque
// are about every type that decoding can reach from it.
type typeFacts struct {
	plain bool // see Decoder.Plain
	// durations: there is a time.Duration, or a named int64, which may be one.
	durations bool
	// merges: encoding/json does not merge a config into a value of it that is not
	// zero as this package promises.
	merges bool
	// itself: the type or a pointer to it has a decoding method.
	itself bool
	// opaque: only its decoding method can write to it.
	opaque bool
}

var factsByType sync.Map // reflect.Type to *typeFacts

func factsOf(t reflect.Type) *typeFacts {
	if f, ok := factsByType.Load(t); ok {
		return f.(*typeFacts)
	}
	f := &typeFacts{plain: true, itself: decodesItself(t)}
	f.opaque = f.itself && !trusted(t) && (t.Kind() != reflect.Struct || len(fieldsOf(t).all) == 0)
	f.add(t, map[reflect.Type]bool{})
	factsByType.Store(t, f)
	return f
}

// add visits a type and all types that decoding can reach from it.
func (f *typeFacts) add(t reflect.Type, seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	switch {
	case t == durationKind:
		f.durations = true
		return
	case t.Kind() == reflect.Interface:
		f.plain = f.plain && t.NumMethod() == 0 // decoding into any makes maps, slices and basic types
		f.merges = true
		return
	case trusted(t):
		return
	case decodesItself(t):
		f.plain, f.merges = false, true
		if t.Name() != "" {
			return
		}
		// encoding/json does not see the methods of a field whose type has no name,
		// and decodes the struct.
	}
	switch t.Kind() {
	case reflect.Int64:
		f.durations = f.durations || t != int64Kind
	case reflect.Pointer:
		f.add(t.Elem(), seen)
	case reflect.Slice, reflect.Array:
		f.merges = true
		f.add(t.Elem(), seen)
	case reflect.Map:
		f.merges = true
		f.plain = f.plain && (trusted(t.Key()) || !decodesItself(t.Key()))
		f.add(t.Elem(), seen)
	case reflect.Struct:
		for _, field := range decoded(t) {
			f.merges = f.merges || !field.IsExported() && field.Type.Kind() == reflect.Pointer
			f.add(field.Type, seen)
		}
	}
}

// decoded returns the fields of a struct type that encoding/json can write to.
func decoded(t reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for i := range t.NumField() {
		field := t.Field(i)
		if (field.IsExported() || field.Anonymous) && field.Tag.Get("json") != "-" {
			fields = append(fields, field)
		}
	}
	return fields
}

// trusted reports whether the type is of a package whose decoding methods
// neither block nor call back, and overwrite the whole value.
func trusted(t reflect.Type) bool {
	switch t.PkgPath() {
	case "time", "net/netip", "encoding/json":
		return true
	}
	return false
}

// decodesItself reports whether the type or a pointer to it has a method that
// encoding/json calls to decode. UnmarshalJSONFrom is the one of its second
// version, which a build can select.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	_, second := p.MethodByName("UnmarshalJSONFrom")
	return second || p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler)
}
