package match

import (
	"os"
	"testing"
	"time"
)

// TestModes starts every mode with all that it needs, and has each answer, go
// through a change and through a stop under a small load.
func TestModes(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "statesync-match-")
	if err != nil {
		t.Skip("no shared memory:", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	o := options{
		rate: 100, rounds: 1, calm: 200 * time.Millisecond, changes: 1, stop: 100 * time.Millisecond,
		settle: 50 * time.Millisecond, after: 50 * time.Millisecond, say: t.Logf,
	}
	// The origin's reader has a data race, which it is measured with.
	wanted := func(name string) bool { return !underRace || name != modeFile }
	s, err := startStacks(t.Context(), t.TempDir(), shm, wanted)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, m := range s.modes {
		name := m.way.Mode
		got, err := m.turn(t.Context(), o, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got.Calm.Answered == 0 || got.Calm.Failed > 0 || got.Changing.Failed > 0 {
			t.Errorf("%s: calm %+v, in a change %+v", name, got.Calm, got.Changing)
		}
		if got.Quiet.Service <= 0 || got.Quiet.Stack < got.Quiet.Service || got.Quiet.Usage.Objects == 0 {
			t.Errorf("%s: it used %+v", name, got.Quiet)
		}
		asks := name == modeGRPC || name == modeReplica || name == modeFile
		if reads := got.Quiet.Usage.Reads; asks != (reads > 0) {
			t.Errorf("%s asked its backend %d times in calm", name, reads)
		}
		if name == modeConstant {
			if len(got.Changes) > 0 {
				t.Errorf("%s: changes %+v of what can't change", name, got.Changes)
			}
			continue
		}
		if len(got.Changes) != 1 || got.Changes[0].Seen <= 0 {
			t.Errorf("%s: the changes are %+v", name, got.Changes)
		}
		if a := m.request(1); a.err != nil || a.version != m.version {
			t.Errorf("%s answers with version %d (%v), want %d", name, a.version, a.err, m.version)
		}
		m.ages = false // a test does not wait for a TTL
		for _, b := range m.backends {
			out, err := m.outage(t.Context(), o, b)
			if err != nil || out.During.Answered+out.During.Failed == 0 {
				t.Errorf("%s, %s stopped: %+v (%v)", name, b.name, out, err)
			}
			if a := m.request(1); a.err != nil || a.version != m.version {
				t.Errorf("%s answers with version %d (%v) after a stop of %s", name, a.version, a.err, b.name)
			}
		}
	}
}

// TestRunsOut has a backend that stops for longer than a request waits.
func TestRunsOut(t *testing.T) {
	o := options{rate: 50, stop: configDeadline + 300*time.Millisecond, after: configDeadline, say: t.Logf}
	s, err := startStacks(t.Context(), t.TempDir(), t.TempDir(), func(name string) bool { return name == modeReplica })
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for _, b := range s.modes[0].backends {
		out, err := s.modes[0].outage(t.Context(), o, b)
		if err != nil {
			t.Fatal(err)
		}
		if local := b.name == "the replica"; local != (out.During.Failed > 0) || local != (out.Reason != "") {
			t.Errorf("%s stopped: %+v", b.name, out)
		}
	}
}
