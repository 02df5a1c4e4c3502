package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/statesync/statesync/daemon/internal/webtest"
	"github.com/statesync/statesync/daemon/source"
)

func TestMain(m *testing.M) {
	webtest.Main(m)
}

// today is what the clocks of the tests say at first.
var today = time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)

// key is a signer with its public key.
type key struct {
	note.Signer
	public string
}

func newKey(t testing.TB, name string) *key {
	t.Helper()
	private, public, err := GenerateKey(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return &key{s, public}
}

// keyFile is a file of public keys.
func keyFile(t testing.TB, keys ...*key) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, name, keys...)
	return name
}

func writeKeys(t testing.TB, name string, keys ...*key) {
	t.Helper()
	text := "# signers\n\n"
	for _, k := range keys {
		text += k.public + "\n"
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// files are a bundle's files, by pairs of path and content.
func files(pairs ...string) (list []*source.File) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, source.NewFile(pairs[i], []byte(pairs[i+1])))
	}
	return list
}

// made is a bundle: a signed note and an archive.
type made struct {
	Note
	msg, archive []byte
}

// bundled makes a bundle with one file, whose content is the text.
func bundled(t testing.TB, sequence uint64, text string, by ...*key) *made {
	t.Helper()
	archive, err := Pack(files("a.yaml", text))
	if err != nil {
		t.Fatal(err)
	}
	m := &made{Note: Note{Origin: "example.com/prod", Sequence: sequence, NotBefore: today.Add(-time.Hour), Expires: today.Add(30 * 24 * time.Hour)}, archive: archive}
	m.SetArchive(archive)
	m.sign(t, by...)
	return m
}

func (m *made) sign(t testing.TB, by ...*key) *made {
	t.Helper()
	var signers []note.Signer
	for _, k := range by {
		signers = append(signers, k)
	}
	msg, err := note.Sign(&note.Note{Text: m.Text()}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	m.msg = msg
	return m
}

// site is a web server of files, as stores of objects are: with ETags, and without
// directories.
type site struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string][]byte
	requests []string
	instead  func(w http.ResponseWriter, q *http.Request) bool // answers, if it returns true
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{files: map[string][]byte{}}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	s.mu.Lock()
	data, ok := s.files[q.URL.Path]
	s.requests = append(s.requests, q.Method+" "+q.URL.Path)
	instead := s.instead
	s.mu.Unlock()
	if instead != nil && instead(w, q) {
		return
	}
	if !ok {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "<Error><Code>NoSuchKey</Code></Error>")
		return
	}
	w.Header().Set("ETag", fmt.Sprintf("\"%x\"", sha256.Sum256(data)))
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
}

// put uploads a bundle.
func (s *site) put(m *made) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files["/prod/"+m.ArchiveName()] = m.archive
	s.files["/prod/bundle.note"] = m.msg
}

func (s *site) set(path string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files[path] = data; data == nil {
		delete(s.files, path)
	}
}

func (s *site) answer(with func(w http.ResponseWriter, q *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = with
}

// asked returns the requests since the last call.
func (s *site) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.requests
	s.requests = nil
	return list
}

func (s *site) note() string { return s.URL + "/prod/bundle.note" }

// memory is a floor that outlives a source.
type memory struct {
	state string
	err   error // of Raise
}

func (m *memory) Get() (string, error) { return m.state, nil }

func (m *memory) Raise(from, to string) error {
	if m.err != nil {
		return m.err
	}
	if m.state != from {
		return fmt.Errorf("it is %q and not %q", m.state, from)
	}
	m.state = to
	return nil
}

// watched is a source whose clock the test sets.
type watched struct {
	*bundleSource
	t     testing.TB
	clock time.Time
	told  []string // by OnWatchError
}

// open opens the bundle of the sites with what follows the "?".
func open(t testing.TB, o source.Options, options string, sites ...*site) *watched {
	t.Helper()
	spec := "bundle:" + sites[0].note() + "?" + options
	for _, s := range sites[1:] {
		spec += "&mirror=" + s.note()
	}
	specs, err := source.Schemes{Scheme}.Parse([]string{spec})
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t: t, clock: today}
	o.OnWatchError = func(err error) { w.told = append(w.told, err.Error()) }
	opened, err := source.Schemes{Scheme}.Open(specs[0], o)
	if err != nil {
		t.Fatal(err)
	}
	w.bundleSource = opened.(*bundleSource)
	w.now = func() time.Time { return w.clock }
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// look fetches as a follower does.
func (w *watched) look() (*source.Snapshot, error) { return w.Fetch(context.Background(), w.newest) }

// sees fetches, and wants a version and a content.
func (w *watched) sees(version, text string) *source.Snapshot {
	w.t.Helper()
	s, err := w.look()
	if err != nil {
		w.t.Fatal(err)
	}
	if s.Version != version || len(s.Files) != 1 || string(s.Files[0].Data) != text {
		w.t.Fatalf("the snapshot is %s with %q, want %s with %q", s.Version, s.Files[0].Data, version, text)
	}
	return s
}

// refuses fetches, and wants an error with these parts.
func (w *watched) refuses(parts ...string) {
	w.t.Helper()
	_ = w.fails(parts...)
}

// fails does the same, and returns the error.
func (w *watched) fails(parts ...string) error {
	w.t.Helper()
	s, err := w.look()
	if err == nil {
		w.t.Fatalf("the snapshot is %s, want an error with %q", s.Version, parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			w.t.Errorf("the error is %q, without %q", err, part)
		}
	}
	return err
}

// keys is the option for a file of keys.
func keysOption(file string) string { return "keys=" + url.PathEscape(file) }
