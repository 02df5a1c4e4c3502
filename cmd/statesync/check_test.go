package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a directory of files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, test := range []struct {
		name  string
		args  string
		files map[string]string
		code  int
		// Lines of stdout begin and end like this, with … between.
		findings []string
		stderr   string
	}{
		{
			name:  "good",
			files: map[string]string{"a.yaml": "x: 1", "team/b.json": "{}", "c.toml": "y = 2", ".hidden.yaml": "{", "d.yaml~": "{"},
			code:  exitOK, stderr: "3 configs, 0 errors, 0 warnings\n",
		},
		{
			name:  "bad",
			files: map[string]string{"a.yaml": "x: 1\nx: 2\n", "team/b.json": "{\n  \"y\": 1e999\n}", "ok.yaml": "{}"},
			code:  exitNo, findings: []string{"DIR/a.yaml:2:1: …", "DIR/team/b.json:2:8: y: …"}, stderr: "3 files, 2 errors, 0 warnings\n",
		},
		{
			name:  "warning",
			files: map[string]string{"a.yaml": "x: 1\nX: 2\n"},
			code:  exitOK, findings: []string{"DIR/a.yaml:2:1: warning: …"}, stderr: "1 config, 0 errors, 1 warning\n",
		},
		{
			name: "strict", args: "--strict",
			files: map[string]string{"a.yaml": "x: 1\nX: 2\n"},
			code:  exitNo, findings: []string{"DIR/a.yaml:2:1: warning: …"}, stderr: "1 config, 0 errors, 1 warning\n",
		},
		{
			name:  "schema",
			files: map[string]string{"a.yaml": "x: text\n", "a.schema.json": `{"properties": {"x": {"type": "integer"}}}`},
			code:  exitNo, findings: []string{"DIR/a.yaml:1:4: x: …"}, stderr: "2 files, 1 error, 0 warnings\n",
		},
		{
			name:  "empty files hide nothing",
			files: map[string]string{"a.yaml": "", "b.yaml": "x", "sub/c.toml": ""},
			code:  exitNo, findings: []string{"DIR/a.yaml:1:1: empty: …", "DIR/b.yaml:1:1: …", "DIR/sub/c.toml:1:1: empty: …"}, stderr: "3 files, 3 errors, 0 warnings\n",
		},
		{
			name:  "two files for one name",
			files: map[string]string{"a.yaml": "{}", "a.json": "{}"},
			code:  exitNo, findings: []string{"DIR/a.yaml: …a.json…"}, stderr: "2 files, 1 error, 0 warnings\n",
		},
		{
			name:  "skipped",
			files: map[string]string{"a.yaml": "{}", "b.txt": ""},
			code:  exitOK, stderr: "DIR/b.txt: skipped: it is neither .json, .yaml, .yml nor .toml, and no --opaque names it\n1 config, 0 errors, 0 warnings\n",
		},
		{
			name: "opaque", args: "--opaque *.txt --opaque certs/*",
			files: map[string]string{"a.yaml": "{}", "b.txt": "b", "certs/x.pem": "c"},
			code:  exitOK, stderr: "3 configs, 0 errors, 0 warnings\n",
		},
		{
			name: "opaque in a list", args: "--opaque *.txt,certs/* --opaque *.lua",
			files: map[string]string{"a.yaml": "{}", "b.txt": "b", "certs/x.pem": "c", "d.lua": "d"},
			code:  exitOK, stderr: "4 configs, 0 errors, 0 warnings\n",
		},
		{
			name:  "no configs",
			files: map[string]string{"README": "x"},
			code:  exitNo, findings: []string{"…--allow-empty…"}, stderr: "1 error, 0 warnings\n",
		},
		{
			name: "no configs allowed", args: "--allow-empty",
			code: exitOK, stderr: "0 configs, 0 errors, 0 warnings\n",
		},
		{
			name: "too large", args: "--max-image 3KiB",
			files: map[string]string{"a.yaml": "x: 1", "b.yaml": "x: " + long},
			code:  exitNo, findings: []string{"DIR/b.yaml: image too large: … the limit is 3072; the largest config is b with …"}, stderr: "2 configs, 1 error, 0 warnings\n",
		},
		{
			// It would fit once its comment is gone; the daemon doesn't read it for that.
			name: "a file too large", args: "--max-image 3KiB",
			files: map[string]string{"a.yaml": "x: 1", "b.yaml": "x: 1 # " + long + long},
			code:  exitNo, findings: []string{"DIR/b.yaml: is 6007 bytes, more than the limit of 3072 for a file; …--max-image"}, stderr: "1 error, 0 warnings\n",
		},
		{
			name:  "odd names",
			files: map[string]string{"a\x1b[2J.yaml": "x: 1\nx: 2\n"},
			code:  exitNo, findings: []string{`"DIR/a\x1b[2J.yaml"…`}, stderr: "1 file, ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // a file that was just written has to rest before it is read
			dir := write(t, test.files)
			o := call(t, "/nowhere", append([]string{"check", dir}, strings.Fields(test.args)...)...)
			o.stdout = strings.ReplaceAll(o.stdout, dir, "DIR")
			o.stderr = strings.ReplaceAll(o.stderr, dir, "DIR")
			o.expect(t, test.code, "*", test.stderr)
			found := strings.Split(strings.TrimSuffix(o.stdout, "\n"), "\n")
			if o.stdout == "" {
				found = nil
			}
			if len(found) != len(test.findings) {
				t.Fatalf("%d findings, want %d:\n%s", len(found), len(test.findings), o.stdout)
			}
			for i, want := range test.findings {
				rest := found[i]
				for n, part := range strings.Split(want, "…") {
					at := strings.Index(rest, part)
					if at < 0 || n == 0 && at > 0 {
						t.Errorf("%s\nis not as %s", found[i], want)
						break
					}
					rest = rest[at+len(part):]
				}
			}
		})
	}
}

