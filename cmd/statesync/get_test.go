package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

const matchmaker = `{"big":9007199254740993,"none":null,"on":true,"pools":[{"name":"eu"},{"name":"us"}],` +
	`"title":"elo \"fast\"\nsecond line","weights":{"elo":1500,"one":1.0,"ping":0.5}}`

func TestGet(t *testing.T) {
	dir := newRegion(t).Dir()
	for _, test := range []struct {
		args   string
		stdout string
		stderr []string // with it, the answer is no
	}{
		{args: "matchmaker", stdout: matchmaker + "\n"},
		{args: "matchmaker -o raw", stdout: matchmaker + "\n"},
		{args: "matchmaker weights.elo", stdout: "1500\n"},
		{args: "matchmaker weights.one", stdout: "1.0\n"},
		{args: "matchmaker big", stdout: "9007199254740993\n"},
		{args: "matchmaker big -o yaml", stdout: "9007199254740993\n"},
		{args: "matchmaker weights -o raw", stdout: "{\"elo\":1500,\"one\":1.0,\"ping\":0.5}\n"},
		{args: "matchmaker weights -o yaml", stdout: "elo: 1500\none: 1.0\nping: 0.5\n"},
		{args: "matchmaker pools -o yaml", stdout: "- name: eu\n- name: us\n"},
		{args: "matchmaker title", stdout: "\"elo \\\"fast\\\"\\nsecond line\"\n"},
		{args: "matchmaker title -o raw", stdout: "elo \"fast\"\nsecond line\n"},
		{args: "matchmaker pools.1.name", stdout: "\"us\"\n"},
		{args: "matchmaker pools.1.name -o raw", stdout: "us\n"},
		{args: "matchmaker none -o raw", stdout: "null\n"},
		{args: "team/limits", stdout: "[1,2]\n"},
		{args: "team/limits 1", stdout: "2\n"},
		{args: "script", stdout: "return 1\n\x1b[2J"},
		{args: "script -o raw", stdout: "return 1\n\x1b[2J"},
		{args: "script -o json", stderr: []string{"opaque", "-o raw"}},
		{args: "script x", stderr: []string{"opaque", "no keys"}},
		{args: "matchmakr", stderr: []string{`no config "matchmakr" in generation 2`, "did you mean matchmaker?", "statesync ls"}},
		{args: "limits", stderr: []string{"did you mean team/limits?"}},
		{args: "zebra", stderr: []string{`no config "zebra" in generation 2; statesync ls`}},
		{args: "matchmaker weights.el", stderr: []string{`no key "weights.el"`, "did you mean weights.elo", "statesync get matchmaker"}},
		{args: "matchmaker elo", stderr: []string{"did you mean weights.elo?"}},
	} {
		t.Run(test.args, func(t *testing.T) {
			code := exitOK
			if test.stderr != nil {
				code = exitNo
			}
			call(t, dir, append([]string{"get"}, strings.Fields(test.args)...)...).expect(t, code, test.stdout, test.stderr...)
		})
	}
}

