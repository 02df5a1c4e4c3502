//go:build unix

package writer

import (
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/internal/layout"
)

func TestStatus(t *testing.T) {
	dir := regionIn(t)
	begin := shm.Boottime()
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	first, err := r.Status()
	must(t, err)
	if first.State != shm.Running || first.PID != os.Getpid() || first.Heartbeat < begin || first.Heartbeat > shm.Boottime() ||
		time.Since(first.Started) > time.Hour || first.Observed != "" || first.Problem != "" || first.SourceGood != 0 {
		t.Errorf("the status of a new region is %+v", first)
	}
	if !first.Alive() || !r.Beating() {
		t.Error("a new writer is not alive")
	}

	seen := shm.Observation{
		Observed: "rev-1", SourceGood: 42 * time.Second, Problem: "a.yaml:1: bad", Fresh: true, Held: true,
		Layers: []shm.Layer{{Name: "base", Version: "v1", Good: time.Minute}, {Name: "host", Problem: "gone"}, {}},
		Findings: []shm.Finding{
			{Reason: "invalid", Layer: "host", File: "a.yaml", Line: 3, Column: 7, Key: "x.y", Message: "wrong"}, {}, {Reason: "source", Message: "gone"},
		},
		Found: 7000,
	}
	w.Observe(seen)
	if again, _ := r.Status(); !reflect.DeepEqual(again, first) {
		t.Errorf("before the beat the status is %+v", again)
	}
	must(t, w.Beat())
	second, err := r.Status()
	must(t, err)
	want := first
	want.Observation, want.Heartbeat = seen, second.Heartbeat
	if !reflect.DeepEqual(second, want) || second.Heartbeat < first.Heartbeat {
		t.Errorf("the status is %+v, not %+v", second, want)
	}
	// Shorter texts leave nothing of the longer ones.
	w.Observe(shm.Observation{Observed: "r", SourceGood: 0, Problem: ""})
	must(t, w.Beat())
	if got, _ := r.Status(); got.Observed != "r" || got.Problem != "" || got.Fresh || got.Layers != nil {
		t.Errorf("the status is %+v", got)
	}

	// A region that replaces another has the status from the beginning.
	w.Observe(shm.Observation{Observed: "rev-2", SourceGood: 1, Problem: "p"})
	must(t, w.Create(5, nil))
	got, err := open(t, dir).Status()
	must(t, err)
	if got.Observed != "rev-2" || got.Problem != "p" || got.Incarnation != first.Incarnation || !got.Alive() {
		t.Errorf("the status of a replacement is %+v", got)
	}
	must(t, w.Close())

	next := attached(t, dir, small())
	got, err = open(t, dir).Status()
	must(t, err)
	if got.Incarnation == first.Incarnation || got.State != shm.Running || got.Observed != "" {
		t.Errorf("the successor's status is %+v", got)
	}
	must(t, next.Close())
	r = open(t, dir)
	if got, _ = r.Status(); got.State != shm.Stopped || got.Alive() || r.Beating() {
		t.Errorf("a stopped writer's status is %+v, beating %v", got, r.Beating())
	}
}

