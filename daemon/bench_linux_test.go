//go:build unix

package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/writer"
)

// cpu is what this process has taken of the processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkChangeOneOf10000 changes one of 10,000 files of 1 KiB, again and again, with
// a pause after each change in which the last good image is saved: cpu-ms/op has all
// of it, and what a daemon does in 1.5 s without a change is idle-ms/op.
func BenchmarkChangeOneOf10000(b *testing.B) {
	base := memory(b)
	text := func(i, n int) string {
		return fmt.Sprintf(`{"n": %d, "i": %d, "text": %q}`, n, i, strings.Repeat("x", 980))
	}
	put := func(i, n int) {
		dir := filepath.Join(base, "source", fmt.Sprintf("team-%02d", i%100))
		if n == 0 {
			_ = os.MkdirAll(dir, 0o755)
		}
		path := filepath.Join(dir, fmt.Sprintf("config-%d.json", i))
		temp := filepath.Join(dir, ".temp")
		if err := os.WriteFile(temp, []byte(text(i, n)), 0o644); err != nil {
			b.Fatal(err)
		}
		if err := os.Rename(temp, path); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 10_000 {
		put(i, 0)
	}
	d := New(Options{
		Sources: sources(b, "dir:"+filepath.Join(base, "source")), Region: filepath.Join(base, "region"), StateDir: filepath.Join(base, "state"),
		Writer: writer.Options{MaxImage: 64 << 20, Group: -1}, Resync: time.Hour, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	await(b, "the publication", func() bool { return d.State().Converged })
	const pause = 1500 * time.Millisecond
	n := 0
	change := func() (arrives time.Duration) {
		n++
		generation := d.State().Generation
		began := time.Now()
		put(n%10_000, n)
		for d.State().Generation == generation {
			time.Sleep(200 * time.Microsecond)
		}
		return time.Since(began)
	}
	for range 2 * shm.DefaultSlots { // until each slot has all of it
		change()
	}
	time.Sleep(2 * pause)
	idle := cpu(b)
	time.Sleep(2 * pause)
	idle = (cpu(b) - idle) / 2
	var arrives time.Duration
	used := cpu(b)
	for b.Loop() {
		arrives += change()
		time.Sleep(pause)
	}
	used = cpu(b) - used
	b.ReportMetric(float64(used.Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(idle.Microseconds())/1000, "idle-ms/op")
	b.ReportMetric(float64(arrives.Microseconds())/1000/float64(b.N), "arrives-ms/op")
}
