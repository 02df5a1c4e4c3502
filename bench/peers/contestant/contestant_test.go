package contestant

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/process"
	"github.com/statesync/statesync/bench/peers/server"
)

func TestMain(m *testing.M) {
	process.Main()
	m.Run()
}

// slow follow on a ticker of seconds.
var slow = map[string]bool{"origin": true, "sqlite-cached": true}

// racy have a data race between a reload and the readers, by their design.
var racy = map[string]bool{"origin": true, "viper": true}

// TestContestants has every contestant read the right value, and follow a
// change by every way that it claims to have.
func TestContestants(t *testing.T) {
	fleet := server.NewFleet(t.TempDir())
	t.Cleanup(func() {
		if err := fleet.Stop(); err != nil {
			t.Error(err)
		}
	})
	shm, err := os.MkdirTemp("/dev/shm", "statesync-peers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	top := Place{Dir: t.TempDir(), Shm: shm, Size: config.Sizes[0]}
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			p, err := top.Sub(c.Name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Publish(t.Context(), &p, fleet)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			r, err := c.Open(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}()
			if r.Loop != nil && !c.Raw {
				if sum, err := r.Loop(3); sum != 3*config.Elo(1) || err != nil {
					t.Fatalf("three reads sum up to %d (%v), want 3 × %d", sum, err, config.Elo(1))
				}
			}
			if r.Exact {
				if err := s.Put(t.Context(), 2); err != nil {
					t.Fatal(err)
				}
				if v, err := r.Loop(1); v != config.Elo(2) || err != nil {
					t.Errorf("after a change it reads %d (%v), want %d", v, err, config.Elo(2))
				}
			}
			if skip := slow[c.Name] && testing.Short() || racy[c.Name] && raceEnabled; r.Watch != nil && !skip {
				testWatch(t, s, r)
			}
		})
	}
}

// testWatch changes the config once the watch is established.
func testWatch(t *testing.T, s Source, r *Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	put := make(chan error, 1)
	err := r.Watch(ctx, func(elo int) {
		switch config.Version(elo) {
		case 1, 2:
			go func() {
				select {
				case put <- s.Put(t.Context(), 3):
				default:
				}
			}()
		case 3:
			cancel()
		default:
			t.Errorf("it sees version %d", config.Version(elo))
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("it was never told of the change")
	}
	if err := <-put; err != nil {
		t.Error(err)
	}
}
