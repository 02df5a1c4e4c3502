package history

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

var long = flag.Bool("history.long", false, "kill a writer 1,000 times, flip 20,000 bits, and compare 100 histories with the model")

var roles = shmtest.Roles{}

func TestMain(m *testing.M) {
	roles.Play()
	shmtest.Main(m)
}

// document and opaque make sections.
func document(t testing.TB, name, text string) *image.Section {
	t.Helper()
	s, err := image.NewDocument(name, []byte(text))
	shmtest.Must(t, err)
	return s
}

func opaque(t testing.TB, name, text string) *image.Section {
	t.Helper()
	s, err := image.NewOpaque(name, []byte(text))
	shmtest.Must(t, err)
	return s
}

// publication is one of a generation and its configs, which have one layer of no files.
func publication(g uint64, configs ...*image.Section) Publication {
	return Publication{
		Record: Record{
			Generation: g, Time: time.Unix(int64(g), 0).UTC(), Revision: fmt.Sprint("r", g), Content: ContentDigest(configs),
			Layers: []Layer{{Name: "dir", Source: "dir:/etc/config", Version: fmt.Sprint("v", g)}},
		},
		Configs:   configs,
		Snapshots: []*source.Snapshot{source.NewSnapshot(nil, nil, Digest.String)},
	}
}

// open opens a store that is closed when the test ends.
func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	shmtest.Must(t, err)
	t.Cleanup(func() { shmtest.Must(t, s.Close()) })
	return s
}

// inMemory is the path of a history that no disk slows down.
func inMemory(t testing.TB) string {
	t.Helper()
	return filepath.Join(shmtest.MemoryTemp(t), "history")
}

// dump is all that a store returns, as text.
func dump(s *Store) (string, error) {
	var b strings.Builder
	log, err := s.Log(Query{Limit: 1000})
	if err != nil {
		return "", err
	}
	for _, r := range log {
		if err := dumpRecord(&b, s, r); err != nil {
			return "", err
		}
	}
	intent, err := s.Intent()
	if err != nil {
		return "", err
	}
	if err := json.NewEncoder(&b).Encode(intent); err != nil { // which follows its pointers
		return "", err
	}
	pinned, err := s.Pinned()
	if err != nil {
		return "", err
	}
	if err := dumpRefs(&b, s, pinned); err != nil {
		return "", err
	}
	for before := uint64(0); ; {
		audit, err := s.Audit(before, 1000)
		if err != nil {
			return "", err
		}
		for _, e := range audit {
			before = e.Number
			if !e.Done.IsZero() { // it is the time at which the test ran
				e.Done = time.Unix(0, 0)
			}
			fmt.Fprintf(&b, "audit %+v\n", e)
		}
		if len(audit) < 1000 {
			break
		}
	}
	floors, err := s.Floors()
	if err != nil {
		return "", err
	}
	for _, source := range slices.Sorted(maps.Keys(floors)) {
		fmt.Fprintf(&b, "floor %s %s\n", source, floors[source].State)
	}
	pending, err := s.Pending()
	fmt.Fprintf(&b, "pending %+v\n", pending)
	return b.String(), err
}

func dumpRecord(b *strings.Builder, s *Store, r Record) error {
	by := r.By
	r.By = nil
	fmt.Fprintf(b, "record %+v by %+v\n", r, by)
	changes, err := s.Changes(r.Generation)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "changes %+v\n", changes)
	configs, err := s.Configs(r.Generation)
	if err != nil {
		return err
	}
	if err := dumpRefs(b, s, configs); err != nil {
		return err
	}
	snapshots, err := s.Snapshots(r.Generation)
	for _, l := range r.Layers {
		if snapshot := snapshots[l.Name]; snapshot != nil {
			fmt.Fprintf(b, "layer %s %s %s\n", l.Name, snapshot.Version, snapshot.Digest)
			for _, f := range snapshot.Files {
				fmt.Fprintf(b, "file %s %v %q\n", f.Path, f.Data == nil, f.Data)
			}
		}
	}
	return err
}

func dumpRefs(b *strings.Builder, s *Store, refs []Ref) error {
	for _, r := range refs {
		fmt.Fprintf(b, "config %+v\n", r)
		if r.Purged {
			continue
		}
		data, err := s.Object(r.Sum)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "%q\n", data)
	}
	return nil
}
