package client

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/statesync/statesync/client/internal/decode"
	"github.com/statesync/statesync/shm/image"
)

// maxInline is how many bytes of content one change may have for the follower
// to decode it itself, over all bindings of plain types. It bounds the time for
// which the follower is late for the next change to about a millisecond. A content
// that is walked counts walkCost times.
const (
	maxInline = 64 << 10
	walkCost  = 6
)

// cost is the size of a version's content, in bytes that encoding/json decodes in
// the same time.
func (b *Binding[T]) cost(v *version) int {
	n := len(v.section.Content())
	if b.decoder.Walks() {
		n *= walkCost
	}
	return n
}

// decodeConfig makes a T of a whole config.
func (b *Binding[T]) decodeConfig(r *result[T]) error {
	r.value = new(T)
	s := r.version.section
	if s.Kind() == image.Document {
		return b.decoder.Decode(s.Content(), r.value)
	}
	return decodeOpaque(s, r.value)
}

// decodeKey makes a T of one key's value, or takes the default if the config does
// not have the key, or has null there and T has no nil.
func (b *Binding[T]) decodeKey(r *result[T]) error {
	s := r.version.section
	if s.Kind() == image.Opaque {
		return fmt.Errorf("%w: an opaque config has no keys", ErrWrongType)
	}
	var v image.Value
	err := s.Lookup(&v, b.key)
	r.missing = errors.Is(err, ErrNotFound)
	switch {
	case r.missing && b.options.Strict:
		return errors.New(noSuchKey(s, b.key))
	case r.missing, err == nil && v.Type == image.Null && !hasNil[T]():
		r.value = b.initial
		return nil
	case err != nil:
		return damaged(err)
	}
	r.text, r.value = v.Text, new(T)
	return b.decoder.Decode(v.Text, r.value)
}

// hasNil reports whether null is a value of T's own.
func hasNil[T any]() bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		return true
	}
	return false
}

// noSuchKey is what to say of a key that a config does not have.
func noSuchKey(s *image.Section, key string) string {
	text := "no such key"
	if meant := decode.Nearest(key, Doc{version: &version{section: s}}.Keys()); meant != "" {
		text += "; did you mean " + meant
	}
	return text
}

// decodeInto decodes a config into what v points to, which is the default.
func decodeInto(s *image.Section, v any) error {
	if s.Kind() == image.Document {
		return decode.Onto(s.Content(), v)
	}
	return decodeOpaque(s, v)
}

// decodeOpaque copies a config of bytes into a *string or *[]byte.
func decodeOpaque(s *image.Section, v any) error {
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
