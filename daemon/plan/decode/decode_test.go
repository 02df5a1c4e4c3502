package decode

import (
	"testing"

	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/shm/image"
)

// canonical reads data as a config, and is the canonical JSON, nil if there are
// errors.
func canonical(file string, data []byte) ([]byte, []*tree.Problem) {
	r := tree.NewReport("dir", file)
	root := Config(r, Source{Path: file, Data: data}, false)
	if root == nil {
		return nil, r.Done()
	}
	return root.AppendCanonical(nil), r.Done()
}

// sample is a file, and what comes of it: its content, or the problems.
type sample struct {
	in       string
	want     string
	problems []string
}

// testSamples reads each sample as a config.
func testSamples(t *testing.T, file string, samples []sample) {
	t.Helper()
	for _, s := range samples {
		t.Run(tree.Clip(s.in, 30), func(t *testing.T) {
			content, problems := canonical(file, []byte(s.in))
			plantest.WantStrings(t, "problems", plantest.Messages(problems), s.problems)
			if string(content) != s.want {
				t.Errorf("content: %s, want %s", content, s.want)
			}
			if content == nil {
				return
			}
			if again, err := image.Canonical(content); err != nil || string(again) != string(content) {
				t.Errorf("not canonical: %s, canonical: %s, %v", content, again, err)
			}
		})
	}
}

// TestNullDocument is about a document that is just null: only a part of a config
// may be one.
func TestNullDocument(t *testing.T) {
	for file, text := range map[string]string{"c.json": "null", "c.yaml": "~\n"} {
		r := tree.NewReport("top", file)
		root := Config(r, Source{Path: file, Data: []byte(text)}, true)
		if root == nil || root.Kind != tree.Null || r.Errors() > 0 {
			t.Errorf("%s: %v, %q", file, root, plantest.Messages(r.Done()))
		}
		if Config(r, Source{Path: file, Data: []byte(text)}, false) != nil || r.Errors() != 1 {
			t.Errorf("%s: not an error: %q", file, plantest.Messages(r.Done()))
		}
	}
	r := tree.NewReport("top", "c.yaml")
	if Config(r, Source{Path: "c.yaml"}, true) != nil {
		t.Error("an empty file is taken for null")
	}
}

// TestParserPanic is about a bug of a parser: it is a problem of the file.
func TestParserPanic(t *testing.T) {
	r := &tree.Report{Docs: []tree.Doc{{Layer: "dir", File: "c.json"}}}
	defer func(usual func(*builder, []byte) *tree.Node) { parsers[".json"] = usual }(parsers[".json"])
	parsers[".json"] = func(b *builder, _ []byte) *tree.Node {
		b.enter("deep")
		panic("oops")
	}
	if Parse(r, Source{Path: "c.json", Data: []byte("{}")}) != nil {
		t.Error("a tree came out of it")
	}
	plantest.WantStrings(t, "problems", plantest.Messages(r.Done()), []string{"c.json: the parser failed (oops); please report this with the file"})
}
