package failpoint_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm/failpoint"
	"github.com/statesync/statesync/shm/shmtest"
)

// call is what the sources say at a point.
var call = regexp.MustCompile(`failpoint\.(?:Here\("([^"]+)"\)|File\("([^"]+)", )`)

// The names are those of the sources, each once.
func TestNames(t *testing.T) {
	root := filepath.Join("..", "..")
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		calls := call.FindAllSubmatch(text, -1)
		for _, m := range calls {
			found = append(found, string(m[1])+string(m[2]))
		}
		if n := bytes.Count(text, []byte("failpoint.Here(")) + bytes.Count(text, []byte("failpoint.File(")); n != len(calls) {
			t.Errorf("%s: %d calls, and %d with a plain name", path, n, len(calls))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Clone(failpoint.Names)
	slices.Sort(names)
	slices.Sort(found)
	if !slices.Equal(names, found) {
		t.Errorf("the names are\n%v\nand the sources have\n%v", names, found)
	}
}

// An ordinary build of the packages that the points are in calls nothing of
// this one, and knows no point's name. One with the tag does both.
func TestNoTrace(t *testing.T) {
	nm := filepath.Join(t.TempDir(), "nm") // go tool nm would compile it another way
	shmtest.Go(t, "build", "-o", nm, "cmd/nm")
	for _, flags := range [][]string{nil, {"-tags=failpoints"}} {
		args := append([]string{"-export", "-f", "{{.Export}}"}, flags...)
		archives, err := shmtest.GoCommand("list", append(args, "../../shm/writer", "../../daemon", "../../daemon/plan/decode")...).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		for _, archive := range strings.Fields(string(archives)) {
			symbols, err := exec.Command(nm, archive).Output()
			if err != nil {
				t.Fatal(err)
			}
			calls := bytes.Contains(symbols, []byte("U github.com/statesync/statesync/shm/failpoint."))
			names := slices.ContainsFunc(failpoint.Names, func(name string) bool {
				return bytes.Contains(symbols, []byte("go:string.\""+name+"\""))
			})
			if want := flags != nil; calls != want || names != want {
				t.Errorf("compiled with %v: it calls a point: %v; it has a point's name: %v", flags, calls, names)
			}
		}
	}
}
