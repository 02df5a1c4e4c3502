//go:build unix

package configdir_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/client/clienttest/configdir"
)

func dir(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

type limits struct {
	Max  int
	Wait time.Duration
}

func TestLoad(t *testing.T) {
	t.Parallel()
	base := dir(t, map[string]string{
		"limits.yaml": "max: 3\nwait: 5s\n", "team/a.toml": "x = 1\n", "key.pem": "secret",
		"limits.schema.json": `{"properties": {"max": {"maximum": 5}}}`,
	})
	host := dir(t, map[string]string{"limits.yaml": "max: 4\n", "team/a.yaml": "null\n"})
	region := clienttest.New(t)
	configs := configdir.Load(t, configdir.Options{Opaque: []string{"*.pem"}}, base, host)
	if names := slices.Sorted(maps.Keys(configs)); !slices.Equal(names, []string{"key", "limits"}) {
		t.Fatalf("the configs are %q", names)
	}
	region.Publish(configs)
	c := region.Client()
	b := client.Bind(c, "limits", client.Options[limits]{Strict: true})
	if got := *b.Get(); b.Err() != nil || got != (limits{4, 5 * time.Second}) {
		t.Errorf("%+v (%v)", got, b.Err())
	}
	if doc, err := c.Get("key"); err != nil || !doc.Opaque() || string(doc.JSON()) != "secret" {
		t.Errorf("%v (%v)", doc, err)
	}
}

// report keeps what a test that fails would say.
type report struct {
	testing.TB
	lines  []string
	failed bool
}

func (r *report) Helper()                  {}
func (r *report) Context() context.Context { return context.Background() }
func (r *report) Error(args ...any)        { r.lines = append(r.lines, fmt.Sprint(args...)) }
func (r *report) Fatal(args ...any)        { r.Error(args...); r.FailNow() }
func (r *report) FailNow()                 { r.failed = true; panic(r) }

// loaded is what a test of directories would say, and whether it would end.
func loaded(o configdir.Options, dirs ...string) (r *report) {
	r = &report{}
	defer func() { _ = recover() }()
	configdir.Load(r, o, dirs...)
	return r
}

func TestProblems(t *testing.T) {
	t.Parallel()
	bad := dir(t, map[string]string{"a.yaml": "x: 1\ny: [\n", "b.json": `{"n": 1}`})
	if r := loaded(configdir.Options{}, bad); !r.failed || len(r.lines) != 1 || !strings.HasPrefix(r.lines[0], filepath.Join(bad, "a.yaml")+":2") {
		t.Errorf("%q", r.lines)
	}
	base := dir(t, map[string]string{"a.yaml": "x: {y: 1}\n"})
	host := dir(t, map[string]string{"a.yaml": "\nx: 1\n"})
	if r := loaded(configdir.Options{}, base, host); !r.failed || len(r.lines) != 1 || !strings.HasPrefix(r.lines[0], filepath.Join(host, "a.yaml")+":2:") {
		t.Errorf("%q", r.lines)
	}
	odd := dir(t, map[string]string{"a.yaml": "x: 1\nX: 2\n"})
	if r := loaded(configdir.Options{}, odd); r.failed || r.lines != nil {
		t.Errorf("%q", r.lines)
	}
	if r := loaded(configdir.Options{Strict: true}, odd); r.failed || len(r.lines) != 1 {
		t.Errorf("%q", r.lines)
	}
	if r := loaded(configdir.Options{}, filepath.Join(odd, "nothing")); !r.failed || len(r.lines) != 1 {
		t.Errorf("%q", r.lines)
	}
}
