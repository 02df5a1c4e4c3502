package client_test

import (
	"os/exec"
	"strings"
	"testing"
)

func TestGetIsInlined(t *testing.T) {
	out, err := exec.Command("go", "build", "-gcflags=-m", "./testdata/inline").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, method := range []string{`(*Binding[`, `(*KeyBinding[`} {
		found := false
		for line := range strings.Lines(string(out)) {
			found = found || strings.Contains(line, "inlining call to client."+method) && strings.HasSuffix(line, ".Get\n")
		}
		if !found {
			t.Errorf("the compiler does not inline Get of %s:\n%s", method, out)
		}
	}
}
