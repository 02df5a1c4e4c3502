package history

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/shmtest"
)

// A reader beside writing, pruning, purging and the replacing of the file sees whole
// records: configs that have the record's content.
func TestReadBesideWrite(t *testing.T) {
	for _, path := range []string{inMemory(t), ""} {
		t.Run(fmt.Sprintf("memory=%v", path == ""), func(t *testing.T) {
			s, err := Open(path, Options{Records: 5})
			shmtest.Must(t, err)
			config := func(g uint64, i int) *image.Section {
				return document(t, fmt.Sprint("config-", i), fmt.Sprintf(`{"g":%d,"text":%q}`, g, strings.Repeat("x", 2000)))
			}
			configs := []*image.Section{config(0, 0), config(0, 1), config(0, 2)}
			shmtest.Must(t, s.Record(publication(1, configs...)))

			const readers = 3
			var done atomic.Bool
			var whole atomic.Int64
			ended := make(chan error)
			for range readers {
				go func() {
					ended <- func() error {
						for !done.Load() {
							n, err := readAll(s)
							if err != nil {
								return err
							}
							whole.Add(int64(n))
						}
						return nil
					}()
				}()
			}
			for g := uint64(2); g < 100 || whole.Load() < 100; g++ {
				configs = append([]*image.Section(nil), configs...)
				configs[g%3] = config(g, int(g%3))
				shmtest.Must(t, s.Record(publication(g, configs...)))
				if g%10 == 0 {
					_, err := s.Purge("config-1", nil, Entry{Command: "purge"})
					shmtest.Must(t, err)
				}
			}
			done.Store(true)
			for range readers {
				err, _ := shmtest.Within(t, "a reader ends", ended)
				shmtest.Must(t, err)
			}
			shmtest.Must(t, s.Close())
			if _, err := s.Intent(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("reading a closed store: %v", err)
			}
			shmtest.WantError(t, s.Record(publication(1_000_000)), fs.ErrClosed)
		})
	}
}

// readAll reads what the newest records have, and returns how many were whole. Between two
// calls a record may be pruned, or a value purged.
func readAll(s *Store) (whole int, err error) {
	list, err := s.Log(Query{})
	if err != nil {
		return 0, err
	}
	for _, r := range list {
		refs, err := s.Configs(r.Generation)
		if errors.Is(err, ErrNotKept) {
			continue
		}
		if err != nil {
			return 0, err
		}
		sections, err := s.Sections(refs)
		if errors.Is(err, ErrPurged) || errors.Is(err, ErrNotKept) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if got := ContentDigest(sections); got != r.Content {
			return 0, fmt.Errorf("the configs of generation %d have the digest %v, and the record has %v", r.Generation, got, r.Content)
		}
		whole++
	}
	if len(list) > 5 {
		return 0, fmt.Errorf("%d records are kept", len(list))
	}
	return whole, nil
}

// Two histories in memory have nothing to do with each other.
func TestInMemory(t *testing.T) {
	a, b := open(t, ""), open(t, "")
	shmtest.Must(t, a.Record(publication(1, document(t, "a", `{"n":1}`))))
	if _, ok, err := b.Newest(); ok || err != nil {
		t.Errorf("the other one has a record: %v, %v", ok, err)
	}
	if n := a.Stats(); n.Records != 1 || n.Newest != 1 || n.FileBytes == 0 {
		t.Errorf("the figures are %+v", n)
	}
}

// A change that gives up or panics leaves no entry, and the store goes on.
func TestChangeFails(t *testing.T) {
	s := open(t, "")
	before, err := dump(s)
	shmtest.Must(t, err)
	failed := errors.New("failed")
	_, _, err = s.Act(Entry{}, func(_ uint64, i *Intent) error {
		i.Pin = &Pin{}
		return failed
	})
	shmtest.WantError(t, err, failed)
	func() {
		defer func() {
			if p := recover(); p != "planted" {
				t.Errorf("the panic is %v", p)
			}
		}()
		_, _, _ = s.Act(Entry{}, func(uint64, *Intent) error { panic("planted") })
	}()
	after, err := dump(s)
	shmtest.Must(t, err)
	if after != before {
		t.Errorf("it has\n%s", firstDifference(after, before))
	}
	e, _, err := s.Act(Entry{}, func(uint64, *Intent) error { return nil })
	if err != nil || e.Number != 1 {
		t.Errorf("the next act is %d, %v", e.Number, err)
	}
}

// The newest 10,000 entries are kept, also by the next start.
func TestAuditBound(t *testing.T) {
	path := inMemory(t)
	s, err := Open(path, Options{})
	shmtest.Must(t, err)
	const more = 7
	s.write.Lock()
	err = s.update(func(x *tx) error {
		for range auditEntries + more {
			if err := x.enter(&Entry{Command: "act"}); err != nil {
				return err
			}
		}
		return nil
	})
	s.write.Unlock()
	shmtest.Must(t, err)
	shmtest.Must(t, s.Close())
	s = open(t, path)
	pending, err := s.Pending()
	if err != nil || len(pending) != auditEntries || pending[0].Number != more+1 {
		t.Errorf("%d entries are kept, %v", len(pending), err)
	}
	shmtest.WantError(t, s.Done(more, "done", 1), ErrNotKept)
	shmtest.Must(t, s.Done(more+1, "done", 1))
}

// The order of configs and files is what a search for one relies on. It is verified also
// where most of them are those of the record before.
func TestRecordWantsOrder(t *testing.T) {
	s := open(t, "")
	a, b, c, x := document(t, "a", "[1]"), document(t, "b", "[2]"), document(t, "c", "[3]"), document(t, "x", "[4]")
	file := func(path string) *source.File { return &source.File{Path: path, Data: []byte("{}")} }
	fa, fb, fc := file("a"), file("b"), file("c")
	record := func(g uint64, configs []*image.Section, files ...*source.File) error {
		p := publication(g, configs...)
		p.Snapshots[0] = source.NewSnapshot(nil, nil, Digest.String)
		p.Snapshots[0].Files = files
		return s.Record(p)
	}
	sorted := []*image.Section{a, b, c}
	shmtest.Must(t, record(1, sorted, fa, fb, fc))
	for _, configs := range [][]*image.Section{{b, a, c}, {a, c, b}, {c, a, b}, {a, b, b}, {a, b, document(t, "b", "[5]")}, {a, b, x, c}, {x, a, b, c}} {
		if err := record(2, configs, fa, fb, fc); err == nil {
			t.Errorf("%v was recorded", configs)
		}
	}
	for _, files := range [][]*source.File{{fb, fa, fc}, {fa, fc, fb}, {fa, fb, fb}, {fa, fb, file("b")}, {fa, file("x"), fb}, {file(""), fa}} {
		if err := record(2, sorted, files...); err == nil {
			t.Errorf("files %v were recorded", files)
		}
	}
	shmtest.Must(t, record(2, []*image.Section{a, c, x}, fa, fc))
}
