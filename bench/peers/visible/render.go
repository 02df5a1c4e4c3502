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

// all are the times of all rounds, and how many changes were lost.
func all(rounds []Samples) (ns []float64, lost int) {
	for _, s := range rounds {
		ns = append(ns, s.Nanoseconds...)
		lost += s.Lost
	}
	return ns, lost
}

func median(rounds []Samples) float64 {
	ns, _ := all(rounds)
	return report.Median(ns)
}

// Render words the results.
func (Section) Render(raw json.RawMessage) (report.Page, error) {
	results := map[string]*Result{}
	if err := json.Unmarshal(raw, &results); err != nil {
		return report.Page{}, err
	}
	var rows []row
	var failed []string
	var floor row
	for _, c := range watched() {
		r := results[c.Name]
		if r == nil {
			continue
		}
		if r.Failed != "" {
			failed = append(failed, fmt.Sprintf("- %s was given up: %s", c.Title, r.Failed))
		}
		if len(r.Calm)+len(r.Busy) == 0 {
			continue
		}
		rows = append(rows, row{c, r})
		if c.Floor {
			floor = row{c, r}
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		switch x, y := median(a.Calm), median(b.Calm); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("\n![From change to visible](charts/visible.svg)\n\n")
	heads := []string{"contestant", "p50", "spread of the rounds", "floor ×", "p99", "max", "updates", "lost", "note"}
	for _, mode := range []struct{ title, of string }{
		{"The reading process is idle", "calm"},
		{"The reading process is busy", "busy"},
	} {
		of := func(r row) []Samples {
			if mode.of == "busy" {
				return r.Busy
			}
			return r.Calm
		}
		var cells [][]string
		for _, r := range rows {
			if len(of(r)) > 0 {
				var under []Samples
				if floor.Result != nil {
					under = of(floor)
				}
				cells = append(cells, r.cells(of(r), under))
			}
		}
		fmt.Fprintf(&b, "### %s\n\n%s\n", mode.title, report.Table(heads, cells))
		if mode.of == "busy" {
			b.WriteString("![From change to visible, busy](charts/visible-busy.svg)\n\n")
		}
	}
	if len(failed) > 0 {
		b.WriteString(strings.Join(failed, "\n") + "\n\n")
	}
	b.WriteString(explanation)
	page := report.Page{Markdown: b.String(), Loses: loses(rows)}
	for _, chart := range []struct {
		name, title string
		of          func(row) []Samples
	}{
		{"visible", "From a change to its being visible, reader idle", func(r row) []Samples { return r.Calm }},
		{"visible-busy", "From a change to its being visible, reader busy", func(r row) []Samples { return r.Busy }},
	} {
		var bars []report.Bar
		for _, r := range rows {
			ns, _ := all(chart.of(r))
			bars = append(bars, report.Bar{
				Label: r.short(), Value: report.Median(ns), Low: report.Median(ns), High: report.Percentile(ns, 0.99), Ours: r.Ours,
				Text: report.Nanoseconds(report.Median(ns)) + ", " + report.Nanoseconds(report.Percentile(ns, 0.99)),
			})
		}
		if svg, err := report.Bars(chart.title, "p50, p99", report.Nanoseconds, bars); err == nil {
			page.Charts = append(page.Charts, report.Chart{Name: chart.name, SVG: svg})
		}
	}
	return page, nil
}

// short is the title with the part that is about reading left away.
func (r row) short() string {
	title, _, _ := strings.Cut(r.Title, ", `")
	if r.Ours {
		title = r.Title
	}
	return strings.ReplaceAll(title, "`", "")
}

func (r row) cells(rounds, floor []Samples) []string {
	ns, lost := all(rounds)
	var medians, ratios []float64
	for i, s := range rounds {
		medians = append(medians, report.Median(s.Nanoseconds))
		if i < len(floor) {
			ratios = append(ratios, medians[i]/report.Median(floor[i].Nanoseconds))
		}
	}
	title := r.short()
	if r.Ours {
		title = "**" + title + "**"
	}
	if r.Version != "" {
		title += " (" + r.Version + ")"
	}
	ratio := ""
	if len(ratios) > 0 {
		ratio = report.Times(report.Median(ratios))
	}
	return []string{
		title, report.Nanoseconds(report.Median(ns)),
		report.Nanoseconds(slices.Min(medians)) + " – " + report.Nanoseconds(slices.Max(medians)), ratio,
		report.Nanoseconds(report.Percentile(ns, 0.99)), report.Nanoseconds(slices.Max(append(ns, 0))),
		fmt.Sprint(len(ns) + lost), fmt.Sprint(lost), r.Note,
	}
}

// loses says which peers are faster than this project's ways to follow.
func loses(rows []row) (sentences []string) {
	for _, mode := range []struct {
		name string
		of   func(row) float64
	}{
		{"an idle reader", func(r row) float64 { return median(r.Calm) }},
		{"a busy reader", func(r row) float64 { return median(r.Busy) }},
	} {
		for _, us := range rows {
			var faster []string
			for _, peer := range rows {
				if us.Ours && !peer.Ours && !peer.Floor && mode.of(peer) > 0 && report.Beats(mode.of(peer), mode.of(us)) {
					faster = append(faster, fmt.Sprintf("%s (%s)", peer.short(), report.Nanoseconds(mode.of(peer))))
				}
			}
			if len(faster) > 0 {
				sentences = append(sentences, fmt.Sprintf("From change to visible, %s: %s takes %s at p50; faster are %s.",
					mode.name, us.short(), report.Nanoseconds(mode.of(us)), strings.Join(faster, ", ")))
			}
		}
	}
	return sentences
}

const introduction = `One process changes the config of 1 KiB, some ms after the reader had the
change before (2 to 8 while it is idle, 20 to 40 while it is busy), and another
sees it. The time begins before the change is made, so that writing a file,
encoding, and a round trip to a server are in it.
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
