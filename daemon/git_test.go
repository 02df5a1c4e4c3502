//go:build unix

package daemon

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/plan"
)

// repository is a Git repository with a work tree.
type repository struct {
	*setup
	work string
}

// gitSetup is a setup whose source is the branch main of a repository. Its test runs alone:
// between fork and exec, a child holds the lock of a daemon that another test has just
// stopped.
func gitSetup(t *testing.T) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	s := newSetupBeside(t)
	r := &repository{setup: s, work: s.dir}
	r.git("init", "--quiet", "--template=", "--initial-branch=main")
	s.opt.Sources = sources(t, "git:file://"+s.dir+"/.git?interval=100ms")
	return r
}

func (r *repository) git(args ...string) string {
	r.Helper()
	cmd := exec.Command("git", append([]string{"-C", r.work, "-c", "gc.auto=0"}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit commits a.yaml, and returns the commit.
func (r *repository) commit(text string) string {
	r.Helper()
	r.put("a.yaml", text)
	r.git("add", "--all", ".")
	r.git("commit", "--quiet", "-m", "change a.yaml")
	return r.git("rev-parse", "HEAD")
}

// A commit becomes a generation, which is recorded with the commit's author. What does
// not become one leaves the last good generation.
func TestGitSource(t *testing.T) {
	r := gitSetup(t)
	r.commit("x: 1\n")
	d := r.run()
	r.sees(map[string]string{"a": `{"x":1}`})
	good := r.commit("x: 2\n")
	p := r.sees(map[string]string{"a": `{"x":2}`})
	if want := "main@sha1:" + good; p.revision != want {
		t.Errorf("the revision is %s, want %s", p.revision, want)
	}
	meta := d.State().Layers[0].Meta
	if meta["commit"] != good || meta["author"] != "Ada <ada@example.com>" || meta["subject"] != "change a.yaml" {
		t.Errorf("the state has the commit %v", meta)
	}
	await(t, "the record", func() bool {
		rec, ok, err := d.State().Past().Newest()
		return err == nil && ok && rec.Layers[0].Meta["commit"] == good
	})

	bad := r.commit("x: [\n")
	await(t, "the refusal", func() bool { return d.State().Problem != "" })
	if s := d.State(); !strings.HasPrefix(s.Problem, "a.yaml:") || s.Layers[0].Newest != "main@sha1:"+bad || s.Layers[0].Meta["commit"] != good {
		t.Errorf("the problem is %q of %+v", s.Problem, s.Layers[0])
	}
	r.git("rm", "--quiet", "a.yaml")
	r.git("commit", "--quiet", "-m", "nothing is left")
	await(t, "the other refusal", func() bool { return strings.Contains(d.State().Problem, "holds no config files") })
	r.commit("x: 3\n")
	r.sees(map[string]string{"a": `{"x":3}`})
	await(t, "the end of the problem", func() bool { return d.State().Converged })
}

// A host that boots without a network has the last good generation.
func TestGitSourceThatCannotBeReached(t *testing.T) {
	r := gitSetup(t)
	good := r.commit("x: 1\n")
	if err := r.once(); err != nil {
		t.Fatal(err)
	}
	r.loseRegion()
	away := r.work + ".away"
	if err := os.Rename(r.work, away); err != nil {
		t.Fatal(err)
	}
	d := r.run()
	r.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the problem", func() bool { return d.State().Problem != "" })
	if meta := d.State().Layers[0].Meta; meta["commit"] != good {
		t.Errorf("the state has the commit %v", meta)
	}
	if err := os.Rename(away, r.work); err != nil {
		t.Fatal(err)
	}
	r.commit("x: 2\n")
	d.reload(t)
	r.sees(map[string]string{"a": `{"x":2}`})
}

// A value has the commit that last changed its file, also in an earlier generation, and
// after a restart that has nothing but the history.
func TestCommitOfAValue(t *testing.T) {
	r := gitSetup(t)
	r.put("b.yaml", "y: 1\n")
	r.commit("x: 1\n")
	d := r.run()
	r.sees(map[string]string{"a": `{"x":1}`, "b": `{"y":1}`})
	second := r.commit("x: 2\n")
	r.sees(map[string]string{"a": `{"x":2}`, "b": `{"y":1}`})
	r.git("rm", "--quiet", "b.yaml")
	third := r.commit("x: 2\nz: 3\n")
	r.sees(map[string]string{"a": `{"x":2,"z":3}`})
	commit := func(origins []plan.Origin, err error) string {
		t.Helper()
		if err != nil || len(origins) != 1 {
			t.Fatalf("%v, %v", origins, err)
		}
		if c := origins[0].Commit; c != nil {
			return c.Name + " " + c.Author + " " + c.Subject
		}
		return ""
	}
	const by = " Ada <ada@example.com> change a.yaml"
	check := func(live string) {
		t.Helper()
		await(t, "the record", func() bool { s := d.State(); return s.Converged && s.Generation == 3 && s.History.Newest == 3 })
		if got := commit(d.State().Why("a", "x")); got != live {
			t.Errorf("the live value was changed by %q, want %q", got, live)
		}
		for g, want := range map[uint64]string{1: "", 2: second + by, 3: third + by} {
			if got := commit(d.State().Past().Why(t.Context(), g, "a", "x")); got != want {
				t.Errorf("the value of generation %d was changed by %q, want %q", g, got, want)
			}
		}
		if got := commit(d.State().Past().Why(t.Context(), 2, "b", "y")); got != "" {
			t.Errorf("b was changed by %q, which no fetch brought", got)
		}
	}
	check(third + by)
	d.stop(t)
	if err := os.RemoveAll(filepath.Join(r.opt.StateDir, "sources")); err != nil {
		t.Fatal(err)
	}
	d = r.run()
	check(third + by)
	d.stop(t)
	r.put("a.yaml", "# a comment\nx: 2\nz: 3\n")
	r.git("commit", "--quiet", "-am", "no new generation")
	if err := os.RemoveAll(filepath.Join(r.opt.StateDir, "sources")); err != nil {
		t.Fatal(err)
	}
	d = r.run()
	check("") // the records have another content of the file
}

func TestSourcesHaveDirectoriesOfTheirOwn(t *testing.T) {
	r := gitSetup(t)
	r.commit("x: 1\n")
	url := "git:file://" + r.work + "/.git"
	r.opt.Sources = sources(t, url, "other="+url+"?prefix=b/", "dir:"+r.work)
	if err := r.once(); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(r.opt.StateDir, "sources", "*", "*"))
	if err != nil || len(found) != 2 {
		t.Errorf("the state directory has %v, %v; want a repository of each git: source", found, err)
	}
	r.opt.Sources = sources(t, url)
	if err := r.once(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(r.opt.StateDir, "sources", "*")); err != nil || len(left) != 1 {
		t.Errorf("the state directory has %v, %v; want that of the source that is left", left, err)
	}
	info, err := os.Stat(filepath.Join(r.opt.StateDir, "sources"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the sources' directory: %v, %v", info, err)
	}
}

// A trial writes nothing to the state directory.
func TestTrialOfAGitSource(t *testing.T) {
	r := gitSetup(t)
	r.commit("x: 1\n")
	trial, err := Try(t.Context(), r.opt, nil)
	if err != nil || trial.Refused {
		t.Fatalf("%v, %v", err, trial)
	}
	mustNotExist(t, r.opt.StateDir)
}

func TestGitSourceIsPolledAtItsOwnInterval(t *testing.T) {
	d := New(Options{Sources: sources(t, "git:https://example.com/x.git", "dir:/x", "dir:/y?interval=2s"), Resync: time.Second})
	for i, want := range []time.Duration{10 * time.Second, time.Second, 2 * time.Second} {
		got, poll := d.interval(d.opt.Sources[i])
		if got != want || (poll != nil) != (i == 0) {
			t.Errorf("source %d is looked at every %v, want %v", i, got, want)
		}
	}
}

// A trigger has the sources looked at that are polled, and no others.
func TestTrigger(t *testing.T) {
	r := gitSetup(t)
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "b.yaml"), []byte("y: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.opt.Sources = sources(t, "git:file://"+r.work+"/.git?interval=1h", "dir:"+other+"?interval=1h")
	r.commit("x: 1\n")
	d := r.run()
	d.Trigger() // while it starts, too
	r.sees(map[string]string{"a": `{"x":1}`, "b": `{"y":1}`})
	looks := d.State().Layers[1].Looks
	r.commit("x: 2\n")
	d.Trigger()
	r.sees(map[string]string{"a": `{"x":2}`, "b": `{"y":1}`})
	if s := d.State(); s.Layers[1].Looks != looks {
		t.Errorf("the directory was looked at %d times, and before the trigger %d times", s.Layers[1].Looks, looks)
	}
}

// sign has the commits signed, and the source verify them.
func (r *repository) sign() {
	r.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		r.Skip("ssh-keygen is not installed")
	}
	dir := r.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		r.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		r.Fatal(err)
	}
	signers := filepath.Join(dir, "signers")
	if err := os.WriteFile(signers, append([]byte("ada@example.com "), public...), 0o600); err != nil {
		r.Fatal(err)
	}
	r.git("config", "gpg.format", "ssh")
	r.git("config", "user.signingKey", key)
	r.git("config", "commit.gpgSign", "true")
	r.opt.Sources = sources(r, "git:file://"+r.work+"/.git?interval=100ms&verify=commit&signers="+signers)
}

// A branch that verify= holds to its history can be rewritten once an operator accepts it,
// and only to what was accepted. Restarts change nothing about that.
func TestAcceptCommit(t *testing.T) {
	r := gitSetup(t)
	r.sign()
	first := r.commit("x: 1\n")
	d := r.run()
	r.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the signer", func() bool { return strings.HasPrefix(d.State().Layers[0].Meta["signer"], "ada@example.com SHA256:") })
	r.commit("x: 2\n")
	r.sees(map[string]string{"a": `{"x":2}`})

	r.git("reset", "--quiet", "--hard", first)
	second := r.commit("x: 3\n")
	refused := func(d *running) {
		t.Helper()
		await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "does not descend from") })
	}
	refused(d)
	d.stop(t)
	d = r.run()
	refused(d)

	accept := func(source, commit string) (Reply, error) {
		return d.Do(t.Context(), Request{Command: AcceptCommit{source, commit}, By: By{UID: 7}, Why: "a mistake"})
	}
	for _, c := range []AcceptCommit{{"other", second}, {"git", second[:12]}, {"git", ""}} {
		if _, err := accept(c.Source, c.Commit); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if reply, err := d.Do(t.Context(), Request{Command: AcceptCommit{"git", second}, Preview: true}); err != nil || reply.Act != 0 {
		t.Errorf("a preview: %+v, %v", reply, err)
	}
	refused(d)
	reply, err := accept("git", second)
	if err != nil || reply.Act == 0 || reply.Refused != "" {
		t.Fatalf("%+v, %v", reply, err)
	}
	r.sees(map[string]string{"a": `{"x":3}`})
	entries, err := d.State().Past().Audit(0, 1)
	if err != nil || len(entries) != 1 || entries[0].Command != "accept git "+second || entries[0].By.UID != 7 || entries[0].Done.IsZero() {
		t.Errorf("the audit has %+v, %v", entries, err)
	}

	d.stop(t)
	r.git("reset", "--quiet", "--hard", first) // which was accepted long ago
	d = r.run()
	refused(d)
	if p := r.look(); p.configs["a"] != `{"x":3}` {
		t.Errorf("readers have %v", p.configs)
	}
}

