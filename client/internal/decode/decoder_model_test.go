package decode

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/statesync/statesync/shm/shmtest"
)

// modelMerge merges a config into a default, both as any. This is the promise of
// a decoder in other words.
func modelMerge(t reflect.Type, initial, config any) any {
	if config == nil {
		switch t.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
			return nil
		}
		return initial
	}
	if s, ok := config.(string); ok && t.Kind() == reflect.Int64 {
		d, _ := time.ParseDuration(s)
		return int64(d)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return modelMerge(t.Elem(), initial, config)
	case reflect.Slice, reflect.Array:
		list, ok := config.([]any)
		if !ok {
			return config
		}
		merged := make([]any, 0)
		for _, element := range list {
			merged = append(merged, modelMerge(t.Elem(), nil, element))
		}
		return merged
	}
	old, _ := initial.(map[string]any)
	object, ok := config.(map[string]any)
	if !ok || t.Kind() == reflect.Interface && old == nil {
		return config
	}
	merged := make(map[string]any)
	maps.Copy(merged, old)
	for key, value := range object {
		elem := t
		switch t.Kind() {
		case reflect.Map:
			elem = t.Elem()
		case reflect.Struct:
			elem = fieldTypes(t)[key]
		}
		merged[key] = modelMerge(elem, old[key], value)
	}
	return merged
}

func asAny(t *testing.T, text []byte) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func toJSON(t *testing.T, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDecodeIsMergingJSON(t *testing.T) {
	t.Parallel()
	for seed := range uint64(shmtest.Times(1500, 500)) {
		r := &random{Rand: rand.New(rand.NewPCG(seed, 1)), durations: seed%2 == 0}
		typ := r.structure(4)
		initial := reflect.New(typ).Elem()
		if !r.oneIn(4) {
			r.fill(initial)
		}
		before := toJSON(t, initial.Interface())
		text := r.document(typ)
		if text == "null" {
			continue
		}
		merged := toJSON(t, modelMerge(typ, asAny(t, before), asAny(t, []byte(text))))
		want, got, onto := reflect.New(typ), reflect.New(typ), reflect.New(typ)
		if err := json.Unmarshal(merged, want.Interface()); err != nil {
			t.Fatalf("seed %d, %v: %s: %v", seed, typ, merged, err)
		}
		d := New(initial, r.oneIn(2))
		d.reset(onto.Elem())
		for name, err := range map[string]error{
			"decode": d.Decode([]byte(text), got.Interface()),
			"Onto":   Onto([]byte(text), onto.Interface()),
		} {
			if err != nil {
				t.Fatalf("seed %d, %s: %v: %s: %v", seed, name, typ, text, err)
			}
		}
		if !reflect.DeepEqual(got.Interface(), want.Interface()) || !reflect.DeepEqual(onto.Interface(), want.Interface()) {
			t.Fatalf("seed %d: %v\ndefault %s\nconfig  %s\ndecoded %s\nin place %s\nwant    %s", seed, typ, before, text,
				toJSON(t, got.Interface()), toJSON(t, onto.Interface()), merged)
		}
		scribble(got)
		if after := toJSON(t, initial.Interface()); !bytes.Equal(before, after) {
			t.Fatalf("seed %d: %v\nconfig %s\nthe default was %s\nand is now      %s", seed, typ, text, before, after)
		}
		if after := toJSON(t, d.initial.Interface()); !bytes.Equal(before, after) {
			t.Fatalf("seed %d: %v\nconfig %s\nthe decoder's default was %s\nand is now                %s", seed, typ, text, before, after)
		}
	}
}

// scribble overwrites all memory that a value refers to.
func scribble(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			scribble(v.Elem())
			v.Elem().SetZero()
		}
	case reflect.Interface:
		if !v.IsNil() {
			scribble(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Cap() {
			e := v.Slice(0, v.Cap()).Index(i)
			scribble(e)
			if e.Kind() == reflect.Uint8 {
				e.SetUint(e.Uint() + 1)
			} else {
				e.SetZero()
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			scribble(v.Index(i))
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			scribble(i.Value())
		}
		v.Clear()
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() || f.Kind() == reflect.Struct {
				scribble(f)
			}
		}
	}
}

// Without default, strictness and durations a walker is encoding/json.
func TestWalkerIsEncodingJSON(t *testing.T) {
	t.Parallel()
	refused := 0
	for seed := range uint64(shmtest.Times(3000, 1000)) {
		r := &random{Rand: rand.New(rand.NewPCG(seed, 2)), wrong: true}
		typ := r.typ(4)
		text := r.document(typ)
		got, want := reflect.New(typ), reflect.New(typ)
		wantErr := json.Unmarshal([]byte(text), want.Interface())
		err := decodeEverywhere(text, got)
		if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got.Interface(), want.Interface()) {
			t.Fatalf("seed %d: %v\n%s\nis %s (%v),\nwant %s (%v)", seed, typ, text,
				toJSON(t, got.Interface()), err, toJSON(t, want.Interface()), wantErr)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 30 {
		t.Errorf("only %d documents were refused", refused)
	}
}