// The daemon decodes the YAML that get prints to the same config.
func TestYAMLComesBack(t *testing.T) {
	for _, content := range []string{
		matchmaker,
		`{}`,
		`[]`,
		`[[],{},[[1]],{"a":[]},"",null,true,false]`,
		`{"e":1e+21,"f":-0.0,"g":1.5e-7,"max":18446744073709551615,"min":-9223372036854775808,"z":0}`,
		`["yes","No","on","Y","null","~","true","1","1.0","0x1f","0o7","1e3",".5","+1","-","=","<<","12:30:45","2001-01-01","2001-01-01T10:00:00Z",".inf",".nan"]`,
		`["a: b","a #b","#a","- a","? a","[a","{a","&a","*a","!a","|","> ","%a","@a","` + "`a" + `","'a'","\"a\"","a,b"," a","a ","a:","---","..."]`,
		`["\n","a\n","\na","a\n\nb\n"," a\nb","a \nb","\ta\n","a\tb","a\r\nb","\\","\\n"]`,
		`["\u0000\u001b[2J","` + "\u007f \u0085 \u009b \u2028 \u202e \ufeff \U000e0041 é 日本 😀" + `"]`,
		`{"":1," ":2,"1":3,"a: b":4,"\n":5,"` + "\u202e" + `":6,"yes":7,"~":8}`,
		strings.Repeat("[", 99) + strings.Repeat("]", 99),
	} {
		canonical, err := image.Canonical([]byte(content))
		if err != nil {
			t.Fatalf("%s: %v", content, err)
		}
		text, err := toYAML(canonical)
		if err != nil {
			t.Errorf("%s: %v", content, err)
			continue
		}
		if escapeLines(string(text)) != string(text) {
			t.Errorf("%s: not everything can be shown as it is:\n%q", content, text)
		}
		snapshot := &source.Snapshot{Files: []*source.File{{Path: "x.yaml", Data: text}}}
		result, err := plan.New(plan.Options{}).Make(t.Context(), []plan.Layer{{Name: "dir", Newest: snapshot}})
		if err != nil {
			t.Fatal(err)
		}
		if result.Refused() {
			t.Errorf("%s: %v\n%s", content, result.Err(), text)
			continue
		}
		if back := result.Configs[0].Section.Content(); !bytes.Equal(back, canonical) {
			t.Errorf("%s came back as\n%s\nof\n%s", canonical, back, text)
		}
	}
}

// terminal is a real one: what is written to slave can be read from master.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip("there are no terminals here: ", err)
	}
	// This opens the other end without looking for it in /dev/pts.
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Skip("there are no terminals here: ", errno)
	}
	slave = os.NewFile(fd, "terminal")
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// A terminal gets indented JSON, and nothing that it would obey.
func TestTerminal(t *testing.T) {
	w := newWriter(t, writer.Options{})
	opaque, err := image.NewOpaque("bytes", []byte("a\x1b[2J"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := image.NewOpaque("text", []byte("a\tb\n"))
	if err != nil {
		t.Fatal(err)
	}
	w.publish("r", opaque, text, document(t, "c", "{\"a\":{\"b\":\"\u009b2J\"},\"e\":[]}"))
	for _, test := range []struct {
		args   []string
		code   int
		stdout string
	}{
		{[]string{"get", "c"}, exitOK, "{\n  \"a\": {\n    \"b\": \"\\u009b2J\"\n  },\n  \"e\": []\n}\n"},
		{[]string{"get", "c", "a.b", "-o", "raw"}, exitNo, ""},
		{[]string{"get", "c", "-o", "yaml"}, exitOK, "a:\n  b: \"\\x9B2J\"\ne: []\n"},
		{[]string{"get", "bytes"}, exitNo, ""},
		{[]string{"get", "text"}, exitOK, "a\tb\n"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			master, slave := terminal(t)
			var stderr bytes.Buffer
			code := run(context.Background(), append(test.args, "--region", w.dir), func(string) string { return "" }, slave, &stderr)
			if _, err := slave.WriteString("END"); err != nil {
				t.Fatal(err)
			}
			var shown []byte
			for buf := make([]byte, 1000); !bytes.HasSuffix(shown, []byte("END")); {
				n, err := master.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				shown = append(shown, buf[:n]...)
			}
			stdout := strings.ReplaceAll(strings.TrimSuffix(string(shown), "END"), "\r\n", "\n")
			stdout = strings.ReplaceAll(stdout, "a       b", "a\tb") // tabs are for the terminal to expand
			if code != test.code || stdout != test.stdout {
				t.Errorf("exit code %d, %q; want %d, %q\n%s", code, stdout, test.code, test.stdout, &stderr)
			}
			if code == exitNo && !strings.Contains(stderr.String(), "hexdump") {
				t.Error(stderr.String())
			}
		})
	}
}
