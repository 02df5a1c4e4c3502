package history

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// head is what the newest record published, in memory. It is immutable. Sections and
// files are compared by pointer before anything else, so what did not change costs a
// comparison, and the next head has it, too.
type head struct {
	generation uint64
	configs    []*headConfig // sorted by name
	layers     map[string]*headLayer
}

type headConfig struct {
	Ref
	section *image.Section // nil after Open
}

// headLayer is a layer whose files are known.
type headLayer struct {
	snapshot *source.Snapshot // nil after Open
	files    []*headFile      // sorted by path
}

type headFile struct {
	path string
	ref  fileRef
	file *source.File // nil after Open
}

// readHead reads the head of the file.
func (t *tx) readHead() (*head, error) {
	generation, err := t.records.last()
	if err != nil {
		return nil, err
	}
	h := &head{generation: generation, layers: map[string]*headLayer{}}
	err = t.configs.each(func(key, value []byte) error {
		r, err := decodeHeadRef(string(key), value)
		h.configs = append(h.configs, &headConfig{Ref: r})
		return err
	})
	if err != nil {
		return nil, err
	}
	err = t.files.each(func(key, value []byte) error {
		name, path, _ := strings.Cut(string(key), "\x00")
		if path == "" {
			h.layers[name] = &headLayer{}
			return nil
		}
		l := h.layers[name]
		if l == nil {
			return fmt.Errorf("%w: the layer of the file %.255q is not known", ErrDamaged, key)
		}
		f, err := decodeHeadFile(path, value)
		l.files = append(l.files, &headFile{path: path, ref: f})
		return err
	})
	return h, err
}

// headOf returns the head, from memory if that is the one of the file. It is not after
// an error of a commit that counts all the same.
func (s *Store) headOf(t *tx) (*head, error) {
	newest, err := t.records.last()
	if err != nil {
		return nil, err
	}
	if s.head != nil && s.head.generation == newest {
		return s.head, nil
	}
	return t.readHead()
}

// compareConfigs returns what the head has if these are the configs, and the changes
// that lead there. Two that are in the old ones, one behind the other, are sorted.
func compareConfigs(old []*headConfig, sections []*image.Section) ([]*headConfig, []Change, error) {
	next := make([]*headConfig, 0, len(sections))
	var changed []Change
	known := true // the one before is among the old ones
	for i, section := range sections {
		same := len(old) > 0 && old[0].section == section
		if (!known || !same) && i > 0 && sections[i-1].Name() >= section.Name() {
			return nil, nil, fmt.Errorf("the configs are not sorted by name at %q", section.Name())
		}
		if known = same; same {
			next, old = append(next, old[0]), old[1:]
			continue
		}
		name := section.Name()
		for len(old) > 0 && old[0].Name < name {
			changed = append(changed, Change{Name: old[0].Name, Before: old[0].Ref})
			old = old[1:]
		}
		now := refOf(section)
		change := Change{Name: name, After: now}
		if len(old) > 0 && old[0].Name == name {
			change.Before, old = old[0].Ref, old[1:]
		}
		if change.Before != change.After {
			changed = append(changed, change)
		}
		next = append(next, &headConfig{now, section})
	}
	for _, c := range old {
		changed = append(changed, Change{Name: c.Name, Before: c.Ref})
	}
	return next, changed, nil
}

// compareLayers returns what the head has if these are the layers, and the changes that
// lead there.
func compareLayers(old map[string]*headLayer, p *Publication) (map[string]*headLayer, []layerChange, error) {
	next := make(map[string]*headLayer, len(p.Layers))
	var changed []layerChange
	for i, layer := range p.Layers {
		before := old[layer.Name]
		if i >= len(p.Snapshots) || p.Snapshots[i] == nil {
			if before != nil {
				next[layer.Name] = before
			}
			continue
		}
		now, files, err := compareFiles(before, p.Snapshots[i])
		if err != nil {
			return nil, nil, fmt.Errorf("layer %s: %w", layer.Name, err)
		}
		next[layer.Name] = now
		if before == nil || len(files) > 0 {
			changed = append(changed, layerChange{layer.Name, before != nil, true, files})
		}
	}
	for name, before := range old {
		if next[name] == nil {
			l := layerChange{name: name, knownBefore: true}
			for _, f := range before.files {
				l.files = append(l.files, fileChange{path: f.path, before: f.ref})
			}
			changed = append(changed, l)
		}
	}
	slices.SortFunc(changed, func(a, b layerChange) int { return strings.Compare(a.name, b.name) })
	return next, changed, nil
}

// compareFiles is compareConfigs for the files of a layer.
func compareFiles(before *headLayer, snapshot *source.Snapshot) (*headLayer, []fileChange, error) {
	var old []*headFile
	if before != nil {
		if before.snapshot == snapshot {
			return before, nil, nil
		}
		old = before.files
	}
	next := make([]*headFile, 0, len(snapshot.Files))
	var changed []fileChange
	known := true // the one before is among the old ones
	for i, file := range snapshot.Files {
		same := len(old) > 0 && old[0].file == file
		if (!known || !same) && (file.Path == "" || i > 0 && snapshot.Files[i-1].Path >= file.Path) {
			return nil, nil, fmt.Errorf("the files are not sorted by path at %q", file.Path)
		}
		if known = same; same {
			next, old = append(next, old[0]), old[1:]
			continue
		}
		for len(old) > 0 && old[0].path < file.Path {
			changed = append(changed, fileChange{path: old[0].path, before: old[0].ref})
			old = old[1:]
		}
		change := fileChange{path: file.Path, after: refOfFile(file)}
		if len(old) > 0 && old[0].path == file.Path {
			change.before, old = old[0].ref, old[1:]
		}
		if change.before != change.after {
			changed = append(changed, change)
		}
		next = append(next, &headFile{file.Path, change.after, file})
	}
	for _, f := range old {
		changed = append(changed, fileChange{path: f.path, before: f.ref})
	}
	return &headLayer{snapshot, next}, changed, nil
}

func refOf(s *image.Section) Ref {
	return Ref{Name: s.Name(), Kind: s.Kind(), Sum: sha256.Sum256(s.Content())}
}

func refOfFile(f *source.File) fileRef {
	if f.Data == nil {
		return fileRef{state: unwantedFile}
	}
	return fileRef{wholeFile, f.Sum}
}

// check refuses a publication that the store could not read back, but for the order of
// configs and files, which the comparison with the head verifies.
func (p *Publication) check() error {
	if p.Generation == 0 || len(p.Snapshots) > len(p.Layers) {
		return fmt.Errorf("generation %d has %d snapshots of %d layers", p.Generation, len(p.Snapshots), len(p.Layers))
	}
	names := map[string]bool{}
	for _, layer := range p.Layers {
		if layer.Name == "" || strings.Contains(layer.Name, "\x00") || names[layer.Name] {
			return fmt.Errorf("generation %d has two layers %q, or that is not a name", p.Generation, layer.Name)
		}
		names[layer.Name] = true
	}
	return nil
}

// sectionOf returns the section of a config that the head has.
func (h *head) sectionOf(name string) *image.Section {
	i, ok := slices.BinarySearchFunc(h.configs, name, func(c *headConfig, name string) int { return strings.Compare(c.Name, name) })
	if !ok {
		return nil
	}
	return h.configs[i].section
}

// fileOf returns a file that the head has.
func (l *headLayer) fileOf(path string) *source.File {
	i, ok := slices.BinarySearchFunc(l.files, path, func(f *headFile, path string) int { return strings.Compare(f.path, path) })
	if !ok {
		return nil
	}
	return l.files[i].file
}
