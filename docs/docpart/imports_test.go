package docpart

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/statesync/statesync"

// TestImportsAreDocumented keeps the table of what each package imports, so that a new
// edge is seen in review.
func TestImportsAreDocumented(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", "./...")
	list.Dir = "../.."
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	rows.WriteString("| package | of this project | of others |\n| --- | --- | --- |\n")
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours || len(p.Imports) == 0 {
			continue
		}
		var own, others []string
		for _, path := range p.Imports {
			first, _, _ := strings.Cut(path, "/")
			switch local, ok := strings.CutPrefix(path, module+"/"); {
			case ok:
				own = append(own, local)
			case strings.Contains(first, "."):
				others = append(others, moduleOf(path))
			}
		}
		if own == nil && others == nil {
			continue
		}
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", name, strings.Join(own, ", "), strings.Join(slices.Compact(others), ", "))
	}
	Check(t, "../DESIGN.md", "imports", rows.String())
}

// moduleOf is a package's path without what is below its repository.
func moduleOf(path string) string {
	parts := strings.Split(path, "/")
	n := 2
	if parts[0] == "github.com" {
		n = 3
	}
	return strings.Join(parts[:min(n, len(parts))], "/")
}
