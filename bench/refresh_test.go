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

// sections are the image's, and what the one at a place is to become in turn.
func (c refreshCase) sections(tb testing.TB) (sections []*image.Section, at int, changing [2]*image.Section) {
	sections = []*image.Section{config(tb, "matchmaker", 0), ballast(tb, "other", 1024), ballast(tb, "ballast", c.bytes/2)}
	for i := range c.configs {
		sections = append(sections, ballast(tb, fmt.Sprintf("config-%d", i), c.bytes/2/c.configs))
	}
	if c.changes == "other" {
		return sections, 1, [2]*image.Section{ballast(tb, "other", 1024+16), ballast(tb, "other", 1024)}
	}
	return sections, 0, [2]*image.Section{config(tb, "matchmaker", 1), config(tb, "matchmaker", 2)}
}

// BenchmarkRefresh is what the first exact reader after a publication pays:
// the look at the region and the copy of what changed, without decoding. The
// reader uses one config of a KiB.
func BenchmarkRefresh(b *testing.B) {
	for i, c := range refreshCases {
		b.Run(c.name+"/cold", func(b *testing.B) { coldRefresh(b, i) })
		if c.configs == 1 {
			b.Run(c.name+"/warm", func(b *testing.B) { warmRefresh(b, c) })
		}
	}
}

// warmRefresh is the work itself: in the publisher's process, two other clients
// have just done the same, and so image and code are in the caches.
func warmRefresh(b *testing.B, c refreshCase) {
	sections, at, changing := c.sections(b)
	p := newPublisher(b, 64<<20, sections...)
	clients := openClients(b, p.dir, 3)
	hold := holdWaiters(b, p.writer.Path())
	warmHeap()
	var warm []time.Duration
	for i := 0; b.Loop(); i++ {
		hold() // or a follower is faster, and there is nothing left to do
		p.publish(at, changing[i%2])
		p.beat()
		var d time.Duration
		for _, c := range clients {
			_, d = look(c)
		}
		warm = append(warm, d)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percentile(warm, 0.5), "p50-ns")
}

func openClients(b *testing.B, dir string, n int) []*client.Client {
	clients := make([]*client.Client, n)
	for i := range clients {
		var err error
		if clients[i], err = client.Open(dir); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = clients[i].Close() })
		if _, err := clients[i].Get("matchmaker"); err != nil {
			b.Fatal(err)
		}
	}
	return clients
}

// look takes a snapshot. The time has a look at the clock in it.
func look(c *client.Client) (generation uint64, d time.Duration) {
	start := time.Now()
	s := c.Snapshot()
	return s.Generation(), time.Since(start)
}

// coldRefresh reads all the time, as a busy service does, while another process
// publishes: the image is in the other processor's cache or in none, and so is
// much of the code, since that process shares the cache.
func coldRefresh(b *testing.B, n int) {
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
	c := openClients(b, dir, 1)[0]
	warmHeap()
	var cold []time.Duration
	last, _ := look(c)
	for b.Loop() {
		g, d := look(c)
		for g == last {
			g, d = look(c)
		}
		last = g
		cold = append(cold, d)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percentile(cold, 0.5), "p50-ns")
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
	sections, at, changing := refreshCases[n].sections(t)
	p := newPublisherIn(t, dir, 64<<20, sections...)
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
