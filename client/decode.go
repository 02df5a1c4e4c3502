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
func decodeConfig[T any](c *config, strict bool) (*T, error) {
	value := new(T)
	if err := decodeInto(c.section, value, strict); err != nil {
		return nil, err
	}
	return value, nil
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

// decodeKey makes a T of one key's value, or takes the default where the
// config does not have the key, or has null there and T has no nil.
func decodeKey[T any](c *config, key string, missing *T, strict bool) (*T, error) {
	if c.section.Kind() == image.Opaque {
		return nil, fmt.Errorf("%w: an opaque config has no keys", ErrWrongType)
	}
	var v image.Value
	err := c.section.Lookup(&v, key)
	if errors.Is(err, ErrNotFound) || err == nil && v.Type == image.Null && !hasNil[T]() {
		return missing, nil
	}
	if err != nil {
		return nil, damaged(err)
	}
	value := new(T)
	if d, ok := any(value).(*time.Duration); ok {
		if *d, ok = asDuration(&v); !ok {
			return nil, wrongType(&v, durationType)
		}
		return value, nil
	}
	if err := unmarshal(v.Text, value, strict); err != nil {
		return nil, err
	}
	return value, nil
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
