//go:build unix

package git

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/statesync/statesync/daemon/internal/webtest"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/git/githttp"
)

// childEnv names what a child process of a test does.
const childEnv = "GIT_SOURCE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		fmt.Fprintln(os.Stderr, fetchForever(os.Args[1:]))
		os.Exit(1)
	}
	if _, err := exec.LookPath("git"); err != nil {
		fmt.Println("git is not installed: the tests of daemon/source/git are skipped")
		return
	}
	webtest.Main(m)
}

// upstream is a repository with a work tree, which is served.
type upstream struct {
	t      testing.TB
	work   string
	served string // "…/config.git", a symlink to the repository
	env    []string
}

func newUpstream(t testing.TB, algorithm string) *upstream {
	t.Helper()
	dir := t.TempDir()
	u := &upstream{t: t, work: filepath.Join(dir, "work"), served: filepath.Join(dir, "config.git")}
	u.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}
	u.configure("")
	u.run("init", "--quiet", "--template=", "--initial-branch=main", "--object-format="+algorithm, u.work)
	if err := os.Symlink(filepath.Join(u.work, ".git"), u.served); err != nil {
		t.Fatal(err)
	}
	return u
}

// configure writes Git's configuration for the commits. They start no maintenance, which
// would be one process more for each of them.
func (u *upstream) configure(more string) {
	u.t.Helper()
	text := "[gc]\nauto = 0\n[maintenance]\nauto = false\n" + more
	if err := os.WriteFile(filepath.Join(filepath.Dir(u.work), ".gitconfig"), []byte(text), 0o644); err != nil {
		u.t.Fatal(err)
	}
}

// run runs git, and returns what it writes.
func (u *upstream) run(args ...string) string {
	u.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = u.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		u.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (u *upstream) git(args ...string) string {
	u.t.Helper()
	return u.run(append([]string{"-C", u.work}, args...)...)
}

// write writes files, by pairs of path and content; without content a file is removed.
func (u *upstream) write(pairs ...string) {
	u.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		name := filepath.Join(u.work, pairs[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			u.t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(pairs[i+1]), 0o644); err != nil {
			u.t.Fatal(err)
		}
	}
}

// push commits everything to the branch that is served, and returns the commit.
func (u *upstream) push(pairs ...string) string {
	u.t.Helper()
	u.write(pairs...)
	u.git("add", "--all", ".")
	u.git("commit", "--quiet", "--allow-empty", "-m", fmt.Sprintf("change %d files", len(pairs)/2))
	commit, err := os.ReadFile(filepath.Join(u.served, "refs", "heads", "main"))
	if err != nil {
		u.t.Fatal(err)
	}
	return strings.TrimSpace(string(commit))
}

// file is the repository's URL on this host.
func (u *upstream) file() string { return "file://" + u.served }

// server serves a repository as hosts of repositories do.
type server struct {
	*httptest.Server
	backend  http.Handler // git
	mu       sync.Mutex
	requests []string         // "POST /config.git/git-upload-pack"
	instead  http.HandlerFunc // answers in the place of git; nil: git does
}

// serve serves over TLS, with the certificate that trustServers has told.
func (u *upstream) serve() *server {
	u.t.Helper()
	handler, err := githttp.Handler(filepath.Dir(u.served))
	if err != nil {
		u.t.Skip(err)
	}
	s := &server{backend: handler}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, q.Method+" "+q.URL.Path)
		instead := s.instead
		s.mu.Unlock()
		if instead != nil {
			instead(w, q)
			return
		}
		handler.ServeHTTP(w, q)
	}))
	u.t.Cleanup(s.Close)
	return s
}

func (s *server) answer(with http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = with
}

// asked returns the requests since the last call.
func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.requests
	s.requests = nil
	return list
}

func (s *server) repository() string { return s.URL + "/config.git" }

// behind makes a server, and a source that follows it and lacks its newest commit, with
// which a.yaml is 2.
func behind(t testing.TB) (*server, *gitSource) {
	t.Helper()
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	server := u.serve()
	s := open(t, "git:"+server.repository(), source.Options{})
	fetch(t, s)
	u.push("a.yaml", "2")
	return server, s
}

// open opens a source that the test's end closes. Its state directory is kept between
// calls with the same one in the options.
func open(t testing.TB, spec string, o source.Options) *gitSource {
	t.Helper()
	specs, err := source.Schemes{Scheme}.Parse([]string{spec})
	if err != nil {
		t.Fatal(err)
	}
	if o.StateDir == "" {
		o.StateDir = filepath.Join(t.TempDir(), "state")
	}
	s, err := source.Schemes{Scheme}.Open(specs[0], o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(*gitSource)
}

// fetch fetches as a follower does.
func fetch(t testing.TB, s *gitSource) *source.Snapshot {
	t.Helper()
	snapshot, err := s.Fetch(context.Background(), s.newest)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// refusal is the error of a Fetch that has to fail.
func refusal(t testing.TB, s *gitSource, wants ...string) {
	t.Helper()
	_, err := s.Fetch(context.Background(), s.newest)
	if err == nil {
		t.Fatalf("fetched, and should have failed: %v", wants)
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %q, without %q", err, want)
		}
	}
}

// text is a snapshot's files: "path=content" in lines.
func text(s *source.Snapshot) string {
	var lines []string
	for _, f := range s.Files {
		lines = append(lines, f.Path+"="+string(f.Data))
	}
	return strings.Join(lines, "\n")
}
