//go:build unix

package daemon

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hooked keeps what the hooks are told, in order.
type hooked struct {
	mu    sync.Mutex
	calls []string
	last  Stats
}

func (h *hooked) hooks() Hooks {
	note := func(call string, s *Stats) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls = append(h.calls, call)
		if s != nil {
			h.last = *s
		}
	}
	return Hooks{
		Published: func(took time.Duration) {
			if took <= 0 {
				note("published in no time", nil)
			}
			note("published", nil)
		},
		Reloading: func() { note("reloading", nil) },
		Turned:    func(s Stats) { note("turned", &s) },
	}
}

// since are the calls after the first n.
func (h *hooked) since(n int) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls[n:])
}

func TestHooks(t *testing.T) {
	s := newSetup(t)
	s.opt.Resync = time.Hour
	s.put("a.yaml", "x: 1\n")
	h := &hooked{}
	s.opt.Hooks = h.hooks()
	r := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the first turns", func() bool { return len(h.since(0)) >= 3 })
	if calls := h.since(0)[:3]; !slices.Equal(calls, []string{"turned", "published", "turned"}) {
		t.Error(calls)
	}
	n := len(h.since(0))
	await(t, "a heartbeat's turn", func() bool { return slices.Equal(h.since(n), []string{"turned"}) })

	n = len(h.since(0))
	r.Reload()
	await(t, "the reload", func() bool {
		calls := h.since(n)
		i := slices.Index(calls, "reloading")
		return i >= 0 && slices.Contains(calls[i:], "turned")
	})
	r.stop(t)

	// A region that is gone on with is there from the first turn on, also with a
	// source that is not.
	s.put("a.yaml", "x: [\n")
	h = &hooked{}
	s.opt.Hooks = h.hooks()
	first := Stats{}
	turned := s.opt.Hooks.Turned
	s.opt.Hooks.Turned = func(stats Stats) {
		if first.Turned.IsZero() {
			first = stats
		}
		turned(stats)
	}
	r = s.run()
	await(t, "a refusal", func() bool { return r.Stats().Problem != "" })
	r.stop(t)
	if !first.Ready || first.Good || first.Generation != 1 || first.LastGood.IsZero() || !first.LastSuccess.IsZero() || first.Reconciles != 0 {
		t.Errorf("at first: %+v", first)
	}
	if slices.Contains(h.since(0), "published") {
		t.Error(h.since(0))
	}
}

func TestStatsOfWhatIsRefused(t *testing.T) {
	s := newSetup(t)
	r := s.run()
	await(t, "the refusal of nothing", func() bool { return r.Stats().Problem != "" })
	if now := r.Stats(); now.Ready || now.Good || now.Generation != 0 || now.Revision != "" || now.Behind.IsZero() || !now.LastSuccess.IsZero() || r.Digest() != "" {
		t.Errorf("%+v", now)
	}
	s.put("a.yaml", "x: 1\n")
	await(t, "the publication", func() bool { return r.Stats().Good })
	good := r.Stats()
	if !good.Ready || good.Problem != "" || good.Generation != 1 || !strings.HasPrefix(good.Revision, "dir@sha256:") ||
		!good.Behind.IsZero() || good.LastSuccess.IsZero() || time.Since(good.Published) > time.Minute {
		t.Errorf("%+v", good)
	}
	// It is an evaluation that counts, and not a change.
	r.reconciled(t, 2)
	if again := r.Stats(); !again.LastSuccess.After(good.LastSuccess) || again.Generation != 1 {
		t.Errorf("%+v after %+v", again, good)
	}
	s.put("a.yaml", "x: [\n")
	await(t, "the refusal", func() bool { return !r.Stats().Good })
	bad := r.Stats()
	r.reconciled(t, 2)
	now := r.Stats()
	if now.Behind.IsZero() || !now.Behind.Equal(bad.Behind) || !now.LastSuccess.Equal(bad.LastSuccess) || !now.Ready || !strings.Contains(now.Problem, "a.yaml") {
		t.Errorf("%+v after %+v", now, bad)
	}
}

// The digest is the content's: not the revision's, nor the generation's.
func TestDigest(t *testing.T) {
	digest := func(files map[string]string) string {
		s := newSetupBeside(t)
		for name, text := range files {
			s.put(name, text)
		}
		d := New(s.opt)
		if err := d.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		first := d.Digest()
		if again := d.Digest(); !strings.HasPrefix(first, "sha256:") || len(first) != len("sha256:")+64 || again != first {
			t.Error(first, again)
		}
		return first
	}
	t.Parallel()
	first := digest(map[string]string{"a.yaml": "x: 1\n", "b.json": "{}"})
	if same := digest(map[string]string{"a.json": `{"x": 1}`, "b.yaml": "{}\n"}); same != first {
		t.Errorf("the same configs are %s and %s", first, same)
	}
	for _, files := range []map[string]string{
		{"a.yaml": "x: 2\n", "b.json": "{}"},
		{"a.yaml": "x: 1\n"},
		{"a.yaml": "x: 1\n", "c.json": "{}"},
		{"a.yaml": "{}\n", "b.json": `{"x": 1}`},
	} {
		if other := digest(files); other == first {
			t.Errorf("%v has the digest of others", files)
		}
	}
}

// Once calls Published, and not Turned.
func TestHooksOfOnce(t *testing.T) {
	s := newSetup(t)
	h := &hooked{}
	s.opt.Hooks = h.hooks()
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Error(err)
	}
	if calls := h.since(0); !slices.Equal(calls, []string{"published"}) {
		t.Error(calls)
	}
}
