//go:build unix

package git

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// signing is an upstream whose commits are signed by real keys.
type signing struct {
	*upstream
	dir string // of the keys
}

func newSigning(t *testing.T, algorithm string) *signing {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("ssh-keygen is not installed")
	}
	s := &signing{newUpstream(t, algorithm), t.TempDir()}
	for _, name := range []string{"ada", "bob"} {
		s.keygen(name, "-t", "ed25519")
	}
	s.signAs("ada")
	return s
}

// keygen makes a key pair.
func (s *signing) keygen(name string, args ...string) {
	s.t.Helper()
	out, err := exec.Command("ssh-keygen", append([]string{"-q", "-N", "", "-C", name, "-f", s.key(name)}, args...)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

func (s *signing) key(name string) string { return filepath.Join(s.dir, name) }

func (s *signing) public(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(s.key(name) + ".pub")
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// signAs has commits signed with a key; "": with none.
func (s *signing) signAs(name string) {
	s.t.Helper()
	s.sign(name, name != "")
}

// signTagsAs has tags signed with a key that are to be signed, and commits not.
func (s *signing) signTagsAs(name string) {
	s.t.Helper()
	s.sign(name, false)
}

func (s *signing) sign(name string, commits bool) {
	s.t.Helper()
	s.configure(fmt.Sprintf("[gpg]\nformat = ssh\n[user]\nsigningKey = %s\n[commit]\ngpgSign = %v\n", s.key(name), commits))
}

// file writes a file beside the keys, and returns its path.
func (s *signing) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// allow writes the file of the allowed signers.
func (s *signing) allow(lines ...string) {
	s.t.Helper()
	s.file("signers", strings.Join(lines, "\n")+"\n")
}

// spec is a source that verifies commits by the file that allow writes.
func (s *signing) spec() string {
	return "git:" + s.upstream.file() + "?verify=commit&signers=" + filepath.Join(s.dir, "signers")
}

// replace has a ref name an object that is made of bytes.
func (s *signing) replace(kind, ref string, data []byte) {
	s.t.Helper()
	cmd := exec.Command("git", "-C", s.work, "hash-object", "-t", kind, "-w", "--stdin", "--literally")
	cmd.Env, cmd.Stdin = s.env, bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	s.git("update-ref", ref, strings.TrimSpace(string(out)))
}

// object is a commit or a tag as it is stored.
func (s *signing) object(kind, name string) []byte {
	s.t.Helper()
	cmd := exec.Command("git", "-C", s.work, "cat-file", kind, name)
	cmd.Env = s.env
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestSignedCommit(t *testing.T) {
	for _, algorithm := range []string{"sha1", "sha256"} {
		t.Run(algorithm, func(t *testing.T) {
			u := newSigning(t, algorithm)
			s := open(t, u.spec(), source.Options{})
			kinds := []string{"ed25519", "rsa", "ecdsa"}
			if algorithm == "sha256" && testing.Short() {
				kinds = kinds[:1] // what a key signs with does not depend on the hash of objects
			}
			for _, kind := range kinds {
				u.keygen(kind, "-t", kind)
				u.signAs(kind)
				u.allow("# comment", "", `"eve@example.com,ops" namespaces="git,file",valid-after="20200101Z" `+u.public(kind), "bob "+u.public("bob"))
				u.push("a.yaml", kind)
				one := fetch(t, s)
				if got := one.Meta["signer"]; text(one) != "a.yaml="+kind || !strings.HasPrefix(got, "eve@example.com,ops SHA256:") {
					t.Errorf("the snapshot has %q, signed by %q", text(one), got)
				}
				if fetch(t, s) != one {
					t.Error("an unchanged repository gives another snapshot")
				}
			}
		})
	}
}

// TestUntrustedCommits has one commit after another that must not be accepted.
func TestUntrustedCommits(t *testing.T) {
	u := newSigning(t, "sha1")
	u.push("a.yaml", "0")
	good := u.push("a.yaml", "1")
	u.allow("ada " + u.public("ada"))
	s := open(t, u.spec(), source.Options{})
	one := fetch(t, s)
	past, future := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
	day := func(at time.Time) string { return at.UTC().Format("20060102") + "Z" }
	type untrusted struct {
		options string // of ada in the file
		change  func(*signing)
		wants   []string
	}
	for name, c := range shmtest.Some(map[string]untrusted{
		"unsigned":      {"", func(u *signing) { u.signAs(""); u.push("a.yaml", "2") }, []string{"not signed"}},
		"unknown key":   {"", func(u *signing) { u.signAs("bob"); u.push("a.yaml", "2") }, []string{"not among the allowed signers", "SHA256:"}},
		"expired":       {`valid-before="` + day(past) + `"`, func(u *signing) { u.push("a.yaml", "2") }, []string{"expired at"}},
		"not yet valid": {`valid-after="` + day(future) + `"`, func(u *signing) { u.push("a.yaml", "2") }, []string{"not valid before"}},
		"expired and backdated": {`valid-before="` + day(past) + `"`, func(u *signing) {
			u.env = append(u.env, "GIT_COMMITTER_DATE="+past.Add(-48*time.Hour).Format(time.RFC3339))
			u.push("a.yaml", "2")
		}, []string{"expired at"}},
		"made after the key's end": {`valid-before="` + day(future) + `"`, func(u *signing) {
			u.env = append(u.env, "GIT_COMMITTER_DATE="+future.Add(48*time.Hour).Format(time.RFC3339))
			u.push("a.yaml", "2")
		}, []string{"it was made at", "expires at"}},
		"made before the key's beginning": {`valid-after="` + day(past) + `"`, func(u *signing) {
			u.env = append(u.env, "GIT_COMMITTER_DATE="+past.Add(-48*time.Hour).Format(time.RFC3339))
			u.push("a.yaml", "2")
		}, []string{"it was made at", "not valid before"}},
		"other namespace of the key": {`namespaces="file"`, func(u *signing) { u.push("a.yaml", "2") }, []string{"not for the namespace git"}},
		"other namespace of the signature": {"", func(u *signing) {
			u.signAs("")
			u.push("a.yaml", "2")
			data := u.object("commit", "HEAD")
			u.replace("commit", "refs/heads/main", withSignature(data, u.signature("file", data)))
		}, []string{"namespace"}},
		"tampered": {"", func(u *signing) {
			u.push("a.yaml", "2")
			data := u.object("commit", "HEAD")
			u.replace("commit", "refs/heads/main", bytes.Replace(data, []byte("author Ada"), []byte("author Eve"), 1))
		}, []string{"does not fit"}},
		"signature of another commit": {"", func(u *signing) {
			u.push("a.yaml", "2")
			before, _ := splitCommit("sha1", u.object("commit", "HEAD"))
			u.signAs("")
			u.push("a.yaml", "3")
			u.replace("commit", "refs/heads/main", withSignature(u.object("commit", "HEAD"), string(before.signature)))
		}, []string{"does not fit"}},
		"two signatures": {"", func(u *signing) {
			u.push("a.yaml", "2")
			data := u.object("commit", "HEAD")
			u.replace("commit", "refs/heads/main", withSignature(data, u.signature("git", data)))
		}, []string{"two signatures"}},
		"signature of the other hash": {"", func(u *signing) {
			u.push("a.yaml", "2")
			data := u.object("commit", "HEAD")
			u.replace("commit", "refs/heads/main", bytes.Replace(data, []byte("\ngpgsig "), []byte("\ngpgsig-sha256 x\ngpgsig "), 1))
		}, []string{"gpgsig-sha256"}},
		"other hash alone": {"", func(u *signing) {
			u.push("a.yaml", "2")
			data := u.object("commit", "HEAD")
			u.replace("commit", "refs/heads/main", bytes.Replace(data, []byte("\ngpgsig "), []byte("\ngpgsig-sha256 "), 1))
		}, []string{"gpgsig-sha256"}},
		"OpenPGP": {"", func(u *signing) {
			u.signAs("")
			u.push("a.yaml", "2")
			u.replace("commit", "refs/heads/main", withSignature(u.object("commit", "HEAD"), "-----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----\n"))
		}, []string{"OpenPGP", "gpg.format ssh"}},
		"garbage": {"", func(u *signing) {
			u.signAs("")
			u.push("a.yaml", "2")
			u.replace("commit", "refs/heads/main", withSignature(u.object("commit", "HEAD"), beginSignature+"\nAAAA\n"+endSignature+"\n"))
		}, []string{"cannot be read"}},
		"something after the signature": {"", func(u *signing) {
			u.signAs("")
			u.push("a.yaml", "2")
			data := u.object("commit", "HEAD")
			u.replace("commit", "refs/heads/main", withSignature(data, u.signature("git", data)+"more\n"))
		}, []string{"not one of an SSH key alone"}},
		"rewritten": {"", func(u *signing) {
			u.git("commit", "--quiet", "--amend", "-m", "another first")
		}, []string{"does not descend from", "statesync accept SOURCE "}},
		"older": {"", func(u *signing) { u.git("reset", "--quiet", "--hard", "HEAD~1") }, []string{"does not descend from", "older state"}},
		"another root": {"", func(u *signing) {
			u.git("checkout", "--quiet", "--orphan", "new")
			u.git("commit", "--quiet", "-m", "root")
			u.git("branch", "--force", "main", "new")
		}, []string{"does not descend from"}},
	}, 6) {
		t.Run(name, func(t *testing.T) {
			env := u.env
			u.allow("ada " + c.options + " " + u.public("ada"))
			c.change(u)
			refusal(t, s, append(c.wants, "commit "+u.git("rev-parse", "main"))...)
			if s.newest != one {
				t.Error("the snapshot before is lost")
			}
			u.env = env
			u.git("checkout", "--quiet", "--force", "-B", "main", good)
			u.signAs("ada")
		})
	}
	u.allow("ada " + u.public("ada"))
	if fetch(t, s) != one {
		t.Error("the good commit is another snapshot afterwards")
	}
}

// signature signs bytes with ada's key.
func (s *signing) signature(namespace string, data []byte) string {
	s.t.Helper()
	name := s.file("payload", string(data))
	_ = os.Remove(name + ".sig")
	if out, err := exec.Command("ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", s.key("ada"), name).CombinedOutput(); err != nil {
		s.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	text, err := os.ReadFile(name + ".sig")
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// withSignature puts a signature into a commit.
func withSignature(commit []byte, signature string) []byte {
	head, body, _ := bytes.Cut(commit, []byte("\n\n"))
	header := "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(signature, "\n"), "\n", "\n ")
	return fmt.Appendf(nil, "%s\n%s\n\n%s", head, header, body)
}

func TestRevokedKey(t *testing.T) {
	u := newSigning(t, "sha1")
	u.allow("ada "+u.public("ada"), "bob "+u.public("bob"))
	u.push("a.yaml", "1")
	revoked := u.file("revoked", u.public("bob")+"\n")
	s := open(t, u.spec()+"&revoked="+revoked, source.Options{})
	fetch(t, s)
	u.file("revoked", u.public("ada")+"\n")
	refusal(t, s, "is revoked", "any more")
	u.push("a.yaml", "2")
	refusal(t, s, "is revoked")
	u.file("revoked", "SSHKRL\n\x00")
	refusal(t, s, "binary revocation list")
	u.file("revoked", u.public("bob")+"\n")
	if got := text(fetch(t, s)); got != "a.yaml=2" {
		t.Errorf("the snapshot has %q", got)
	}
}

// A key that expires while it is followed is told without a new commit, and so is one that
// is allowed again.
func TestKeyExpiresWhileFollowed(t *testing.T) {
	u := newSigning(t, "sha1")
	u.allow("ada " + u.public("ada"))
	u.push("a.yaml", "1")
	server := u.serve()
	s := open(t, strings.Replace(u.spec(), u.upstream.file(), server.repository(), 1), source.Options{})
	one := fetch(t, s)
	u.allow(`ada valid-before="20200101Z" ` + u.public("ada"))
	refusal(t, s, "any more", "expired at")
	if err := os.Remove(filepath.Join(u.dir, "signers")); err != nil {
		t.Fatal(err)
	}
	refusal(t, s, "allowed signers", "no such file")
	u.allow("ada " + u.public("ada"))
	if fetch(t, s) != one {
		t.Error("a key that is valid again gives another snapshot")
	}
	u.signAs("bob")
	u.push("a.yaml", "2")
	refusal(t, s, "not among the allowed signers")
	u.allow("ada "+u.public("ada"), "bob "+u.public("bob"))
	if got := text(fetch(t, s)); got != "a.yaml=2" {
		t.Errorf("when the signer is allowed the snapshot has %q", got)
	}
}

func TestWeakSignatures(t *testing.T) {
	u := newSigning(t, "sha1")
	u.keygen("weak", "-t", "rsa", "-b", "1024")
	if _, err := parseSigners([]byte("weak " + u.public("weak"))); err == nil || !strings.Contains(err.Error(), "1024 bits") {
		t.Errorf("an RSA key of 1024 bits: %v", err)
	}
	// ssh-keygen makes no signature of RSA with SHA-1 any more, so that one is made here of
	// one with SHA-512: what it says it is is refused before it is looked at.
	u.keygen("rsa", "-t", "rsa", "-b", "2048")
	u.signAs("rsa")
	u.push("a.yaml", "1")
	object, err := splitCommit("sha1", u.object("commit", "HEAD"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := parseSigners([]byte("rsa " + u.public("rsa")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := object.verify(&signers{list: list}, time.Now()); err != nil {
		t.Fatal(err)
	}
	object.signature = relabel(t, object.signature)
	if _, err := object.verify(&signers{list: list}, time.Now()); err == nil || !strings.Contains(err.Error(), "ssh-rsa") {
		t.Errorf("RSA with SHA-1: %v", err)
	}
}

// relabel has a signature say that it is of RSA with SHA-1.
func relabel(t *testing.T, armored []byte) []byte {
	t.Helper()
	signature, err := sshsig.Unarmor(armored)
	if err != nil {
		t.Fatal(err)
	}
	signature.Signature.Format = ssh.KeyAlgoRSA
	return sshsig.Armor(signature)
}

func TestSignedTag(t *testing.T) {
	for _, algorithm := range []string{"sha1", "sha256"} {
		t.Run(algorithm, func(t *testing.T) {
			u := newSigning(t, algorithm)
			u.allow("ada " + u.public("ada"))
			u.signTagsAs("ada") // the commits are not
			u.push("a.yaml", "1")
			spec := "git:" + u.upstream.file() + "?ref=refs/tags/prod&verify=tag&signers=" + filepath.Join(u.dir, "signers")
			tag := func(name string, args ...string) {
				u.git(append([]string{"tag", "--force", "-m", "text", name}, args...)...)
			}
			tag("prod", "-s")
			s := open(t, spec, source.Options{})
			if got := fetch(t, s).Meta["signer"]; !strings.HasPrefix(got, "ada SHA256:") {
				t.Errorf("the signer is %q", got)
			}
			u.push("a.yaml", "2")
			tag("prod", "-s")
			if got := text(fetch(t, s)); got != "a.yaml=2" {
				t.Errorf("the snapshot has %q", got)
			}
			if algorithm == "sha256" && testing.Short() {
				return // what is refused does not depend on the hash of objects
			}

			u.push("a.yaml", "3")
			tag("test", "-s")
			u.git("update-ref", "refs/tags/prod", "refs/tags/test")
			refusal(t, s, "made as \"test\"")
			tag("prod")
			refusal(t, s, "not signed")
			u.git("update-ref", "refs/tags/prod", "main")
			refusal(t, s, "not annotated")
			u.signTagsAs("bob")
			tag("prod", "-s")
			refusal(t, s, "not among the allowed signers")
			u.signTagsAs("ada")
			tag("prod", "-s")
			data := u.object("tag", "prod")
			u.replace("tag", "refs/tags/prod", bytes.Replace(data, []byte("\n\ntext"), []byte("\n\nother"), 1))
			refusal(t, s, "does not fit")
			tag("prod", "-s", "main~1")
			fetch(t, s) // as before
			tag("prod", "-s", "main~2")
			refusal(t, s, "does not descend from")
			tag("prod", "-s")
			if got := text(fetch(t, s)); got != "a.yaml=3" {
				t.Errorf("the snapshot has %q", got)
			}
		})
	}
}

// kept is a Floor in memory that can fail.
type kept struct {
	state string
	err   error
}

func (k *kept) Get() (string, error) { return k.state, nil }

func (k *kept) Raise(from, to string) error {
	if k.err == nil && k.state == from {
		k.state = to
		return nil
	}
	return errors.Join(k.err, errors.New("not raised"))
}

func TestFloorOutlivesTheRepository(t *testing.T) {
	u := newSigning(t, "sha1")
	u.allow("ada " + u.public("ada"))
	u.push("a.yaml", "0")
	first := u.push("a.yaml", "1")
	floor := &kept{}
	start := func() *gitSource { return open(t, u.spec(), source.Options{Floor: floor}) } // a repository of its own
	fetch(t, start())
	if floor.state != first {
		t.Fatalf("the floor is %s, want %s", floor.state, first)
	}
	u.push("a.yaml", "2")
	second := u.push("a.yaml", "3")
	if got := text(fetch(t, start())); got != "a.yaml=3" || floor.state != second {
		t.Errorf("the snapshot has %q, and the floor is %s", got, floor.state)
	}

	u.git("reset", "--quiet", "--hard", first)
	refusal(t, start(), "does not descend from "+second)
	rewritten := u.push("a.yaml", "4")
	u.git("reflog", "expire", "--expire=now", "--all")
	u.git("prune", "--expire=now") // the server does not have the old history any more
	s := start()
	refusal(t, s, "does not descend from "+second, "accept SOURCE "+rewritten)
	refusal(t, s, "does not descend from "+second)
	floor.state = rewritten // as statesync accept does
	if got := text(fetch(t, s)); got != "a.yaml=4" {
		t.Errorf("the snapshot has %q", got)
	}
	third := u.push("a.yaml", "5")
	fetch(t, s)
	if floor.state != third {
		t.Errorf("the floor is %s, want %s", floor.state, third)
	}
}

// What cannot be stored as accepted is not accepted.
func TestFloorThatCannotBeStored(t *testing.T) {
	u := newSigning(t, "sha1")
	u.allow("ada " + u.public("ada"))
	first := u.push("a.yaml", "1")
	floor := &kept{}
	s := open(t, u.spec(), source.Options{Floor: floor})
	fetch(t, s)
	floor.err = errors.New("no space left on device")
	u.push("a.yaml", "2")
	refusal(t, s, "held back", "no space left")
	refusal(t, s, "held back", "no space left")
	if floor.state != first {
		t.Errorf("the floor is %s", floor.state)
	}
	floor.err = nil
	if got := text(fetch(t, s)); got != "a.yaml=2" {
		t.Errorf("the snapshot has %q", got)
	}
}

func TestParseSigners(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJKHZRLjNVKGBGZTfPiVdoc6kn/r1zVb4mvJVYUVVJNl"
	for line, want := range map[string]string{ // "": it is accepted
		"a " + key:                    "",
		"a,b@c " + key + " a comment": "",
		`"a b" ` + key:                "",
		`a namespaces="git" ` + key:   "",
		`a NAMESPACES="git" ` + key:   "",
		`a valid-after="20200101",valid-before="20300101120000Z" ` + key: "",
		"a cert-authority " + key:                  "cert-authority",
		`a cert-authority,namespaces="git" ` + key: "cert-authority",
		`a verify-required ` + key:                 "not known",
		`a namespaces="g*" ` + key:                 "patterns",
		`a namespaces="" ` + key:                   "not a list",
		`a namespaces=git ` + key:                  "quotes",
		`a namespaces ` + key:                      "not known",
		`a namespaces="git",namespaces="x" ` + key: "twice",
		`a namespaces="git"x ` + key:               "after an option",
		`a namespaces="git", ` + key:               "after an option",
		`a valid-after="2020" ` + key:              "not a time",
		`a valid-before="20201301" ` + key:         "not a time",
		`a namespaces="git ` + key:                 "quote",
		"a":                                        "no public key",
		"a " + key[:40]:                            "no public key",
		"a ssh-dss AAAA":                           "",
		key:                                        "not known",
	} {
		if strings.HasPrefix(line, "a ssh-dss") {
			want = "ssh-dss"
		}
		list, err := parseSigners([]byte("# first\n" + line + "\n"))
		switch {
		case want == "" && (err != nil || len(list) != 1 || list[0].line != 2):
			t.Errorf("%s: %v, %v", line, list, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), "2: ") || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: the error is %v, without %q", line, err, want)
		}
	}
	if _, err := parseSigners([]byte("# nothing\n")); err == nil {
		t.Error("a file without a signer is accepted")
	}
}

func FuzzParseSigners(f *testing.F) {
	f.Add([]byte(`a namespaces="git",valid-after="20200101Z" ssh-ed25519 AAAA` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseSigners(data)
		for _, s := range list {
			if err == nil && s.key == nil {
				t.Error("a signer has no key")
			}
		}
	})
}

func FuzzSplitCommit(f *testing.F) {
	f.Add([]byte("tree x\ncommitter a <b> 1 +0000\ngpgsig x\n y\n\nmessage"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := splitCommit("sha1", data)
		if err == nil && len(o.payload) >= len(data) {
			t.Errorf("%q has the payload %q", data, o.payload)
		}
	})
}
