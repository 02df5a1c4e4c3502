//go:build unix

package git

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

func TestPollAsksForTheRefAlone(t *testing.T) {
	for _, algorithm := range []string{"sha1", "sha256"} {
		t.Run(algorithm, func(t *testing.T) {
			u := newUpstream(t, algorithm)
			u.push("a.yaml", "1")
			u.git("branch", "main2")
			server := u.serve()
			s := open(t, "git:"+server.repository(), source.Options{})
			one := fetch(t, s)
			server.asked()
			for range 3 {
				if fetch(t, s) != one {
					t.Error("an unchanged repository gives another snapshot")
				}
			}
			poll := "POST /config.git/git-upload-pack"
			if got := server.asked(); !slices.Equal(got, []string{poll, poll, poll}) {
				t.Errorf("three polls made the requests %q", got)
			}
			u.push("a.yaml", "2")
			if got := text(fetch(t, s)); got != "a.yaml=2" {
				t.Errorf("after a change the snapshot has %q", got)
			}
			if got, want := server.asked(), []string{poll, poll}; !slices.Equal(got, want) {
				t.Errorf("a change was fetched by the requests %q, want %q", got, want)
			}

			s.Recheck()
			fetch(t, s)
			if got := server.asked(); slices.Equal(got, []string{poll}) || len(got) < 2 {
				t.Errorf("after Recheck it made the requests %q", got)
			}
			s.repo.pulled = time.Now().Add(-trustTime)
			fetch(t, s)
			if got := server.asked(); len(got) < 2 {
				t.Errorf("after %v without a fetch it made the requests %q", trustTime, got)
			}
		})
	}
}

// What a poll names may be gone when git asks for it: then git asks for the ref.
func TestPolledCommitIsGone(t *testing.T) {
	server, s := behind(t)
	server.answer(func(w http.ResponseWriter, q *http.Request) {
		if q.UserAgent() != agent {
			server.backend.ServeHTTP(w, q)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		fmt.Fprint(w, pkt(strings.Repeat("a1", 20)+" refs/heads/main\n")+"0000")
	})
	if got := text(fetch(t, s)); got != "a.yaml=2" {
		t.Errorf("the snapshot has %q", got)
	}
}

func TestPollOfATagIsOfTheTag(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	u.git("tag", "-a", "v1", "-m", "one")
	server := u.serve()
	s := open(t, "git:"+server.repository()+"?ref=refs/tags/v1", source.Options{})
	fetch(t, s)
	server.asked()
	fetch(t, s)
	if got := server.asked(); len(got) != 1 {
		t.Errorf("a poll made the requests %q", got)
	}
}

// odd are answers that no server of Git gives. page is one that is not of the right type.
func (s *server) odd(page string) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, s.URL+"/elsewhere", http.StatusMovedPermanently)
		},
		"unauthorized": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "no", http.StatusUnauthorized)
		},
		"page":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) },
		"broken": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
}

// TestHostileAnswers has a server answer all sorts of nonsense: what was fetched before
// stays, each answer is an error in bounded time, and the next good answer is used.
func TestHostileAnswers(t *testing.T) {
	u := newUpstream(t, "sha1")
	commit := u.push("a.yaml", "1")
	server := u.serve()
	other := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) })
	result := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			kind := "application/x-git-upload-pack-result"
			if q.Method == http.MethodGet {
				kind = "application/x-git-upload-pack-advertisement"
			}
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	same := pkt(commit + " refs/heads/main\n")
	s := open(t, "git:"+server.repository(), source.Options{})
	fetch(t, s)
	answers := server.odd("<html>" + same + "0000")
	maps.Copy(answers, map[string]http.HandlerFunc{
		"missing":     http.NotFound,
		"odd status":  other,
		"empty":       result(""),
		"flush":       result("0000"),
		"garbage":     result("\x00\xff\xfe garbage \x1b[31m"),
		"truncated":   result(same[:20]),
		"no flush":    result(same),
		"other ref":   result(pkt(commit+" refs/heads/main2\n") + "0000"),
		"twice":       result(same + same + "0000"),
		"other lines": result(pkt("ERR go away\n") + "0000"),
		"huge line":   result("ffff" + strings.Repeat("x", 100)),
		"huge": func(w http.ResponseWriter, q *http.Request) {
			result("")(w, q)
			block := []byte(strings.Repeat(same, 1000))
			for range 100 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		},
	})
	for name, answer := range shmtest.Some(answers, 8) {
		t.Run(name, func(t *testing.T) {
			server.answer(answer)
			_, err := s.Fetch(t.Context(), s.newest)
			if err == nil {
				t.Fatal("the answer is taken for one of git")
			}
			if !errors.Is(err, source.ErrUnreachable) && !strings.Contains(err.Error(), "has no refs/heads/main") {
				t.Errorf("the error is not one of reaching the server: %v", err)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b\x00") {
				t.Errorf("the error is %q", err)
			}
			server.answer(nil)
			if got := text(fetch(t, s)); got != "a.yaml=1" {
				t.Errorf("afterwards the snapshot has %q", got)
			}
		})
	}
}

