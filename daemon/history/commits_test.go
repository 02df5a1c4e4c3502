package history

import (
	"fmt"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// The commit of a file is that of the record that changed it last, and of no other content.
func TestCommitOfAFile(t *testing.T) {
	s := open(t, "")
	file := source.NewFile
	a1, a2, b1, b2 := file("a", []byte("1")), file("a", []byte("2")), file("b", []byte("1")), file("b", []byte("2"))
	first, second := &source.Commit{Name: "first", Author: "Ada"}, &source.Commit{Name: "second"}
	for i, p := range []struct {
		files   []*source.File
		commits map[string]*source.Commit
	}{
		{[]*source.File{a1, b1}, nil},
		{[]*source.File{a2, b1}, map[string]*source.Commit{"a": first}},
		{[]*source.File{a2, b2}, map[string]*source.Commit{"a": first, "b": second}},
		{[]*source.File{a1, b2}, map[string]*source.Commit{"b": second}}, // of a it is not known
	} {
		publication := publication(uint64(i + 1))
		snapshot := source.NewSnapshot(p.files, nil, func(source.Digest) string { return fmt.Sprint(i) })
		snapshot.Commits = p.commits
		publication.Snapshots = []*source.Snapshot{snapshot}
		shmtest.Must(t, s.Record(publication))
	}
	layer := publication(1).Layers[0].Name
	for _, c := range []struct {
		g    uint64
		file *source.File
		want string
	}{{1, a1, ""}, {2, a2, "first"}, {2, b1, ""}, {3, a2, "first"}, {3, b2, "second"}, {3, a1, ""}, {4, a1, ""}, {4, a2, ""}, {4, b2, "second"}, {4, file("c", nil), ""}} {
		got, err := s.Commit(c.g, layer, c.file)
		name := ""
		if got != nil {
			name = got.Name
		}
		if err != nil || name != c.want {
			t.Errorf("in generation %d, %s %s was changed by %q, %v, want %q", c.g, c.file.Path, c.file.Data, name, err, c.want)
		}
	}
	if r, err := s.Get(3); err != nil || len(r.Commits) != 1 || r.Commits[0].Name != "second" {
		t.Errorf("the record has the commits %+v, %v; want that of the file that it changed", r.Commits, err)
	}
	if got, err := s.Commit(3, "other", a2); got != nil || err != nil {
		t.Errorf("another layer: %v, %v", got, err)
	}
	_, err := s.Commit(9, layer, a2)
	shmtest.WantError(t, err, ErrNotKept, "generation 9")
}

func TestCommitsOfARecordAreBounded(t *testing.T) {
	s := open(t, "")
	p := publication(1)
	snapshot := &source.Snapshot{Commits: map[string]*source.Commit{}}
	c := &source.Commit{Name: "c"}
	for i := range maxCommitFiles + 1 {
		f := source.NewFile(fmt.Sprintf("%06d", i), []byte{})
		snapshot.Files = append(snapshot.Files, f)
		snapshot.Commits[f.Path] = c
	}
	p.Snapshots = []*source.Snapshot{snapshot}
	shmtest.Must(t, s.Record(p))
	r, err := s.Get(1)
	if err != nil || len(r.Commits) != 1 || len(r.Commits[0].Files) != maxCommitFiles {
		t.Errorf("%d commits, %v", len(r.Commits), err)
	}
}
