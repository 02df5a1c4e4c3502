package history

import (
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/daemon/source"
)

// maxCommitFiles bounds the files in Record.Commits.
const maxCommitFiles = 1000

// commitsOf are the commits that last changed the files that a publication changes.
func commitsOf(changed []layerChange, p *Publication) (list []FileCommit) {
	left := maxCommitFiles
	for _, l := range changed {
		i := slices.IndexFunc(p.Layers, func(layer Layer) bool { return layer.Name == l.name })
		if i < 0 || i >= len(p.Snapshots) || p.Snapshots[i] == nil {
			continue
		}
		at := map[*source.Commit]int{}
		for _, f := range l.files {
			c := p.Snapshots[i].Commits[f.path]
			if c == nil || f.after.state != wholeFile || left == 0 {
				continue
			}
			left--
			if _, ok := at[c]; !ok {
				at[c] = len(list)
				list = append(list, FileCommit{Commit: *c, Layer: l.name})
			}
			of := &list[at[c]]
			of.Files = append(of.Files, f.path)
		}
	}
	return list
}

// Commit returns the commit that last changed a file of a layer, as of a generation: that
// of the newest record that changed the file. It is nil if the record does not say, and if
// the record has another content of the file.
func (s *Store) Commit(g uint64, layer string, f *source.File) (found *source.Commit, err error) {
	err = s.view(func(t *tx) error {
		if _, err := t.recordOf(g); err != nil {
			return err
		}
		return t.changes.down(g+1, func(number uint64, value []byte) (bool, error) {
			c, err := decodeChanges(value)
			if err != nil {
				return false, fmt.Errorf("record %d: %w", number, err)
			}
			after, ok := c.file(layer, f.Path)
			if !ok || after.state != wholeFile || after.sum != f.Sum {
				return !ok, nil
			}
			r, err := t.recordOf(number)
			for i, of := range r.Commits {
				if of.Layer == layer && slices.Contains(of.Files, f.Path) {
					found = &r.Commits[i].Commit
				}
			}
			return false, err
		})
	})
	return found, err
}

// file returns what a file of a layer became, and false if it was not changed.
func (c *changes) file(layer, path string) (fileRef, bool) {
	i, ok := slices.BinarySearchFunc(c.layers, layer, func(l layerChange, name string) int { return strings.Compare(l.name, name) })
	if !ok {
		return fileRef{}, false
	}
	files := c.layers[i].files
	if i, ok = slices.BinarySearchFunc(files, path, func(f fileChange, path string) int { return strings.Compare(f.path, path) }); !ok {
		return fileRef{}, false
	}
	return files[i].after, true
}
