package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan/plantest"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
)

// dir is one layer of files. A snapshot is immutable, so callers may change their list.
func dir(files []*source.File) []Layer {
	return []Layer{{Name: "dir", Newest: &source.Snapshot{Version: "dir@1", Files: slices.Clone(files)}}}
}

// made is the plan of one layer of files.
func made(m *Maker, files []*source.File) *Plan {
	p, err := m.Make(context.Background(), dir(files))
	if err != nil {
		panic(err)
	}
	return p
}

// contents are the configs as "name=content".
func contents(r *Plan) []string {
	var list []string
	for _, c := range r.Configs {
		list = append(list, c.Name+"="+string(c.Section.Content()))
	}
	return list
}

func skippedPaths(p *Plan) (paths []string) {
	for _, s := range p.Skipped {
		paths = append(paths, s.Path)
	}
	return paths
}

// TestKeysOfOneHash has eight keys that were constructed, and do not occur by
// chance: they agree in all 64 bits of XXH64.
func TestKeysOfOneHash(t *testing.T) {
	var text strings.Builder
	for _, key := range []string{
		`00004947vY=S3kGF`, "00006000`'q*lN*n", `00009045c;0_hg+>`, `00013741cpzTbkQk`, `00017483Z^*cX(;1`, `00018951#}&zNtJ'`, `00032542K(#yZ?RQ`, `00036115RRG43BI?`,
	} {
		fmt.Fprintf(&text, "%q: 1\n", key)
	}
	r := made(New(Options{}), plantest.Files("team/a.yaml", text.String()))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{"team/a.yaml: config team/a: " +
		`the hash of the key "00004947vY=S3kGF" is like those of too many other keys; rename it`})
}

func TestNames(t *testing.T) {
	r := made(New(Options{Opaque: []string{"*.pem", "raw/*", "x.json"}}), plantest.Files(
		"a.json", `{"f":"json"}`,
		"a-b.yaml", "f: yaml",
		"B.JSON", `{"f":1e3}`,
		"c.YAML", "f: ~",
		"d.TOML", "f = 0o7",
		"team/a.yml", "f: yml",
		"team/sub/a.v2.toml", "f = 'toml'",
		"team/ca.pem", "---\n",
		"raw/a.tar.gz", "\xff\x00",
		"x.json", "{ not JSON",
		"README.md", "hello",
		"team/run.sh", "hello",
		"noextension", "hello",
	))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), nil)
	plantest.WantStrings(t, "configs", contents(r), []string{
		`B={"f":1000.0}`,
		`a={"f":"json"}`,
		`a-b={"f":"yaml"}`,
		`c={"f":null}`,
		`d={"f":7}`,
		"raw/a.tar=\xff\x00",
		`team/a={"f":"yml"}`,
		"team/ca=---\n",
		`team/sub/a.v2={"f":"toml"}`,
		"x={ not JSON",
	})
	plantest.WantStrings(t, "skipped", skippedPaths(r), []string{"README.md", "noextension", "team/run.sh"})
	var kinds, from []string
	for _, c := range r.Configs {
		if c.Section.Name() != c.Name {
			t.Errorf("the section of %s is named %s", c.Name, c.Section.Name())
		}
		kinds = append(kinds, fmt.Sprint(c.Section.Kind() == image.Opaque))
		from = append(from, c.File)
	}
	plantest.WantStrings(t, "opaque", kinds, []string{"false", "false", "false", "false", "false", "true", "false", "true", "false", "true"})
	plantest.WantStrings(t, "files", from, []string{
		"B.JSON", "a.json", "a-b.yaml", "c.YAML", "d.TOML", "raw/a.tar.gz", "team/a.yml", "team/ca.pem", "team/sub/a.v2.toml", "x.json",
	})
	if err := r.Err(); err != nil {
		t.Errorf("Err is %v", err)
	}
}

func TestWanted(t *testing.T) {
	d := New(Options{Opaque: []string{"certs/*.pem"}})
	for file, want := range map[string]bool{
		"a.json": true, "a.yaml": true, "a.yml": true, "a.toml": true, "a.schema.json": true,
		"certs/a.pem": true, "a.pem": false, "a": false, "a.JSON": true, "b/A.Yaml": true, "a.YML": true, "a.Toml": true, "a.txt": false,
	} {
		if d.Wanted(file) != want {
			t.Errorf("Wanted(%q) is not %v", file, want)
		}
	}
}

