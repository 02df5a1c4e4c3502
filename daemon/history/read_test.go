package history

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

// generations are those of records.
func generations(list []Record) (g []uint64) {
	for _, r := range list {
		g = append(g, r.Generation)
	}
	return g
}

func TestLog(t *testing.T) {
	s := open(t, "")
	for _, p := range []Publication{
		publication(1, document(t, "c", `{"a":{"x":1},"b":1}`)),
		publication(2, document(t, "c", `{"a":{"x":1},"b":2}`), document(t, "d", `{}`)),
		publication(3, document(t, "c", `{"a":{"x":2},"b":2}`), document(t, "d", `{"n":1}`)),
		publication(4, document(t, "c", `{"b":2}`)),
		publication(6, document(t, "c", `{"a":{"x":"2"},"b":2}`)),
		publication(7, opaque(t, "c", `{"a":{"x":"2"},"b":2}`)),
		publication(8),
	} {
		shmtest.Must(t, s.Record(p))
	}
	for _, test := range []struct {
		query Query
		want  []uint64
	}{
		{Query{}, []uint64{8, 7, 6, 4, 3, 2, 1}},
		{Query{Limit: 2}, []uint64{8, 7}},
		{Query{Limit: 2, Before: 7}, []uint64{6, 4}},
		{Query{Before: 5}, []uint64{4, 3, 2, 1}},
		{Query{Before: 1}, nil},
		{Query{Before: 100, Limit: 1}, []uint64{8}},
		{Query{Config: "c"}, []uint64{8, 7, 6, 4, 3, 2, 1}},
		{Query{Config: "d"}, []uint64{4, 3, 2}},
		{Query{Config: "d", Key: "n"}, []uint64{4, 3}},
		{Query{Config: "c", Key: "b"}, []uint64{7, 2, 1}},
		{Query{Config: "c", Key: "a.x"}, []uint64{7, 6, 4, 3, 1}},
		{Query{Config: "c", Key: "a.x", Limit: 2}, []uint64{7, 6}},
		{Query{Config: "c", Key: "none"}, nil},
		{Query{Config: "none"}, nil},
	} {
		list, err := s.Log(test.query)
		shmtest.Must(t, err)
		if got := generations(list); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, and should be %v", test.query, got, test.want)
		}
	}
	if _, err := s.Log(Query{Key: "a"}); err == nil {
		t.Error("a key of no config is taken")
	}
	shmtest.WantError(t, errOf(s.Get(5)), ErrNotKept, "from 1 to 8")
}

// A section that the caller has is used if it is the same, and only then.
func TestSectionsThatAreThere(t *testing.T) {
	s := open(t, "")
	a, b := document(t, "a", `{"n":1}`), document(t, "b", `{"n":1}`)
	shmtest.Must(t, s.Record(publication(1, a, b)))
	refs, err := s.Configs(1)
	shmtest.Must(t, err)
	other := opaque(t, "b", `{"n":1}`)
	got, err := s.Sections(refs, a, other)
	shmtest.Must(t, err)
	if got[0] != a || got[1] == other || got[1].Kind() != image.Document {
		t.Errorf("the sections are %v", got)
	}
}

// The oldest records go while there are too many bytes. The newest one stays, whatever it
// has.
func TestBytesBound(t *testing.T) {
	s, err := Open("", Options{Bytes: 50_000})
	shmtest.Must(t, err)
	defer func() { shmtest.Must(t, s.Close()) }()
	for g := uint64(1); g <= 20; g++ {
		want := int(min(g, 4))
		if g > 4 { // the oldest record has the value before it as well
			want = 3
		}
		shmtest.Must(t, s.Record(publication(g, opaque(t, "a", fmt.Sprintf("%010000d", g)))))
		if n := s.Stats(); n.Bytes > 50_000 || n.Newest != g || n.Records != want {
			t.Fatalf("after generation %d the figures are %+v", g, n)
		}
	}
	shmtest.Must(t, s.Record(publication(21, opaque(t, "a", strings.Repeat("x", 100_000)))))
	if n := s.Stats(); n.Records != 1 || n.Newest != 21 || n.Bytes < 100_000 {
		t.Errorf("the figures are %+v", n)
	}
	shmtest.Must(t, s.view((*tx).verify))
}

// A publication that could not be read back is refused.
func TestRefusedPublications(t *testing.T) {
	a, b := document(t, "a", `{}`), document(t, "b", `{}`)
	files := func(paths ...string) *source.Snapshot {
		snapshot := &source.Snapshot{}
		for _, path := range paths {
			snapshot.Files = append(snapshot.Files, source.NewFile(path, nil))
		}
		return snapshot
	}
	s := open(t, "")
	for what, change := range map[string]func(p *Publication){
		"configs out of order": func(p *Publication) { p.Configs = []*image.Section{b, a} },
		"a config twice":       func(p *Publication) { p.Configs = []*image.Section{a, a} },
		"no generation":        func(p *Publication) { p.Generation = 0 },
		"too many snapshots":   func(p *Publication) { p.Snapshots = append(p.Snapshots, nil) },
		"a layer twice":        func(p *Publication) { p.Layers = append(p.Layers, p.Layers[0]) },
		"a layer without name": func(p *Publication) { p.Layers[0].Name = "" },
		"a layer with a zero":  func(p *Publication) { p.Layers[0].Name = "a\x00b" },
		"files out of order":   func(p *Publication) { p.Snapshots[0] = files("b", "a") },
		"a file without path":  func(p *Publication) { p.Snapshots[0] = files("") },
	} {
		p := publication(1, a, b)
		change(&p)
		if err := s.Record(p); err == nil || s.Stats().Records != 0 {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	shmtest.Must(t, s.Record(publication(1, a, b)))
}