// A server that answered and now gives no answer is asked no more than that.
func TestServerThatIsTooBusy(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	server := u.serve()
	s := open(t, "git:"+server.repository(), source.Options{})
	fetch(t, s)
	busy := map[string]http.HandlerFunc{
		"503":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) },
		"429":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusTooManyRequests) },
		"ends": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for _, polls := range []bool{true, false} {
		for name, answer := range busy {
			fetch(t, s) // by a poll that is answered
			s.answers = polls
			server.answer(answer)
			server.asked()
			if _, err := s.Fetch(t.Context(), s.newest); !errors.Is(err, source.ErrUnreachable) {
				t.Errorf("%s: the error is %v", name, err)
			}
			byGit := slices.ContainsFunc(server.asked(), func(q string) bool { return strings.HasPrefix(q, "GET ") })
			if byGit == polls {
				t.Errorf("%s: asked by git: %v, where polls were answered: %v", name, byGit, polls)
			}
			server.answer(nil)
		}
	}
	u.push("a.yaml", "2")
	if got := text(fetch(t, s)); got != "a.yaml=2" {
		t.Errorf("afterwards the snapshot has %q", got)
	}
}

// Nor is one that does not answer in time, or not to its end, whether it answered before
// or not.
func TestServerThatIsTooSlow(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"poll", "answer", "pack"} {
		t.Run(what, func(t *testing.T) {
			if what == "pack" && testing.Short() {
				t.Skip("takes 20 s; without -short")
			}
			t.Parallel()
			server, s := behind(t)
			server.answer(func(w http.ResponseWriter, q *http.Request) {
				if asksForPack(q) != (what == "pack") {
					server.backend.ServeHTTP(w, q)
					return
				}
				if what == "answer" {
					w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
					_ = http.NewResponseController(w).Flush()
				}
				<-q.Context().Done()
			})
			server.asked()
			if _, err := s.Fetch(t.Context(), s.newest); !errors.Is(err, source.ErrUnreachable) {
				t.Errorf("the error is %v", err)
			}
			for _, q := range server.asked() {
				if strings.HasPrefix(q, "GET ") {
					t.Errorf("git asked: %s", q)
				}
			}
			server.answer(nil)
			if got := text(fetch(t, s)); got != "a.yaml=2" {
				t.Errorf("afterwards the snapshot has %q", got)
			}
		})
	}
}

