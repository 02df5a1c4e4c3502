//go:build unix

package clienttest_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type weights struct{ Elo int }

type counter struct{ N int }

type configs = map[string]any

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want[T comparable](t testing.TB, what string, got, expected T) {
	t.Helper()
	if got != expected {
		t.Errorf("%s: it is %v, and %v was expected", what, got, expected)
	}
}

// recorder is a test that may fail without the one that runs it failing.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Error(args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprint(args...))
}

func (r *recorder) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// record runs a test function, with its cleanups, and returns what failed.
func record(t *testing.T, test func(t testing.TB)) []string {
	t.Helper()
	r := &recorder{TB: t}
	alone(func() { test(r) })
	r.cleanUp()
	return r.failures
}

// cleanUp is what a test's end does.
func (r *recorder) cleanUp() {
	for len(r.cleanups) > 0 {
		last := len(r.cleanups) - 1
		f := r.cleanups[last]
		r.cleanups = r.cleanups[:last]
		alone(f)
	}
}

// alone calls f where it may end its goroutine.
func alone(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

// wantFailure fails the test unless a test function fails just once, and says
// all words.
func wantFailure(t *testing.T, what string, test func(t testing.TB), words ...string) {
	t.Helper()
	failures := record(t, test)
	if len(failures) != 1 {
		t.Errorf("%s: the failures are %q, and one was expected", what, failures)
		return
	}
	for _, word := range words {
		if !strings.Contains(failures[0], word) {
			t.Errorf("%s: the failure does not name %q: %s", what, word, failures[0])
		}
	}
}

func TestPublishIsAWholeRevision(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	want(t, "Generation", r.Generation(), 1)
	c := r.Client()
	b, k := client.Bind[weights](c, "a"), client.BindKey(c, "b", "Elo", 7)
	check := func(g uint64, a, b2 int, names ...string) {
		t.Helper()
		want(t, "Generation", r.Generation(), g)
		s := c.Snapshot()
		want(t, "the snapshot's generation", s.Generation(), g)
		want(t, "Get", b.Get().Elo, a)
		want(t, "KeyBinding.Get", k.Get(), b2)
		for _, name := range []string{"a", "b", "c"} {
			_, err := s.Get(name)
			if there := strings.Contains(strings.Join(names, ""), name); there && err != nil || !there && !errors.Is(err, client.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	check(1, 0, 7)
	want(t, "Publish", r.Publish(configs{"a": weights{1}, "b": weights{2}}), 2)
	check(2, 1, 2, "a", "b")
	want(t, "Set", r.Set("b", weights{3}), 3)
	check(3, 1, 3, "a", "b")
	want(t, "Set of a new one", r.Set("c", weights{4}), 4)
	check(4, 1, 3, "a", "b", "c")
	want(t, "Delete", r.Delete("a"), 5)
	check(5, 1, 3, "b", "c") // a binding keeps its last value
	want(t, "Publish leaves out", r.Publish(configs{"a": weights{5}}), 6)
	check(6, 5, 3, "a")
	want(t, "Publish of nothing", r.Publish(nil), 7)
	check(7, 5, 3)

	// What changes nothing is no generation.
	r.Set("a", weights{8})
	want(t, "Set of the same", r.Set("a", configs{"Elo": 8}), 8)
	want(t, "Delete of nothing", r.Delete("b"), 8)
	want(t, "Publish of the same", r.Publish(configs{"a": weights{8}}), 8)
	check(8, 8, 3, "a")
}

func TestOpaque(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	r.Publish(configs{"rules": clienttest.Opaque("a\x00b"), "empty": clienttest.Opaque(nil)})
	c := r.Client()
	want(t, "a string", *client.Bind[string](c, "rules").Get(), "a\x00b")
	want(t, "bytes", string(*client.Bind[[]byte](c, "rules").Get()), "a\x00b")
	for _, name := range []string{"rules", "empty"} {
		doc, err := c.Get(name)
		must(t, err)
		want(t, name+" is opaque", doc.Opaque(), true)
	}
	r.Set("rules", clienttest.Opaque("c"))
	want(t, "a string", *client.Bind[string](c, "rules").Get(), "c")
}

func TestEveryClientHasSettledWhenPublishReturns(t *testing.T) {
	t.Parallel()
	r := clienttest.New(t)
	var bindings []*client.Binding[weights]
	for range 5 {
		bindings = append(bindings, client.Bind[weights](r.Client(), "a"))
	}
	closed := r.Client()
	last := client.Bind[weights](closed, "a")
	for n := 1; n < 50; n++ {
		r.Set("a", weights{n})
		for _, b := range bindings {
			want(t, "Get", b.Get().Elo, n)
		}
		if n == 20 {
			must(t, closed.Close())
		}
	}
	want(t, "Get of a closed client", last.Get().Elo, 20)
}

// Tests that run in parallel have nothing to do with each other.
func TestRegionsArePrivate(t *testing.T) {
	t.Parallel()
	for n := range 8 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := clienttest.New(t)
			r.Set("a", weights{n})
			b := client.Bind[weights](r.Client(), "a")
			for i := range 20 {
				want(t, "Get", b.Get().Elo, n+100*i)
				want(t, "Set", r.Set("a", weights{n + 100*(i+1)}), uint64(i+3))
			}
		})
	}
}

// A program under test may open the region itself, and two regions may live in
// one test.
func TestDir(t *testing.T) {
	t.Parallel()
	one, two := clienttest.New(t), clienttest.New(t)
	one.Set("a", weights{1})
	two.Set("a", weights{2})
	for n, r := range []*clienttest.Region{one, two} {
		c, err := client.Open(r.Dir())
		must(t, err)
		want(t, "Get", client.Bind[weights](c, "a").Get().Elo, n+1)
		want(t, "DaemonAlive", c.Stats().DaemonAlive, true)
		must(t, c.Close())
	}
}

func TestEverythingEndsWithTheTest(t *testing.T) {
	t.Parallel()
	var dir string
	var c *client.Client
	if failures := record(t, func(t testing.TB) {
		r := clienttest.New(t)
		dir, c = r.Dir(), r.Client()
		r.Set("a", weights{1})
	}); len(failures) > 0 {
		t.Errorf("a good test fails: %q", failures)
	}
	if err := c.WaitGeneration(t.Context(), 100); !errors.Is(err, client.ErrClosed) {
		t.Errorf("the client is not closed: %v", err)
	}
	later, err := client.Open(dir) // which is the outer test's to remove
	must(t, err)
	defer later.Close()
	want(t, "the writer is alive", later.Stats().DaemonAlive, false)
}

type team struct {
	Names []string
	Limit map[string]int
}

func TestChangingAValueThatWasHandedOutFailsTheTest(t *testing.T) {
	t.Parallel()
	content := configs{"names": []string{"x", "y"}, "limit": map[string]int{"x": 1}}
	for what, change := range map[string]func(r *clienttest.Region, c *client.Client){
		"a value of Get": func(_ *clienttest.Region, c *client.Client) { client.Bind[team](c, "team").Get().Names[0] = "changed" },
		"a value of In": func(_ *clienttest.Region, c *client.Client) {
			client.Bind[team](c, "team").In(c.Snapshot()).Limit["y"] = 1
		},
		"a whole value": func(_ *clienttest.Region, c *client.Client) { *client.Bind[team](c, "team").Get() = team{} },
		"a key's value": func(_ *clienttest.Region, c *client.Client) {
			client.BindKey[[]string](c, "team", "names", nil).Get()[1] = "z"
		},
		"a default": func(_ *clienttest.Region, c *client.Client) {
			client.Bind(c, "absent", client.Options[team]{Default: team{}}).Get().Names = []string{"x"}
		},
		"a zero value": func(_ *clienttest.Region, c *client.Client) {
			client.Bind[team](c, "absent").Get().Names = []string{"x"}
		},
		"a key's default": func(_ *clienttest.Region, c *client.Client) {
			client.BindKey(c, "team", "absent", []string{"x"}).Get()[0] = "y"
		},
		"a value of a snapshot": func(r *clienttest.Region, c *client.Client) {
			b := client.Bind[team](c, "team")
			b.Get().Names[0] = "changed"
			r.Set("team", configs{"names": []string{"z"}})
		},
		"a value that is long gone": func(r *clienttest.Region, c *client.Client) {
			client.Bind[team](c, "team").Get().Names[0] = "changed"
			for n := range 10 {
				r.Set("team", configs{"limit": map[string]int{"x": n}})
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			config := "config team"
			if strings.HasSuffix(what, "default") && !strings.HasPrefix(what, "a key") || strings.HasPrefix(what, "a zero") {
				config = "config absent"
			}
			wantFailure(t, what, func(t testing.TB) {
				r := clienttest.New(t)
				r.Set("team", content)
				change(r, r.Client())
			}, config, "changed")
		})
	}
}

// binder binds another config when it is decoded.
type binder struct {
	client *client.Client
	N      int
}

func (b *binder) UnmarshalJSON(text []byte) error {
	b.N = len(text) + client.Bind[weights](b.client, "other").Get().Elo
	return nil
}

// The values are decoded once more at the end of a test.
func TestDecoderThatBindsFailsNoTest(t *testing.T) {
	t.Parallel()
	failures := record(t, func(t testing.TB) {
		r := clienttest.New(t)
		r.Publish(configs{"a": weights{1}, "other": weights{2}})
		c := r.Client()
		client.Bind(c, "a", client.Options[binder]{Default: binder{client: c}})
	})
	want(t, "the number of failures", len(failures), 0)
}

func TestReadingFailsNoTest(t *testing.T) {
	t.Parallel()
	if failures := record(t, func(t testing.TB) {
		r := clienttest.New(t)
		c := r.Client()
		b := client.Bind(c, "team", client.Options[team]{Default: team{Names: []string{"default"}}})
		refusing := client.Bind(c, "team", client.Options[team]{Strict: true, Validate: func(*team) error { return errors.New("no") }})
		r.Set("team", configs{"names": []string{"x"}, "limit": nil, "more": 1})
		own := *b.Get() // a copy, of which the top is the program's own
		own.Names = []string{"mine"}
		_ = refusing.Get()
		r.Delete("team")
		_ = b.In(c.Snapshot())
	}); len(failures) > 0 {
		t.Errorf("a good test fails: %q", failures)
	}
}

func TestWhatCanNotBePublishedFailsTheTest(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		name  string
		value any
		word  string
	}{
		"no JSON":       {"a", func() {}, "config a"},
		"a scalar":      {"a", 7, "config a"},
		"nil":           {"a", nil, "config a"},
		"a wrong name":  {"../a", weights{}, "../a"},
		"no name":       {"", weights{}, "name"},
		"an ambiguity":  {"a", configs{"b.c": 1, "b": configs{"c": 2}}, "b.c"},
		"what is large": {"a", clienttest.Opaque(make([]byte, 32<<20)), "large"},
	} {
		wantFailure(t, what, func(t testing.TB) { clienttest.New(t).Set(c.name, c.value) }, c.word)
	}
	wantFailure(t, "a client of nothing", func(t testing.TB) {
		r := clienttest.New(t)
		must(t, os.Remove(filepath.Join(r.Dir(), "region.v1")))
		r.Client()
	}, "no region")
}