func TestOneNameTwice(t *testing.T) {
	r := made(New(Options{Opaque: []string{"*.bin"}}), plantest.Files(
		"a.json", "{}", "a.yaml", "{}", "b.bin", "x", "b.toml", "a = 1", "c.json", "{}",
	))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		"a.yaml: the config a also comes from a.json; rename or remove one of the two files",
		"b.toml: the config b also comes from b.bin; rename or remove one of the two files",
	})
	if r.Configs != nil {
		t.Errorf("configs in spite of errors: %v", contents(r))
	}
}

func TestBadNamesAndGlobs(t *testing.T) {
	long := strings.Repeat("n", image.MaxName+1)
	r := made(New(Options{Opaque: []string{"[", "*.bin"}}), plantest.Files(
		long+".json", "{}", "a\nb.yaml", "{}", "e.bin", "",
	))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		`the opaque glob "[" is malformed; see Go's path.Match for the syntax`,
		`"a\nb.yaml": the config's name "a\nb" has a control character; rename the file`,
		"e.bin: empty: a file that was cut off looks the same; remove the file, or write something into it",
		long + `.json: the config's name "` + long[:40] + `"… is 256 bytes long; at most 255 are allowed; rename the file`,
	})
}

func TestResultErr(t *testing.T) {
	r := made(New(Options{}), plantest.Files("a.json", `{"A":1,"a":2}`, "b.json", "[", "c.json", "{"))
	err := r.Err()
	var p *Problem
	if !errors.As(err, &p) || p.File != "b.json" || p.Line != 1 || p.Column != 2 || p.Warning {
		t.Errorf("the first error is %#v", p)
	}
	want := "b.json:1:2: 0: the file ends where a value should be; is it cut off?\n" +
		"c.json:1:2: the file ends where a key in double quotes should be; is it cut off?"
	if err == nil || err.Error() != want {
		t.Errorf("Err is\n%v\nwant\n%s", err, want)
	}
	if len(r.Problems) != 3 || !r.Problems[0].Warning {
		t.Errorf("problems: %q", plantest.Messages(r.Problems))
	}
}

// TestManyProblems checks that a file reports a bounded number of problems, in
// the order of the file, and that warnings don't push errors out.
func TestManyProblems(t *testing.T) {
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, "k%d: 1\nK%d: 1\n", i, i)
	}
	b.WriteString(strings.Repeat("z: .nan\n", 30))
	got := plantest.Messages(made(New(Options{}), plantest.Files("a.yaml", b.String())).Problems)
	if len(got) != 42 {
		t.Fatalf("%d problems: %s", len(got), strings.Join(got, "\n"))
	}
	plantest.WantStrings(t, "first and last", []string{got[0], got[20], got[40], got[41]}, []string{
		`a.yaml:2:1: warning: K0: the key differs only in case from "k0" at line 1, column 1, and encoding/json takes them for one; rename one of them`,
		"a.yaml:101:4: z: nan has no counterpart in JSON; leave the key out, or write a string",
		"a.yaml:120:4: 39 more errors of this file are not shown",
		"a.yaml:120:4: warning: 30 more warnings of this file are not shown",
	})
}

