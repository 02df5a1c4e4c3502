// Package docpart keeps parts of documents as the code has them. Only tests
// import it.
package docpart

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the parts of documents that are made from the code")

// Check fails when the part of a document that has a name is not as the code
// makes it, or rewrites it with -update. A part is between two lines:
//
//	<!-- NAME: made from the code -->
//	<!-- end -->
func Check(t *testing.T, path, name, want string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "<!-- "+name+": made from the code -->\n")
	now, after, ended := strings.Cut(rest, "<!-- end -->\n")
	switch {
	case !ok || !ended:
		t.Fatalf("%s has no part %q", path, name)
	case now == want:
	case *update:
		made := strings.TrimSuffix(string(text), rest) + want + "<!-- end -->\n" + after
		if err := os.WriteFile(path, []byte(made), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s: the part %q is not as the code has it; run this test with -update\nit has after %.40q:\n%s\nand should have:\n%s",
			path, name, before[max(0, len(before)-40):], now, want)
	}
}
