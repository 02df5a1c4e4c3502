package history

import (
	"errors"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/statesync/statesync/shm/shmtest"
)

func TestFloorsSurvive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.db")
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := s.Floor("git:a"); err != nil || f != (Floor{}) {
		t.Errorf("of nothing the floor is %v, %v", f, err)
	}
	if err := s.RaiseFloor("git:a", "", "1"); err != nil {
		t.Fatal(err)
	}
	if err := s.RaiseFloor("git:a", "", "2"); !errors.Is(err, ErrRaised) {
		t.Errorf("a floor that is another one by now: %v", err)
	}
	if err := s.RaiseFloor("git:a", "1", "2"); err != nil {
		t.Fatal(err)
	}
	e, err := s.ActFloor(Entry{Command: "accept git 3"}, "git:b", "3")
	if err != nil || e.Number != 1 {
		t.Fatalf("%v, %v", e, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a, err1 := s.Floor("git:a")
	b, err2 := s.Floor("git:b")
	if err1 != nil || err2 != nil || a.State != "2" || a.Act != 0 || b.State != "3" || b.Act != 1 {
		t.Errorf("after a restart: %v, %v, %v, %v", a, err1, b, err2)
	}
	if all, err := s.Floors(); err != nil || len(all) != 2 || all["git:a"] != a || all["git:b"] != b {
		t.Errorf("all are %v, %v", all, err)
	}
	if pending, err := s.Pending(); err != nil || len(pending) != 1 || pending[0].Command != "accept git 3" {
		t.Errorf("the audit has %v, %v", pending, err)
	}
}

// A floor that an act drops is none.
func TestFloorIsDropped(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "history.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if all, err := s.Floors(); err != nil || len(all) != 0 {
		t.Errorf("of nothing there are %v, %v", all, err)
	}
	if err := s.RaiseFloor("git:a", "", "1"); err != nil {
		t.Fatal(err)
	}
	if e, err := s.ActFloor(Entry{Command: "floors reset git:a"}, "git:a", ""); err != nil || e.Number != 1 {
		t.Fatalf("%v, %v", e, err)
	}
	if all, err := s.Floors(); err != nil || len(all) != 0 {
		t.Errorf("there are still %v, %v", all, err)
	}
	if err := s.RaiseFloor("git:a", "", "2"); err != nil {
		t.Error(err)
	}
}

func TestDamagedFloorIsFound(t *testing.T) {
	for what, harm := range map[string]func(*bbolt.Tx) error{
		"another value": func(t *bbolt.Tx) error {
			return t.Bucket(floorsName).Put([]byte("git:a"), []byte(`{"state":"0"}00000000`))
		},
		"no value":  func(t *bbolt.Tx) error { return t.Bucket(floorsName).Delete([]byte("git:a")) },
		"no table":  func(t *bbolt.Tx) error { return t.DeleteBucket(floorsName) },
		"no number": func(t *bbolt.Tx) error { return t.Bucket([]byte("meta")).Delete(floorsKey) },
	} {
		t.Run(what, func(t *testing.T) {
			path := inMemory(t)
			s, err := Open(path, Options{})
			shmtest.Must(t, err)
			shmtest.Must(t, s.RaiseFloor("git:a", "", "1"))
			shmtest.Must(t, s.Close())
			db, err := bbolt.Open(path, 0o600, nil)
			shmtest.Must(t, err)
			shmtest.Must(t, errors.Join(db.Update(harm), db.Close()))
			s, err = Open(path, Options{})
			shmtest.WantError(t, err, ErrDamaged)
			shmtest.Must(t, s.Close())
		})
	}
}
