package history

import (
	"encoding/binary"
	"fmt"

	"github.com/statesync/statesync/shm/image"
)

// changes is what a record changed. An older state is made of a newer one by undoing
// them.
type changes struct {
	configs []Change // sorted by name
	layers  []layerChange
}

// layerChange is what a record changed of one layer's files. The files of a layer that
// was not there, or whose snapshot was never given, are not known.
type layerChange struct {
	name                    string
	knownBefore, knownAfter bool
	files                   []fileChange // sorted by path
}

type fileChange struct {
	path          string
	before, after fileRef
}

// fileRef is one file of a layer.
type fileRef struct {
	state fileState
	sum   Digest // zero unless the file has content, or had
}

type fileState byte

const (
	noFile       fileState = iota // there is none
	unwantedFile                  // known by name only
	wholeFile
	purgedFile // sum is a pseudonym
)

// The codes of a config's Ref: 0 if there is none, else the kind, with the flag if the
// value was purged. The sum follows unless there is none.
const purgedFlag = 0x80

func appendRef(b []byte, r Ref) []byte {
	if r.Name == "" {
		return append(b, 0)
	}
	code := byte(r.Kind)
	if r.Purged {
		code |= purgedFlag
	}
	return append(append(b, code), r.Sum[:]...)
}

func appendFileRef(b []byte, f fileRef) []byte {
	b = append(b, byte(f.state))
	if f.state == wholeFile || f.state == purgedFile {
		b = append(b, f.sum[:]...)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// encode returns the changes as bytes: counts and lengths as uvarints.
func (c *changes) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(len(c.configs)))
	for _, change := range c.configs {
		b = appendText(b, change.Name)
		b = appendRef(b, change.Before)
		b = appendRef(b, change.After)
	}
	b = binary.AppendUvarint(b, uint64(len(c.layers)))
	for _, l := range c.layers {
		b = appendText(b, l.name)
		known := byte(0)
		if l.knownBefore {
			known |= 1
		}
		if l.knownAfter {
			known |= 2
		}
		b = append(b, known)
		b = binary.AppendUvarint(b, uint64(len(l.files)))
		for _, f := range l.files {
			b = appendText(b, f.path)
			b = appendFileRef(b, f.before)
			b = appendFileRef(b, f.after)
		}
	}
	return b
}

// decodeChanges reads what encode writes, and nothing else. An element takes bytes of the
// input, so whatever a count says, what is allocated is bounded by the input's length.
func decodeChanges(b []byte) (*changes, error) {
	d := decoder{rest: b}
	c := &changes{}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		name := d.text()
		change := Change{Name: name, Before: d.ref(name), After: d.ref(name)}
		d.must(change.Before != change.After && name != "")
		if k := len(c.configs); k > 0 {
			d.must(c.configs[k-1].Name < name)
		}
		c.configs = append(c.configs, change)
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		l := layerChange{name: d.text()}
		known := d.byte()
		l.knownBefore, l.knownAfter = known&1 != 0, known&2 != 0
		d.must(known >= 1 && known <= 3 && l.name != "")
		if k := len(c.layers); k > 0 {
			d.must(c.layers[k-1].name < l.name)
		}
		for m := d.uvarint(); m > 0 && !d.bad; m-- {
			f := fileChange{path: d.text(), before: d.fileRef(), after: d.fileRef()}
			d.must(f.before != f.after && f.path != "")
			if k := len(l.files); k > 0 {
				d.must(l.files[k-1].path < f.path)
			}
			l.files = append(l.files, f)
		}
		c.layers = append(c.layers, l)
	}
	d.must(len(d.rest) == 0)
	if d.bad {
		return nil, fmt.Errorf("%w: the changes of a record cannot be decoded", ErrDamaged)
	}
	return c, nil
}

// decodeHeadRef reads a config of the head or of the pin.
func decodeHeadRef(name string, b []byte) (Ref, error) {
	d := decoder{rest: b}
	r := d.ref(name)
	d.must(len(d.rest) == 0 && r.Name != "" && !r.Purged)
	if d.bad {
		return Ref{}, fmt.Errorf("%w: the config %.255q cannot be decoded", ErrDamaged, name)
	}
	return r, nil
}

// decodeHeadFile reads a file of the head.
func decodeHeadFile(path string, b []byte) (fileRef, error) {
	d := decoder{rest: b}
	f := d.fileRef()
	d.must(len(d.rest) == 0 && (f.state == unwantedFile || f.state == wholeFile))
	if d.bad {
		return fileRef{}, fmt.Errorf("%w: the file %.255q cannot be decoded", ErrDamaged, path)
	}
	return f, nil
}

// decoder reads bytes and keeps in mind that one was not as it must be. Then what it
// returns means nothing, and it returns no more.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) must(ok bool) {
	if !ok {
		d.bad, d.rest = true, nil
	}
}

// take returns the next n bytes.
func (d *decoder) take(n uint64) []byte {
	if uint64(len(d.rest)) < n {
		d.must(false)
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads a number in its shortest form.
func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		d.must(false)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() string {
	return string(d.take(d.uvarint()))
}

func (d *decoder) sum() (sum Digest) {
	copy(sum[:], d.take(uint64(len(sum))))
	return sum
}

func (d *decoder) ref(name string) Ref {
	code := d.byte()
	if code == 0 {
		return Ref{}
	}
	r := Ref{Name: name, Kind: image.Kind(code &^ purgedFlag), Purged: code&purgedFlag != 0}
	d.must(r.Kind == image.Document || r.Kind == image.Opaque)
	r.Sum = d.sum()
	return r
}

func (d *decoder) fileRef() fileRef {
	f := fileRef{state: fileState(d.byte())}
	d.must(f.state <= purgedFile)
	if f.state == wholeFile || f.state == purgedFile {
		f.sum = d.sum()
	}
	return f
}
