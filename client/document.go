package client

import (
	"fmt"
	"strings"
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
	if d.config == nil || d.config.section == nil {
		return d.fail("", ErrNotFound)
	}
	if err := decodeInto(d.config.section, v, false); err != nil {
		return d.fail("", err)
	}
	return nil
}

// DecodeKey decodes the value of a key, as encoding/json does it. It
// allocates.
func (d Doc) DecodeKey(key string, v any) error {
	value, err := d.lookup(key)
	if err == nil {
		err = unmarshal(value.Text, v, false)
	}
	if err != nil {
		return d.fail(key, err)
	}
	return nil
}

// Has says whether the config has a key.
func (d Doc) Has(key string) bool {
	_, err := d.lookup(key)
	return err == nil
}

// Raw is the canonical JSON of a key's value. It is shared, and must not be
// changed.
func (d Doc) Raw(key string) ([]byte, error) {
	v, err := d.lookup(key)
	if err != nil {
		return nil, d.fail(key, err)
	}
	return v.Text, nil
}

// lookup finds a key. Its error is not wrapped yet, so that it costs nothing
// where a default is taken instead.
func (d Doc) lookup(key string) (image.Value, error) {
	if d.config == nil || d.config.section == nil {
		return image.Value{}, ErrNotFound
	}
	return d.config.section.Lookup(key)
}

func (d Doc) fail(key string, err error) error {
	return &ConfigError{Config: d.Name(), Key: key, Generation: d.generation, Err: damaged(err)}
}

// get is the value of a key as a T.
func get[T any](d Doc, key string, as func(image.Value) (T, error)) (T, error) {
	v, err := d.lookup(key)
	if err == nil {
		var value T
		if value, err = as(v); err == nil {
			return value, nil
		}
	}
	var none T
	return none, d.fail(key, explain(v, err))
}

// getOr is get with a default instead of an error.
func getOr[T any](d Doc, key string, missing T, as func(image.Value) (T, error)) T {
	v, err := d.lookup(key)
	if err != nil {
		return missing
	}
	value, err := as(v)
	if err != nil {
		return missing
	}
	return value
}

// typeError is a type that was asked for and is not there.
type typeError string

func (t typeError) Error() string { return "no " + string(t) }

// The errors of the conversions. They are made once, since a default may be
// taken on each request.
var (
	errNoInt      error = typeError("int")
	errNoUint     error = typeError("uint")
	errNoFloat    error = typeError("float")
	errNoBool     error = typeError("bool")
	errNoString   error = typeError("string")
	errNoDuration error = typeError("duration, which is a string with a unit, like \"15s\"")
)

// explain makes a conversion's error one that says what is there instead.
func explain(have image.Value, err error) error {
	if want, ok := err.(typeError); ok { //nolint:errorlint // never wrapped
		return fmt.Errorf("%w: %s is a %s and %w", ErrWrongType, shorten(have.Text), have.Type, want)
	}
	return err
}

// shorten keeps a message readable that shows a value.
func shorten(text []byte) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(string(text[:40]), "") + "…"
	}
	return string(text)
}

func asInt(v image.Value) (int, error) {
	if v.Type != image.Int {
		return 0, errNoInt
	}
	return int(v.Int()), nil
}

func asUint(v image.Value) (uint64, error) {
	if v.Type != image.Uint && (v.Type != image.Int || v.Int() < 0) {
		return 0, errNoUint
	}
	return v.Bits, nil
}

func asFloat(v image.Value) (float64, error) {
	switch v.Type {
	case image.Float:
		return v.Float(), nil
	case image.Int:
		return float64(v.Int()), nil
	case image.Uint:
		return float64(v.Bits), nil
	}
	return 0, errNoFloat
}

func asBool(v image.Value) (bool, error) {
	if v.Type != image.Bool {
		return false, errNoBool
	}
	return v.Bool(), nil
}

func asStr(v image.Value) (string, error) {
	if v.Type != image.String {
		return "", errNoString
	}
	return v.Str(), nil
}

func asDuration(v image.Value) (time.Duration, error) {
	if v.Type != image.String {
		return 0, errNoDuration
	}
	d, err := time.ParseDuration(v.Str())
	if err != nil {
		return 0, errNoDuration
	}
	return d, nil
}

// Int is the value of a key that is an integer. 1.0 is none.
func (d Doc) Int(key string) (int, error) { return get(d, key, asInt) }

// Uint is the value of a key that is an integer and not negative.
func (d Doc) Uint(key string) (uint64, error) { return get(d, key, asUint) }

// Float is the value of a key that is a number; an integer beyond 2^53 may be
// rounded.
func (d Doc) Float(key string) (float64, error) { return get(d, key, asFloat) }

// Bool is the value of a key that is true or false.
func (d Doc) Bool(key string) (bool, error) { return get(d, key, asBool) }

// Str is the value of a key that is a string. It allocates only where the
// string has characters that JSON escapes.
func (d Doc) Str(key string) (string, error) { return get(d, key, asStr) }

// Duration is the value of a key that is a string like "15s" or "1h30m".
func (d Doc) Duration(key string) (time.Duration, error) { return get(d, key, asDuration) }

// IntOr is Int, or the default where that is an error.
func (d Doc) IntOr(key string, missing int) int { return getOr(d, key, missing, asInt) }

// UintOr is Uint, or the default where that is an error.
func (d Doc) UintOr(key string, missing uint64) uint64 { return getOr(d, key, missing, asUint) }

// FloatOr is Float, or the default where that is an error.
func (d Doc) FloatOr(key string, missing float64) float64 { return getOr(d, key, missing, asFloat) }

// BoolOr is Bool, or the default where that is an error.
func (d Doc) BoolOr(key string, missing bool) bool { return getOr(d, key, missing, asBool) }

// StrOr is Str, or the default where that is an error.
func (d Doc) StrOr(key, missing string) string { return getOr(d, key, missing, asStr) }

// DurationOr is Duration, or the default where that is an error.
func (d Doc) DurationOr(key string, missing time.Duration) time.Duration {
	return getOr(d, key, missing, asDuration)
}
