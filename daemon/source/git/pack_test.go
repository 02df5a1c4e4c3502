//go:build unix

package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// asksForPack reports whether a request is that of direct. The body can be read again.
func asksForPack(q *http.Request) bool {
	if q.UserAgent() != agent {
		return false
	}
	body, _ := io.ReadAll(q.Body)
	q.Body = io.NopCloser(bytes.NewReader(body))
	return bytes.Contains(body, []byte("command=fetch"))
}

// The repository has the same, whether git fetch or one request brought it: a branch that
// moves on, back, to another history, and after the history was cut off.
func TestPackIsWhatGitFetches(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1", "prod/b.yaml", "1")
	server := u.serve()
	o := source.Options{StateDir: filepath.Join(t.TempDir(), "state")}
	s := open(t, "git:"+server.repository(), o)
	fetch(t, s)
	step := func(what, want string) {
		t.Helper()
		server.asked()
		if got := text(fetch(t, s)); got != want {
			t.Errorf("%s: the snapshot has %q, want %q", what, got, want)
		}
		if got := server.asked(); slices.Contains(got, "GET /config.git/info/refs") {
			t.Errorf("%s: git fetched it: %q", what, got)
		}
		if _, err := s.repo.git.text(t.Context(), "fsck", "--strict", "--full"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	second := u.push("a.yaml", "2")
	step("one commit", "a.yaml=2\nprod/b.yaml=1")
	for n := range 3 {
		u.push("prod/b.yaml", fmt.Sprint(n))
	}
	step("three commits", "a.yaml=2\nprod/b.yaml=2")
	u.git("reset", "--quiet", "--hard", second)
	step("back", "a.yaml=2\nprod/b.yaml=1")
	u.git("checkout", "--quiet", "--orphan", "new")
	u.write("a.yaml", "4")
	u.git("commit", "--quiet", "--all", "-m", "anew")
	u.git("checkout", "--quiet", "-B", "main")
	step("another history", "a.yaml=4\nprod/b.yaml=1")
	s.repo.shrink(t.Context(), s.seen.commit)
	u.push("a.yaml", "5")
	step("after the history was cut off", "a.yaml=5\nprod/b.yaml=1")

	s.Recheck() // git fetches what is there
	if got := text(fetch(t, s)); got != "a.yaml=5\nprod/b.yaml=1" {
		t.Errorf("after Recheck the snapshot has %q", got)
	}
	u.push("a.yaml", "6")
	step("after git fetch", "a.yaml=6\nprod/b.yaml=1")
	again := open(t, "git:"+server.repository(), o)
	u.push("a.yaml", "7")
	for range 2 {
		if got := text(fetch(t, again)); got != "a.yaml=7\nprod/b.yaml=1" {
			t.Errorf("after a restart the snapshot has %q", got)
		}
	}
}

// A change arrives whatever is wrong with the answer that should have the pack: git fetches
// it then.
func TestOddPacksAreLeftToGit(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "0")
	server := u.serve()
	s := open(t, "git:"+server.repository(), source.Options{})
	fetch(t, s)
	old := ""
	result := func(change func(body string) string) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			whole := httptest.NewRecorder()
			server.backend.ServeHTTP(whole, q)
			w.Header().Set("Content-Type", whole.Header().Get("Content-Type"))
			body := whole.Body.String()
			if !strings.Contains(body, pkt("packfile\n")) {
				t.Errorf("the server answers %q", body)
			}
			_, _ = io.WriteString(w, change(body))
			old = body
		}
	}
	n := 0
	answers := server.odd("<html>")
	maps.Copy(answers, map[string]http.HandlerFunc{
		"empty": result(func(string) string { return "" }),
		"error": result(func(string) string { return pkt("ERR go away\n") + "0000" }),
		"half":  result(func(body string) string { return body[:len(body)/2] }),
		"shallow": result(func(body string) string {
			_, pack, _ := strings.Cut(body, pkt("packfile\n"))
			return pkt("shallow-info\n") + pkt("shallow "+strings.Repeat("a", 40)+"\n") + "0001" + pkt("packfile\n") + pack
		}),
		"flipped bit": result(func(body string) string {
			b := []byte(body)
			b[len(b)-40] ^= 1
			return string(b)
		}),
		"error in the pack": result(func(string) string { return pkt("packfile\n") + pkt("\x03no\n") + "0000" }),
		"no pack":           result(func(string) string { return pkt("packfile\n") + "0000" }),
		"part behind it":    result(func(body string) string { return strings.TrimSuffix(body, "0000") + "0001" }),
		"talks without end": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, err := io.WriteString(w, pkt("packfile\n"))
			for line := pkt("\x02" + strings.Repeat("x", 60_000)); err == nil; {
				_, err = io.WriteString(w, line)
			}
		},
		// Of a change before this one; only the first case has none.
		"another pack": result(func(string) string { return old }),
	})
	for name, answer := range shmtest.Some(answers, 5) {
		t.Run(name, func(t *testing.T) {
			n++
			commit := u.push("a.yaml", fmt.Sprint(n))
			odd := false
			server.answer(func(w http.ResponseWriter, q *http.Request) {
				if asksForPack(q) {
					odd = true
					answer(w, q)
					return
				}
				server.backend.ServeHTTP(w, q)
			})
			if got := text(fetch(t, s)); got != fmt.Sprintf("a.yaml=%d", n) || string(s.seen.commit) != commit {
				t.Errorf("the snapshot has %q of %s, want the commit %s", got, s.seen.commit, commit)
			}
			if !odd {
				t.Error("the pack was not asked for")
			}
			server.answer(nil)
		})
	}
}

