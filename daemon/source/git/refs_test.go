//go:build unix

package git

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

func TestHighestVersionIsChosen(t *testing.T) {
	for pattern, names := range map[string][]string{ // the lowest first; "-": it is not followed
		"prod-*": {"-test-9", "-prod-", "-prod-x", "-prod-7-rc1", "-prod-1..2", "-prod-1-", "-prod-+5", "prod-0", "prod-2", "prod-10", "prod-20261128", "prod-100000000000000000000000"},
		"v*":     {"-v2.0.0-rc1", "-v2.0.0+build", "-vv3", "v0.9", "v1", "v1.0", "v1.0.9", "v1.0.10", "v1.2", "v1.02.0"},
		"*":      {"-main", "-", "2026-08-31", "2026-09-01", "2026-09-01-2", "2026-10-01"},
		"1*1":    {"-1", "-11", "101", "121"},
		"a/v*":   {"-v9", "-b/v9", "-a/v9/9", "a/v1"},
	} {
		r := &remote{ref: tagPrefix + pattern, newest: true}
		for i, name := range names {
			c := choice{remote: r}
			for _, n := range names[:i+1] {
				c.add(tagPrefix+strings.TrimPrefix(n, "-"), "x")
			}
			for _, n := range slices.Backward(names[:i+1]) {
				c.add(tagPrefix+strings.TrimPrefix(n, "-"), "x")
			}
			want := tagPrefix + name
			if strings.HasPrefix(name, "-") {
				want = ""
			}
			if c.best.name != want {
				t.Errorf("of %q with %s, %q is chosen, want %q", names[:i+1], pattern, c.best.name, want)
			}
		}
	}
	c := choice{remote: &remote{ref: tagPrefix + "v*", newest: true}}
	c.add("refs/tags/v1\n+refs/heads/x:refs/heads/y", "x") // it would be read as what to fetch
	c.add("refs/heads/v1", "x")
	if c.best.name != "" {
		t.Errorf("%q is chosen", c.best.name)
	}
}

// newTagging returns an upstream whose tags can be signed and whose commits are not, and the
// options of a source that follows its tags.
func newTagging(t *testing.T) (u *signing, spec string) {
	u = newSigning(t, "sha1")
	u.allow("ada " + u.public("ada"))
	u.signTagsAs("ada")
	return u, "?verify=tag=prod-*&signers=" + filepath.Join(u.dir, "signers")
}

func (s *signing) tag(args ...string) {
	s.t.Helper()
	s.git(append([]string{"tag", "--force", "-m", "text"}, args...)...)
}

func TestNewestTagIsFollowed(t *testing.T) {
	u, spec := newTagging(t)
	server := u.serve()
	s := open(t, "git:"+server.repository()+spec, source.Options{})
	u.push("a.yaml", "1")
	u.tag("test-1", "-s")
	refusal(t, s, "no tag \"prod-*\"", "push one")
	u.tag("prod-1", "-s")
	u.push("a.yaml", "2")
	u.tag("prod-2", "-s")
	two := fetch(t, s)
	commit := u.git("rev-parse", "HEAD")
	if want := "refs/tags/prod-2@sha1:" + commit; text(two) != "a.yaml=2" || two.Version != want || !strings.HasPrefix(two.Meta["signer"], "ada ") {
		t.Errorf("the snapshot %s has %q of %v, want %s", two.Version, text(two), two.Meta, want)
	}
	if _, err := s.repo.git.text(t.Context(), "cat-file", "-e", u.git("rev-parse", "prod-1")); !exited(err) {
		t.Errorf("an older tag was fetched: %v", err)
	}
	server.asked()
	u.push("a.yaml", "3")
	u.tag("test-3", "-s")
	u.tag("prod-3-rc1", "-s")
	if fetch(t, s) != two {
		t.Error("another tag gives another snapshot")
	}
	if got := server.asked(); !slices.Equal(got, []string{"POST /config.git/git-upload-pack"}) {
		t.Errorf("a poll made the requests %q", got)
	}
	u.tag("prod-10", "-s")
	if got := fetch(t, s); text(got) != "a.yaml=3" || !strings.HasPrefix(got.Version, "refs/tags/prod-10@") {
		t.Errorf("the snapshot %s has %q", got.Version, text(got))
	}
}