// TestBounds feeds what is made to take forever, or all the memory.
func TestBounds(t *testing.T) {
	const many = "more than 1000000 values, with aliases expanded; split the config, or make it an opaque one"
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%[1]c [%s]\n", c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	for name, s := range map[string]struct{ file, in, want string }{
		"JSON nesting":       {"c.json", strings.Repeat("[", 1<<20), "c.json:1:101: " + "nested more than 100 deep; flatten it"},
		"YAML nesting":       {"c.yaml", strings.Repeat("[", 101) + strings.Repeat("]", 101), "c.yaml:1:101: nested more than 100 deep; flatten it"},
		"YAML flow nesting":  {"c.yaml", strings.Repeat("[", 1<<20), "c.yaml:1:101: nested more than 100 deep; flatten it"},
		"YAML block nesting": {"c.yaml", strings.Repeat("- ", 1<<20), "c.yaml:1:201: nested more than 100 deep; flatten it"},
		"TOML nesting":       {"c.toml", "a=" + strings.Repeat("[", 1<<20), "c.toml:1:10003: nested more than 100 deep; flatten it"},
		"TOML tables":        {"c.toml", "[" + strings.Repeat("a.", 1<<12) + "a]", "c.toml:1:202: nested more than 100 deep; flatten it"},
		"TOML both":          {"c.toml", "[" + strings.Repeat("a.", 59) + "a]\nb=" + strings.Repeat("[", 50) + strings.Repeat("]", 50), "c.toml:2:1: nested more than 100 deep; flatten it"},
		"aliases":            {"c.yaml", bomb, "c.yaml:1:22: " + many},
		"text":               {"c.yaml", "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a,", 64) + "]\n", "c.yaml:1:4: more than 64 MiB of keys and strings, with aliases expanded; split the config, or make it an opaque one"},
		"directives":         {"c.yaml", strings.Repeat("%TAG !a! b\n", 200) + "---\na: 1\n", "c.yaml:101:1: more than 100 directives (lines that begin with %); remove them"},
		"dotted keys":        {"c.json", `{"` + strings.Repeat("k", 1<<20) + `":[` + strings.Repeat("1,", 300) + "1]}", "c.json:1:1049090: the dotted keys up to here take more than 256 MiB; shorten the keys above"},
		"size":               {"c.yaml", strings.Repeat("#", 4<<20+1), "c.yaml: the file has 4194305 bytes, and this format's limit is 4 MiB; split it, or make it an opaque config"},
	} {
		t.Run(name, func(t *testing.T) {
			r := made(New(Options{}), plantest.Files(s.file, s.in))
			if len(r.Problems) != 1 || r.Configs != nil {
				t.Fatalf("problems %q, configs %.100q", plantest.Messages(r.Problems), contents(r))
			}
			p := *r.Problems[0]
			p.Key = "" // it is long where the nesting is
			if p.Error() != s.want {
				t.Errorf("\n got %v\nwant %s", &p, s.want)
			}
		})
	}
	for file, in := range map[string]string{
		"c.json": strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"c.yaml": strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"c.toml": "[" + strings.Repeat("a.", 49) + "a]\nb=" + strings.Repeat("[", 49) + strings.Repeat("]", 49),
	} {
		if r := made(New(Options{}), plantest.Files(file, in)); r.Err() != nil {
			t.Errorf("nested as deep as allowed: %v", r.Err())
		}
	}
}

func TestProblemError(t *testing.T) {
	for _, s := range []struct {
		p    Problem
		want string
	}{
		{Problem{File: "a.yaml", Line: 12, Column: 3, Key: "weights.elo", What: "bad"}, "a.yaml:12:3: weights.elo: bad"},
		{Problem{File: "a.yaml", Line: 12, What: "bad", Warning: true}, "a.yaml:12: warning: bad"},
		{Problem{File: "a.yaml", What: "bad"}, "a.yaml: bad"},
		{Problem{What: "bad"}, "bad"},
		{Problem{File: "a\nb.yaml", Key: "k\x1b[2J", What: "bad"}, `"a\nb.yaml": "k\x1b[2J": bad`},
	} {
		if got := s.p.Error(); got != s.want {
			t.Errorf("%q, want %q", got, s.want)
		}
	}
}

// TestLongList looks at the elements of a list that have no keys of their own in
// a section's index.
func TestLongList(t *testing.T) {
	list := strings.Repeat("- 1\n", 2*image.MaxElements)
	r := made(New(Options{}), plantest.Files("a.yaml", list+"- a.b: 1\n  a:\n    b: 2\n"))
	plantest.WantStrings(t, "problems", plantest.Messages(r.Problems), []string{
		"a.yaml:2051:5: 2048.a.b: another path joins to the same dotted key, at line 2049, column 3; rename one of the two keys",
	})
	if r = made(New(Options{}), plantest.Files("a.yaml", list+"- a.b: 1\n  a:\n    c: 2\n")); r.Err() != nil {
		t.Error(r.Err())
	}
}
