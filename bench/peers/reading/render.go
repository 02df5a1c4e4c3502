package reading

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/statesync/statesync/bench/peers/config"
	"github.com/statesync/statesync/bench/peers/contestant"
	"github.com/statesync/statesync/bench/peers/report"
)

// row is a contestant with its results.
type row struct {
	*contestant.Contestant
	*Result
}

// Contender is the contestant in the sentences and in the charts.
func (r row) Contender() report.Contender {
	c := report.Contender{Title: r.Title, Ours: r.Ours, Floor: r.Floor}
	if r.Raw {
		c.Remark = " for bytes that are not decoded yet"
	}
	return c
}

// samples has a figure of each round that a contestant read a config of a size.
func (r row) samples(size int, of func(*Samples) []Sample, figure func(Sample) float64) (v []float64) {
	if s := r.Sizes[size]; s != nil {
		for _, sample := range of(s) {
			v = append(v, figure(sample))
		}
	}
	return v
}

func serial(s *Samples) []Sample   { return s.Serial }
func parallel(s *Samples) []Sample { return s.Parallel }

// nanoseconds are the times of a read.
func nanoseconds(size int, of func(*Samples) []Sample) func(row) []float64 {
	return func(r row) []float64 {
		return r.samples(size, of, func(s Sample) float64 { return s.Nanoseconds })
	}
}

// smallest are the times by which contestants are compared.
var smallest = nanoseconds(config.Sizes[0], serial)

// Render words the results.
func (Section) Render(raw json.RawMessage) (report.Page, error) {
	results := map[string]*Result{}
	if err := json.Unmarshal(raw, &results); err != nil {
		return report.Page{}, err
	}
	var rows []row
	var failed []string
	var floor []float64
	for _, c := range readable() {
		switch r := results[c.Name]; {
		case r == nil:
		case r.Failed != "":
			failed = append(failed, fmt.Sprintf("- %s could not be measured: %s", c.Title, r.Failed))
		default:
			rows = append(rows, row{c, r})
			if c.Floor {
				floor = smallest(row{c, r})
			}
		}
	}
	report.Sort(rows, smallest)

	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("\n![Time of one read](charts/reading.svg)\n\n")
	columns := columns(floor)
	b.WriteString(report.Table(rows, columns...))
	if len(failed) > 0 {
		b.WriteString("\n" + strings.Join(failed, "\n") + "\n")
	}
	b.WriteString("\n" + explanation)

	page := report.Page{Markdown: b.String(), Loses: report.Losses(rows, columns...)}
	for _, chart := range []struct {
		name, title string
		size        int
	}{
		{"reading", "Reading one setting inside a request, config of 1 KiB", config.Sizes[0]},
		{"reading-1mib", "Reading one setting inside a request, config of 1 MiB", config.Sizes[2]},
	} {
		var bars []report.Bar
		for _, r := range rows {
			bars = append(bars, r.Contender().Bar(nanoseconds(chart.size, serial)(r)))
		}
		svg, err := report.Bars(chart.title, "a read, one goroutine; the thin line is the spread of the rounds", report.Nanoseconds, bars)
		if err == nil { // one run may lack a size
			page.Charts = append(page.Charts, report.Chart{Name: chart.name, SVG: svg})
		}
	}
	return page, nil
}

const introduction = `Every contestant has the same config (30 settings in 1 KiB, and more of the kind
in 64 KiB and 1 MiB), and reads one number of it, weights.elo. The time is what
the request waits; in the column "parallel" all processors read at once, and it
is what each of them waits.
`

const explanation = `Each contestant reads in a process of its own, and its servers are processes of
their own. Stores that hold setting by setting are asked for the one setting,
which is why the size is all one to them; documents are decoded where the
contestant leaves that to the request. "Exact" means that a read has every
change that was committed before it. Times are medians of the rounds, the spread
is from the fastest to the slowest round, and "floor ×" is the median of the
rounds' ratios to ` + "`atomic.Pointer`" + `. Allocations are those of the reading process.
Syscalls are counted with strace over all threads of the reading process, less
what Go's scheduler does for itself; 0 is less than one in a hundred reads.
`

// columns has the contestants' times beside those of the floor.
func columns(floor []float64) []report.Column[row] {
	return []report.Column[row]{
		report.Text("contestant", func(r row) string { return r.Heading(r.Title, r.Version) }),
		report.Middle("1 KiB", report.Nanoseconds, smallest).Judged("Reading: %s takes %s; faster are %s."),
		report.Range("spread", report.Nanoseconds, smallest),
		report.Middle("floor ×", report.Times, func(r row) []float64 { return report.Ratios(smallest(r), floor) }),
		report.Middle("parallel", report.Nanoseconds, nanoseconds(config.Sizes[0], parallel)),
		report.Middle("64 KiB", report.Nanoseconds, nanoseconds(config.Sizes[1], serial)),
		report.Middle("1 MiB", report.Nanoseconds, nanoseconds(config.Sizes[2], serial)),
		report.Text("allocations, bytes", row.allocations),
		report.Text("syscalls", row.syscalls),
		report.Text("note", func(r row) string { return r.Note }),
	}
}

func (r row) allocations() string {
	allocs := r.samples(config.Sizes[0], serial, func(s Sample) float64 { return s.Allocs })
	bytes := r.samples(config.Sizes[0], serial, func(s Sample) float64 { return s.Bytes })
	if len(allocs) > 0 && report.Median(allocs) < 0.01 {
		return "0"
	}
	return report.Unit(report.Whole).Median(allocs) + ", " + report.Unit(report.Whole).Median(bytes) + " B"
}

func (r row) syscalls() string {
	switch {
	case r.Reads == 0:
		return "not counted"
	case r.Syscalls < 0.01:
		return "0"
	}
	return fmt.Sprintf("%.1f", r.Syscalls)
}
