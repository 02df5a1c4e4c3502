// Package decode decodes JSON into Go values as encoding/json does it, with
// defaults, durations, and errors that name the whole path.
package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
)

// ErrWrongType matches errors about a value whose JSON type does not fit.
var ErrWrongType = errors.New("wrong type")

// A Decoder decodes configs into values of one type. What a config leaves out
// comes from the default, at any depth: fields of structs, behind pointers or
// not, and entries of maps, those of a map[string]any in an any included. A list
// replaces the default's list whole. A null sets a pointer, map, slice or
// interface to nil, and leaves the default in place elsewhere.
//
// Each value has its own copy of the default: decoding neither changes the
// default nor shares its pointers, maps and slices. Two kinds of fields are
// copied as Go's assignment does it, since encoding/json does not write to them:
// unexported ones and those with the tag "-". An embedded pointer to an
// unexported struct is one of them; a config that sets a field of that struct is
// refused.
//
// A type with UnmarshalJSON or UnmarshalText is decoded by that method. The
// method gets the copy of the default if the type is a struct with fields that
// encoding/json can write to, and a zero value otherwise, because it might write
// to memory that the copy shares.
//
// A time.Duration is a string like "15s" or "1h30m". A named type of kind int64
// takes such a string too, and a number. The tag's option string has no effect on
// a time.Duration, and leaves other named types to encoding/json. So do keys of
// maps.
type Decoder struct {
	initial reflect.Value // the decoder's own copy of the default
	strict  bool
	plain   bool
	copies  bool // the default has memory that each value needs a copy of
	walks   bool // encoding/json alone does not decode the type
}

// New makes a decoder of the default's type. It panics if the default
// contains itself.
func New(initial reflect.Value, strict bool) *Decoder {
	facts := factsOf(initial.Type())
	own := addressable(initial)
	c := copier{}
	c.own(own)
	return &Decoder{
		initial: own,
		strict:  strict,
		plain:   facts.plain && !c.foreign,
		copies:  c.merges,
		walks:   facts.durations || c.merges || strict,
	}
}

// Decode decodes a text into a *T. It leaves nothing of what the T was before.
func (d *Decoder) Decode(text []byte, v any) error {
	to := reflect.ValueOf(v).Elem()
	d.reset(to)
	var err error
	if d.walks {
		err = newWalker(text, d.strict).decode(to)
	} else {
		err = json.Unmarshal(bytes.Clone(text), v) // a clone, since a method may change its text
	}
	if err != nil {
		again := reflect.New(to.Type()).Elem()
		d.reset(again)
		return explain(err, newWalker(text, d.strict), again)
	}
	return nil
}

// Plain reports whether decoding runs no code but that of encoding/json and of
// the standard library types that it trusts: no type that decoding can reach has a
// decoding method. When in doubt a type is not plain.
func (d *Decoder) Plain() bool { return d.plain }

// Walks reports whether encoding/json alone does not decode the type, which then
// takes several times as long.
func (d *Decoder) Walks() bool { return d.walks }

// reset makes a value a copy of the default.
func (d *Decoder) reset(v reflect.Value) {
	v.Set(d.initial)
	if d.copies {
		new(copier).own(v)
	}
}

// Onto decodes a text into what v points to. Its rules are a decoder's,
// with the present value as the default. It changes that value in place, through
// its pointers and maps, as encoding/json does, and calls decoding methods on it
// as it is. An error may leave it changed in part.
func Onto(text []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return json.Unmarshal(text, v) // which refuses v
	}
	to := p.Elem()
	facts := factsOf(to.Type())
	var err error
	if facts.durations || facts.merges && !to.IsZero() {
		w := newWalker(text, false)
		w.inPlace = true
		err = w.decode(to)
	} else {
		err = json.Unmarshal(bytes.Clone(text), v)
	}
	if err != nil {
		return explain(err, newWalker(text, false), reflect.New(to.Type()).Elem())
	}
	return nil
}

// explain decodes a text that was refused once more, into a value that is thrown
// away, and walks all of it: only then does the error name the whole path.
func explain(err error, w *walker, v reflect.Value) error {
	w.everywhere = true
	if explained := w.decode(v); explained != nil {
		return explained
	}
	return w.fail(err)
}
