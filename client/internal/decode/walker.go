package decode

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// A walker decodes one JSON text. It walks those parts of the value that
// encoding/json does not decode by the rules of a decoder, and leaves the others
// to encoding/json. Its recursion is bounded by the nesting of the text.
type walker struct {
	text   []byte
	json   *json.Decoder // reads text
	path   []segment     // of the present value
	strict bool
	// inPlace: the value's memory is the caller's, to be changed.
	inPlace bool
	// everywhere: walk parts too that encoding/json would decode alike.
	everywhere bool
}

func newWalker(text []byte, strict bool) *walker {
	w := &walker{text: text, strict: strict, json: json.NewDecoder(bytes.NewReader(text))}
	if strict {
		w.json.DisallowUnknownFields()
	}
	return w
}

// decode decodes the whole text.
func (w *walker) decode(v reflect.Value) error {
	if !json.Valid(w.text) {
		return json.Unmarshal(w.text, new(any)) // the syntax error
	}
	return w.value(v, true)
}

// next returns the first byte of the next value, which tells its type. The text
// is valid, so that no more than separators can be before it.
func (w *walker) next() byte {
	for _, c := range w.text[w.json.InputOffset():] {
		switch c {
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return c
		}
	}
	return 0
}

// value decodes the next value. The caller says whether encoding/json would see
// decoding methods of v there: it sees those of a type with a name, and of a type
// that an unnamed pointer points to.
func (w *walker) value(v reflect.Value, methods bool) error {
	facts, next := factsOf(v.Type()), w.next()
	if facts.itself && methods && v.CanInterface() {
		if facts.opaque && next != 'n' && !w.inPlace {
			v.SetZero()
		}
		return w.leaf(v)
	}
	// encoding/json decodes these differently alone than as fields: it would call
	// their methods, or cannot take their address.
	apart := facts.itself || !v.CanInterface()
	switch {
	case next == 'n' && apart:
		return w.skip()
	case next == 'n', !apart && !w.needs(v, facts):
		return w.leaf(v)
	}
	t := v.Type()
	switch kind := t.Kind(); {
	case t == durationKind:
		return w.duration(v)
	case kind == reflect.Int64 && t != int64Kind && next == '"':
		return w.namedDuration(v)
	case kind == reflect.Pointer:
		return w.pointer(v)
	case kind == reflect.Interface:
		return w.iface(v, next)
	case kind == reflect.Struct && next == '{':
		return w.object(v)
	case kind == reflect.Map && next == '{' && canBeKey(t.Key()):
		return w.mapping(v)
	case kind == reflect.Slice:
		return w.slice(v, next)
	case kind == reflect.Array && next == '[':
		v.SetZero()
		return w.elements(v)
	case kind == reflect.Struct && apart:
		return w.mismatch(t, next)
	}
	return w.leaf(v) // a basic type, or an error of encoding/json
}

// needs reports whether a value cannot be left to encoding/json.
func (w *walker) needs(v reflect.Value, facts *typeFacts) bool {
	return w.everywhere || facts.durations || facts.merges && !v.IsZero()
}

// leaf has encoding/json decode the next value.
func (w *walker) leaf(v reflect.Value) error {
	return w.fail(w.json.Decode(v.Addr().Interface()))
}

// ignored is a value that is not decoded.
type ignored struct{}

// UnmarshalJSON does nothing.
func (*ignored) UnmarshalJSON([]byte) error { return nil }

func (w *walker) skip() error { return w.json.Decode(new(ignored)) }

func (w *walker) mismatch(t reflect.Type, next byte) error {
	if err := w.skip(); err != nil {
		return err
	}
	return w.fail(&json.UnmarshalTypeError{Value: jsonType(next), Type: t})
}

func (w *walker) pointer(v reflect.Value) error {
	if err := w.allocate(v); err != nil {
		return err
	}
	return w.value(v.Elem(), v.Type().Name() == "")
}

// iface decodes into what an interface holds if that is a pointer, as
// encoding/json does, or a map[string]any and the config has an object. Other
// values are replaced.
func (w *walker) iface(v reflect.Value, next byte) error {
	e := v.Elem()
	switch {
	case v.IsNil():
	case e.Kind() == reflect.Pointer && !e.IsNil():
		// A pointer to a pointer or an interface may lead back here without end;
		// encoding/json finds that.
		if to := e.Elem(); to.Kind() != reflect.Pointer && to.Kind() != reflect.Interface {
			return w.value(to, e.Type().Name() == "")
		}
	case e.Type() == anyMap && !e.IsNil() && next == '{':
		return w.mapping(e)
	}
	return w.leaf(v)
}

// slice decodes into a new slice: encoding/json would decode into the elements
// of the old one.
func (w *walker) slice(v reflect.Value, next byte) error {
	v.SetZero()
	elem := v.Type().Elem()
	// A string is text in base64 or an error.
	if next != '[' || elem.Kind() == reflect.Uint8 || !w.needs(reflect.Zero(elem), factsOf(elem)) {
		return w.leaf(v)
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	return w.elements(v)
}

// elements decodes the elements of a slice, which it extends, or of an array. It
// skips those that an array has no room for.
func (w *walker) elements(v reflect.Value) error {
	elem := v.Type().Elem()
	return w.each(func(i int, _ string) error {
		if v.Kind() == reflect.Slice {
			v.Set(reflect.Append(v, reflect.Zero(elem)))
		}
		if i >= v.Len() {
			return w.skip()
		}
		return w.value(v.Index(i), elem.Name() != "")
	})
}
