//go:build unix

package git

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/source"
)

// changed is what a snapshot says of its files: "path=subject" in lines.
func changed(s *source.Snapshot) string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(s.Commits)) {
		lines = append(lines, name+"="+s.Commits[name].Subject)
	}
	return strings.Join(lines, "\n")
}

// pushAs is push with a subject.
func (u *upstream) pushAs(subject string, pairs ...string) string {
	u.t.Helper()
	u.push(pairs...)
	u.git("commit", "--quiet", "--amend", "--allow-empty", "-m", subject)
	return u.git("rev-parse", "HEAD")
}

func TestLastChangeOfAFile(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.pushAs("root", "prod/a.yaml", "1", "prod/b.yaml", "1", "prod/c ü.yaml", "1", "test/a.yaml", "1")
	u.pushAs("first", "prod/a.yaml", "2")
	state := t.TempDir()
	start := func() *gitSource {
		return open(t, "git:"+u.file()+"?path=prod", source.Options{StateDir: state})
	}
	s := start()
	expect := func(want ...string) {
		t.Helper()
		if got := changed(fetch(t, s)); got != strings.Join(want, "\n") {
			t.Errorf("the files were changed by\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
	}
	expect() // of the one commit that is fetched first nothing is known
	commit := u.pushAs("second \x1b[31m", "prod/a.yaml", "3")
	u.pushAs("elsewhere", "test/a.yaml", "2", "prod/c ü.yaml", "2")
	one := fetch(t, s)
	if got := one.Commits["a.yaml"]; got == nil || got.Name != commit || got.Author != "Ada <ada@example.com>" || got.Time.IsZero() || strings.Contains(got.Subject, "\x1b") {
		t.Errorf("a.yaml was changed by %+v, want %s", got, commit)
	}
	u.pushAs("third", "prod/a.yaml", "4")
	u.pushAs("fourth", "prod/a.yaml", "5", "prod/b.yaml", "2")
	expect("a.yaml=fourth", "b.yaml=fourth", "c ü.yaml=elsewhere")
	s = start() // what the repository has of the history is enough
	expect("a.yaml=fourth", "b.yaml=fourth", "c ü.yaml=elsewhere")

	u.git("checkout", "--quiet", "-b", "side", "HEAD~1")
	u.pushAs("on a branch", "prod/c ü.yaml", "3")
	u.git("checkout", "--quiet", "main")
	u.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
	expect("a.yaml=fourth", "b.yaml=fourth", "c ü.yaml=on a branch")
	u.git("reset", "--quiet", "--hard", "HEAD~1") // c is as it was, and it is not said since when
	expect("a.yaml=fourth", "b.yaml=fourth")
}

// What is cut off is left out.
func TestLastChangesAreBounded(t *testing.T) {
	whole := "\x01" + strings.Repeat("a", 40) + "\x00Ada <a@b>\x002026-11-28T10:00:00Z\x00subject\x00\na\x00b\x00"
	for i := range len(whole) + 1 {
		last := lastChanges(whole[:i], "")
		if n := strings.Count(whole[:i], "\x00"); len(last) != max(0, n-4) {
			t.Errorf("%q has %d files", whole[:i], len(last))
		}
	}
}
