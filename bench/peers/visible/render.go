package visible

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/statesync/statesync/bench/peers/contestant"
	"github.com/statesync/statesync/bench/peers/report"
)

// row is a contestant with its results.
type row struct {
	*contestant.Contestant
	*Result
}

// mode is what the reading process does meanwhile.
type mode struct {
	name, reader, chart string
	of                  func(*Result) []Samples
}

var (
	idle = mode{"idle", "an idle reader", "visible", func(r *Result) []Samples { return r.Calm }}
	busy = mode{"busy", "a busy reader", "visible-busy", func(r *Result) []Samples { return r.Busy }}
)

// times are those of all rounds.
func (m mode) times(r row) []float64 {
	return m.all(r, func(s Samples) []float64 { return s.Nanoseconds })
}

// fromRename are the times of all rounds from the rename of a file on.
func (m mode) fromRename(r row) []float64 {
	return m.all(r, func(s Samples) []float64 { return s.Renamed })
}

// all joins what each round has.
func (m mode) all(r row, has func(Samples) []float64) (ns []float64) {
	for _, s := range m.of(r.Result) {
		ns = append(ns, has(s)...)
	}
	return ns
}

// medians are those of each round.
func (m mode) medians(r row) (ns []float64) {
	for _, s := range m.of(r.Result) {
		ns = append(ns, report.Median(s.Nanoseconds))
	}
	return ns
}

// lost is how many changes were lost in all rounds.
func (m mode) lost(r row) (n int) {
	for _, s := range m.of(r.Result) {
		n += s.Lost
	}
	return n
}

// Render words the results.
func (Section) Render(raw json.RawMessage) (report.Page, error) {
	results := map[string]*Result{}
	if err := json.Unmarshal(raw, &results); err != nil {
		return report.Page{}, err
	}
	var rows []row
	var failed []string
	for _, c := range watched() {
		r := results[c.Name]
		if r == nil {
			continue
		}
		if r.Failed != "" {
			failed = append(failed, fmt.Sprintf("- %s was given up: %s", c.Title, r.Failed))
		}
		if len(r.Calm)+len(r.Busy) > 0 {
			rows = append(rows, row{c, r})
		}
	}
	report.Sort(rows, idle.times)
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("\n![From change to visible](charts/visible.svg)\n\n")
	var page report.Page
	for _, m := range []mode{idle, busy} {
		measured := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return len(m.of(r.Result)) == 0 })
		columns := m.columns(measured)
		fmt.Fprintf(&b, "### The reading process is %s\n\n%s\n", m.name, report.Table(measured, columns...))
		page.Loses = append(page.Loses, report.Losses(measured, columns...)...)
		var bars []report.Bar
		for _, r := range measured {
			bar := r.Contender().Bar(m.times(r))
			bar.Low, bar.High = bar.Value, report.Percentile(m.times(r), 0.99)
			bar.Text = report.Nanoseconds(bar.Low) + ", " + report.Nanoseconds(bar.High)
			bars = append(bars, bar)
		}
		if svg, err := report.Bars("From a change to its being visible, reader "+m.name, "p50, p99", report.Nanoseconds, bars); err == nil {
			page.Charts = append(page.Charts, report.Chart{Name: m.chart, SVG: svg})
		}
	}
	b.WriteString("![From change to visible, busy](charts/visible-busy.svg)\n\n")
	if len(failed) > 0 {
		b.WriteString(strings.Join(failed, "\n") + "\n\n")
	}
	b.WriteString(explanation)
	page.Markdown = b.String()
	return page, nil
}

// columns has the times in the mode, beside those of the floor.
func (m mode) columns(rows []row) []report.Column[row] {
	var floor []float64
	for _, r := range rows {
		if r.Floor {
			floor = m.medians(r)
		}
	}
	return []report.Column[row]{
		report.Text("contestant", func(r row) string { return r.Heading(r.short(), r.Version) }),
		report.Middle("p50", report.Nanoseconds, m.times).
			Judged("From change to visible, " + m.reader + ": %s takes %s at p50; faster are %s."),
		report.Range("spread of the rounds", report.Nanoseconds, m.medians),
		report.Middle("floor ×", report.Times, func(r row) []float64 { return report.Ratios(m.medians(r), floor) }),
		report.Value("p99", report.Nanoseconds, func(r row) float64 { return report.Percentile(m.times(r), 0.99) }),
		report.Value("max", report.Nanoseconds, func(r row) float64 { return report.Percentile(m.times(r), 1) }),
		report.Middle("p50 from the rename", report.Nanoseconds, m.fromRename),
		report.Middle("p99 from the rename", report.Nanoseconds, func(r row) (p99 []float64) {
			if ns := m.fromRename(r); len(ns) > 0 {
				p99 = append(p99, report.Percentile(ns, 0.99))
			}
			return p99
		}),
		report.Text("updates", func(r row) string { return fmt.Sprint(len(m.times(r)) + m.lost(r)) }),
		report.Text("lost", func(r row) string { return fmt.Sprint(m.lost(r)) }),
		report.Text("note", func(r row) string { return r.Note }),
	}
}

// Contender is the contestant in the sentences and in the charts.
func (r row) Contender() report.Contender {
	return report.Contender{Title: r.short(), Ours: r.Ours, Floor: r.Floor}
}

// short is the title without the part that is about reading.
func (r row) short() string {
	title, _, _ := strings.Cut(r.Title, ", `")
	if r.Ours {
		title = r.Title
	}
	return strings.ReplaceAll(title, "`", "")
}

const introduction = `One process changes the config of 1 KiB, some ms after the reader had the
change before (2 to 8 while it is idle, 20 to 40 while it is busy), and another
sees it. The time begins before the change is made, so that writing a file,
encoding, and a round trip to a server are in it. Where a change is the rename of
a file that was written beside the old one, the last two times begin at the rename.
`

const explanation = `Idle, the reading process does nothing else, and a change is visible when the
contestant notifies of it; without notifications (exact snapshots, LMDB), one goroutine
polls all the time. Busy, the reading process has two goroutines for each
processor that serve requests of 50 µs one after the other and never wait, as a
service does that has more to do than it can, and a change is visible when the
first request reads the new value. A follower is a goroutine like any other: it
is late by what Go's scheduler makes it wait, and so is whatever else is told of
a change. An exact snapshot looks for itself. On a machine of two processors the
writer, the servers and the daemon compete with the busy process, which is in the
times, too.

The origin ticks every 5 s, whatever the reader does, and is given few changes.
setec and SQLite polled every 10 s have no other wake than their intervals, and
are left out. "Lost" are changes that were not seen within 2 s; the value
of the next one was seen. "Floor ×" is the median of the rounds' ratios of p50.
`
