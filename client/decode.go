package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/statesync/statesync/shm/image"
)

// decodeConfig makes a T of a whole config.
func (b *Binding[T]) decodeConfig(r *result[T]) error {
	r.value = new(T)
	return decodeInto(r.version.section, r.value, b.options.Strict)
}

// decodeInto decodes a document as encoding/json does it, and an opaque config
// into a *string or *[]byte.
func decodeInto(s *image.Section, v any, strict bool) error {
	if s.Kind() == image.Document {
		return unmarshal(s.Content(), v, strict)
	}
	switch to := v.(type) {
	case *string:
		*to = string(s.Content())
	case *[]byte:
		*to = bytes.Clone(s.Content())
	default:
		return fmt.Errorf("%w: an opaque config decodes into a *string or *[]byte, and not into a %T", ErrWrongType, v)
	}
	return nil
}

// decodeKey makes a T of one key's value, or takes the default if the config does
// not have the key, or has null there and T has no nil.
func (b *Binding[T]) decodeKey(r *result[T]) error {
	section := r.version.section
	if section.Kind() == image.Opaque {
		return fmt.Errorf("%w: an opaque config has no keys", ErrWrongType)
	}
	var v image.Value
	err := section.Lookup(&v, b.key)
	r.missing = errors.Is(err, ErrNotFound)
	switch {
	case r.missing && b.options.Strict:
		return errors.New(noSuchKey(section, b.key))
	case r.missing, err == nil && v.Type == image.Null && !hasNil[T]():
		r.value = b.initial
		return nil
	case err != nil:
		return damaged(err)
	}
	r.text, r.value = v.Text, new(T)
	if d, ok := any(r.value).(*time.Duration); ok {
		if *d, ok = asDuration(&v); !ok {
			return wrongType(&v, durationType)
		}
		return nil
	}
	return unmarshal(v.Text, r.value, b.options.Strict)
}

// noSuchKey is what to say of a key that a config does not have.
func noSuchKey(s *image.Section, key string) string {
	return "no such key"
}

// hasNil says whether null is a value of T's own.
func hasNil[T any]() bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		return true
	}
	return false
}

// unmarshal decodes as encoding/json does it. It decodes a copy of the text: a
// type's own UnmarshalJSON may do with it what it likes.
func unmarshal(text []byte, v any, strict bool) error {
	var err error
	if strict {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err = d.Decode(v)
	} else {
		err = json.Unmarshal(bytes.Clone(text), v)
	}
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%w: %w", ErrWrongType, err)
	}
	return err
}