// Files are named so that they can be opened from where the check was made.
func TestCheckRelative(t *testing.T) {
	t.Chdir(write(t, map[string]string{"conf/a.yaml": "- 1\n- [\n"}))
	for dir, want := range map[string]string{"conf": "conf/a.yaml:", "./conf/": "conf/a.yaml:", "../" + filepath.Base(cwd(t)) + "/conf": "../"} {
		o := call(t, "", "check", dir)
		o.expect(t, exitNo, "*", "1 file, 1 error, 0 warnings\n")
		if !strings.HasPrefix(o.stdout, want) {
			t.Errorf("%s: %s", dir, o.stdout)
		}
		if file, _, _ := strings.Cut(o.stdout, ":"); file == "" {
			t.Error(o.stdout)
		} else if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func cwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheckAbsent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	o := call(t, "", "check", dir)
	o.expect(t, exitNo, "*", "1 error, 0 warnings\n")
	if !strings.Contains(o.stdout, dir) || strings.Count(o.stdout, "\n") != 1 {
		t.Error(o.stdout)
	}
}

// What is accepted by a file is what passes the check, and what the file had before.
func TestCheckAcceptFile(t *testing.T) {
	t.Parallel()
	base := write(t, map[string]string{"a.yaml": "x: 1"})
	top := write(t, map[string]string{"b.yaml": "x: 1"})
	file := filepath.Join(top, ".statesync-accept")
	check := func() outcome { return call(t, "", "check", base, top, "--accept-file") }
	first := check()
	first.expect(t, exitOK, "", "sha256:", file+" lets this content pass the guards now")
	digest := func(o outcome) string { return strings.Split(o.stderr, "\n")[1] }
	read := func() string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if want := acceptComment + "\n" + digest(first) + "\n"; read() != want {
		t.Errorf("the file is\n%swant\n%s", read(), want)
	}
	check().expect(t, exitOK, "", digest(first), file+" has it already")
	rewrite := func(text string) {
		if err := os.WriteFile(filepath.Join(top, "b.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("x: 2")
	second := check()
	if want := acceptComment + "\n" + digest(second) + "\n" + digest(first) + "\n"; digest(second) == digest(first) || read() != want {
		t.Errorf("the file is\n%swant\n%s", read(), want)
	}
	before := read()
	rewrite("x: [")
	check().expect(t, exitNo, "*", "1 error")
	if read() != before {
		t.Error("what does not pass the check was accepted")
	}
}

func TestAcceptFileIsBounded(t *testing.T) {
	text := ""
	for i := range 100 {
		text = accepting(text, fmt.Sprintf("sha256:%064d", i))
	}
	if !strings.HasPrefix(text, acceptComment+"\n"+fmt.Sprintf("sha256:%064d\n", 99)) || len(text) > 4<<10 || strings.Count(text, "\n") != 1+maxAccepted {
		t.Errorf("it is\n%s", text)
	}
}
