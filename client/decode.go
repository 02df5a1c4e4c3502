package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/statesync/statesync/shm/image"
)

// decodeConfig makes a T of a whole config.
func decodeConfig[T any](c *config, strict bool) (*T, error) {
	if c.section.Kind() == image.Document {
		return decodeJSON[T](c.section.Content(), strict)
	}
	value := new(T)
	switch to := any(value).(type) {
	case *string:
		*to = string(c.section.Content())
	case *[]byte:
		*to = bytes.Clone(c.section.Content())
	default:
		return nil, fmt.Errorf("%w: an opaque config is a string or []byte, and no %T", ErrWrongType, *value)
	}
	return value, nil
}

// decodeKey makes a T of one key's value, or takes the default where the
// config does not have the key.
func decodeKey[T any](c *config, key string, missing *T, strict bool) (*T, error) {
	v, err := c.section.Lookup(key)
	if errors.Is(err, ErrNotFound) {
		return missing, nil
	}
	if err != nil {
		return nil, damaged(err)
	}
	value := new(T)
	if d, ok := any(value).(*time.Duration); ok && v.Type == image.String {
		if *d, err = time.ParseDuration(v.Str()); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrWrongType, err)
		}
		return value, nil
	}
	return decodeJSON[T](v.Text, strict)
}

// decodeJSON decodes a copy of the text: a T's own UnmarshalJSON may do with
// it what it likes.
func decodeJSON[T any](text []byte, strict bool) (*T, error) {
	value := new(T)
	if err := unmarshal(text, value, strict); err != nil {
		return nil, err
	}
	return value, nil
}

func unmarshal(text []byte, v any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if strict {
		d.DisallowUnknownFields()
	}
	err := d.Decode(v)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%w: %w", ErrWrongType, err)
	}
	return err
}