func TestHangingServer(t *testing.T) {
	server, s := behind(t)
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	polls := false
	server.answer(func(w http.ResponseWriter, q *http.Request) {
		if polls && !asksForPack(q) {
			server.backend.ServeHTTP(w, q)
			return
		}
		arrived <- struct{}{}
		select {
		case <-release:
		case <-q.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	for _, what := range []string{"poll", "pack", "git"} {
		ctx, cancel := context.WithCancel(t.Context())
		polls = what == "pack"
		if what == "git" {
			s.Recheck()
		}
		ended := make(chan error)
		go func() {
			_, err := s.Fetch(ctx, s.newest)
			ended <- err
		}()
		<-arrived
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a Fetch goes on after its context")
		}
	}
}

func TestCredentials(t *testing.T) {
	const password = "s3cret-t0ken"
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	server := u.serve()
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("bot:"+password))
	handler := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != want {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, "not with %s", q.Header.Get("Authorization"))
			return
		}
		handler.ServeHTTP(w, q)
	})
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
	}
	refusal(t, open(t, "git:"+server.repository(), source.Options{}), "credentials=FILE")
	s := open(t, "git:"+server.repository()+"?credentials="+file, source.Options{})
	refusal(t, s, "no such file")
	write("bot:"+password+"\n", 0o644)
	refusal(t, s, "every user", "chmod")
	write(password, 0o600)
	refusal(t, s, "USER:PASSWORD")
	write("bot:wrong-"+password+"\n", 0o600)
	_, err := s.Fetch(t.Context(), nil)
	if err == nil || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), base64.StdEncoding.EncodeToString([]byte("bot:wrong-"+password))) {
		t.Errorf("with a wrong password the error is %v", err)
	}
	refusal(t, s, "correct the file of credentials=")
	write("bot:"+password+"\n", 0o600)
	fetch(t, s)
	server.asked()
	fetch(t, s)
	if got := server.asked(); len(got) != 1 {
		t.Errorf("a poll with credentials made the requests %q", got)
	}
}

// TestRedirectKeepsCredentials has a server redirect to another one, which must not see
// the credentials.
func TestRedirectKeepsCredentials(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	server := u.serve()
	other := u.serve()
	server.answer(func(w http.ResponseWriter, q *http.Request) {
		http.Redirect(w, q, other.URL+q.URL.RequestURI(), http.StatusTemporaryRedirect)
	})
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("bot:secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", "") // git is asked without verifying below
	s := open(t, "git:"+server.repository()+"?credentials="+file, source.Options{})
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	insecure := settings
	settings = append(slices.Clone(settings), [2]string{"http.sslVerify", "false"})
	t.Cleanup(func() { settings = insecure })
	refusal(t, s, "redirects are not followed")
	if got := other.asked(); got != nil {
		t.Errorf("the other server was asked %q", got)
	}
}

func TestWrongCertificate(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	server := u.serve()
	t.Setenv("SSL_CERT_FILE", "")
	s := open(t, "git:"+server.repository(), source.Options{})
	refusal(t, s, "certificate")
}

func TestFindRef(t *testing.T) {
	name := strings.Repeat("a", 40)
	line := pkt(name + " refs/heads/main\n")
	main := &remote{ref: "refs/heads/main"}
	for answer, want := range map[string]oid{
		line + "0000": oid(name),
		pkt(name+" refs/heads/main2\n") + line + "0000":         oid(name),
		pkt(name+" refs/heads/main peeled:"+name+"\n") + "0000": oid(name),
		pkt(name+" refs/heads/main") + "0000":                   oid(name),
		line:                                                    "",
		line + "0000x":                                          "",
		line + "0001":                                           "",
		"0000":                                                  "",
		"":                                                      "",
		"0003":                                                  "",
		"-004":                                                  "",
		pkt("unborn refs/heads/main\n") + "0000":                "",
		pkt(strings.ToUpper(name)+" refs/heads/main\n") + "0000": "",
	} {
		got, err := main.find(strings.NewReader(answer))
		if got.tip != want || (err == nil) != (want != "") {
			t.Errorf("in %q it finds %q, %v, want %q", answer, got, err, want)
		}
	}
}

func FuzzFindRef(f *testing.F) {
	f.Add([]byte(pkt(strings.Repeat("a", 40)+" refs/heads/main\n") + "0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := (&remote{ref: "refs/heads/main"}).find(bytes.NewReader(data)); err == nil && !bytes.Contains(data, []byte(string(got.tip)+" refs/heads/main")) {
			t.Errorf("it found %q in %q", got, data)
		}
	})
}