func TestLongTexts(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	for _, text := range []string{"x", "é", "語", "😀", "a語", "ab語", "\xff", "x\xffy\xc3"} {
		for _, n := range []int{0, 1, 1023, 1024, 1025, 2559, 2560, 2561, 10000} {
			long := strings.Repeat(text, n/len(text)+1)[:n]
			layers := make([]shm.Layer, shm.MaxLayers+1) // the last one is left out
			for i := range layers {
				layers[i] = shm.Layer{Name: long, Version: long, Problem: long}
			}
			findings := make([]shm.Finding, 30) // more than there is room for, if they are long
			for i := range findings {
				findings[i] = shm.Finding{Reason: long, Layer: long, File: long, Line: i + 1, Key: long, Message: long}
			}
			w.Observe(shm.Observation{Observed: long, Problem: long, Layers: layers, Findings: findings, Found: 1 << 40})
			must(t, w.Beat())
			got, err := r.Status()
			must(t, err)
			if len(got.Layers) != shm.MaxLayers {
				t.Fatalf("%d layers", len(got.Layers))
			}
			if len(got.Findings) == 0 || n < 100 && len(got.Findings) != len(findings) || got.Findings[0].Line != 1 || got.Found != math.MaxUint32 {
				t.Fatalf("%d findings of %d", len(got.Findings), got.Found)
			}
			last, finding := got.Layers[shm.MaxLayers-1], got.Findings[len(got.Findings)-1]
			for _, f := range []struct {
				got  string
				most int
			}{
				{got.Observed, layout.MaxObserved},
				{got.Problem, layout.MaxProblem},
				{last.Name, layout.MaxLayerName},
				{last.Version, layout.MaxLayerVersion},
				{last.Problem, layout.MaxLayerProblem},
				{finding.Reason, 32},
				{finding.Layer, layout.MaxLayerName},
				{finding.File, 512},
				{finding.Key, 256},
				{finding.Message, 768},
			} {
				clean := strings.ToValidUTF8(long, "")
				if !utf8.ValidString(f.got) || len(f.got) > f.most || !strings.HasPrefix(clean, f.got) {
					t.Errorf("%d bytes of %q became %q", n, text, f.got)
				}
				if utf8.ValidString(long) && len(f.got) < min(n, f.most-utf8.UTFMax+1) {
					t.Errorf("%d bytes of %q became %d", n, text, len(f.got))
				}
			}
		}
	}
}

// A reader gets the whole of a status or none of it.
func TestStatusIsWhole(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5000 {
			text := strings.Repeat(string(rune('a'+i%26)), 1+i%1000)
			w.Observe(shm.Observation{Observed: text, SourceGood: time.Duration(len(text)), Problem: text})
			if err := w.Beat(); err != nil {
				t.Error(err)
			}
		}
	}()
	reads, busy := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		s, err := r.Status()
		if err != nil {
			wantError(t, err, shm.ErrBusy)
			busy++
			continue
		}
		reads++
		if s.Observed != s.Problem || len(s.Observed) != int(s.SourceGood) ||
			strings.Trim(s.Observed, s.Observed[:min(1, len(s.Observed))]) != "" {
			t.Fatalf("a torn status: %+v", s)
		}
	}
	t.Logf("%d reads, %d busy", reads, busy)
	if reads == 0 {
		t.Error("nothing could be read")
	}
}

// A writer that died while it wrote its status leaves one that can't be read,
// until its successor writes its own.
func TestDeathInStatus(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	sequence := &w.l.Status()[layout.StatusSequence]
	for range 3 {
		atomic.AddUint64(sequence, 1)
		if *sequence%2 != 1 {
			t.Fatalf("a status at rest has sequence %d", *sequence-1)
		}
		w.l.Status()[layout.StatusPID] = 1
		die(t, w)
		_, err := r.Status()
		wantError(t, err, shm.ErrBusy, r.Path())
		wantGeneration(t, r, 1) // no read depends on it
		w = attached(t, dir, small())
		sequence = &w.l.Status()[layout.StatusSequence]
		got, err := r.Status()
		must(t, err)
		if got.PID != os.Getpid() || !got.Alive() {
			t.Errorf("the successor's status is %+v", got)
		}
	}
}

