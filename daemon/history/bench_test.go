package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

// fleet is 10,000 configs of 1.5 KB, each out of a file of its own, of which one changes
// with each publication.
type fleet struct {
	configs  []*image.Section
	snapshot *source.Snapshot
	next     uint64
}

func newFleet(b *testing.B) *fleet {
	b.Helper()
	f := &fleet{}
	files := make([]*source.File, 10_000)
	for i := range files {
		section, file := f.config(b, i, 0)
		f.configs, files[i] = append(f.configs, section), file
	}
	f.snapshot = source.NewSnapshot(files, nil, Digest.String)
	return f
}

// config is a config with a value n that no other one has, and its file.
func (f *fleet) config(b *testing.B, i int, n uint64) (*image.Section, *source.File) {
	b.Helper()
	name := fmt.Sprintf("team-%02d/service-%05d", i%50, i)
	text := fmt.Sprintf(`{"n":%d,"name":%q,"text":%q}`, n, name, strings.Repeat("abcdefgh ", 160))
	return document(b, fmt.Sprintf("%05d/%s", i, name), text), source.NewFile(fmt.Sprintf("%05d.yaml", i), []byte(text+"\n"))
}

// publication changes one config, and publishes all.
func (f *fleet) publication(b *testing.B) Publication {
	b.Helper()
	f.next++
	i := int(f.next*7919) % len(f.configs)
	section, file := f.config(b, i, f.next)
	f.configs = append([]*image.Section(nil), f.configs...)
	f.configs[i] = section
	files := append([]*source.File(nil), f.snapshot.Files...)
	files[i] = file
	f.snapshot = source.NewSnapshot(files, f.snapshot, Digest.String)
	p := publication(f.next, f.configs...)
	p.Snapshots = []*source.Snapshot{f.snapshot}
	return p
}

// BenchmarkFleet measures a history of 1,000 generations of a fleet on the disk that
// TMPDIR is on.
func BenchmarkFleet(b *testing.B) {
	path := filepath.Join(b.TempDir(), "history")
	s := open(b, path)
	f := newFleet(b)
	b.Run("first Record", func(b *testing.B) { // of everything: run it with -benchtime 1x
		for b.Loop() {
			b.StopTimer()
			fresh := open(b, filepath.Join(b.TempDir(), "history"))
			p := publication(1, f.configs...)
			p.Snapshots = []*source.Snapshot{f.snapshot}
			b.StartTimer()
			shmtest.Must(b, fresh.Record(p))
		}
	})
	for f.next < 1000 {
		s.db.bolt.NoSync = true
		shmtest.Must(b, s.Record(f.publication(b)))
	}
	s.db.bolt.NoSync = false
	first, last := s.Stats().Oldest, s.Stats().Newest
	info, err := os.Stat(path)
	shmtest.Must(b, err)

	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("Record sync=%v", sync), func(b *testing.B) {
			s.db.bolt.NoSync = !sync
			for b.Loop() {
				b.StopTimer()
				p := f.publication(b)
				b.StartTimer()
				shmtest.Must(b, s.Record(p))
			}
			s.db.bolt.NoSync = false
			first, last = s.Stats().Oldest, s.Stats().Newest
		})
	}
	b.Run("Act", func(b *testing.B) {
		for b.Loop() {
			shmtest.Must(b, errOf2(s.Act(Entry{Command: "override"}, func(uint64, *Intent) error { return nil })))
		}
	})
	for name, read := range map[string]func() error{
		"Log":       func() error { return errOf(s.Log(Query{Limit: 1000})) },
		"Log key":   func() error { return errOf(s.Log(Query{Limit: 1000, Config: f.configs[7919].Name(), Key: "n"})) },
		"Diff":      func() error { return errOf(s.Diff(first, last)) },
		"Configs":   func() error { return errOf(s.Configs(first)) },
		"Snapshots": func() error { return errOf(s.Snapshots(first)) },
		"Sections": func() error {
			refs, err := s.Configs(last)
			if err != nil {
				return err
			}
			return errOf(s.Sections(refs, f.configs...))
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				shmtest.Must(b, read())
			}
		})
	}
	b.Run("Open", func(b *testing.B) {
		shmtest.Must(b, s.Close())
		for b.Loop() {
			again, err := Open(path, Options{})
			shmtest.Must(b, err)
			b.StopTimer()
			shmtest.Must(b, again.Close())
			b.StartTimer()
		}
		b.ReportMetric(float64(info.Size())/1e6, "MB")
	})
}

func errOf2[A, B any](_ A, _ B, err error) error { return err }