// A tag that is higher and may not be followed is a problem of the source, and what was
// followed before is not taken back.
func TestNewestTagThatIsRefused(t *testing.T) {
	u, spec := newTagging(t)
	u.push("a.yaml", "1")
	u.tag("prod-1", "-s")
	u.push("a.yaml", "2")
	u.tag("prod-2", "-s")
	floor := &kept{}
	s := open(t, "git:"+u.upstream.file()+spec, source.Options{Floor: floor})
	two := fetch(t, s)
	type refused struct {
		make func()
		want string
	}
	for name, c := range shmtest.Some(map[string]refused{
		"lightweight":  {func() { u.git("tag", "prod-9") }, "not annotated"},
		"not signed":   {func() { u.tag("prod-9") }, "not signed"},
		"another name": {func() { u.git("update-ref", "refs/tags/prod-9", "refs/tags/prod-2") }, "made as \"prod-2\""},
		"not a commit": {func() { u.tag("prod-9", "-s", "HEAD:a.yaml") }, "names no commit"},
		"older commit": {func() { u.tag("prod-9", "-s", "HEAD~1") }, "does not descend from"},
		"moved":        {func() { u.tag("prod-2", "-s", "HEAD~1") }, "does not descend from"},
		"deleted":      {func() { u.git("tag", "-d", "prod-2") }, "does not descend from"},
		"another signer": {func() {
			u.signTagsAs("bob")
			u.tag("prod-9", "-s")
			u.signTagsAs("ada")
		}, "not among the allowed signers"},
	}, 3) {
		t.Run(name, func(t *testing.T) {
			c.make()
			refusal(t, s, c.want)
			if s.newest != two || floor.state != two.Meta["commit"] {
				t.Errorf("the snapshot before is lost; the floor is %s", floor.state)
			}
			if strings.Contains(u.git("tag"), "prod-9") {
				u.git("tag", "-d", "prod-9")
			}
			u.tag("prod-2", "-s", "HEAD")
			if got := fetch(t, s); text(got) != "a.yaml=2" || got.Digest != two.Digest {
				t.Errorf("without it the snapshot has %q", text(got))
			}
		})
	}
	u.tag("prod-3")
	restarted := open(t, "git:"+u.upstream.file()+spec, source.Options{Floor: floor})
	refusal(t, restarted, "not signed")
	u.push("a.yaml", "3")
	u.tag("prod-3", "-s")
	if got := text(fetch(t, restarted)); got != "a.yaml=3" {
		t.Errorf("the next tag has %q", got)
	}
}

// Of many tags one is fetched, and too many are refused.
func TestManyTags(t *testing.T) {
	u, spec := newTagging(t)
	u.push("a.yaml", "1")
	u.tag("prod-100000", "-s")
	u.push("a.yaml", "2")
	list := func(n int) {
		t.Helper()
		commit := u.git("rev-parse", "HEAD")
		var refs strings.Builder
		for i := range n {
			fmt.Fprintf(&refs, "%s refs/tags/prod-%05d\n", commit, i)
		}
		if err := os.WriteFile(filepath.Join(u.served, "packed-refs"), []byte(refs.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list(10_000)
	server := u.serve()
	s := open(t, "git:"+server.repository()+spec, source.Options{})
	one := fetch(t, s)
	if got, err := s.repo.git.text(t.Context(), "count-objects", "-v"); text(one) != "a.yaml=1" || err != nil || !strings.Contains(got, "in-pack: 4\n") {
		t.Errorf("the snapshot has %q, and the repository %s, %v; want a tag, a commit, a tree and a blob", text(one), got, err)
	}
	server.asked()
	if got := fetch(t, s); got != one || len(server.asked()) != 1 {
		t.Error("among many tags a poll is not enough")
	}
	list(maxTags) // and one that is loose
	s.Recheck()
	refusal(t, s, "more than 50000 tags", "narrow the pattern")
}
