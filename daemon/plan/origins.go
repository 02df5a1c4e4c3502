package plan

import (
	"fmt"
	"slices"

	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/daemon/plan/decode"
	"github.com/statesync/statesync/daemon/plan/layer"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
)

// Origin is what one layer says of a key.
type Origin struct {
	Layer, Version string // Version is that of the layer's snapshot
	File           string
	Line, Column   int // 0 for a whole file
	// Value is canonical JSON. A key that the layer deletes has none, nor has an opaque
	// config.
	Value   string
	Deleted bool
	Opaque  bool

	Source *source.File   // that File is; nil if the layer's snapshot has no Meta, and so no commits
	Commit *source.Commit // that last changed it, if the layer's snapshot has it

	SchemaLayer, SchemaFile string // of the schema that the config was checked with; empty if there is none
}

// Origins is where the value of a key comes from: the layer that wins first, and then
// those that it beats. The key "" is the whole config. Of a mapping it is what each
// layer contributes. The files of the config are read again for this.
func (p *Plan) Origins(name, key string) ([]Origin, error) {
	c := p.combo(name)
	if c == nil {
		return nil, fmt.Errorf("no layer has the config %s", plain.Text(name))
	}
	var origins []Origin
	parts := c.parts
	for len(parts) > 0 {
		// Opaque parts and documents can only meet where a null removed the lower ones.
		n := len(parts) - 1
		if parts[n].role == opaque {
			if key == "" {
				origins = append(origins, p.origin(c, parts[n], Origin{Opaque: true}))
			} else if n == len(c.parts)-1 {
				return nil, fmt.Errorf("the config %s is opaque, and has no keys", plain.Text(name))
			}
			parts = parts[:n]
			continue
		}
		for n > 0 && parts[n-1].role == document {
			n--
		}
		found, err := documents(parts[n:], key)
		if err != nil {
			return nil, err
		}
		for _, o := range found {
			from := Origin{Line: int(o.Place.Line), Column: int(o.Place.Column), Deleted: o.Value == nil}
			if o.Value != nil {
				from.Value = string(o.Value.AppendCanonical(nil))
			}
			origins = append(origins, p.origin(c, parts[n:][o.Place.Doc], from))
		}
		parts = parts[:n]
	}
	if len(origins) == 0 {
		return nil, fmt.Errorf("no layer has the key %s of the config %s", plain.Text(key), plain.Text(name))
	}
	return origins, nil
}

// OriginsMemory is about how much memory Origins takes for a config, in bytes.
func (p *Plan) OriginsMemory(name string) (bytes int64) {
	c := p.combo(name)
	if c == nil {
		return 0
	}
	for _, e := range c.parts {
		if e.role == document {
			bytes += decode.Memory(e.file.Path, decode.Marks(e.file.Path, e.file.Data), false) + perByte*int64(len(e.file.Data))
		}
	}
	return bytes
}

// documents is what some documents say of a key.
func documents(parts []*entry, key string) ([]layer.Origin, error) {
	roots := make([]*tree.Node, len(parts))
	r := &tree.Report{}
	for i, e := range parts {
		r.Docs = append(r.Docs, e.doc)
		roots[i] = decode.Config(r, decode.Source{Path: e.file.Path, Data: e.file.Data, Doc: uint16(i)}, !e.bottom)
		if roots[i] == nil {
			problems := r.Done()
			return nil, problems[slices.IndexFunc(problems, func(p *Problem) bool { return !p.Warning })]
		}
	}
	return layer.Why(roots, key), nil
}

// origin completes an origin.
func (p *Plan) origin(c *combo, e *entry, o Origin) Origin {
	o.Layer, o.File = e.doc.Layer, e.doc.File
	for i := range p.Layers {
		if p.Layers[i].Name == o.Layer {
			s := p.Layers[i].Snapshot
			if o.Version, o.Commit = s.Version, s.Commits[e.file.Path]; s.Meta != nil {
				o.Source = e.file
			}
		}
	}
	if c.schema != nil && c.parts[len(c.parts)-1].role == document {
		o.SchemaLayer, o.SchemaFile = c.schema.doc.Layer, c.schema.doc.File
	}
	return o
}
