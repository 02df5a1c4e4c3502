package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// config is a config of about a KiB with 30 keys. Its content depends on
// version.
func config(tb testing.TB, name string, version int) *image.Section {
	tb.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, `{"version":%d,"weights":{"elo":%d,"ping":0.35,"party":0.2}`, version, 1500+version%100)
	for i := range 24 {
		fmt.Fprintf(&text, `,"setting_%02d":"%s"`, i, strings.Repeat(string(rune('a'+i)), 20))
	}
	text.WriteString("}")
	canonical, err := image.Canonical([]byte(text.String()))
	if err != nil {
		tb.Fatal(err)
	}
	s, err := image.NewDocument(name, canonical)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// ballast is an opaque config of so many bytes.
func ballast(tb testing.TB, name string, size int) *image.Section {
	tb.Helper()
	s, err := image.NewOpaque(name, slices.Repeat([]byte("0123456789abcdef"), size/16))
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// regionDir is a new directory in shared memory, where there is such a thing.
func regionDir(tb testing.TB) string {
	tb.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = tb.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "statesync-bench-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "region")
}

// publisher is a region and what was last published into it.
type publisher struct {
	tb       testing.TB
	dir      string
	writer   *writer.Writer
	sections []*image.Section
	current  *image.Image
}

// newPublisher makes a region with these configs in it.
func newPublisher(tb testing.TB, maxImage int64, sections ...*image.Section) *publisher {
	tb.Helper()
	return newPublisherIn(tb, regionDir(tb), maxImage, sections...)
}

func newPublisherIn(tb testing.TB, dir string, maxImage int64, sections ...*image.Section) *publisher {
	tb.Helper()
	p := &publisher{tb: tb, dir: dir, sections: sections}
	var err error
	if p.writer, err = writer.Own(context.Background(), p.dir, writer.Options{MaxImage: maxImage, Group: -1}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.writer.Close() })
	if p.current, err = image.Build(1, "bench", sections, nil); err != nil {
		tb.Fatal(err)
	}
	if err := p.writer.Create(1, p.current.Words()); err != nil {
		tb.Fatal(err)
	}
	return p
}

// publish replaces the n-th config, as the daemon does it when one file has
// changed.
func (p *publisher) publish(n int, s *image.Section) {
	p.sections[n] = s
	next, err := image.Build(p.current.Generation()+1, "bench", p.sections, p.current)
	if err == nil {
		err = p.writer.Publish(next.Generation(), next.Words())
	}
	if err != nil {
		p.tb.Fatal(err)
	}
	p.current = next
}

// replace puts another region with the same configs in the place of this one.
func (p *publisher) replace() {
	next, err := image.Build(p.current.Generation()+1, "bench", p.sections, nil)
	if err == nil {
		err = p.writer.Create(next.Generation(), next.Words())
	}
	if err != nil {
		p.tb.Fatal(err)
	}
	p.current = next
}

// beat keeps the region's heart beating until the benchmark ends, as a daemon
// does.
func (p *publisher) beat() {
	if err := p.writer.Beat(); err != nil {
		p.tb.Fatal(err)
	}
}

// percentile of unsorted durations, in nanoseconds.
func percentile(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	d = slices.Clone(d)
	slices.Sort(d)
	return float64(d[min(int(float64(len(d))*p), len(d)-1)].Nanoseconds())
}

// report replaces ns/op by percentiles.
func report(b *testing.B, d []time.Duration) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(percentile(d, 0.5), "p50-ns")
	b.ReportMetric(percentile(d, 0.99), "p99-ns")
}
