package client_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports holds the client to its promise: an application that imports it
// compiles two modules, and nothing else outside the standard library.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{.Module.Path}}{{end}}", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.Compact(modules)
	want := []string{"github.com/cespare/xxhash/v2", "github.com/statesync/statesync", "golang.org/x/sys"}
	if !slices.Equal(modules, want) {
		t.Errorf("importing client compiles the modules %v, and not %v", modules, want)
	}
}
