package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/statesync/statesync/cmd/internal/cli"
)

// bundles is a directory with the configs, keys and bundles of a test.
type bundles struct {
	t               *testing.T
	dir, from, www  string
	ops, other, all string // prefixes of keys, and a file with both
}

func newBundles(t *testing.T) *bundles {
	t.Helper()
	dir := t.TempDir()
	b := &bundles{t: t, dir: dir}
	for name, path := range map[string]*string{"from": &b.from, "www": &b.www, "ops": &b.ops, "other": &b.other, "all.txt": &b.all} {
		*path = filepath.Join(dir, name)
	}
	if err := os.Mkdir(b.from, 0o755); err != nil {
		t.Fatal(err)
	}
	b.put("1")
	var keys string
	for _, prefix := range []string{b.ops, b.other} {
		o := call(t, "", "bundle", "keygen", "--name", filepath.Base(prefix)+"@example.com", "--out", prefix)
		o.expect(t, exitOK, "*", prefix+".key is secret")
		keys += o.stdout
	}
	if err := os.WriteFile(b.all, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// put changes the configs.
func (b *bundles) put(text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.from, "a.yaml"), []byte("x: "+text+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundles) build(more ...string) outcome {
	b.t.Helper()
	return call(b.t, "", append([]string{"bundle", "build", b.from, "--key", b.ops + ".key", "--out", b.www}, more...)...)
}

func (b *bundles) note() string { return filepath.Join(b.www, "bundle.note") }

// line is what build and sign print.
func (b *bundles) line(o outcome, want string) {
	b.t.Helper()
	o.expect(b.t, exitOK, "*")
	if !regexp.MustCompile(want).MatchString(o.stdout) {
		b.t.Errorf("it prints %q, want %s", o.stdout, want)
	}
}

func TestKeygen(t *testing.T) {
	b := newBundles(t)
	for name, mode := range map[string]os.FileMode{b.ops + ".key": 0o600, b.ops + ".pub": 0o644} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	before, err := os.ReadFile(b.ops + ".key")
	if err != nil {
		t.Fatal(err)
	}
	call(t, "", "bundle", "keygen", "--name", "ops@example.com", "--out", b.ops).expect(t, exitNo, "", "file exists")
	if after, err := os.ReadFile(b.ops + ".key"); err != nil || string(after) != string(before) {
		t.Errorf("the key was replaced: %v", err)
	}
	if err := os.Remove(b.ops + ".key"); err != nil {
		t.Fatal(err)
	}
	call(t, "", "bundle", "keygen", "--name", "ops@example.com", "--out", b.ops).expect(t, exitNo, "", ".pub: file exists")
	if _, err := os.Stat(b.ops + ".key"); err == nil {
		t.Error("there is a private key without its public one")
	}
	next := filepath.Join(b.dir, "next")
	call(t, "", "bundle", "keygen", "--name", "ops@example.com", "--out", next, "--keys", b.all).expect(t, exitOK, "*", "secret")
	call(t, "", "bundle", "keygen", "--name", "a+b", "--out", next+"2").expect(t, cli.ExitUsage, "", "not a signer's name")
	call(t, "", "bundle", "keygen", "--name", "a").expect(t, cli.ExitUsage, "", "--out is missing")
}

func TestBuild(t *testing.T) {
	b := newBundles(t)
	b.build().expect(t, cli.ExitUsage, "", "--origin is missing")
	b.build("--origin", "a b").expect(t, cli.ExitUsage, "", "has the origin")
	b.line(b.build("--origin", "example.com/prod"), `bundle\.note: example\.com/prod#1, expires .*Z, signed by ops@example\.com, 1 file\n`)
	b.build().expect(t, exitOK, "*")
	b.put("2")
	b.line(b.build(), `example\.com/prod#3,`)
	b.line(b.build("--sequence", "7", "--expires", "1h"), `#7,`)
	b.build("--sequence", "6").expect(t, exitNo, "", "has the sequence 7 already")
	b.line(b.build("--sequence", "7"), `#7,`) // the same content, for longer
	b.put("3")
	b.build("--sequence", "7").expect(t, exitNo, "", "sequence 7 has another content already; give --sequence 8")
	b.build("--origin", "example.com/test").expect(t, exitNo, "", "is of example.com/prod")
	b.build("--sequence", "0").expect(t, cli.ExitUsage, "", "the first is 1")
	b.build("--expires", "0s").expect(t, cli.ExitUsage, "", "--expires")
	call(t, "", "bundle", "verify", b.www, "--keys", b.ops+".pub").expect(t, exitOK, "*")

	archives, err := filepath.Glob(filepath.Join(b.www, "*.tar.gz"))
	if err != nil || len(archives) != 2 { // of the two contents
		t.Errorf("there are %v, %v", archives, err)
	}
	if entries, err := os.ReadDir(b.www); err != nil || len(entries) != 3 {
		t.Errorf("there are %v, %v", entries, err)
	}
	if err := os.Remove(filepath.Join(b.from, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	b.build().expect(t, exitNo, "", "holds no config files")
	if err := os.Chmod(b.ops+".key", 0o640); err != nil {
		t.Fatal(err)
	}
	b.build().expect(t, exitNo, "", "other users can open the private key")
	if err := os.WriteFile(b.note(), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.put("1")
	if err := os.Chmod(b.ops+".key", 0o600); err != nil {
		t.Fatal(err)
	}
	b.build().expect(t, exitNo, "", "is not a signed note; move it away")
}

func TestSignAndVerifyBundle(t *testing.T) {
	b := newBundles(t)
	b.build("--origin", "example.com/prod").expect(t, exitOK, "*")
	verify := func(more ...string) outcome {
		t.Helper()
		return call(t, "", append([]string{"bundle", "verify", b.www, "--keys", b.all}, more...)...)
	}
	verify().expect(t, exitOK, "*")
	verify("--threshold", "2").expect(t, exitNo, "", "signed by ops@example.com, and threshold=2")
	b.line(call(t, "", "bundle", "sign", b.note(), "--key", b.other+".key"), `signed by ops@example\.com, other@example\.com`)
	b.line(verify("--threshold", "2"), `is good until .*, verified as signed by ops@example\.com, other@example\.com, 1 file`)
	verify("--origin", "example.com/test").expect(t, exitNo, "", "is of example.com/prod and not of")
	call(t, "", "bundle", "verify", b.www, "--keys", b.other+".key").expect(t, exitNo, "", "is a private key")
	call(t, "", "bundle", "verify", b.www).expect(t, cli.ExitUsage, "", "--keys is missing")
	call(t, "", "bundle", "sign", b.www, "--key", b.ops+".key", "--expires", "2h").expect(t, exitOK, "*")
	verify().expect(t, exitOK, "*")
	verify("--threshold", "2").expect(t, exitNo, "", "threshold=2")

	show := call(t, "", "bundle", "show", b.www, "-o", "json")
	var shown shownBundle
	if err := json.Unmarshal([]byte(show.stdout), &shown); err != nil || shown.Sequence != 1 || shown.Origin != "example.com/prod" || len(shown.Signers) != 1 {
		t.Errorf("it shows %+v, %v", shown, err)
	}
	b.line(call(t, "", "bundle", "show", b.note()), `sequence    1\n(.*\n)*signed by   ops@example\.com \(not verified\)`)

	server := httptest.NewServer(http.FileServer(http.Dir(b.www)))
	defer server.Close()
	b.line(call(t, "", "bundle", "verify", server.URL+"/bundle.note", "--keys", b.all), "is good until")
	b.line(call(t, "", "bundle", "show", server.URL+"/bundle.note"), "sequence")
	call(t, "", "bundle", "show", server.URL+"/nothing").expect(t, exitNo, "", "404")
	call(t, "", "bundle", "show", "http://example.com/x").expect(t, cli.ExitUsage, "", "this host only")

	archive := filepath.Join(b.www, shown.Archive)
	if err := os.WriteFile(archive, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	verify().expect(t, exitNo, "", "has 1 bytes")
	call(t, "", "bundle", "sign", b.www, "--key", b.other+".key").expect(t, exitNo, "", "has 1 bytes")
	if err := os.Remove(archive); err != nil {
		t.Fatal(err)
	}
	call(t, "", "bundle", "sign", b.www, "--key", b.other+".key").expect(t, exitNo, "", "no such file")
	text, err := os.ReadFile(b.note())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.note(), []byte(strings.Replace(string(text), "sequence 1", "sequence 2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	verify().expect(t, exitNo, "", "was changed")
}
