package scaling

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/statesync/statesync/bench/peers/report"
)

// Render words the results.
func (Section) Render(raw json.RawMessage) (report.Page, error) {
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return report.Page{}, err
	}
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString(r.tables("charts"))
	charts, err := r.charts()
	return report.Page{Markdown: b.String(), Charts: charts}, err
}

// Block is the part of docs/SCALING.md that comes from a run: the tables, and
// the arithmetic for a fleet. charts is the folder of the charts, as the page
// refers to it.
func Block(raw json.RawMessage, charts string) (string, error) {
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return "", err
	}
	return r.tables(charts) + r.fleet(), nil
}

const introduction = `Readers are processes, the daemon is the real one, and each figure is a median
unless it says otherwise. ` + "[docs/SCALING.md](../docs/SCALING.md)" + ` says what follows for a fleet.
`

// tables are those of everything that was measured, under headings. charts is the
// folder of the charts, as the page refers to it.
func (r *result) tables(charts string) string {
	var b strings.Builder
	part := func(title, chart, explanation, table string) {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n%s", title, explanation, table)
		if chart != "" {
			fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n", title, charts, chart)
		}
	}
	if len(r.Crowd) > 0 {
		part("Readers", "scaling-readers", explainReaders, r.crowdTable())
	}
	if r.Memory != nil && r.Memory.Readers > 0 {
		part("Memory", "", explainMemory, r.Memory.table())
	}
	for _, g := range []struct {
		title, chart, explanation string
		x                         report.Column[grown]
		lines                     []line
	}{
		{"The size of the image", "scaling-image", explainImage, report.Value("ballast", report.Bytes, grown.x), lines[:3]},
		{"The number of configs", "scaling-configs", explainConfigs, report.Value("configs", report.Count, grown.x), lines[3:5]},
		{"The keys of a config", "scaling-keys", explainKeys, report.Value("keys", report.Count, grown.x), lines[5:]},
	} {
		if rows := r.grown(g.lines); len(rows) > 0 {
			part(g.title, g.chart, g.explanation, growthTable(rows, g.x))
		}
	}
	if len(r.Daemon) > 0 {
		part("The daemon", "", explainDaemon, r.daemonTable())
	}
	if r.Polls != nil {
		part("A poll of a Git server", "", explainPolls, r.Polls.table())
	}
	return b.String()
}

func (r *result) crowdTable() string {
	return report.Table(
		r.Crowd,
		report.Value("reader processes", report.Count, func(p crowdPoint) float64 { return float64(p.Readers) }),
		report.Middle("`Binding.Get`", report.Nanoseconds, func(p crowdPoint) []float64 { return p.Get }),
		report.Text("reads per CPU-second", func(p crowdPoint) string { return report.Count(1e3/report.Median(p.Get)) + " million" }),
		report.Spread("`Snapshot` + `In`", report.Nanoseconds, func(p crowdPoint) []float64 { return p.In }),
		report.Spread("the same under 100 publications a second", report.Nanoseconds, func(p crowdPoint) []float64 { return p.InPublishing }),
		report.Spread("a publication, readers asleep", report.Nanoseconds, func(p crowdPoint) []float64 { return p.Publish }),
		report.Middle("CPU of all readers for a change", report.Nanoseconds, func(p crowdPoint) []float64 { return p.Change }),
		report.Value("of one", report.Nanoseconds, func(p crowdPoint) float64 { return report.Median(p.Change) / float64(p.Readers) }),
	)
}

func (m *memory) table() string {
	type size struct {
		what  string
		bytes int64
	}
	return report.Table(
		[]size{
			{"the image", m.Image},
			{"the region's pages, once per host", m.Region},
			{fmt.Sprintf("a reader of %d: resident (RSS)", m.Readers), m.Reader.RSS},
			{"its part of shared pages included once (PSS)", m.Reader.PSS},
			{"of that, in the region", m.Reader.Shmem},
			{"private to it", m.Reader.Private},
			{"a Go program that reads nothing: private", m.Bare.Private},
		},
		report.Text("what", func(s size) string { return s.what }),
		report.Value("memory", report.Bytes, func(s size) float64 { return float64(s.bytes) }),
	)
}

// grown is a point of a line of the growth.
type grown struct {
	growthPoint
	changes string // what does, from the line's name
}

func (g grown) x() float64 { return float64(g.X) }

// grown are the points of some lines.
func (r *result) grown(lines []line) (rows []grown) {
	for _, l := range lines {
		_, changes, _ := strings.Cut(l.name, ", ")
		for _, p := range r.Growth[l.name] {
			rows = append(rows, grown{p, changes})
		}
	}
	return rows
}

func growthTable(rows []grown, x report.Column[grown]) string {
	return report.Table(
		rows,
		x,
		report.Value("image", report.Bytes, func(g grown) float64 { return float64(g.Image) }),
		report.Value("region", report.Bytes, func(g grown) float64 { return float64(g.Region) }),
		report.Text("what changes", func(g grown) string { return g.changes }),
		report.Value("publish", report.Nanoseconds, func(g grown) float64 { return g.Publish }),
		report.Value("refresh", report.Nanoseconds, func(g grown) float64 { return g.Refresh }),
		report.Value("`Get` by name", report.Nanoseconds, func(g grown) float64 { return g.ByName }),
		report.Middle("`Doc.Int`", report.Nanoseconds, func(g grown) []float64 {
			if g.ByKey <= 0 {
				return nil
			}
			return []float64{g.ByKey}
		}),
	)
}

