//go:build unix

package git

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/headroom"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// link makes a symlink in the work tree.
func (u *upstream) link(target, name string) {
	u.t.Helper()
	name = filepath.Join(u.work, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.Symlink(target, name)); err != nil {
		u.t.Fatal(err)
	}
}

func TestSymlinksLeadToFilesOfTheSource(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.write("team/a.yaml", "a: 1", ".shared.yaml", "s: 1")
	u.link("a.yaml", "team/b.yaml")
	u.link("./team/../team/a.yaml", "c.yaml")
	u.push()
	want := "c.yaml=a: 1\nteam/a.yaml=a: 1\nteam/b.yaml=a: 1"
	if got := text(fetch(t, open(t, "git:"+u.file(), source.Options{}))); got != want {
		t.Errorf("the snapshot has\n%s\nwant\n%s", got, want)
	}
}

func TestRefusedTrees(t *testing.T) {
	small := source.Options{MaxFile: 100, MaxTotal: 150, MaxFiles: 6}
	u := newUpstream(t, "sha1")
	good := u.push("a.yaml", "1")
	s := open(t, "git:"+u.file(), small)
	one := fetch(t, s)
	type refused struct {
		make  func(*upstream)
		wants []string
	}
	for name, c := range shmtest.Some(map[string]refused{
		"link out":         {func(u *upstream) { u.link("../a.yaml", "b.yaml") }, []string{"b.yaml", "leads out of the source"}},
		"absolute link":    {func(u *upstream) { u.link("/etc/passwd", "b.yaml") }, []string{"b.yaml", "not a relative path"}},
		"link to link":     {func(u *upstream) { u.link("a.yaml", "b.yaml"); u.link("b.yaml", "c.yaml") }, []string{"c.yaml", "another symlink"}},
		"link to a folder": {func(u *upstream) { u.write("team/x.yaml", "x"); u.link("team", "b.yaml") }, []string{"b.yaml", "not a file"}},
		"link to nothing":  {func(u *upstream) { u.link("x.yaml", "b.yaml") }, []string{"b.yaml", "not in the source"}},
		"link through a link": {
			func(u *upstream) { u.write("team/x.yaml", "x"); u.link("team", "t"); u.link("t/x.yaml", "b.yaml") },
			[]string{"b.yaml", "another symlink", "t: "},
		},
		"large link": {func(u *upstream) { u.link(strings.Repeat("x/", 2047)+"a", "b"); u.link(strings.Repeat("y", 200), "c") }, []string{"b:", "c:"}},
		"submodule": {func(u *upstream) {
			u.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",mod")
		}, []string{"mod", "submodule"}},
		"LFS":            {func(u *upstream) { u.write("b.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n") }, []string{"b.yaml", "LFS"}},
		"not UTF-8":      {func(u *upstream) { u.write("b\xff.yaml", "x") }, []string{`b\xff.yaml`, "UTF-8"}},
		"large file":     {func(u *upstream) { u.write("b.yaml", strings.Repeat("x", 101)) }, []string{"b.yaml", "101 bytes", "--max-image"}},
		"large together": {func(u *upstream) { u.write("b.yaml", strings.Repeat("x", 90), "c.yaml", strings.Repeat("x", 90)) }, []string{"bytes together", "150"}},
		"many":           {func(u *upstream) { u.write("b", "", "c", "", "d/e", "", "d/f", "", ".g", "") }, []string{"more than 6"}},
		"empty":          {func(u *upstream) { u.git("rm", "-q", "--cached", "a.yaml"); os.Remove(filepath.Join(u.work, "a.yaml")) }, []string{source.ErrEmpty.Error(), "--allow-empty"}},
	}, 5) {
		t.Run(name, func(t *testing.T) {
			c.make(u)
			if name == "submodule" {
				u.git("commit", "-q", "-m", "module")
			} else {
				u.push()
			}
			refusal(t, s, c.wants...)
			seen := s.seen
			refusal(t, s, c.wants...)
			if seen.commit == "" || s.seen != seen {
				t.Error("a refused commit is read again and again")
			}
			u.git("reset", "-q", "--hard", good)
		})
	}
	if got := fetch(t, s); got != one {
		t.Errorf("afterwards the snapshot has %q", text(got))
	}
}

func TestDeepFoldersAreRefused(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push(strings.Repeat("d/", 66)+"x", "")
	refusal(t, open(t, "git:"+u.file(), source.Options{}), "folders deep")
}

func TestManyBadFilesAreToldInOneError(t *testing.T) {
	u := newUpstream(t, "sha1")
	for _, name := range []string{"x", "y", "team/z"} {
		u.link("/etc/passwd", name)
	}
	u.push()
	_, err := open(t, "git:"+u.file(), source.Options{}).Fetch(t.Context(), nil)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 3 {
		t.Fatalf("the error is %v", err)
	}
	for _, err := range joined.Unwrap() {
		var file *source.FileError
		if !errors.As(err, &file) {
			t.Errorf("%v is not of a file", err)
		}
	}
}

func TestNoMemoryIsTriedAgain(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	full := true
	s := open(t, "git:"+u.file(), source.Options{Room: func(int64) error {
		if full {
			return headroom.ErrFull
		}
		return nil
	}})
	if _, err := s.Fetch(t.Context(), nil); !errors.Is(err, headroom.ErrFull) {
		t.Fatalf("the error is %v", err)
	}
	full = false
	fetch(t, s)
}

func TestHooksFiltersAndAttributesHaveNoEffect(t *testing.T) {
	u := newUpstream(t, "sha1")
	ran := filepath.Join(t.TempDir(), "ran")
	u.push("a.yaml", "a: $Id$\n", ".gitattributes", "*.yaml ident text eol=crlf filter=x\n")
	s := open(t, "git:"+u.file(), source.Options{})
	fetch(t, s)
	hooks := filepath.Join(s.repo.git.dir, "hooks")
	if err := os.MkdirAll(hooks, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"reference-transaction", "post-merge", "post-update", "pre-auto-gc", "post-checkout"} {
		if err := os.WriteFile(filepath.Join(hooks, hook), []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	u.push("b.yaml", "b")
	if got := text(fetch(t, s)); got != "a.yaml=a: $Id$\n\nb.yaml=b" {
		t.Errorf("the snapshot has %q", got)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a hook ran")
	}
}
