//go:build unix

package daemon

import (
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/headroom"
)

// A layer that there is no memory for is held back, and the others move on. With room
// again it is published without anything else.
func TestCrowdedLayerIsHeldBack(t *testing.T) {
	s, host := layered(t)
	s.put("a.yaml", "x: 1\n")
	host.put("b.yaml", "y: 1\n")
	room := make(chan int64, 1)
	room <- 1 << 40
	d := s.runWith(func(d *Daemon) {
		d.worker.room = func(bytes int64) error {
			most := <-room
			room <- most
			if bytes > most {
				return headroom.ErrFull
			}
			return nil
		}
	})
	s.sees(map[string]string{"a": `{"x":1}`, "b": `{"y":1}`})
	<-room
	room <- 64 << 10
	host.put("b.yaml", "y: 2\nz: "+strings.Repeat("x", 100<<10)+"\n")
	await(t, "the refusal", func() bool { return strings.HasPrefix(s.look().status.Problem, "host: the memory to decode it") })
	s.put("a.yaml", "x: 2\n")
	s.sees(map[string]string{"a": `{"x":2}`, "b": `{"y":1}`})
	d.reconciled(t, 6) // it is tried again
	if now := d.State(); now.Converged || now.Refusals[ReasonNoSpace] < 2 || now.Layers[0].Problem != "" || now.Layers[1].Problem == "" {
		t.Errorf("%+v", now)
	}
	<-room
	room <- 1 << 40
	await(t, "the heavy layer", func() bool { return d.State().Converged })
	if p := s.look(); !strings.HasPrefix(p.configs["b"], `{"y":2,`) || p.configs["a"] != `{"x":2}` {
		t.Errorf("%.100v", p.configs)
	}
}

// Without another snapshot to go on with, all of it has to wait.
func TestCrowdedSource(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := New(s.opt).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.put("a.yaml", "x: 2\n")
	d := s.runWith(func(d *Daemon) {
		d.worker.room = func(bytes int64) error {
			if bytes > 0 {
				return headroom.ErrFull
			}
			return nil
		}
	})
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "memory") })
	d.reconciled(t, 2)
	if now := d.State(); now.Generation != 1 || now.Converged || now.Refusals[ReasonNoSpace] == 0 {
		t.Errorf("%+v", now)
	}
}