// load is a row of the table of the daemon: its files at rest, where rate is nil, or
// changed at a rate.
type load struct {
	daemonPoint
	rate *ratePoint
}

func (r *result) daemonTable() string {
	var rows []load
	for _, p := range r.Daemon {
		rows = append(rows, load{p, nil})
		for _, rate := range p.Rates {
			rows = append(rows, load{p, &rate})
		}
	}
	// either has a text for the files at rest, and one for changes.
	either := func(head string, rest func(daemonPoint) string, change func(load) string) report.Column[load] {
		return report.Text(head, func(l load) string {
			if l.rate == nil {
				return rest(l.daemonPoint)
			}
			return change(l)
		})
	}
	fixed := func(s string) func(daemonPoint) string { return func(daemonPoint) string { return s } }
	empty := func(load) string { return "" }
	idle := func(p daemonPoint) string { return report.Percent(p.Idle) }
	return report.Table(
		rows,
		report.Value("files", report.Count, func(l load) float64 { return float64(l.Files) }),
		either("memory (RSS)", func(p daemonPoint) string { return report.Bytes(float64(p.Memory.RSS)) }, empty),
		either("CPU when idle", idle, empty),
		either("changes a second", fixed("0"), func(l load) string { return report.Count(l.rate.Rate) }),
		either("generations of them", fixed(report.None), func(l load) string { return fmt.Sprintf("%d of %d", l.rate.Seen, l.rate.Changes) }),
		either("CPU", idle, func(l load) string { return report.Percent(l.rate.Busy) }),
		either("for a generation", fixed(report.None), load.generation),
	)
}

// generation is the processor time of one, beyond the idle time.
func (l load) generation() string {
	if l.rate.Seen == 0 {
		return report.None
	}
	seconds := float64(l.rate.Changes) / l.rate.Rate
	return report.Nanoseconds(max(l.rate.Busy-l.Idle, 0) * seconds / float64(l.rate.Seen) * 1e9)
}

func (p *polls) table() string {
	type act struct {
		what string
		asked
	}
	return report.Table(
		[]act{
			{"asks whether there is something new (`ls-remote`)", p.Poll},
			{"fetches a change of one file", p.Change},
		},
		report.Text("what a client does", func(a act) string { return a.what }),
		report.Text("requests", func(a act) string { return fmt.Sprintf("%.1f", a.Requests) }),
		report.Value("bytes of bodies, both ways", report.Bytes, func(a act) float64 { return a.Bytes }),
		report.Value("CPU of the server", report.Nanoseconds, func(a act) float64 { return a.CPU }),
	)
}

func (r *result) charts() (charts []report.Chart, err error) {
	add := func(name, title, x, y string, labelX, labelY func(float64) string, lines []report.Series) {
		var points int
		for _, l := range lines {
			points += len(l.X)
		}
		if points == 0 || err != nil {
			return
		}
		var svg []byte
		if svg, err = report.Lines(title, x, y, labelX, labelY, lines); err == nil {
			charts = append(charts, report.Chart{Name: name, SVG: svg})
		}
	}
	crowd := func(label string, of func(crowdPoint) []float64) report.Series {
		s := report.Series{Label: label}
		for _, p := range r.Crowd {
			s.X, s.Y = append(s.X, float64(p.Readers)), append(s.Y, report.Median(of(p)))
		}
		return s
	}
	add("scaling-readers", "What readers cost", "reader processes", "processor time", report.Count, report.Nanoseconds, []report.Series{
		crowd("a Binding.Get", func(p crowdPoint) []float64 { return p.Get }),
		crowd("a Snapshot + In", func(p crowdPoint) []float64 { return p.In }),
		crowd("the same, 100 publications a second", func(p crowdPoint) []float64 { return p.InPublishing }),
		crowd("a publication (by the clock)", func(p crowdPoint) []float64 { return p.Publish }),
		crowd("a change, all readers together", func(p crowdPoint) []float64 { return p.Change }),
	})
	growth := func(label, name string, of func(growthPoint) float64) report.Series {
		s := report.Series{Label: label}
		for _, p := range r.Growth[name] {
			s.X, s.Y = append(s.X, float64(p.X)), append(s.Y, of(p))
		}
		return s
	}
	publish := func(p growthPoint) float64 { return p.Publish }
	refresh := func(p growthPoint) float64 { return p.Refresh }
	byName := func(p growthPoint) float64 { return p.ByName }
	byKey := func(p growthPoint) float64 { return p.ByKey }
	add("scaling-image", "The size of the image", "ballast", "time", report.DecimalBytes, report.Nanoseconds, []report.Series{
		growth("refresh, another part changed", lines[0].name, refresh),
		growth("refresh, the used config changed", lines[1].name, refresh),
		growth("refresh, the used config is all of it", lines[2].name, refresh),
		growth("publish a small change", lines[0].name, publish),
		growth("publish all of it", lines[2].name, publish),
		growth("Get by name", lines[0].name, byName),
	})
	add("scaling-configs", "The number of configs", "configs", "time", report.Count, report.Nanoseconds, []report.Series{
		growth("refresh, another config changed", lines[3].name, refresh),
		growth("refresh, the used config changed", lines[4].name, refresh),
		growth("publish one change", lines[4].name, publish),
		growth("Get by name", lines[4].name, byName),
	})
	add("scaling-keys", "The keys of a config", "keys", "time", report.Count, report.Nanoseconds, []report.Series{
		growth("refresh, the config changed", lines[5].name, refresh),
		growth("publish the config", lines[5].name, publish),
		growth("Doc.Int", lines[5].name, byKey),
	})
	return charts, err
}
