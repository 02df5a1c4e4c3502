//go:build unix

package git

import (
	"slices"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/dir"
)

func TestSnapshotIsTheCommit(t *testing.T) {
	for _, algorithm := range []string{"sha1", "sha256"} {
		t.Run(algorithm, func(t *testing.T) {
			u := newUpstream(t, algorithm)
			first := u.push("a.yaml", "a: 1", "team/b.yaml", "b: 1", ".hidden", "x", "notes.yaml~", "x")
			s := open(t, "git:"+u.file(), source.Options{})
			one := fetch(t, s)
			if got, want := text(one), "a.yaml=a: 1\nteam/b.yaml=b: 1"; got != want {
				t.Errorf("the snapshot has\n%s\nwant\n%s", got, want)
			}
			if want := "main@" + algorithm + ":" + first; one.Version != want {
				t.Errorf("the version is %s, want %s", one.Version, want)
			}
			meta := one.Meta
			if meta["commit"] != first || meta["author"] != "Ada <ada@example.com>" || meta["subject"] == "" || meta["committed-at"] == "" {
				t.Errorf("the commit is described as %v", meta)
			}
			if fetch(t, s) != one {
				t.Error("an unchanged repository gives another snapshot")
			}
			second := u.push("a.yaml", "a: 2")
			two := fetch(t, s)
			if two.Meta["commit"] != second || text(two) != "a.yaml=a: 2\nteam/b.yaml=b: 1" {
				t.Errorf("after a change: %s of %v", text(two), two.Meta)
			}
			if two.Files[1] != one.Files[1] {
				t.Error("an unchanged file is another one")
			}
		})
	}
}

func TestSnapshotHasTheDigestOfTheDirectory(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "a: 1", "team/b.yaml", "b: 1", "lost+found/c.yaml", "x", "#d.yaml#", "x", ".git-blame", "x", source.AcceptFile, "sha256:1")
	d, err := dir.Open(u.work, source.Options{NoWatch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	want, err := d.Fetch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := fetch(t, open(t, "git:"+u.file(), source.Options{})); got.Digest != want.Digest {
		t.Errorf("the repository has\n%s\nand the directory\n%s", text(got), text(want))
	}
}

func TestPathIsTheRoot(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("prod/a.yaml", "a: 1", "test/a.yaml", "a: 2", "b.yaml", "")
	s := open(t, "git:"+u.file()+"?path=prod/", source.Options{})
	if got := text(fetch(t, s)); got != "a.yaml=a: 1" {
		t.Errorf("path=prod/ has %q", got)
	}
	refusal(t, open(t, "git:"+u.file()+"?path=stage", source.Options{}), "no folder stage", "path=")
	refusal(t, open(t, "git:"+u.file()+"?path=b.yaml", source.Options{}), "no folder")
}

func TestRefIsFollowedAlone(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "main")
	u.git("branch", "main2")
	u.git("tag", "-a", "v1", "-m", "one")
	s := open(t, "git:"+u.file(), source.Options{})
	fetch(t, s)
	u.push("a.yaml", "newer")
	for ref, want := range map[string]string{"main": "a.yaml=newer", "main2": "a.yaml=main", "refs/tags/v1": "a.yaml=main"} {
		s := open(t, "git:"+u.file()+"?ref="+ref, source.Options{})
		if got := text(fetch(t, s)); got != want {
			t.Errorf("ref=%s has %q, want %q", ref, got, want)
		}
		if fetch(t, s) != s.newest {
			t.Errorf("ref=%s is not followed", ref)
		}
	}
	u.git("update-ref", "refs/tags/blob", u.git("rev-parse", "main:a.yaml"))
	refusal(t, open(t, "git:"+u.file()+"?ref=refs/tags/blob", source.Options{}), "names no commit")
	refusal(t, open(t, "git:"+u.file()+"?ref=mian", source.Options{}), "refs/heads/mian", "ref=")
}

func TestRewrittenBranchIsFollowed(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	u.push("a.yaml", "2")
	s := open(t, "git:"+u.file(), source.Options{})
	fetch(t, s)
	u.git("reset", "--quiet", "--hard", "HEAD~1")
	u.push("a.yaml", "3")
	if got := text(fetch(t, s)); got != "a.yaml=3" {
		t.Errorf("after a rewrite the snapshot has %q", got)
	}
}

// With ff=only the floor alone decides: it outlives the repository, and an operator can
// set it.
func TestRewrittenBranchIsRefusedWithFFOnly(t *testing.T) {
	u := newUpstream(t, "sha1")
	first := u.push("a.yaml", "1")
	floor := &kept{}
	start := func() *gitSource { return open(t, "git:"+u.file()+"?ff=only", source.Options{Floor: floor}) } // a repository of its own
	s := start()
	fetch(t, s)
	second := u.push("a.yaml", "2")
	if got := text(fetch(t, s)); got != "a.yaml=2" || floor.state != second {
		t.Errorf("after a change the snapshot has %q, and the floor is %s", got, floor.state)
	}
	u.git("reset", "--quiet", "--hard", first)
	refusal(t, s, "does not descend from "+second)
	rewritten := u.push("a.yaml", "3")
	refusal(t, start(), "does not descend from "+second, "accept SOURCE "+rewritten)
	floor.state = rewritten // as statesync accept does
	if got := text(fetch(t, s)); got != "a.yaml=3" {
		t.Errorf("when the rewrite is accepted the snapshot has %q", got)
	}
	for spec, want := range map[string]source.FloorKind{"": source.NoFloor, "?ff=only": source.CommitFloor} {
		specs, err := source.Schemes{Scheme}.Parse([]string{"git:" + u.file() + spec})
		if err != nil {
			t.Fatal(err)
		}
		if got := (source.Schemes{Scheme}).Floor(specs[0]); got != want {
			t.Errorf("a source with %q has a floor: %v, want %v", spec, got, want)
		}
	}
}

func TestUnwantedFilesAreKnownByName(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1", "large.bin", string(make([]byte, 2000)))
	s := open(t, "git:"+u.file(), source.Options{MaxFile: 1000, Wanted: func(path string) bool { return path != "large.bin" }})
	snapshot := fetch(t, s)
	i := slices.IndexFunc(snapshot.Files, func(f *source.File) bool { return f.Path == "large.bin" })
	if i < 0 || snapshot.Files[i].Data != nil || snapshot.Files[i].Sum != (source.Digest{}) {
		t.Error("a file that is not wanted was read, or is missing")
	}
}

func TestHistoryIsCutOff(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "0")
	s := open(t, "git:"+u.file(), source.Options{})
	fetch(t, s)
	s.repo.changes = maxChanges - 3
	for _, content := range []string{"1", "2", "3", "4"} {
		u.push("a.yaml", content)
		if got := text(fetch(t, s)); got != "a.yaml="+content {
			t.Fatalf("the snapshot has %q", got)
		}
	}
	count, err := s.repo.git.text(t.Context(), "rev-list", "--count", fetchedRef)
	if err != nil || count != "2" && count != "3" {
		t.Errorf("%s commits are kept, %v", count, err)
	}
	if s.repo.changes >= 3 {
		t.Errorf("after the history was cut off there are %d changes", s.repo.changes)
	}
}