func TestAcceptCommitOfASourceThatKeepsNoHistory(t *testing.T) {
	r := gitSetup(t)
	commit := r.commit("x: 1\n")
	d := r.run()
	r.sees(map[string]string{"a": `{"x":1}`})
	if _, err := d.Do(t.Context(), Request{Command: AcceptCommit{"git", commit}}); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// floors are what was accepted last, by source.
func (r *running) floors(t *testing.T) map[string]history.Floor {
	t.Helper()
	floors, err := r.State().Past().Floors()
	if err != nil {
		t.Fatal(err)
	}
	return floors
}

// Once what was accepted last is dropped, a branch may be rewritten as it likes; then it is
// held to its history again. A commit must be signed all the same.
func TestResetFloorOfGit(t *testing.T) {
	r := gitSetup(t)
	r.sign()
	first := r.commit("x: 1\n")
	d := r.run()
	r.sees(map[string]string{"a": `{"x":1}`})
	second := r.commit("x: 2\n")
	r.sees(map[string]string{"a": `{"x":2}`})
	identity := "git:file://" + r.work + "/.git?ref=refs/heads/main"
	if f := d.floors(t); len(f) != 1 || f[identity].State != second || d.State().Layers[0].Floor != identity {
		t.Fatalf("kept is %v", f)
	}
	reset := func(source string, preview bool) (Reply, error) {
		return d.Do(t.Context(), Request{Command: ResetFloor{source}, By: By{UID: 7}, Why: "begun anew", Preview: preview})
	}
	for _, source := range []string{"", "other", "dir:/x"} {
		if _, err := reset(source, false); !errors.Is(err, ErrInvalid) {
			t.Errorf("of %q: %v", source, err)
		}
	}
	r.git("reset", "--quiet", "--hard", first)
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "does not descend from") })
	if reply, err := reset("git", true); err != nil || reply.Act != 0 || d.floors(t)[identity].State != second {
		t.Errorf("a preview: %+v, %v", reply, err)
	}
	reply, err := reset("git", false)
	if err != nil || reply.Act == 0 || reply.Refused != "" {
		t.Fatalf("%+v, %v", reply, err)
	}
	r.sees(map[string]string{"a": `{"x":1}`})
	if f := d.floors(t); f[identity].State != first {
		t.Errorf("kept is %v", f)
	}
	entries, err := d.State().Past().Audit(0, 1)
	if err != nil || len(entries) != 1 || entries[0].Command != "floors reset "+identity || entries[0].By.UID != 7 || entries[0].Outcome != "dropped "+second {
		t.Errorf("the audit has %+v, %v", entries, err)
	}

	r.git("config", "commit.gpgSign", "false")
	r.commit("x: 3\n")
	await(t, "the other refusal", func() bool { return strings.Contains(d.State().Problem, "is not signed") })
	if reply, err := reset(identity, false); err != nil || !strings.Contains(reply.Refused, "is not signed") {
		t.Errorf("%+v, %v", reply, err)
	}
	if f := d.floors(t); len(f) != 0 {
		t.Errorf("kept is %v", f)
	}
}
