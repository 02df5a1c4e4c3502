package client

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/statesync/statesync/client/internal/decode"
	"github.com/statesync/statesync/shm/image"
)

// Doc is one config of one generation, to be read key by key without being
// decoded. It is a small value, valid for ever, and safe for any number of
// goroutines. The zero Doc has no keys.
//
// A key is a dotted path: "weights.elo", "pools.0.name". The accessors return
// the value or a *ConfigError that matches ErrNotFound, ErrWrongType or
// ErrCorrupt; those with Or return a default instead of an error. They take
// about 15 ns, allocate nothing unless said otherwise, and make no syscall.
type Doc struct {
	version    *version
	generation uint64
}

// Name is the config's name.
func (d Doc) Name() string {
	if d.version == nil {
		return ""
	}
	return d.version.name
}

// Generation is the generation that the config was read from.
func (d Doc) Generation() uint64 { return d.generation }

// Changed is the generation of last change: the one in which the config's
// content last changed. In a region that took the place of another it may be
// that of the old one.
func (d Doc) Changed() uint64 {
	if d.version == nil {
		return 0
	}
	return d.version.changed
}

// Revision is what the source calls the state that brought the content: a
// Git commit, a digest.
func (d Doc) Revision() string {
	if d.version == nil {
		return ""
	}
	return d.version.revision
}

// Opaque says whether the config is one of bytes that only its readers know.
func (d Doc) Opaque() bool {
	return d.version != nil && d.version.section != nil && d.version.section.Kind() == image.Opaque
}

// JSON is the whole config as canonical JSON, or an opaque config's bytes. It
// is shared, and must not be changed.
func (d Doc) JSON() []byte {
	if d.version == nil || d.version.section == nil {
		return nil
	}
	return d.version.section.Content()
}

// Decode decodes the whole config into what v points to, whose present value is the
// default; see the package documentation. An opaque config is decoded into
// a *string or *[]byte. It allocates.
func (d Doc) Decode(v any) error {
	if d.version == nil || d.version.section == nil {
		return d.fail("", ErrNotFound)
	}
	if err := decodeInto(d.version.section, v); err != nil {
		return d.fail("", err)
	}
	return nil
}

// DecodeKey decodes the value of a key, as encoding/json does it. It
// allocates.
func (d Doc) DecodeKey(key string, v any) error {
	var value image.Value
	err := d.lookup(&value, key)
	if err == nil {
		err = decode.Onto(value.Text, v)
	}
	if err != nil {
		return d.fail(key, err)
	}
	return nil
}

// Has says whether the config has a key.
func (d Doc) Has(key string) bool {
	var v image.Value
	return d.lookup(&v, key) == nil
}

// Raw is the canonical JSON of a key's value. It is shared, and must not be
// changed.
func (d Doc) Raw(key string) ([]byte, error) {
	var v image.Value
	if err := d.lookup(&v, key); err != nil {
		return nil, d.fail(key, err)
	}
	return v.Text, nil
}

// Keys yields the keys of a document, in the order in which it has them: objects
// and lists before what is in them. It leaves out the elements of a list after the
// first 1,024, and keys longer than 1,024 bytes.
func (d Doc) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for key := range d.All() {
			if !yield(key) {
				return
			}
		}
	}
}

// All yields the keys as Keys does, each with the canonical JSON of its value,
// which is shared and must not be changed.
func (d Doc) All() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if d.version == nil || d.version.section == nil {
			return
		}
		for key, value := range d.version.section.All() {
			if !yield(key, value.Text) {
				return
			}
		}
	}
}

// lookup finds a key. Its error is not wrapped yet, so that it costs nothing
// where a default is taken instead.
func (d Doc) lookup(v *image.Value, key string) error {
	if d.version == nil || d.version.section == nil {
		return ErrNotFound
	}
	return d.version.section.Lookup(v, key)
}

// find finds a key in the config's index. It is nil if the key is not there, though
// lookup may find it.
func (d Doc) find(key string) *image.Key {
	if d.version == nil {
		return nil
	}
	return d.version.own.Find(key) // without a section, own has no keys
}

func (d Doc) fail(key string, err error) error {
	return &ConfigError{Config: d.Name(), Key: key, Generation: d.generation, Err: damaged(err)}
}

// refuse is the error of a key that was not found, or where it was, is of
// another type.
func (d Doc) refuse(key string, err error, v *image.Value, want string) error {
	if err == nil {
		err = wrongType(v, want)
	}
	return d.fail(key, err)
}

func wrongType(v *image.Value, want string) error {
	text := string(v.Text)
	if len(text) > 40 {
		text = strings.ToValidUTF8(text[:40], "") + "…"
	}
	return fmt.Errorf("%w: %s is %s, not %s", ErrWrongType, text, article(v.Type.String()), article(want))
}

// article puts "a" or "an" before the name of a type.
func article(name string) string {
	if strings.ContainsRune("aeio", rune(name[0])) {
		return "an " + name
	}
	return "a " + name
}

