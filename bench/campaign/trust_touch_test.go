//go:build linux

package campaign

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/shm"
)

var (
	trustTouched = flag.Int("trust.touched", 0, "how often the revisions are published while a stranger touches all pages; 0 is a few of them once")
	trustBound   = flag.Duration("trust.bound", 0, "how much later the worst of these publications may be than without the stranger; 0 is any time")
)

func init() {
	// trust-touch DIR touches every page of a region, and of its successors, again and
	// again until its input ends. It prints "touched" when it has touched each page
	// once, and at the end how often it has.
	roles["trust-touch"] = func(ctx context.Context, args []string) error {
		passes := 0
		for ctx.Err() == nil {
			if err := trustTouch(ctx, filepath.Join(args[0], shm.FileName), &passes); err != nil {
				return err
			}
		}
		fmt.Println("passes", passes)
		return nil
	}
}

// trustTouch touches the pages of the file at a path until another is there.
func trustTouch(ctx context.Context, path string, passes *int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	mapped, err := f.Stat()
	if err != nil {
		return err
	}
	words, err := unix.Mmap(int(f.Fd()), 0, int(mapped.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if now, err := os.Stat(path); err == nil && !os.SameFile(mapped, now) {
			break
		}
		// The kernel makes pages faster than they can be touched one by one, but stops
		// at the first one that a full file system does not have.
		if unix.Madvise(words, unix.MADV_POPULATE_READ) != nil {
			for at := 0; at < len(words); at += os.Getpagesize() {
				trustLoad(words, at)
			}
		}
		if *passes++; *passes == 1 {
			fmt.Println("touched")
		}
	}
	return unix.Munmap(words)
}

// trustLoad loads a byte that may not be there.
func trustLoad(b []byte, at int) (was byte) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { _ = recover() }() // the fault of a page that is not available
	return b[at]
}

// Another user that may read a region allocates pages in all holes of its file by
// touching them, faster than the daemon gives them back, on a file system that is
// not large enough for that. Revisions are still published, also those that need
// more pages, and a larger file. The long form also publishes them without the
// stranger, and compares the delays.
func TestTrustToucher(t *testing.T) {
	trustRoot(t)
	touched := trustDelays(t, true)
	if t.Failed() {
		return
	}
	tried := fmt.Sprintf("%d publications of 30 KiB to %d MiB on a tmpfs of 64 MiB, in regions that grew; all pages touched %d times; %d revisions refused at first",
		len(touched.delays), 3*slices.Max(trustTouchedSizes())>>10, touched.passes, touched.refusals)
	lost := fmt.Sprintf("nothing: median %v, worst %v", touched.median(), touched.worst())
	if *trustTouched <= 1 && *trustBound == 0 { // nothing to compare
		report(t, trustTouchPromise, tried, lost)
		return
	}
	alone := trustDelays(t, false)
	if t.Failed() {
		return
	}
	later := time.Duration(0)
	for n, delay := range touched.delays {
		later = max(later, delay-alone.ofSize(n%len(trustSizes)))
	}
	if *trustBound > 0 && later > *trustBound {
		t.Errorf("a publication was %v later than one of its size without a stranger, and may be %v", later, *trustBound)
	}
	report(t, trustTouchPromise,
		fmt.Sprintf("%s, %d without the stranger", tried, alone.refusals),
		fmt.Sprintf("%s; without the stranger %v, %v; at most %v later than those of the same size",
			lost, alone.median(), alone.worst(), later.Round(time.Millisecond)))
}

const trustTouchPromise = "another user that touches all pages of a region delays no publication"

// trustSizes are the KiB of each of three configs, in the revisions of a run.
var trustSizes = []int{10, 100, 20, 300, 1000, 30, 600, 2000, 100, 3000, 10, 1500, 3000, 6000, 10, 1000, 3000}

// trustFewSizes are those of the short form. The region grows in it, too.
var trustFewSizes = []int{10, 300, 20, 1000, 10, 3000, 100}

// trustTouchedSizes are those of this run.
func trustTouchedSizes() []int {
	if *trustTouched == 0 {
		return trustFewSizes
	}
	return trustSizes
}

// trustLate records the delays of publications since their files were begun.
type trustLate struct {
	delays           []time.Duration
	refusals, passes int
}

func (l *trustLate) median() time.Duration {
	return slices.Sorted(slices.Values(l.delays))[len(l.delays)/2].Round(time.Millisecond)
}

// ofSize is the median delay of the publications of the n-th size.
func (l *trustLate) ofSize(n int) time.Duration {
	var some []time.Duration
	for ; n < len(l.delays); n += len(trustSizes) {
		some = append(some, l.delays[n])
	}
	slices.Sort(some)
	return some[len(some)/2]
}

func (l *trustLate) worst() time.Duration { return slices.Max(l.delays).Round(time.Millisecond) }

// trustDelays publishes revisions of many sizes, with a stranger or without.
func trustDelays(t *testing.T, touched bool) (late trustLate) {
	t.Helper()
	const kib = 1 << 10
	sizes := trustTouchedSizes()
	for range max(1, *trustTouched) {
		t.Run(fmt.Sprintf("touched %v", touched), func(t *testing.T) {
			mount := memoryTmpfs(t, 64*kib*kib/os.Getpagesize())
			h := newMemoryHost(t, mount)
			h.start()
			generation := uint64(0)
			var r *shm.Region
			published := func() bool {
				h.alive()
				if r != nil && r.Retired() {
					r = nil
					runtime.GC() // which unmaps it: its pages would be missing
				}
				if r == nil {
					var err error
					if r, err = shm.Open(h.region, shm.Trust{}); err != nil {
						r = nil
						return false
					}
				}
				hot, err := r.Hot()
				if err != nil || hot.Generation() <= generation {
					return false
				}
				generation = hot.Generation()
				return true
			}
			await(t, "the first publication", published)
			var stranger *process
			if touched {
				stranger = trustSpawn(t, trustAs(trustStranger), "trust-touch", h.region)
				if said := stranger.line(t); said != "touched" {
					t.Fatal(said)
				}
			}
			for _, size := range sizes {
				h.number++
				configs := sizedRevision(h.number, size*kib, size*kib)
				time.Sleep(20 * time.Millisecond) // which the stranger uses
				began := time.Now()
				writeConfigs(h, h.source, h.number, configs)
				await(t, "a publication", published)
				late.delays = append(late.delays, time.Since(began))
			}
			late.refusals += h.refusals()
			if touched {
				passes := 0
				if _, err := fmt.Sscanf(strings.Join(stranger.finish(t), " "), "passes %d", &passes); err != nil || passes < len(sizes) {
					t.Errorf("the stranger touched all pages %d times (%v)", passes, err)
				}
				late.passes += passes
			}
			if n, err := memoryFresh(h.region); err != nil || n != h.number {
				t.Errorf("in the end there is revision %d instead of %d: %v", n, h.number, err)
			}
			h.stop()
		})
	}
	return late
}
