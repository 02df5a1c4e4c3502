package decode

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
)

// random makes types, values of them and documents for them.
type random struct {
	*rand.Rand
	names     int
	durations bool // in types
	wrong     bool // documents have values of wrong types and unknown keys
}

func (r *random) oneIn(n int) bool { return r.IntN(n) == 0 }

var leaves = []reflect.Type{
	reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](), reflect.TypeFor[float64](),
	reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[[]byte](), reflect.TypeFor[any](),
	reflect.TypeFor[int64](),
}

func (r *random) typ(depth int) reflect.Type {
	if depth == 0 || r.oneIn(4) {
		if r.durations && r.oneIn(3) {
			return []reflect.Type{durationKind, reflect.TypeFor[timeout]()}[r.IntN(2)]
		}
		return leaves[r.IntN(len(leaves))]
	}
	switch r.IntN(8) {
	case 0:
		t := r.typ(depth - 1)
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
			return t // JSON has one null for the pointer and what it points to
		}
		return reflect.PointerTo(t)
	case 1:
		return reflect.SliceOf(r.typ(depth - 1))
	case 2:
		return reflect.ArrayOf(r.IntN(3), r.typ(depth-1))
	case 3:
		return reflect.MapOf(reflect.TypeFor[string](), r.typ(depth-1))
	case 4:
		return reflect.MapOf(reflect.TypeFor[int8](), r.typ(depth-1))
	}
	return r.structure(depth)
}

func (r *random) structure(depth int) reflect.Type {
	var fields []reflect.StructField
	for n := range 1 + r.IntN(4) {
		r.names++
		field := reflect.StructField{Name: fmt.Sprintf("F%d", r.names), Type: r.typ(depth - 1)}
		switch r.IntN(6) {
		case 0:
			field.Tag = reflect.StructTag(fmt.Sprintf(`json:"t-%d"`, r.names))
		case 1:
			if n > 0 && depth > 1 { // JSON does not have a struct that is embedded alone and empty
				field.Type, field.Anonymous = r.structure(depth-1), true
				if r.oneIn(2) {
					field.Type = reflect.PointerTo(field.Type)
				}
			}
		}
		fields = append(fields, field)
	}
	return reflect.StructOf(fields)
}

// fill sets a value to something random.
func (r *random) fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.oneIn(2))
	case reflect.Int, reflect.Int8, reflect.Int64:
		v.SetInt(int64(r.IntN(100)))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(r.Uint64() >> 8 % (1 << (v.Type().Size()*8 - 1)))
	case reflect.Float64:
		v.SetFloat(float64(r.IntN(100)) / 4)
	case reflect.String:
		v.SetString(fmt.Sprint("s", r.IntN(100)))
	case reflect.Interface:
		_ = json.Unmarshal([]byte(r.any(2)), v.Addr().Interface())
	case reflect.Pointer:
		if r.oneIn(4) {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		r.fill(v.Elem())
	case reflect.Slice:
		if r.oneIn(4) {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 4))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			r.fill(v.Index(i))
		}
	case reflect.Map:
		if r.oneIn(4) {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(3) {
			key, _ := keyOf(v.Type().Key(), fmt.Sprint(r.IntN(4)))
			elem := reflect.New(v.Type().Elem()).Elem()
			r.fill(elem)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			r.fill(v.Field(i))
		}
	}
}

// any is a random document for any.
func (r *random) any(depth int) string {
	switch n := r.IntN(7); {
	case depth > 0 && n < 2:
		return r.object(func(string) string { return r.any(depth - 1) }, "0", "1", "2")
	case depth > 0 && n == 2:
		return fmt.Sprintf("[%s, %s]", r.any(depth-1), r.any(depth-1))
	case n == 3:
		return "null"
	case n == 4:
		return "[]"
	case n == 5:
		return `"a"`
	}
	return fmt.Sprint(r.IntN(100))
}

// object is an object with some of the keys.
func (r *random) object(value func(key string) string, keys ...string) string {
	var entries []string
	for _, key := range keys {
		if !r.oneIn(3) {
			entries = append(entries, fmt.Sprintf("%q : %s", key, value(key)))
		}
	}
	return "{" + strings.Join(entries, " , ") + "}"
}

// document is a random document for a type.
func (r *random) document(t reflect.Type) string {
	switch {
	case r.oneIn(10):
		return "null"
	case r.wrong && r.oneIn(60):
		return r.any(1)
	case t == durationKind || t == reflect.TypeFor[timeout]() && r.oneIn(2):
		return fmt.Sprintf(`"%dm%ds"`, r.IntN(100), r.IntN(100))
	case t == reflect.TypeFor[[]byte]():
		return `"YWJj"`
	}
	switch t.Kind() {
	case reflect.Bool:
		return fmt.Sprint(r.oneIn(2))
	case reflect.String:
		return fmt.Sprintf(`"d%d\n"`, r.IntN(100))
	case reflect.Uint64:
		return fmt.Sprint(r.Uint64())
	case reflect.Int64:
		return fmt.Sprint(r.Int64())
	case reflect.Float64:
		return fmt.Sprint(r.Float64())
	case reflect.Interface:
		return r.any(2)
	case reflect.Pointer:
		return r.document(t.Elem())
	case reflect.Slice, reflect.Array:
		var elements []string
		for range r.IntN(4) {
			elements = append(elements, r.document(t.Elem()))
		}
		return "[" + strings.Join(elements, ",") + "]"
	case reflect.Map:
		return r.object(func(string) string { return r.document(t.Elem()) }, "0", "1", "2")
	case reflect.Struct:
		types := fieldTypes(t)
		keys := slices.Sorted(maps.Keys(types))
		if r.wrong && r.oneIn(4) {
			keys = append(keys, "unknown")
			types["unknown"] = reflect.TypeFor[any]()
		}
		return r.object(func(key string) string { return r.document(types[key]) }, keys...)
	}
	return fmt.Sprint(r.IntN(100))
}

// fieldTypes are the types of a random struct type's fields.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	types := make(map[string]reflect.Type)
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
		case name != "":
			types[name] = field.Type
		default:
			types[field.Name] = field.Type
		}
	}
	return types
}
