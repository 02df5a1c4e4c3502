package client

import (
	"fmt"
	"time"

	"github.com/statesync/statesync/shm/image"
)

// Doc is one config of one generation, to be read key by key without being
// decoded. It is a small value, valid for ever, and safe for any number of
// goroutines. The zero Doc has no keys.
//
// A key is a dotted path: "weights.elo", "pools.0.name". The accessors return
// the value or a *ConfigError that matches ErrNotFound, ErrWrongType or
// ErrCorrupt; those with Or return a default instead of an error. They take
// about 20 ns, allocate nothing unless said otherwise, and make no syscall.
type Doc struct {
	config     *config
	generation uint64
}

// Name is the config's name.
func (d Doc) Name() string {
	if d.config == nil {
		return ""
	}
	return d.config.name
}

// Generation is the generation that the config was read from.
func (d Doc) Generation() uint64 { return d.generation }

// Changed is the generation of last change: the one in which the config's
// content last changed. In a region that took the place of another it may be
// that of the old one.
func (d Doc) Changed() uint64 {
	if d.config == nil {
		return 0
	}
	return d.config.first
}

// Revision is what the source calls the state that brought the content: a
// Git commit, a digest.
func (d Doc) Revision() string {
	if d.config == nil {
		return ""
	}
	return d.config.revision
}

// Opaque says whether the config is one of bytes that only its readers know.
func (d Doc) Opaque() bool {
	return d.config != nil && d.config.section != nil && d.config.section.Kind() == image.Opaque
}

// JSON is the whole config as canonical JSON, or an opaque config's bytes. It
// is shared, and must not be changed.
func (d Doc) JSON() []byte {
	if d.config == nil || d.config.section == nil {
		return nil
	}
	return d.config.section.Content()
}

// Decode decodes the whole config as encoding/json does it; an opaque one into
// a *string or *[]byte. It allocates.
func (d Doc) Decode(v any) error {
	switch to := v.(type) {
	case *string:
		if d.Opaque() {
			*to = string(d.JSON())
			return nil
		}
	case *[]byte:
		if d.Opaque() {
			*to = append([]byte(nil), d.JSON()...)
			return nil
		}
	}
	return d.decode("", d.JSON(), v)
}

// DecodeKey decodes the value of a key, as encoding/json does it. It
// allocates.
func (d Doc) DecodeKey(key string, v any) error {
	value, err := d.find(key)
	if err != nil {
		return err
	}
	return d.decode(key, value.Text, v)
}

func (d Doc) decode(key string, text []byte, v any) error {
	if err := unmarshal(text, v, false); err != nil {
		return d.fail(key, err)
	}
	return nil
}

// find looks a key up.
func (d Doc) find(key string) (image.Value, error) {
	if d.config == nil || d.config.section == nil {
		return image.Value{}, d.fail(key, ErrNotFound)
	}
	v, err := d.config.section.Lookup(key)
	if err != nil {
		err = d.fail(key, damaged(err))
	}
	return v, err
}

func (d Doc) fail(key string, err error) error {
	return &ConfigError{Config: d.Name(), Key: key, Generation: d.generation, Err: err}
}

func (d Doc) wrongType(key, want string, have image.Value) error {
	return d.fail(key, fmt.Errorf("%w: %s is a %s and no %s", ErrWrongType, shorten(have.Text), have.Type, want))
}

func shorten(text []byte) string {
	if len(text) > 40 {
		return string(text[:40]) + "…"
	}
	return string(text)
}

// Has says whether the config has a key.
func (d Doc) Has(key string) bool {
	_, err := d.find(key)
	return err == nil
}

// Raw is the canonical JSON of a key's value. It is shared, and must not be
// changed.
func (d Doc) Raw(key string) ([]byte, error) {
	v, err := d.find(key)
	return v.Text, err
}

// Int is the value of a key that is an integer. 1.0 is none.
func (d Doc) Int(key string) (int, error) {
	v, err := d.find(key)
	if err != nil {
		return 0, err
	}
	if v.Type != image.Int {
		return 0, d.wrongType(key, "int", v)
	}
	return int(v.Int()), nil
}

// Uint is the value of a key that is an integer and not negative.
func (d Doc) Uint(key string) (uint64, error) {
	v, err := d.find(key)
	if err != nil {
		return 0, err
	}
	if v.Type != image.Uint && (v.Type != image.Int || v.Int() < 0) {
		return 0, d.wrongType(key, "uint", v)
	}
	return v.Bits, nil
}

// Float is the value of a key that is a number; an integer beyond 2^53 may be
// rounded.
func (d Doc) Float(key string) (float64, error) {
	v, err := d.find(key)
	if err != nil {
		return 0, err
	}
	switch v.Type {
	case image.Float:
		return v.Float(), nil
	case image.Int:
		return float64(v.Int()), nil
	case image.Uint:
		return float64(v.Bits), nil
	}
	return 0, d.wrongType(key, "float", v)
}

// Bool is the value of a key that is true or false.
func (d Doc) Bool(key string) (bool, error) {
	v, err := d.find(key)
	if err != nil {
		return false, err
	}
	if v.Type != image.Bool {
		return false, d.wrongType(key, "bool", v)
	}
	return v.Bool(), nil
}

// Str is the value of a key that is a string. It allocates only where the
// string has characters that JSON escapes.
func (d Doc) Str(key string) (string, error) {
	v, err := d.find(key)
	if err != nil {
		return "", err
	}
	if v.Type != image.String {
		return "", d.wrongType(key, "string", v)
	}
	return v.Str(), nil
}

// Duration is the value of a key that is a string like "15s" or "1h30m".
func (d Doc) Duration(key string) (time.Duration, error) {
	s, err := d.Str(key)
	if err != nil {
		return 0, err
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return 0, d.fail(key, fmt.Errorf("%w: %w", ErrWrongType, err))
	}
	return v, nil
}

func or[T any](v T, err error, missing T) T {
	if err != nil {
		return missing
	}
	return v
}

// IntOr is Int, or the default where that is an error.
func (d Doc) IntOr(key string, missing int) int {
	v, err := d.Int(key)
	return or(v, err, missing)
}

// UintOr is Uint, or the default where that is an error.
func (d Doc) UintOr(key string, missing uint64) uint64 {
	v, err := d.Uint(key)
	return or(v, err, missing)
}

// FloatOr is Float, or the default where that is an error.
func (d Doc) FloatOr(key string, missing float64) float64 {
	v, err := d.Float(key)
	return or(v, err, missing)
}

// BoolOr is Bool, or the default where that is an error.
func (d Doc) BoolOr(key string, missing bool) bool {
	v, err := d.Bool(key)
	return or(v, err, missing)
}

// StrOr is Str, or the default where that is an error.
func (d Doc) StrOr(key, missing string) string {
	v, err := d.Str(key)
	return or(v, err, missing)
}

// DurationOr is Duration, or the default where that is an error.
func (d Doc) DurationOr(key string, missing time.Duration) time.Duration {
	v, err := d.Duration(key)
	return or(v, err, missing)
}
