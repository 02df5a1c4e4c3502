//go:build linux

package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/history"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// hung is a source that has answered once, and then does not answer any more.
type hung struct {
	source.Source
	mu       sync.Mutex
	answered int
	answers  int
}

func (h *hung) Fetch(ctx context.Context, have *source.Snapshot) (*source.Snapshot, error) {
	h.mu.Lock()
	h.answered++
	hangs := h.answered > h.answers
	h.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Source.Fetch(ctx, have)
}

// actingAt is a log that notes when the daemon knows that an act is on stable storage.
type actingAt struct {
	slog.Handler
	at chan time.Time
}

func (a actingAt) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "acting" {
		a.at <- time.Now()
	}
	return nil
}

// BenchmarkRollback goes back and forth between two generations of 1,000 configs of 1 KiB
// that differ in ten, while the source does not answer: durable-ms is from the command to
// its intent on stable storage, and effect-ms from there until a process that waits has
// read the new generation's number.
func BenchmarkRollback(b *testing.B) {
	s := &setup{TB: b, dir: filepath.Join(memory(b), "source"), journal: &journal{}}
	put := func(n int) {
		for i := range 1000 {
			if n == 1 || i%100 == 0 {
				s.put(fmt.Sprintf("config-%d.json", i), fmt.Sprintf(`{"n": %d, "text": "%0980d"}`, n, i))
			}
		}
	}
	put(1)
	log := actingAt{slog.NewTextHandler(io.Discard, nil), make(chan time.Time, 1)}
	d := New(Options{
		Sources: sources(b, "dir:"+s.dir), Region: filepath.Join(memory(b), "region"), StateDir: filepath.Join(b.TempDir(), "state"),
		Writer: writer.Options{MaxImage: 8 << 20, Group: -1}, Resync: time.Hour, Log: slog.New(log), History: history.Options{},
	})
	var src *hung
	d.open = func(spec source.Spec, o source.Options) (source.Source, error) {
		dir, err := Schemes.Open(spec, o)
		src = &hung{Source: dir, answers: 1 << 30}
		return src, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	await(b, "the publication", func() bool { return d.State().Converged && d.State().Configs == 1000 })
	put(2)
	await(b, "the second revision", func() bool {
		d.State().Past().Await(b.Context())
		changes, err := d.State().Past().Diff(1, d.State().Generation)
		return err == nil && len(changes) == 10 && d.State().Converged
	})
	newest := d.State().Generation
	src.mu.Lock()
	src.answers = 0
	src.mu.Unlock()
	if _, err := d.Do(b.Context(), Request{Command: Pin{}}); err != nil {
		b.Fatal(err)
	}
	<-log.at

	saw := make(chan time.Time)
	region, err := shm.Open(d.opt.Region, shm.Trust{})
	if err != nil {
		b.Fatal(err)
	}
	watching, unwatch := context.WithCancel(b.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		hot, _ := region.Hot()
		for watching.Err() == nil {
			_ = region.Wait(hot, 100*time.Millisecond)
			if now, err := region.Hot(); err == nil && now != hot {
				hot = now
				saw <- time.Now()
			}
		}
	})
	var durable, effect []time.Duration
	for i := 0; b.Loop(); i++ {
		to := []uint64{1, newest}[i%2]
		began := time.Now()
		if _, err := d.Do(b.Context(), Request{Command: Rollback{To: to}}); err != nil {
			b.Fatal(err)
		}
		at := <-log.at
		durable, effect = append(durable, at.Sub(began)), append(effect, (<-saw).Sub(at))
		time.Sleep(5 * time.Millisecond)
	}
	unwatch()
	watch.Wait()
	for _, m := range []struct {
		what  string
		times []time.Duration
	}{{"durable", durable}, {"effect", effect}} {
		slices.Sort(m.times)
		b.ReportMetric(float64(m.times[len(m.times)/2].Microseconds())/1000, m.what+"-p50-ms")
		b.ReportMetric(float64(m.times[len(m.times)*99/100].Microseconds())/1000, m.what+"-p99-ms")
	}
}