// packOf is the pack in an answer.
func packOf(answer []byte) ([]byte, error) {
	p, err := newPack(bytes.NewReader(answer))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(p)
}

func TestPackOfAnswer(t *testing.T) {
	for _, c := range []struct{ answer, want string }{
		{pkt("packfile\n") + pkt("\x01PA") + pkt("\x02counting\n") + pkt("\x01CK") + "0000", "PACK"},
		{pkt("shallow-info\n") + "0001" + pkt("packfile\n") + pkt("\x01PACK") + "0000", "PACK"},
		{pkt("packfile\n") + pkt("\x01PACK"), ""},
		{pkt("packfile\n") + pkt("\x01PACK")[:6], ""},
		{pkt("packfile\n") + pkt("\x01PACK") + "0001", ""},
		{pkt("packfile\n") + pkt("\x01PACK") + "0004", ""},
		{pkt("packfile\n") + pkt("\x04PACK") + "0000", ""},
		{pkt("packfile\n") + "-001", ""},
		{pkt("packfile\n") + "0003", ""},
		{pkt("packfile\n") + "ffff" + strings.Repeat("\x01", 1<<16), ""},
		{pkt("acknowledgments\n") + pkt("NAK\n") + "0000", ""},
		{"0000", ""},
		{"", ""},
	} {
		got, err := packOf([]byte(c.answer))
		if (err == nil) != (c.want != "") || err == nil && string(got) != c.want {
			t.Errorf("of %.60q the pack is %q, %v, want %q", c.answer, got, err, c.want)
		}
	}
}

func FuzzPack(f *testing.F) {
	f.Add([]byte(pkt("packfile\n") + pkt("\x01PACK") + pkt("\x02text\n") + "0000"))
	f.Add([]byte(pkt("shallow-info\n") + "0001" + pkt("packfile\n") + pkt("\x01PACK") + "0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pack, err := packOf(data)
		if len(pack) > len(data) {
			t.Errorf("of %d bytes the pack has %d", len(data), len(pack))
		}
		if err == nil && !bytes.Contains(data, []byte("packfile\n")) {
			t.Errorf("%q is taken for a pack", data)
		}
		if err != nil && errors.Is(err, io.EOF) {
			t.Errorf("the error is %v", err)
		}
	})
}
