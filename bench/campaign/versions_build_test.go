//go:build linux

package campaign

import (
	"archive/zip"
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm/shmtest"
)

// version is one version of an installation: the daemon, the command and a program
// that was compiled with the client.
type version struct {
	name                    string
	daemon, command, reader string // binaries
	flags                   []string
}

// versionNow is this tree's.
func versionNow(t testing.TB) *version {
	t.Helper()
	return (&version{
		name:    "now",
		daemon:  build(t, "github.com/statesync/statesync/cmd/statesyncd"),
		command: build(t, "github.com/statesync/statesync/cmd/statesync"),
		reader:  build(t, versionReader),
	}).asked(t)
}

// versionReader is compiled against every version's client.
const versionReader = "./testdata/versions/reader.go"

// versionThen builds a version from the repository's history.
func versionThen(t testing.TB, commit, name string) *version {
	t.Helper()
	dir := t.TempDir()
	tree, archive := filepath.Join(dir, "tree"), filepath.Join(dir, "tree.zip")
	const root = "../.."
	if out, err := exec.Command("git", "-C", root, "cat-file", "-e", commit+"^{commit}").CombinedOutput(); err != nil {
		t.Skipf("%s is not in the history here, which needs git and a clone that is not shallow (git fetch --unshallow): %v: %s",
			commit, err, strings.TrimSpace(string(out)))
	}
	if out, err := exec.Command("git", "-C", root, "archive", "--format=zip", "-o", archive, commit).CombinedOutput(); err != nil {
		t.Fatalf("git archive: %v\n%s", err, out)
	}
	files, err := zip.OpenReader(archive)
	ok(t, err)
	defer files.Close()
	ok(t, os.CopyFS(tree, files))
	source, err := os.ReadFile(versionReader)
	ok(t, err)
	ok(t, os.Mkdir(filepath.Join(tree, "reader"), 0o755))
	ok(t, os.WriteFile(filepath.Join(tree, "reader", "main.go"), source, 0o644))

	inTree := func(verb string, args ...string) ([]byte, error) {
		cmd := shmtest.GoCommand(verb, args...)
		cmd.Dir = tree
		cmd.Env = append(cmd.Env, "GOWORK=off", "GOFLAGS=")
		return cmd.CombinedOutput()
	}
	packages := []string{"./cmd/statesyncd", "./cmd/statesync", "./reader"}
	if out, err := inTree("list", append([]string{"-deps"}, packages...)...); err != nil {
		t.Skipf("the sources of %s are not available: %v\n%s", commit, err, out)
	}
	// With paths trimmed, the next run finds what this one compiled in the cache.
	args := []string{"-buildvcs=false", "-ldflags=-s -w", "-o", dir + "/"}
	if out, err := inTree("build", append(args, packages...)...); err != nil {
		t.Fatalf("building %s: %v\n%s", commit, err, out)
	}
	return (&version{
		name: name, daemon: filepath.Join(dir, "statesyncd"),
		command: filepath.Join(dir, "statesync"), reader: filepath.Join(dir, "reader"),
	}).asked(t)
}

// asked asks the daemon which flags it has that a test needs.
func (v *version) asked(t testing.TB) *version {
	t.Helper()
	help, err := exec.Command(v.daemon, "--help").Output()
	ok(t, err)
	if strings.Contains(string(help), " --listen ") {
		v.flags = append(v.flags, "--listen=off")
	}
	return v
}

// eachFrozen runs a test for each version of testdata/versions/frozen.txt.
func eachFrozen(t *testing.T, test func(t *testing.T, then, now *version)) {
	if testing.Short() {
		t.Skip("compiles the other versions; without -short")
	}
	list, err := os.Open("testdata/versions/frozen.txt")
	ok(t, err)
	defer list.Close()
	now, n := versionNow(t), 0
	for scanner := bufio.NewScanner(list); scanner.Scan(); {
		line := scanner.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		commit, name, _ := strings.Cut(line, " ")
		n++
		t.Run(name, func(t *testing.T) { test(t, versionThen(t, commit, name), now) })
	}
	if n == 0 {
		t.Fatal("there is no version to try")
	}
}
