package client_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestGetIsInlined fails when the compiler stops inlining Get, or makes more
// of it than of the floor.
func TestGetIsInlined(t *testing.T) {
	out, err := exec.Command("go", "build", "-gcflags=-m -S", "./testdata/inline").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, call := range []string{`(*Binding[`, `(*KeyBinding[`} {
		found := false
		for line := range strings.Lines(string(out)) {
			found = found || strings.Contains(line, "inlining call to client."+call) && strings.Contains(line, "Get")
		}
		if !found {
			t.Errorf("the compiler does not inline Get of %s", call)
		}
	}
	floor, get, key := instructions(t, string(out), "Floor"), instructions(t, string(out), "Get"), instructions(t, string(out), "GetKey")
	if len(get) != len(floor) {
		t.Errorf("Get has %d instructions, the floor %d:\n%s\n\n%s", len(get), len(floor),
			strings.Join(get, "\n"), strings.Join(floor, "\n"))
	}
	if len(key) > len(floor)+2 {
		t.Errorf("KeyBinding.Get has %d instructions, the floor %d:\n%s", len(key), len(floor), strings.Join(key, "\n"))
	}
	for _, line := range append(get, key...) {
		if strings.Contains(line, "CALL") || strings.Contains(line, "BL\t") {
			t.Errorf("Get calls something: %s", line)
		}
	}
}

// instructions lists what the compiler emitted for a function, without the
// assembler's annotations.
func instructions(t *testing.T, listing, function string) []string {
	t.Helper()
	_, body, ok := strings.Cut(listing, "/inline."+function+" STEXT")
	if !ok {
		t.Fatalf("the listing has no %s", function)
	}
	line := regexp.MustCompile(`^\t0x[0-9a-f]+ \d+ \([^)]*\)\t(.*)`)
	var found []string
	for l := range strings.Lines(body) {
		if !strings.HasPrefix(l, "\t") {
			if strings.Contains(l, "STEXT") {
				break
			}
			continue
		}
		m := line.FindStringSubmatch(strings.TrimRight(l, "\n"))
		if m == nil {
			continue
		}
		switch op, _, _ := strings.Cut(m[1], "\t"); {
		case op == "TEXT", op == "FUNCDATA", op == "PCDATA":
		case op == "NOP", op == "NOOP", m[1] == "XCHGL\tAX, AX": // marks of inlining
		default:
			found = append(found, m[1])
		}
	}
	return found
}
