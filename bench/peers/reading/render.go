package reading

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
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

func (r row) serial(size int) []float64   { return times(r.Sizes[size], true) }
func (r row) parallel(size int) []float64 { return times(r.Sizes[size], false) }
func (r row) median() float64             { return report.Median(r.serial(config.Sizes[0])) }

func times(s *Samples, serial bool) (ns []float64) {
	if s == nil {
		return nil
	}
	of := s.Parallel
	if serial {
		of = s.Serial
	}
	for _, sample := range of {
		ns = append(ns, sample.Nanoseconds)
	}
	return ns
}

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
				floor = row{c, r}.serial(config.Sizes[0])
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.median(), b.median()) })

	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("\n![Time of one read](charts/reading.svg)\n\n")
	b.WriteString(report.Table(
		[]string{"contestant", "1 KiB", "spread", "floor ×", "parallel", "64 KiB", "1 MiB", "allocations, bytes", "syscalls", "note"},
		cells(rows, floor)))
	if len(failed) > 0 {
		b.WriteString("\n" + strings.Join(failed, "\n") + "\n")
	}
	b.WriteString("\n" + explanation)

	page := report.Page{Markdown: b.String(), Loses: loses(rows)}
	for _, chart := range []struct {
		name, title string
		size        int
	}{
		{"reading", "Reading one setting inside a request, config of 1 KiB", config.Sizes[0]},
		{"reading-1mib", "Reading one setting inside a request, config of 1 MiB", config.Sizes[2]},
	} {
		if svg, err := draw(chart.title, rows, chart.size); err == nil { // one run may lack a size
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

func cells(rows []row, floor []float64) (cells [][]string) {
	for _, r := range rows {
		one := r.serial(config.Sizes[0])
		ratio := ""
		if len(floor) == len(one) {
			ratios := make([]float64, len(one))
			for i := range one {
				ratios[i] = one[i] / floor[i]
			}
			ratio = report.Times(report.Median(ratios))
		}
		title := r.Title
		if r.Ours {
			title = "**" + title + "**"
		}
		if r.Version != "" {
			title += " (" + r.Version + ")"
		}
		cells = append(cells, []string{
			title, words(one), spread(one), ratio, words(r.parallel(config.Sizes[0])),
			words(r.serial(config.Sizes[1])), words(r.serial(config.Sizes[2])),
			r.allocations(), r.syscalls(), r.Note,
		})
	}
	return cells
}

func words(ns []float64) string {
	if len(ns) == 0 {
		return ""
	}
	return report.Nanoseconds(report.Median(ns))
}

func spread(ns []float64) string {
	if len(ns) == 0 {
		return ""
	}
	return report.Nanoseconds(slices.Min(ns)) + " – " + report.Nanoseconds(slices.Max(ns))
}

func (r row) allocations() string {
	s := r.Sizes[config.Sizes[0]]
	if s == nil {
		return ""
	}
	var allocs, bytes []float64
	for _, sample := range s.Serial {
		allocs, bytes = append(allocs, sample.Allocs), append(bytes, sample.Bytes)
	}
	if report.Median(allocs) < 0.01 {
		return "0"
	}
	return fmt.Sprintf("%.0f, %.0f B", report.Median(allocs), report.Median(bytes))
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

// loses says which peers beat which of this project's ways to read.
func loses(rows []row) (sentences []string) {
	for _, us := range rows {
		if !us.Ours {
			continue
		}
		var faster []string
		for _, peer := range rows {
			if !peer.Ours && !peer.Floor && report.Beats(peer.median(), us.median()) {
				what := report.Nanoseconds(peer.median())
				if peer.Raw {
					what += " for bytes that are not decoded yet"
				}
				faster = append(faster, fmt.Sprintf("%s (%s)", peer.Title, what))
			}
		}
		if len(faster) > 0 {
			sentences = append(sentences, fmt.Sprintf("Reading: %s takes %s; faster are %s.",
				us.Title, report.Nanoseconds(us.median()), strings.Join(faster, ", ")))
		}
	}
	return sentences
}

func draw(title string, rows []row, size int) ([]byte, error) {
	var bars []report.Bar
	for _, r := range rows {
		ns := r.serial(size)
		if len(ns) == 0 {
			continue
		}
		bars = append(bars, report.Bar{
			Label: strings.ReplaceAll(r.Title, "`", ""), Value: report.Median(ns),
			Low: slices.Min(ns), High: slices.Max(ns), Ours: r.Ours,
		})
	}
	return report.Bars(title, "a read, one goroutine; the thin line is the spread of the rounds", report.Nanoseconds, bars)
}
