//go:build linux

package campaign

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the clock that publisher and readers have in common, in
// nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}

// histogram counts durations in buckets whose width grows with the duration:
// eight for each doubling, so that a percentile is right to an eighth.
type histogram struct {
	mu     sync.Mutex
	Counts [488]uint64
	Worst  time.Duration
}

func (h *histogram) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Worst = max(h.Worst, d)
	h.Counts[bucketOf(d)]++
}

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	shift := max(bits.Len64(n)-4, 0)
	return shift*8 + int(n>>shift)
}

// bucketEnd is where a bucket ends.
func bucketEnd(bucket int) time.Duration {
	shift := max(bucket/8-1, 0)
	return time.Duration(bucket-shift*8+1) << shift
}

func (h *histogram) merge(other *histogram) {
	for n, count := range other.Counts {
		h.Counts[n] += count
	}
	h.Worst = max(h.Worst, other.Worst)
}

func (h *histogram) total() (n uint64) {
	for _, count := range h.Counts {
		n += count
	}
	return n
}

// percentile is a duration that the given part of all is below.
func (h *histogram) percentile(part float64) time.Duration {
	rest := part * float64(h.total())
	for n, count := range h.Counts {
		if rest -= float64(count); rest <= 0 {
			return min(bucketEnd(n), h.Worst)
		}
	}
	return h.Worst
}

// String is its percentiles.
func (h *histogram) String() string {
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, p99.9 %s, worst %s of %d", brief(h.percentile(0.5)), brief(h.percentile(0.9)),
		brief(h.percentile(0.99)), brief(h.percentile(0.999)), brief(h.Worst), h.total())
}

// table is one line for each doubling.
func (h *histogram) table() string {
	var b strings.Builder
	var longest uint64
	var rows []uint64
	for n := 0; n < len(h.Counts); n += 8 {
		var row uint64
		for _, count := range h.Counts[n : n+8] {
			row += count
		}
		rows, longest = append(rows, row), max(longest, row)
	}
	for n, row := range rows {
		if row > 0 {
			bar := strings.Repeat("#", int(50*row/longest))
			fmt.Fprintf(&b, "  < %-8s %10d %s\n", brief(bucketEnd(8*n+7)), row, bar)
		}
	}
	return b.String()
}

// brief is a duration in three digits.
func brief(d time.Duration) string {
	unit := time.Duration(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// sample is what a process takes of the machine at one moment.
type sample struct {
	rss, descriptors, threads, mappings int // RSS in KiB
	goroutines                          int // where the process says so
}

// sampleOf reads /proc. A region is counted apart: a process has it mapped once.
func sampleOf(pid int, region string) (s sample, regions int, err error) {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return s, 0, err
	}
	for line := range strings.Lines(string(status)) {
		field, value, _ := strings.Cut(line, ":")
		number, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch field {
		case "VmRSS":
			s.rss = number
		case "Threads":
			s.threads = number
		}
	}
	fds, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return s, 0, err
	}
	s.descriptors = len(fds)
	maps, err := os.ReadFile(filepath.Join(proc, "maps"))
	if err != nil {
		return s, 0, err
	}
	s.mappings = strings.Count(string(maps), "\n")
	return s, strings.Count(string(maps), region), nil
}

// cpuOf is the processor time that a process has had.
func cpuOf(pid int) time.Duration {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name may have spaces
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * (time.Second / 100) // USER_HZ is 100 everywhere
}

// growth compares one figure of a process: its median in the second quarter of the
// run, after the warm-up, and in the last quarter.
type growth struct {
	what         string
	before, now  int
	part, margin int // allowed: a part of it in percent, and that much more
}

// grew reports whether it is more than noise: Go's heap and threads come and go.
func (g growth) grew() bool { return g.now > g.before+g.before*g.part/100+g.margin }

func (g growth) String() string { return fmt.Sprintf("%s %d to %d", g.what, g.before, g.now) }

// growths compares the quarters.
func growths(samples []sample) []growth {
	median := func(samples []sample, of func(sample) int) int {
		values := make([]int, len(samples))
		for i, s := range samples {
			values[i] = of(s)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	quarter := len(samples) / 4
	second, last := samples[quarter:2*quarter], samples[3*quarter:]
	var all []growth
	for _, figure := range []struct {
		what         string
		of           func(sample) int
		part, margin int
	}{
		{"RSS in KiB", func(s sample) int { return s.rss }, 25, 8 << 10},
		{"descriptors", func(s sample) int { return s.descriptors }, 0, 2},
		{"threads", func(s sample) int { return s.threads }, 0, 4},
		{"mappings", func(s sample) int { return s.mappings }, 0, 12},
		{"goroutines", func(s sample) int { return s.goroutines }, 0, 4},
	} {
		all = append(all, growth{figure.what, median(second, figure.of), median(last, figure.of), figure.part, figure.margin})
	}
	return all
}