// Fields that no writer leaves are cut or passed over, and not believed.
func TestHostileStatus(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	r := open(t, dir)
	status := w.l.Status()
	for i := layout.StatusHead; i < layout.StatusWords; i++ {
		status[i] = 0x6161616161616161
	}
	for _, length := range []uint64{0, 1, 8, layout.MaxObserved, layout.MaxObserved + 1, layout.MaxProblem + 1, 20_000, layout.SlotsAt, 1<<32 - 1} {
		for _, total := range []uint64{0, 8, 16, 4096, layout.SlotsAt - layout.StatusAt - layout.StatusHead*layout.WordBytes, layout.SlotsAt, 1 << 63, ^uint64(0)} {
			status[layout.StatusFields] = total
			for tag := range uint64(3) {
				status[layout.StatusHead] = tag | length<<32
				got, err := r.Status()
				must(t, err)
				fits := length <= min(total, layout.SlotsAt-layout.StatusAt-layout.StatusHead*layout.WordBytes)-8 && total >= 8
				if want := min(length, layout.MaxObserved); tag == layout.FieldObserved && fits && len(got.Observed) != int(want) ||
					tag == layout.FieldProblem && fits && len(got.Problem) < int(min(length, layout.MaxProblem)) ||
					len(got.Observed) > layout.MaxObserved || len(got.Problem) > layout.MaxProblem {
					t.Errorf("a field %d of %d bytes in %d became %d and %d", tag, length, total, len(got.Observed), len(got.Problem))
				}
			}
		}
	}
	for i := range status {
		if i != layout.StatusSequence {
			status[i] = ^uint64(0)
		}
	}
	got, err := r.Status()
	must(t, err)
	if got.Alive() || r.Beating() || got.State.String() != "unknown" {
		t.Errorf("nonsense is alive: %+v", got)
	}
}

// TestStatusOfLaterVersion reads a status with fields that a later version may
// add, before, between and behind those of this one.
func TestStatusOfLaterVersion(t *testing.T) {
	dir := regionIn(t)
	w := created(t, dir, small(), 1)
	w.Observe(shm.Observation{Observed: "rev-1", SourceGood: 7, Problem: "first problem"})
	must(t, w.Beat())
	status := w.l.Status()
	fields := slices.Clone(status[layout.StatusHead:][:status[layout.StatusFields]/layout.WordBytes])
	source := []uint64{17 | 11<<32, 0x6161616161616161, 0x616161}
	empty := []uint64{0xffffffff}
	second := []uint64{layout.FieldProblem | 3<<32, 0x646e32}
	all := slices.Concat(source, empty, fields, second, empty, source)
	copy(status[layout.StatusHead:], all)
	status[layout.StatusFields] = uint64(len(all) * layout.WordBytes)
	for i := layout.StatusReserved; i < layout.StatusHead; i++ {
		status[i] = 42
	}
	r := open(t, dir)
	got, err := r.Status()
	must(t, err)
	if got.Observed != "rev-1" || got.Problem != "first problem" || got.SourceGood != 7 || !got.Alive() {
		t.Errorf("the status is %+v", got)
	}
	// This version's writer continues in the region, and leaves its own fields.
	die(t, w)
	next := attached(t, dir, small())
	next.Observe(shm.Observation{Observed: "rev-2", SourceGood: 8, Problem: ""})
	must(t, next.Beat())
	if got, err = r.Status(); err != nil || got.Observed != "rev-2" || got.Problem != "" {
		t.Errorf("the successor's status is %+v, %v", got, err)
	}
}

func TestAlive(t *testing.T) {
	now := shm.Boottime()
	for _, c := range []struct {
		state shm.State
		beat  time.Duration
		want  bool
	}{
		{shm.Running, now, true},
		{shm.Running, now - shm.StaleAfter/2, true},
		{shm.Running, now - shm.StaleAfter, false},
		{shm.Running, now + time.Hour, false},
		{shm.Running, -1 << 63, false},
		{shm.Running, 1<<63 - 1, false},
		{shm.Stopped, now, false},
		{shm.Unknown, now, false},
		{17, now, false},
	} {
		if got := (shm.Status{State: c.state, Heartbeat: c.beat}).Alive(); got != c.want {
			t.Errorf("%v, beat at %v of %v: alive is %v", c.state, c.beat, now, got)
		}
	}
	for state, want := range map[shm.State]string{shm.Unknown: "unknown", shm.Running: "running", shm.Stopped: "stopped", 9: "unknown"} {
		if state.String() != want {
			t.Errorf("state %d is called %q", state, state)
		}
	}
}
