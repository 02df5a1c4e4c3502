package decode

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// structFields are the fields that encoding/json sees in a struct type, those
// of embedded structs included.
type structFields struct {
	all    []*structField // in the order of their index
	byName map[string]*structField
	// direct are the numbers of the struct's own fields that encoding/json can
	// write to, those that are embedded included.
	direct []int
}

type structField struct {
	name   string
	index  []int // as of reflect.Value.FieldByIndex
	tagged bool  // the name is from the tag
	// quoted is not nil for a field with the tag's option string. It is then a
	// struct type whose only field has the same type and option, and the name v.
	quoted reflect.Type
}

var fieldsByType sync.Map // reflect.Type to *structFields

func fieldsOf(t reflect.Type) *structFields {
	if f, ok := fieldsByType.Load(t); ok {
		return f.(*structFields)
	}
	f := &structFields{byName: make(map[string]*structField)}
	for _, field := range decoded(t) {
		f.direct = append(f.direct, field.Index[0])
	}
	candidates := make(map[string][]*structField)
	for _, field := range promoted(t) {
		candidates[field.name] = append(candidates[field.name], field)
	}
	for name, fields := range candidates {
		if field := dominant(fields); field != nil {
			f.byName[name] = field
			f.all = append(f.all, field)
		}
	}
	slices.SortFunc(f.all, func(a, b *structField) int { return slices.Compare(a.index, b.index) })
	fieldsByType.Store(t, f)
	return f
}

// find returns the field of a key: the one of that very name, else the first
// whose name differs by case only, else nil.
func (f *structFields) find(key string) *structField {
	if field, ok := f.byName[key]; ok {
		return field
	}
	for _, field := range f.all {
		if strings.EqualFold(field.name, key) {
			return field
		}
	}
	return nil
}

// names yields the names of all fields.
func (f *structFields) names(yield func(string) bool) {
	for _, field := range f.all {
		if !yield(field.name) {
			return
		}
	}
}

// dominant returns the field that encoding/json uses among fields of one name:
// the one nearest to the top, of those the one with a tag. It is nil if several
// remain.
func dominant(fields []*structField) *structField {
	rank := func(a, b *structField) int {
		if c := cmp.Compare(len(a.index), len(b.index)); c != 0 || a.tagged == b.tagged {
			return c
		}
		if a.tagged {
			return -1
		}
		return 1
	}
	slices.SortStableFunc(fields, rank)
	if len(fields) > 1 && rank(fields[0], fields[1]) == 0 {
		return nil
	}
	return fields[0]
}

// embedded is a struct type that is reached through embedded fields.
type embedded struct {
	typ   reflect.Type
	index []int
	// repeated: it is embedded more than once at its depth, so that its fields hide
	// each other.
	repeated bool
}

// promoted returns the fields of a struct type and of the structs embedded in
// it, level by level. A type is searched only at its first level. A field of a
// repeated type is there twice.
func promoted(t reflect.Type) []*structField {
	var fields []*structField
	seen := map[reflect.Type]bool{t: true}
	for level := []*embedded{{typ: t}}; len(level) > 0; {
		next := make(map[reflect.Type]*embedded)
		var order []*embedded
		for _, outer := range level {
			for _, field := range decoded(outer.typ) {
				index := append(slices.Clone(outer.index), field.Index[0])
				if inner := embeds(field); inner == nil {
					if f := named(field, index); f != nil {
						fields = append(fields, f)
						if outer.repeated {
							fields = append(fields, f)
						}
					}
				} else if again := next[inner]; again != nil {
					again.repeated = true
				} else if !seen[inner] {
					next[inner] = &embedded{typ: inner, index: index}
					order = append(order, next[inner])
				}
			}
		}
		for _, e := range order {
			seen[e.typ] = true
		}
		level = order
	}
	return fields
}

// embeds returns the struct type whose fields a field promotes, or nil.
func embeds(field reflect.StructField) reflect.Type {
	t := target(field.Type)
	if name, _ := tagOf(field); name != "" || !field.Anonymous || t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// named makes a field of its own name or that of its tag. It is nil for an
// embedded field of an unexported type that is not a struct.
func named(field reflect.StructField, index []int) *structField {
	t := target(field.Type)
	if !field.IsExported() && t.Kind() != reflect.Struct {
		return nil
	}
	name, quoted := tagOf(field)
	f := &structField{name: name, index: index, tagged: name != ""}
	if name == "" {
		f.name = field.Name
	}
	if quoted && canQuote(t) {
		f.quoted = reflect.StructOf([]reflect.StructField{{Name: "V", Type: field.Type, Tag: `json:"v,string"`}})
	}
	return f
}

// target is the type that a field of an unnamed pointer type points to.
func target(t reflect.Type) reflect.Type {
	if t.Name() == "" && t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// canQuote reports whether the option string has an effect on a type. It has
// none on a time.Duration, which is a string anyway.
func canQuote(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return t != durationKind
	}
	return false
}

// tagOf returns a field's name in its json tag, or "" if encoding/json takes the
// name for none, and whether the tag has the option string.
func tagOf(field reflect.StructField) (name string, quoted bool) {
	name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
	valid := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !valid(r) }) {
		name = ""
	}
	return name, slices.Contains(strings.Split(options, ","), "string")
}
