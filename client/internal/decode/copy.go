package decode

import "reflect"

// maxDefaultDepth is how deep a default may be nested. It is far beyond what a
// config can reach, and finds a default that contains itself.
const maxDefaultDepth = 1000

// copier gives a value its own memory.
type copier struct {
	depth int
	// merges: there was a part that encoding/json does not merge a config into as
	// this package promises, or that has memory of its own.
	merges bool
	// foreign: there was a pointer in an any. encoding/json decodes into it, and its
	// type may have any methods.
	foreign bool
}

// own replaces all pointers, maps and slices in an addressable value that
// encoding/json can write through by copies. It does not touch fields that are
// unexported or have the tag "-": these stay as Go's assignment copies them.
func (c *copier) own(v reflect.Value) {
	c.depth++
	if c.depth > maxDefaultDepth {
		panic("statesync: the default of a binding nests too deep, or contains itself")
	}
	defer func() { c.depth-- }()
	t := v.Type()
	if !v.IsZero() && (t.Kind() == reflect.Array || factsOf(t).opaque) {
		c.merges = true
	}
	switch t.Kind() {
	case reflect.Pointer:
		c.pointer(v)
	case reflect.Interface:
		if v.IsNil() {
			return
		}
		e := addressable(v.Elem())
		c.foreign = c.foreign || e.Kind() == reflect.Pointer && t.NumMethod() == 0
		c.own(e)
		v.Set(e)
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		c.merges = true
		s := reflect.MakeSlice(t, v.Len(), v.Len())
		reflect.Copy(s, v)
		c.elements(s)
		v.Set(s)
	case reflect.Array:
		c.elements(v)
	case reflect.Map:
		if v.IsNil() {
			return
		}
		c.merges = true
		m := reflect.MakeMapWithSize(t, v.Len())
		for i := v.MapRange(); i.Next(); {
			e := addressable(i.Value())
			c.own(e)
			m.SetMapIndex(i.Key(), e)
		}
		v.Set(m)
	case reflect.Struct:
		for _, i := range fieldsOf(t).direct {
			c.own(v.Field(i))
		}
	}
}

func (c *copier) pointer(v reflect.Value) {
	if v.IsNil() {
		return
	}
	c.merges = true
	if !v.CanSet() {
		return // an embedded pointer to an unexported struct; the walker refuses it
	}
	p := reflect.New(v.Type().Elem())
	p.Elem().Set(v.Elem())
	c.own(p.Elem())
	v.Set(p.Convert(v.Type()))
}

func (c *copier) elements(v reflect.Value) {
	switch v.Type().Elem().Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		for i := range v.Len() {
			c.own(v.Index(i))
		}
	}
}

// addressable returns a copy of a value that can be changed.
func addressable(v reflect.Value) reflect.Value {
	a := reflect.New(v.Type()).Elem()
	a.Set(v)
	return a
}
