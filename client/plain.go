package client

import (
	"encoding"
	"encoding/json"
	"reflect"
)

// maxInline is how many bytes of content one change may have for the follower
// to decode it itself, over all bindings. It bounds the time for which the
// follower is late for the next change.
const maxInline = 64 << 10

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isPlain reports whether decoding into a zero value of the type runs no code
// but that of encoding/json and of the standard library types that it trusts.
// A type with a method that decoding calls, anywhere in it, is not plain. When
// in doubt a type is not plain: its follower sets an alarm per change.
func isPlain(t reflect.Type) bool { return plainTypes{}.add(t) }

// plainTypes are the types that were visited. They are plain unless a part that
// is still to be visited is not.
type plainTypes map[reflect.Type]bool

// add visits a type and all types that decoding can reach from it, and stops
// at the first that is not plain.
func (seen plainTypes) add(t reflect.Type) bool {
	if seen[t] {
		return true
	}
	seen[t] = true
	if t.Kind() == reflect.Interface {
		return t.NumMethod() == 0 // decoding into any makes maps, slices and basic types
	}
	switch t.PkgPath() {
	case "time", "net/netip", "encoding/json":
		return true // their methods neither block nor call back
	}
	if decodesItself(t) {
		return false
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return seen.add(t.Elem())
	case reflect.Map:
		return seen.add(t.Key()) && seen.add(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			field := t.Field(i)
			if !field.IsExported() && !field.Anonymous || field.Tag.Get("json") == "-" {
				continue // encoding/json skips it
			}
			if !seen.add(field.Type) {
				return false
			}
		}
	}
	return true
}

// decodesItself reports whether the type or a pointer to it has a method that
// encoding/json calls to decode. UnmarshalJSONFrom is the one of its second
// version, which a build can select.
func decodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	_, second := p.MethodByName("UnmarshalJSONFrom")
	return second || p.Implements(jsonUnmarshaler) || p.Implements(textUnmarshaler)
}
