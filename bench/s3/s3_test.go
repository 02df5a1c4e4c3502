// Package s3 has bundles followed that an object store with S3's API serves.
package s3

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/bundle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is an object store with one bucket that anyone may read and write.
type store struct {
	testing.TB
	*httptest.Server
	mu       sync.Mutex
	requests []string // of GET: the status and the object's name
	ranges   int      // requests for a part of an object
	delay    time.Duration
}

func newStore(t testing.TB) *store {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("prod"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server()
	s := &store{TB: t}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.mu.Lock()
		delay := s.delay
		s.mu.Unlock()
		time.Sleep(delay)
		answer := &recorded{ResponseWriter: w, status: http.StatusOK}
		fake.ServeHTTP(answer, q)
		s.mu.Lock()
		defer s.mu.Unlock()
		if q.Method == http.MethodGet {
			s.requests = append(s.requests, http.StatusText(answer.status)+" "+strings.TrimPrefix(q.URL.Path, "/prod/"))
		}
		if q.Header.Get("Range") != "" {
			s.ranges++
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// recorded keeps the status of an answer.
type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// asked returns the requests since the last call.
func (s *store) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.requests
	s.requests = nil
	return list
}

func (s *store) slow(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

func (s *store) do(method, name string, data []byte) {
	s.Helper()
	q, err := http.NewRequest(method, s.URL+"/prod/"+name, bytes.NewReader(data))
	if err != nil {
		s.Fatal(err)
	}
	answer, err := s.Client().Do(q)
	if err != nil {
		s.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		s.Fatalf("%s %s: %s", method, name, answer.Status)
	}
}

// made is a bundle.
type made struct {
	bundle.Note
	msg, archive []byte
}

// put uploads a bundle, the archive first.
func (s *store) put(m *made) {
	s.Helper()
	s.do(http.MethodPut, m.ArchiveName(), m.archive)
	s.do(http.MethodPut, bundle.NoteName, m.msg)
}

// world is a signer, and what follows its bundles.
type world struct {
	testing.TB
	source.Source
	signer note.Signer
	keys   string
	told   []string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	private, public, err := bundle.GenerateKey("ops@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte(public+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &world{TB: t, signer: signer, keys: keys}
}

func (w *world) bundle(sequence uint64, text string) *made {
	w.Helper()
	archive, err := bundle.Pack([]*source.File{source.NewFile("a.yaml", []byte(text))})
	if err != nil {
		w.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	m := &made{Note: bundle.Note{Origin: "example.com/prod", Sequence: sequence, NotBefore: now.Add(-time.Hour), Expires: now.Add(time.Hour)}, archive: archive}
	m.SetArchive(archive)
	if m.msg, err = bundle.Sign(&m.Note, w.signer); err != nil {
		w.Fatal(err)
	}
	return m
}

// follow opens the bundle that the stores mirror.
func (w *world) follow(stores ...*store) {
	w.Helper()
	spec := "bundle:" + stores[0].URL + "/prod/" + bundle.NoteName + "?keys=" + w.keys
	for _, s := range stores[1:] {
		spec += "&mirror=" + s.URL + "/prod/" + bundle.NoteName
	}
	schemes := source.Schemes{bundle.Scheme}
	specs, err := schemes.Parse([]string{spec})
	if err != nil {
		w.Fatal(err)
	}
	w.Source, err = schemes.Open(specs[0], source.Options{OnWatchError: func(err error) { w.told = append(w.told, err.Error()) }})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = w.Close() })
}

func (w *world) sees(version, text string) {
	w.Helper()
	s, err := w.Fetch(context.Background(), nil)
	if err != nil {
		w.Fatal(err)
	}
	if s.Version != version || string(s.Files[0].Data) != text {
		w.Fatalf("the snapshot is %s with %q, want %s with %q", s.Version, s.Files[0].Data, version, text)
	}
}

func (w *world) fails(want string) {
	w.Helper()
	if _, err := w.Fetch(context.Background(), nil); !errors.Is(err, source.ErrUnreachable) || !strings.Contains(err.Error(), want) {
		w.Fatalf("the error is %v, want %q", err, want)
	}
}

// A bundle in a bucket is one request for each poll, which the store answers with 304, and
// a request for each new archive, of the whole object.
func TestBucket(t *testing.T) {
	w, s := newWorld(t), newStore(t)
	one, two := w.bundle(1, "x: 1\n"), w.bundle(2, "x: 2\n")
	s.put(one)
	w.follow(s)
	for _, step := range []struct {
		do   func()
		see  string
		text string
		asks []string
	}{
		{func() {}, "example.com/prod#1", "x: 1\n", []string{"OK bundle.note", "OK " + one.ArchiveName()}},
		{func() {}, "example.com/prod#1", "x: 1\n", []string{"Not Modified bundle.note"}},
		{func() { s.put(two) }, "example.com/prod#2", "x: 2\n", []string{"OK bundle.note", "OK " + two.ArchiveName()}},
		{func() { s.put(two) }, "example.com/prod#2", "x: 2\n", []string{"Not Modified bundle.note"}}, // uploaded again
	} {
		step.do()
		w.sees(step.see, step.text)
		if asked := s.asked(); !slices.Equal(asked, step.asks) {
			t.Errorf("it asked for %q, want %q", asked, step.asks)
		}
	}
	if s.ranges > 0 {
		t.Errorf("%d requests are for a part of an object", s.ranges)
	}
}

// An object that is missing, of which the store tells in XML, is waited for.
func TestMissingObjects(t *testing.T) {
	w, s := newWorld(t), newStore(t)
	w.follow(s)
	w.fails(`answers "404 Not Found"`)
	m := w.bundle(1, "x: 1\n")
	s.put(m)
	s.do(http.MethodDelete, m.ArchiveName(), nil)
	w.fails(`of the archive ` + m.ArchiveName() + ` the server answers "404 Not Found"`)
	s.put(m)
	w.sees("example.com/prod#1", "x: 1\n")
	s.do(http.MethodDelete, bundle.NoteName, nil)
	w.fails(`answers "404 Not Found"`)
	s.put(m)
	w.sees("example.com/prod#1", "x: 1\n")
}

// A bucket that is replicated late, and one that is slow, hold nothing back, and a late one
// that is alone takes nothing back.
func TestStaleAndSlowMirrors(t *testing.T) {
	w, stale, slow := newWorld(t), newStore(t), newStore(t)
	one, two := w.bundle(1, "x: 1\n"), w.bundle(2, "x: 2\n")
	stale.put(one)
	slow.put(two)
	slow.slow(100 * time.Millisecond)
	w.follow(stale, slow)
	w.sees("example.com/prod#2", "x: 2\n")
	w.sees("example.com/prod#2", "x: 2\n")
	if len(w.told) != 1 || !strings.Contains(w.told[0], "has the sequence 1, and 2 was accepted") {
		t.Errorf("it told %q", w.told)
	}
	slow.do(http.MethodDelete, bundle.NoteName, nil)
	if _, err := w.Fetch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "has the sequence 1, and 2 was accepted") {
		t.Errorf("the error is %v", err)
	}
	stale.put(two)
	w.sees("example.com/prod#2", "x: 2\n")
}
