package decode

import (
	"bytes"
	"path"

	"github.com/statesync/statesync/daemon/source"
)

// The memory that decoding takes, in bytes. TestMemory has the files that these were
// measured with and holds them to what is alive at one time; they have room for
// the garbage that is beside it.
const (
	perByte = 6 // of a file: the canonical text, the index, the image, its saved copy

	// Of a mark, as a format has them between its values. It stands for a value or
	// a key: in the library's tree, if there is one, and in ours.
	perMarkJSON = 200
	perMarkYAML = 500
	perMarkTOML = 300

	// At least, where there is a schema: it is applied to a copy of the tree, and
	// each value may have something wrong.
	perMarkChecked = 420
)

// Memory is about how much memory Decode is going to take, in bytes, for the
// files that it has yet to decode: what it keeps of each, and what it needs for
// one at a time. It is found by counting and not by parsing. That is too much
// for a text that looks like many values and is none, and too little for two
// things that only the bounds of a config hold: what YAML's aliases expand to,
// and dotted keys that are much longer than the file, because long keys or many
// levels are above their values.
func (d *Decoder) Memory(files []*source.File) int64 {
	checked := map[string]bool{} // configs with a schema
	var changed bool             // there is a schema that is new
	for _, f := range files {
		if r, name := d.about(f); r == schema {
			checked[name] = true
			changed = changed || d.kept(f) == nil
		}
	}
	var keep, most int64
	for _, f := range files {
		r, name := d.about(f)
		fresh := d.kept(f) == nil
		if fresh && r != skipped {
			keep += perByte * int64(len(f.Data))
		}
		switch {
		case r == schema && fresh:
			keep += parsing(f, true) // it is kept in its compiled form
		case r == document && (fresh || changed && checked[name]):
			most = max(most, parsing(f, checked[name]))
		}
	}
	return keep + most
}

// about is what is known of a file by its path.
func (d *Decoder) about(f *source.File) (role, string) {
	if e := d.kept(f); e != nil {
		return e.role, e.name
	}
	return d.roleOf(f.Path)
}

// parsing is what the trees of a file take.
func parsing(f *source.File, checked bool) int64 {
	extension, limit := path.Ext(f.Path), maxMarkup
	if extension == ".json" {
		limit = maxText
	}
	if len(f.Data) > limit {
		return 0 // it is refused unread
	}
	var n, each int
	count := func(marks ...string) {
		for _, mark := range marks {
			n += bytes.Count(f.Data, []byte(mark))
		}
	}
	switch extension {
	case ".json":
		each = perMarkJSON
		count(",", ":", "[", "{")
		n = min(n, 3*maxValues) // as many as are read: each value has up to three
	case ".toml":
		each = perMarkTOML
		count(",", "=", ".", "[", "{", "\n")
	default:
		each = perMarkYAML
		count(",", ":", "[", "{", "- ", "\n")
	}
	if checked {
		each = max(each, perMarkChecked)
	}
	return int64(n) * int64(each)
}
