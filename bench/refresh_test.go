package bench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/shm/image"
)

// refreshCase is an image, and which of its configs changes in each
// publication.
type refreshCase struct {
	name    string
	configs int
	bytes   int // of the image, about
	changes string
}

var refreshCases = []refreshCase{
	{"1MiB/changed", 1, 1 << 20, "matchmaker"},
	{"1MiB/unchanged", 1, 1 << 20, "other"},
	{"10000-configs-64MiB/changed", 10_000, 60 << 20, "matchmaker"},
	{"10000-configs-64MiB/unchanged", 10_000, 60 << 20, "other"},
}

// BenchmarkRefresh is what the first exact reader after a publication pays:
// the look at the region and the copy of what changed, without decoding. The
// reader uses one config of a KiB, and reads all the time, as a busy service
// does; the publisher is another process. The first client to look finds the
// image cold, in the other processor's cache or in none; a second one finds it
// warm.
func BenchmarkRefresh(b *testing.B) {
	for i, c := range refreshCases {
		b.Run(c.name, func(b *testing.B) { benchmarkRefresh(b, i) })
	}
}

func benchmarkRefresh(b *testing.B, n int) {
	dir := regionDir(b)
	cmd := exec.Command(os.Args[0], "-test.run=^TestPublisherProcess$", "-test.count=1")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d:%s", publisherEnv, n, dir))
	cmd.Stderr = os.Stderr
	stop, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = stop.Close()
		_ = cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "publishing\n" {
		b.Fatalf("the publisher says %q (%v)", line, err)
	}
	var clients [2]*client.Client
	for i := range clients {
		if clients[i], err = client.Open(dir); err != nil {
			b.Fatal(err)
		}
		defer clients[i].Close()
		if _, err := clients[i].Get("matchmaker"); err != nil {
			b.Fatal(err)
		}
	}
	look := func(c *client.Client) (uint64, time.Duration) {
		start := time.Now()
		s := c.Snapshot()
		return s.Generation(), time.Since(start)
	}
	warmHeap()
	var cold, warm []time.Duration
	last, _ := look(clients[0])
	for b.Loop() {
		g, d := look(clients[0])
		for g == last {
			g, d = look(clients[0])
		}
		last = g
		cold = append(cold, d)
		_, d = look(clients[1])
		warm = append(warm, d)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percentile(cold, 0.5), "cold-p50-ns")
	b.ReportMetric(percentile(warm, 0.5), "warm-p50-ns")
}

// warmHeap has the heap's memory come from an earlier collection, as in a
// process that has run for a while, and not from page faults.
func warmHeap() {
	for range 3 {
		var keep [][]byte
		for range 1000 {
			keep = append(keep, make([]byte, 3000))
		}
		runtime.KeepAlive(keep)
		runtime.GC()
	}
}

const publisherEnv = "STATESYNC_BENCH_PUBLISHER"

// TestPublisherProcess is the other process: it publishes until its input
// ends.
func TestPublisherProcess(t *testing.T) {
	var n int
	var dir string
	if _, err := fmt.Sscanf(os.Getenv(publisherEnv), "%d:%s", &n, &dir); err != nil {
		t.Skip("part of BenchmarkRefresh")
	}
	c := refreshCases[n]
	sections := []*image.Section{config(t, "matchmaker", 0), ballast(t, "other", 1024), ballast(t, "ballast", c.bytes/2)}
	for i := range c.configs {
		sections = append(sections, ballast(t, fmt.Sprintf("config-%d", i), c.bytes/2/c.configs))
	}
	p := newPublisherIn(t, dir, 64<<20, sections...)
	at := 0
	changing := [2]*image.Section{config(t, "matchmaker", 1), config(t, "matchmaker", 2)}
	if c.changes == "other" {
		at, changing = 1, [2]*image.Section{ballast(t, "other", 1024+16), ballast(t, "other", 1024)}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	fmt.Println("publishing")
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		case <-time.After(2 * time.Millisecond):
			p.publish(at, changing[i%2])
			p.beat()
		}
	}
}
