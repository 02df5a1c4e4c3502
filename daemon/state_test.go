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

// observed keeps the states that a daemon went through.
type observed struct {
	mu     sync.Mutex
	states []*State
}

func (o *observed) add(s *State) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.states = append(o.states, s)
}

// since are the states after the first n.
func (o *observed) since(n int) []*State {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.states[n:])
}

func TestObserve(t *testing.T) {
	s := newSetup(t)
	s.opt.Resync = time.Hour
	s.put("a.yaml", "x: 1\n")
	o := &observed{}
	s.opt.Observe = o.add
	r := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the publication", func() bool { return r.State().Converged })
	if now := r.State(); now.Took.Total != 1 || now.Took.Sum <= 0 || now.Publications != 1 || !now.Fresh || now.Held {
		t.Errorf("%+v", now)
	}
	n := len(o.since(0))
	await(t, "a heartbeat's turn", func() bool { return len(o.since(n)) > 0 })

	r.reload(t)
	await(t, "the reload", func() bool {
		states := o.since(n)
		i := slices.IndexFunc(states, func(s *State) bool { return s.Reloading })
		return i >= 0 && slices.ContainsFunc(states[i:], func(s *State) bool { return !s.Reloading })
	})
	r.stop(t)
	if _, err := r.Do(t.Context(), Request{Command: Reload{}}); !errors.Is(err, ErrStopped) {
		t.Errorf("a reload of a daemon that has ended: %v", err)
	}

	// A region that is continued is there from the first turn on, also with a
	// source that is not.
	s.put("a.yaml", "x: [\n")
	o = &observed{}
	s.opt.Observe = o.add
	r = s.run()
	await(t, "a refusal", func() bool { return r.State().Problem != "" })
	r.stop(t)
	first := o.since(0)[0]
	if !first.Ready || first.Converged || first.Generation != 1 || first.LastGood.IsZero() || !first.LastSuccess.IsZero() || first.Looks != 0 {
		t.Errorf("at first: %+v", first)
	}
	if last := r.State(); last.Publications != 0 || last.Took.Total != 0 {
		t.Errorf("%+v", last)
	}
}

func TestStateOfWhatIsRefused(t *testing.T) {
	s := newSetup(t)
	r := s.run()
	await(t, "the refusal of nothing", func() bool { return r.State().Problem != "" })
	if now := r.State(); now.Ready || now.Converged || now.Generation != 0 || now.Revision != "" || now.Behind.IsZero() || !now.LastSuccess.IsZero() || r.State().Digest() != "" {
		t.Errorf("%+v", now)
	}
	s.put("a.yaml", "x: 1\n")
	await(t, "the publication", func() bool { return r.State().Converged })
	good := r.State()
	if !good.Ready || good.Problem != "" || good.Generation != 1 || !strings.HasPrefix(good.Revision, "dir@sha256:") ||
		!good.Behind.IsZero() || good.LastSuccess.IsZero() || time.Since(good.Published) > time.Minute {
		t.Errorf("%+v", good)
	}
	// It is an evaluation that counts, and not a change.
	r.reconciled(t, 2)
	if again := r.State(); !again.LastSuccess.After(good.LastSuccess) || again.Generation != 1 {
		t.Errorf("%+v after %+v", again, good)
	}
	s.put("a.yaml", "x: [\n")
	await(t, "the refusal", func() bool { return !r.State().Converged })
	bad := r.State()
	r.reconciled(t, 2)
	now := r.State()
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
		first := d.State().Digest()
		if again := d.State().Digest(); !strings.HasPrefix(first, "sha256:") || len(first) != len("sha256:")+64 || again != first {
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
