// Table runs the benchmarks and prints their medians as a table, each beside
// its floor of the same run and its bar. It is what `make bench` runs.
//
//	go run ./bench/table [-count 7] [-only Read]
//
// Every benchmark runs once per round, and the rounds follow each other, so
// that a noisy moment of the machine hits a figure and its floor alike.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// row is one line of the table: a figure, what it is compared with, and how
// many times that it may be.
type row struct {
	what  string
	value string  // a benchmark and its unit
	floor string  // likewise; empty: the bar is absolute
	most  float64 // times the floor, or nanoseconds
}

// rows are the bars of the project.
var rows = []row{
	{"Binding.Get", "Read/Binding.Get ns/op", "Read/floor/atomic.Pointer ns/op", 1.3},
	{"KeyBinding.Get", "Read/KeyBinding.Get ns/op", "Read/floor/atomic.Pointer ns/op", 0},
	{"Binding.In(snapshot)", "Read/Binding.In ns/op", "Read/floor/atomic.Pointer ns/op", 10},
	{"Snapshot, nothing new", "Read/Snapshot ns/op", "Read/floor/guarded-load ns/op", 1.5},
	{"Client.Get by name", "Read/Client.Get ns/op", "", 0},
	{"Doc.Int(\"weights.elo\")", "Read/Doc.Int ns/op", "Read/floor/sync.Map ns/op", 1},
	{"refresh, 1 MiB, config changed", "Refresh/1MiB/changed/warm p50-ns", "", 1000},
	{"refresh, 1 MiB, config unchanged", "Refresh/1MiB/unchanged/warm p50-ns", "", 500},
	{"the same, cold, changed", "Refresh/1MiB/changed/cold p50-ns", "", 0},
	{"the same, cold, unchanged", "Refresh/1MiB/unchanged/cold p50-ns", "", 0},
	{"refresh, 10,000 configs, 64 MiB, cold, changed", "Refresh/10000-configs-64MiB/changed/cold p50-ns", "", 10_000},
	{"refresh, 10,000 configs, 64 MiB, cold, unchanged", "Refresh/10000-configs-64MiB/unchanged/cold p50-ns", "", 3000},
	{"refresh and decode 1 KiB", "Decode p50-ns", "", 0},
	{"publish 1 MiB, 1 of 2 configs changed", "Publish/1MiB/2-configs/publish ns/op", "Publish/1MiB/2-configs/floor ns/op", 3},
	{"publish 1 MiB, 1 of 500 configs changed", "Publish/1MiB/500-configs/publish ns/op", "Publish/1MiB/500-configs/floor ns/op", 3},
	{"publish 21 MiB, 1 of 10,000 configs changed", "Publish/21MiB/10000-configs/publish ns/op", "Publish/21MiB/10000-configs/floor ns/op", 0},
	{"publish to a waiting process, p50", "Wake publish-p50-ns", "Wake futex-p50-ns", 3},
	{"change, 1 sleeping reader, plain, CPU of each", "Change/1-readers plain-cpu-ns", "Change/1-readers naked-cpu-ns", 1.3},
	{"change, 1 sleeping reader, plain, context switches of each", "Change/1-readers plain-switches", "Change/1-readers naked-switches", 1.3},
	{"change, 1 sleeping reader, validated, CPU of each", "Change/1-readers validated-cpu-ns", "Change/1-readers naked-cpu-ns", 1.8},
	{"change, 1 sleeping reader, validated, context switches of each", "Change/1-readers validated-switches", "Change/1-readers naked-switches", 1.8},
	{"change, 20 sleeping readers, plain, CPU of each", "Change/20-readers plain-cpu-ns", "Change/20-readers naked-cpu-ns", 1.3},
	{"change, 20 sleeping readers, plain, context switches of each", "Change/20-readers plain-switches", "Change/20-readers naked-switches", 1.3},
	{"change, 20 sleeping readers, validated, CPU of each", "Change/20-readers validated-cpu-ns", "Change/20-readers naked-cpu-ns", 1.8},
	{"change, 20 sleeping readers, validated, context switches of each", "Change/20-readers validated-switches", "Change/20-readers naked-switches", 1.8},
	{"change, 100 sleeping readers, plain, CPU of each", "Change/100-readers plain-cpu-ns", "Change/100-readers naked-cpu-ns", 1.3},
	{"change, 100 sleeping readers, plain, context switches of each", "Change/100-readers plain-switches", "Change/100-readers naked-switches", 1.3},
	{"change, 100 sleeping readers, validated, CPU of each", "Change/100-readers validated-cpu-ns", "Change/100-readers naked-cpu-ns", 1.8},
	{"change, 100 sleeping readers, validated, context switches of each", "Change/100-readers validated-switches", "Change/100-readers naked-switches", 1.8},
	{"publish with 100 sleeping readers, p50", "Change/100-readers publish-p50-ns", "", 200_000},
	{"publish 16 MiB into a larger file, stale, p50", "Replace/grown p50-ns", "Replace/changed p50-ns", 0},
	{"publish 16 MiB in another region, stale, p50", "Replace/replaced p50-ns", "Replace/changed p50-ns", 0},
	{"publish to Get in a busy process, plain, p50", "Busy/plain p50-ns", "", 0},
	{"publish to Get in a busy process, validated, p50", "Busy/validated p50-ns", "", 0},
	{"rename of a file to another process, p50", "Rename p50-ns", "", 1e6},
	{"rename of a file to another process, p99", "Rename p99-ns", "", 10e6},
	{"rescan of 10,000 unchanged files, CPU", "Rescan10000/stat cpu-ms/op", "", 40},
	{"1 of 10,000 files changed, CPU of the daemon", "ChangeOneOf10000 cpu-ms/op", "", 20},
	{"the same daemon idle for as long, CPU", "ChangeOneOf10000 idle-ms/op", "", 0},
}

