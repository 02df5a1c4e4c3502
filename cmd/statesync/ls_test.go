package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/statesync/statesync/shm/writer"
)

func TestLs(t *testing.T) {
	w := newWriter(t, writer.Options{})
	const digest = "0123456789abcdef0123456789abcdef"
	old := document(t, "a", `{"x":1,"y":{"z":2}}`)
	w.publish("dir@sha256:"+digest, old)
	w.publish("main\x1b[31m", old, document(t, "team/b\u202e", `["`+strings.Repeat("x", 2000)+`"]`))

	call(t, w.dir, "ls").expect(t, exitOK, ""+
		"NAME          KIND      SIZE     KEYS  CHANGED  REVISION\n"+
		"a             document  19 B     3     1        dir@sha256:0123456789ab\n"+
		"team/b\\u202e  document  2.0 KiB  1     2        main\\x1b[31m\n")

	o := call(t, w.dir, "ls", "-o", "json")
	o.expect(t, exitOK, "*")
	var list []listed
	if err := json.Unmarshal([]byte(o.stdout), &list); err != nil {
		t.Fatal(err)
	}
	want := listed{Name: "a", Kind: "document", Size: 19, SectionSize: old.Size(), Keys: 3, Changed: 1, Revision: "dir@sha256:" + digest}
	if len(list) != 2 || list[0] != want || list[1].Revision != "main\x1b[31m" {
		t.Errorf("%+v", list)
	}
	if escapeLines(o.stdout) != o.stdout {
		t.Errorf("%q", o.stdout)
	}
}

func TestLsOfNothing(t *testing.T) {
	w := newWriter(t, writer.Options{})
	w.publish("r")
	call(t, w.dir, "ls", "-o", "json").expect(t, exitOK, "[]\n")
	call(t, w.dir, "ls").expect(t, exitOK, "NAME  KIND  SIZE  KEYS  CHANGED  REVISION\n")
}

func TestLsPrefix(t *testing.T) {
	dir := newRegion(t).Dir()
	o := call(t, dir, "ls", "team/", "-o", "json")
	o.expect(t, exitOK, "*")
	var list []listed
	if err := json.Unmarshal([]byte(o.stdout), &list); err != nil || len(list) != 1 || list[0].Name != "team/limits" {
		t.Errorf("%v (%v)", list, err)
	}
}

func TestCut(t *testing.T) {
	long := strings.Repeat("é", 40)
	for _, test := range []struct {
		columns int
		want    string
	}{
		{-otherColumns, long},
		{40, long},
		{39, strings.Repeat("é", 38) + "…"},
		{3, strings.Repeat("é", 15) + "…"},
	} {
		if got := cut(long, test.columns); got != test.want {
			t.Errorf("in %d columns: %s", test.columns, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	dir := newRegion(t).Dir()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		o := call(t, dir, "completion", shell)
		o.expect(t, exitOK, "*")
		if !strings.Contains(o.stdout, "__complete") {
			t.Errorf("%s:\n%s", shell, o.stdout)
		}
	}
	for _, test := range []struct{ args, offers string }{
		{"get |", "matchmaker script team/limits"},
		{"watch t|", "team/limits"},
		{"get matchmaker weights.|", "weights.elo weights.one weights.ping"},
		{"get matchmaker pools|", "pools pools.0 pools.0.name pools.1 pools.1.name"},
		{"get script |", ""},
		{"get nothing |", ""},
		{"get matchmaker on |", ""},
		{"get --region /nowhere |", ""},
		{"get -o |", "json yaml raw"},
		{"completion |", "bash zsh fish"},
		{"ls |", "matchmaker script team/limits"},
		{"ls team/ |", ""},
		{"help st|", "status"},
		{"sta|", "status"},
	} {
		args := strings.Fields(strings.TrimSuffix(test.args, "|"))
		if start := strings.TrimSuffix(test.args, "|"); strings.HasSuffix(start, " ") {
			args = append(args, "")
		}
		o := call(t, dir, append([]string{"__complete"}, args...)...)
		var offers []string
		for line := range strings.Lines(o.stdout) {
			if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); !strings.HasPrefix(word, ":") {
				offers = append(offers, word)
			}
		}
		if got := strings.Join(offers, " "); o.code != exitOK || got != test.offers {
			t.Errorf("%s: %d, %q, want %q", test.args, o.code, got, test.offers)
		}
	}
}
