package decode

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// duration decodes a time.Duration.
func (w *walker) duration(v reflect.Value) error {
	var text json.RawMessage
	if err := w.json.Decode(&text); err != nil {
		return err
	}
	var s string
	if text[0] != '"' {
		return w.notDuration(string(text))
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return w.wrong(shorten(strconv.Quote(s)) + ` is not a duration; write it like "15s" or "1h30m"`)
	}
	v.SetInt(int64(d))
	return nil
}

// notDuration is the error of a text that is not a string. A small number is
// likely meant in seconds.
func (w *walker) notDuration(text string) error {
	if d, err := time.ParseDuration(text + "s"); err == nil && d.Abs() < 1_000_000*time.Second {
		return w.wrong(fmt.Sprintf("%s is a number, not a duration; write %q", text, text+"s"))
	}
	return w.wrong(shorten(text) + ` is not a duration; write it like "15s" or "1h30m"`)
}

// namedDuration decodes a string into a named type of kind int64.
func (w *walker) namedDuration(v reflect.Value) error {
	var s string
	if err := w.json.Decode(&s); err != nil {
		return err
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return w.fail(&json.UnmarshalTypeError{Value: "string", Type: v.Type()})
	}
	v.SetInt(int64(d))
	return nil
}

// segment is an object's key or a number in a list.
type segment struct {
	key    string
	isKey  bool
	number int
}

func (s segment) String() string {
	if s.isKey {
		return s.key
	}
	return strconv.Itoa(s.number)
}

// at returns the dotted path of the present value, and of a part of it.
func (w *walker) at(part string) string {
	var names []string
	for _, s := range w.path {
		names = append(names, s.String())
	}
	if part != "" {
		names = append(names, part)
	}
	return strings.Join(names, ".")
}

// decodeError is an error about the value at a path.
type decodeError struct {
	path   string // empty for the whole value
	reason string
	causes []error
}

func (e *decodeError) Error() string {
	if e.path == "" {
		return e.reason
	}
	return e.path + ": " + e.reason
}

func (e *decodeError) Unwrap() []error { return e.causes }

// fail adds the present path to an error, unless it has one.
func (w *walker) fail(err error) error {
	var located *decodeError
	if err == nil || errors.As(err, &located) {
		return err
	}
	e := &decodeError{path: w.at(""), reason: err.Error(), causes: []error{err}}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		e.causes = append(e.causes, ErrWrongType)
		if err.Error() == wrong.Error() { // and not within another error
			whole := *wrong
			whole.Field = w.at(wrong.Field)
			*e = decodeError{
				path:   whole.Field,
				reason: fmt.Sprintf("cannot decode %s into %v", wrong.Value, wrong.Type),
				causes: []error{&whole, ErrWrongType},
			}
		}
	}
	return e
}

// wrong is the error of a value of the wrong type.
func (w *walker) wrong(reason string) error {
	return &decodeError{path: w.at(""), reason: reason, causes: []error{ErrWrongType}}
}

// unknown is the error of a key that has no field in a struct type.
func (w *walker) unknown(t reflect.Type, fields *structFields, key string) error {
	e := &decodeError{path: w.at(""), reason: "no such field"}
	if t.Name() != "" {
		e.reason += " in " + t.String()
	}
	if name := Nearest(key, fields.names); name != "" {
		w.path[len(w.path)-1] = segment{key: name, isKey: true}
		e.reason += fmt.Sprintf("; did you mean %q?", w.at(""))
	}
	return e
}

// jsonType names the type of the JSON value that starts with a byte.
func jsonType(first byte) string {
	switch first {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "bool"
	case 'n':
		return "null"
	}
	return "number"
}

// shorten cuts a text that is too long for a message.
func shorten(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}