func asUint(v *image.Value) (uint64, bool) {
	return v.Bits, v.Type == image.Uint || v.Type == image.Int && v.Int() >= 0
}

func asFloat(v *image.Value) (float64, bool) {
	switch v.Type {
	case image.Float:
		return v.Float(), true
	case image.Int:
		return float64(v.Int()), true
	case image.Uint:
		return float64(v.Bits), true
	}
	return 0, false
}

// Int is the value of a key that is an integer. 1.0 is none.
func (d Doc) Int(key string) (int, error) {
	if k := d.find(key); k != nil && k.Type() == image.Int {
		return int(k.Bits()), nil
	}
	return d.lookupInt(key)
}

// lookupInt is Int for a key that is not indexed, or is of another type.
func (d Doc) lookupInt(key string) (int, error) {
	var v image.Value
	if err := d.lookup(&v, key); err != nil || v.Type != image.Int {
		return 0, d.refuse(key, err, &v, "int")
	}
	return int(v.Int()), nil
}

// IntOr is Int, or the default where that is an error.
func (d Doc) IntOr(key string, missing int) int {
	if k := d.find(key); k != nil && k.Type() == image.Int {
		return int(k.Bits())
	}
	return d.lookupIntOr(key, missing)
}

func (d Doc) lookupIntOr(key string, missing int) int {
	var v image.Value
	if d.lookup(&v, key) != nil || v.Type != image.Int {
		return missing
	}
	return int(v.Int())
}

// Uint is the value of a key that is an integer and not negative.
func (d Doc) Uint(key string) (uint64, error) {
	var v image.Value
	err := d.lookup(&v, key)
	if n, ok := asUint(&v); err == nil && ok {
		return n, nil
	}
	return 0, d.refuse(key, err, &v, "uint")
}

// UintOr is Uint, or the default where that is an error.
func (d Doc) UintOr(key string, missing uint64) uint64 {
	var v image.Value
	if d.lookup(&v, key) == nil {
		if n, ok := asUint(&v); ok {
			return n
		}
	}
	return missing
}

// Float is the value of a key that is a number; an integer beyond 2^53 may be
// rounded.
func (d Doc) Float(key string) (float64, error) {
	var v image.Value
	err := d.lookup(&v, key)
	if f, ok := asFloat(&v); err == nil && ok {
		return f, nil
	}
	return 0, d.refuse(key, err, &v, "float")
}

// FloatOr is Float, or the default where that is an error.
func (d Doc) FloatOr(key string, missing float64) float64 {
	var v image.Value
	if d.lookup(&v, key) == nil {
		if f, ok := asFloat(&v); ok {
			return f
		}
	}
	return missing
}

// Bool is the value of a key that is true or false.
func (d Doc) Bool(key string) (bool, error) {
	if k := d.find(key); k != nil && k.Type() == image.Bool {
		return k.Bits() != 0, nil
	}
	return d.lookupBool(key)
}

func (d Doc) lookupBool(key string) (bool, error) {
	var v image.Value
	if err := d.lookup(&v, key); err != nil || v.Type != image.Bool {
		return false, d.refuse(key, err, &v, "bool")
	}
	return v.Bool(), nil
}

// BoolOr is Bool, or the default where that is an error.
func (d Doc) BoolOr(key string, missing bool) bool {
	if k := d.find(key); k != nil && k.Type() == image.Bool {
		return k.Bits() != 0
	}
	return d.lookupBoolOr(key, missing)
}

func (d Doc) lookupBoolOr(key string, missing bool) bool {
	var v image.Value
	if d.lookup(&v, key) != nil || v.Type != image.Bool {
		return missing
	}
	return v.Bool()
}

// Str is the value of a key that is a string. It allocates only where the
// string has characters that JSON escapes.
func (d Doc) Str(key string) (string, error) {
	var v image.Value
	if err := d.lookup(&v, key); err != nil || v.Type != image.String {
		return "", d.refuse(key, err, &v, "string")
	}
	return v.Str(), nil
}

// StrOr is Str, or the default where that is an error.
func (d Doc) StrOr(key, missing string) string {
	var v image.Value
	if d.lookup(&v, key) != nil || v.Type != image.String {
		return missing
	}
	return v.Str()
}

// Duration is the value of a key that is a string like "15s" or "1h30m".
func (d Doc) Duration(key string) (time.Duration, error) {
	var v image.Value
	var value time.Duration
	err := d.lookup(&v, key)
	switch {
	case err != nil:
	case v.Type == image.Null:
		err = wrongType(&v, "duration")
	default:
		err = decode.Onto(v.Text, &value)
	}
	if err != nil {
		return 0, d.fail(key, err)
	}
	return value, nil
}

// DurationOr is Duration, or the default where that is an error.
func (d Doc) DurationOr(key string, missing time.Duration) time.Duration {
	var v image.Value
	if d.lookup(&v, key) == nil && v.Type == image.String {
		if value, err := time.ParseDuration(v.Str()); err == nil {
			return value
		}
	}
	return missing
}
