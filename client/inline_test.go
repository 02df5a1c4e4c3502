package client_test

import (
	"strings"
	"testing"

	"github.com/statesync/statesync/shm/shmtest"
)

func TestGetIsInlined(t *testing.T) {
	out := shmtest.Go(t, "build", "-gcflags=-m", "./testdata/inline")
	for _, method := range []string{`(*Binding[`, `(*KeyBinding[`} {
		found := false
		for line := range strings.Lines(out) {
			found = found || strings.Contains(line, "inlining call to client."+method) && strings.HasSuffix(line, ".Get\n")
		}
		if !found {
			t.Errorf("the compiler does not inline Get of %s:\n%s", method, out)
		}
	}
}
