package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// each calls a function before each element of a list or each value of an
// object, with its number and key. It keeps the path.
func (w *walker) each(decode func(i int, key string) error) error {
	open, err := w.json.Token()
	if err != nil {
		return err
	}
	for i := 0; w.json.More(); i++ {
		at := segment{number: i}
		if open == json.Delim('{') {
			key, err := w.json.Token()
			if err != nil {
				return err
			}
			at.key, at.isKey = key.(string)
		}
		w.path = append(w.path, at)
		if err := decode(i, at.key); err != nil {
			return err
		}
		w.path = w.path[:len(w.path)-1]
	}
	_, err = w.json.Token()
	return err
}

// object decodes the fields of a struct.
func (w *walker) object(v reflect.Value) error {
	fields := fieldsOf(v.Type())
	return w.each(func(_ int, key string) error {
		field := fields.find(key)
		switch {
		case field == nil && w.strict:
			return w.unknown(v.Type(), fields, key)
		case field == nil:
			return w.skip()
		}
		to, err := w.field(v, field.index)
		switch {
		case err != nil:
			return err
		case field.quoted != nil:
			return w.quoted(to, field.quoted)
		}
		return w.value(to, to.Type().Name() != "")
	})
}

// field returns a field of a struct, and makes the embedded structs that it is in.
func (w *walker) field(v reflect.Value, index []int) (reflect.Value, error) {
	for n, i := range index {
		if n > 0 && v.Kind() == reflect.Pointer {
			if err := w.allocate(v); err != nil {
				return v, err
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, nil
}

// allocate makes a pointer point to something that may be changed.
func (w *walker) allocate(v reflect.Value) error {
	if !v.CanSet() && (v.IsNil() || !w.inPlace) {
		return w.fail(fmt.Errorf("the embedded pointer to the unexported struct %v cannot be set", v.Type().Elem()))
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	return nil
}

// quoted decodes a field with the tag's option string, in a struct that has the
// field alone.
func (w *walker) quoted(v reflect.Value, alone reflect.Type) error {
	var text json.RawMessage
	if err := w.json.Decode(&text); err != nil {
		return err
	}
	s := reflect.New(alone)
	s.Elem().Field(0).Set(v)
	err := json.Unmarshal(append(append([]byte(`{"v":`), text...), '}'), s.Interface())
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		wrong.Field = "" // not v, which the config does not have
	}
	v.Set(s.Elem().Field(0))
	return w.fail(err)
}

// mapping decodes the entries of a map. An entry that the map has already is the
// default of the new one.
func (w *walker) mapping(v reflect.Value) error {
	t := v.Type()
	if v.IsNil() {
		v.Set(reflect.MakeMap(t))
	}
	elem := reflect.New(t.Elem()).Elem()
	return w.each(func(_ int, text string) error {
		key, err := keyOf(t.Key(), text)
		if err != nil {
			return w.fail(err)
		}
		elem.SetZero()
		if old := v.MapIndex(key); old.IsValid() {
			elem.Set(old)
		}
		if err := w.value(elem, t.Elem().Name() != ""); err != nil {
			return err
		}
		v.SetMapIndex(key, elem)
		return nil
	})
}

// canBeKey reports whether encoding/json decodes maps with keys of a type.
func canBeKey(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return true
	}
	return reflect.PointerTo(t).Implements(textUnmarshaler)
}

// keyOf makes a map's key as encoding/json does it.
func keyOf(t reflect.Type, text string) (reflect.Value, error) {
	if t.Kind() == reflect.String && !reflect.PointerTo(t).Implements(textUnmarshaler) {
		return reflect.ValueOf(text).Convert(t), nil
	}
	entry, err := json.Marshal(map[string]any{text: nil})
	if err != nil {
		return reflect.Value{}, err
	}
	m := reflect.New(reflect.MapOf(t, reflect.TypeFor[ignored]()))
	if err := json.Unmarshal(entry, m.Interface()); err != nil {
		return reflect.Value{}, err
	}
	return m.Elem().MapKeys()[0], nil
}