func main() {
	count := flag.Int("count", 7, "rounds; the table has their medians")
	only := flag.String("only", "", "run the benchmarks that match this `regexp` only")
	flag.Parse()
	if err := run(*count, *only); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(count int, only string) error {
	dir, err := os.MkdirTemp("", "statesync-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	values := map[string][]float64{}
	pattern := cmpOr(only, ".")
	for round := range count {
		for _, group := range []struct{ pkg, bench, time string }{
			{"./bench", "^Benchmark(Read|Publish)$", "200ms"},
			{"./bench", "^Benchmark(Refresh|Decode)$", "200x"},
			{"./bench", "^Benchmark(Wake|Rename)$", "200x"},
			{"./bench", "^BenchmarkChange$", "3x"},
			{"./bench", "^BenchmarkBusy$", "100x"},
			{"./daemon/source/dir", "^BenchmarkRescan10000$", "5x"},
			{"./daemon", "^BenchmarkChangeOneOf10000$", "8x"},
		} {
			if !regexp.MustCompile(pattern).MatchString(group.bench) {
				continue
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %s %s\n", round+1, count, group.pkg, group.bench)
			if err := measure(dir, group.pkg, group.bench, group.time, values); err != nil {
				return err
			}
		}
	}
	printTable(count, values)
	return nil
}

func cmpOr(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// measure runs a group of benchmarks once, and adds what they say to values.
func measure(dir, pkg, bench, benchtime string, values map[string][]float64) error {
	binary := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "_")+".test")
	if _, err := os.Stat(binary); err != nil {
		if out, err := exec.Command("go", "test", "-c", "-o", binary, pkg).CombinedOutput(); err != nil {
			return fmt.Errorf("go test -c %s: %w\n%s", pkg, err, out)
		}
	}
	cmd := exec.Command(binary, "-test.run=^$", "-test.bench="+bench, "-test.benchtime="+benchtime)
	cmd.Dir = pkg
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", pkg, err, out)
	}
	for scanner := bufio.NewScanner(bytes.NewReader(out)); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		name = strings.TrimSuffix(name, fmt.Sprintf("-%d", runtime.GOMAXPROCS(0)))
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				key := name + " " + fields[i+1]
				values[key] = append(values[key], v)
			}
		}
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// print writes the table. A ratio is the median of the rounds' ratios.
func printTable(count int, values map[string][]float64) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s/%s, %d processors, %s, medians of %d rounds\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), count)
	fmt.Fprintln(w, "what\tmedian\tspread\tfloor\tratio\tbar\t")
	for _, r := range rows {
		v := values[r.value]
		if len(v) == 0 {
			continue
		}
		_, unit, _ := strings.Cut(r.value, " ")
		floor, ratio, bar, verdict := "", "", "", ""
		judged := median(v)
		if f := values[r.floor]; len(f) == len(v) {
			ratios := make([]float64, len(v))
			for i := range v {
				ratios[i] = v[i] / f[i]
			}
			judged = median(ratios)
			floor, ratio = show(median(f), unit), fmt.Sprintf("%.2f", judged)
		}
		switch {
		case r.most == 0:
		case r.floor != "":
			bar = fmt.Sprintf("≤ %g times", r.most)
		default:
			bar = "≤ " + show(r.most, unit)
		}
		if r.most > 0 && judged > r.most {
			verdict = "missed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s – %s\t%s\t%s\t%s\t%s\n", r.what, show(median(v), unit),
			show(slices.Min(v), unit), show(slices.Max(v), unit), floor, ratio, bar, verdict)
	}
	w.Flush()
}

// show words a figure: nanoseconds in the unit that suits it.
func show(v float64, unit string) string {
	switch {
	case strings.HasPrefix(unit, "cpu-ms"):
		return fmt.Sprintf("%.3g ms", v)
	case strings.HasSuffix(unit, "switches"):
		return fmt.Sprintf("%.3g", v)
	case v >= 1e6:
		return fmt.Sprintf("%.3g ms", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3g µs", v/1e3)
	}
	return fmt.Sprintf("%.3g ns", v)
}
