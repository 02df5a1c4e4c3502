package scaling

import (
	"encoding/json"
	"fmt"
	"slices"
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
	b.WriteString(r.tables("###", func(name string) string { return "charts/" + name + ".svg" }))
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
	text := r.tables("###", func(name string) string { return charts + "/" + name + ".svg" })
	return text + r.fleet(), nil
}

const introduction = `Readers are processes, the daemon is the real one, and each figure is a median
unless it says otherwise. ` + "[docs/SCALING.md](../docs/SCALING.md)" + ` says what follows for a fleet.
`

// tables are those of everything that was measured, under headings.
func (r *result) tables(heading string, chart func(name string) string) string {
	var b strings.Builder
	part := func(title, chartName, explanation string, heads []string, rows [][]string) {
		if len(rows) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s %s\n\n%s\n%s", heading, title, explanation, report.Table(heads, rows))
		if chartName != "" {
			fmt.Fprintf(&b, "\n![%s](%s)\n", title, chart(chartName))
		}
	}
	part("Readers", "scaling-readers", explainReaders,
		[]string{"reader processes", "`Binding.Get`", "reads per CPU-second", "`Snapshot` + `In`", "the same under 100 publications a second", "a publication, readers asleep", "CPU of all readers for a change", "of one"},
		r.crowdRows())
	part("Memory", "", explainMemory, []string{"what", "memory"}, r.memoryRows())
	heads := func(what string) []string {
		return []string{what, "image", "region", "what changes", "publish", "refresh", "`Get` by name", "`Doc.Int`"}
	}
	part("The size of the image", "scaling-image", explainImage, heads("ballast"), r.growthRows(bytes, lines[0].name, lines[1].name, lines[2].name))
	part("The number of configs", "scaling-configs", explainConfigs, heads("configs"), r.growthRows(number, lines[3].name, lines[4].name))
	part("The keys of a config", "scaling-keys", explainKeys, heads("keys"), r.growthRows(number, lines[5].name))
	part("The daemon", "", explainDaemon, []string{"files", "memory (RSS)", "CPU when idle", "changes a second", "generations of them", "CPU", "for a generation"}, r.daemonRows())
	part("A poll of a Git server", "", explainPolls, []string{"what a client does", "requests", "bytes of bodies, both ways", "CPU of the server"}, r.pollRows())
	return b.String()
}

func (r *result) crowdRows() (rows [][]string) {
	for _, p := range r.Crowd {
		get := report.Median(p.Get)
		rows = append(rows, []string{
			number(float64(p.Readers)), report.Nanoseconds(get), number(1e3/get) + " million",
			spread(p.In), spread(p.InPublishing), spread(p.Publish), report.Nanoseconds(report.Median(p.Change)),
			report.Nanoseconds(report.Median(p.Change) / float64(p.Readers)),
		})
	}
	return rows
}

func (r *result) memoryRows() [][]string {
	m := r.Memory
	if m == nil || m.Readers == 0 {
		return nil
	}
	return [][]string{
		{"the image", bytes(float64(m.Image))},
		{"the region's pages, once per host", bytes(float64(m.Region))},
		{fmt.Sprintf("a reader of %d: resident (RSS)", m.Readers), bytes(float64(m.Reader.RSS))},
		{"its part of shared pages included once (PSS)", bytes(float64(m.Reader.PSS))},
		{"of that, in the region", bytes(float64(m.Reader.Shmem))},
		{"private to it", bytes(float64(m.Reader.Private))},
		{"a Go program that reads nothing: private", bytes(float64(m.Bare.Private))},
	}
}

func (r *result) growthRows(word func(float64) string, names ...string) (rows [][]string) {
	for _, name := range names {
		_, changes, _ := strings.Cut(name, ", ")
		for _, p := range r.Growth[name] {
			key := "–"
			if p.ByKey > 0 {
				key = report.Nanoseconds(p.ByKey)
			}
			rows = append(rows, []string{
				word(float64(p.X)), bytes(float64(p.Image)), bytes(float64(p.Region)), changes,
				report.Nanoseconds(p.Publish), report.Nanoseconds(p.Refresh), report.Nanoseconds(p.ByName), key,
			})
		}
	}
	return rows
}

func (r *result) daemonRows() (rows [][]string) {
	for _, p := range r.Daemon {
		rows = append(rows, []string{
			number(float64(p.Files)), bytes(float64(p.Memory.RSS)), percent(p.Idle), "0", "–", percent(p.Idle), "–",
		})
		for _, rate := range p.Rates {
			each := "–"
			if rate.Seen > 0 {
				took := float64(rate.Changes) / rate.Rate // seconds
				each = report.Nanoseconds(max(rate.Busy-p.Idle, 0) * took / float64(rate.Seen) * 1e9)
			}
			rows = append(rows, []string{
				number(float64(p.Files)), "", "", number(rate.Rate), fmt.Sprintf("%d of %d", rate.Seen, rate.Changes), percent(rate.Busy), each,
			})
		}
	}
	return rows
}

func (r *result) pollRows() [][]string {
	if r.Polls == nil {
		return nil
	}
	row := func(what string, a asked) []string {
		return []string{what, fmt.Sprintf("%.1f", a.Requests), bytes(a.Bytes), report.Nanoseconds(a.CPU)}
	}
	return [][]string{
		row("asks whether there is something new (`ls-remote`)", r.Polls.Poll),
		row("fetches a change of one file", r.Polls.Change),
	}
}

// spread is a median with the lowest and the highest.
func spread(ns []float64) string {
	if len(ns) == 0 {
		return "–"
	}
	middle := report.Nanoseconds(report.Median(ns))
	if len(ns) == 1 {
		return middle
	}
	return fmt.Sprintf("%s (%s – %s)", middle, report.Nanoseconds(slices.Min(ns)), report.Nanoseconds(slices.Max(ns)))
}

func percent(part float64) string { return fmt.Sprintf("%.2g %%", 100*part) }

// number words a count.
func number(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > 0 && n >= 10_000; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytes words a size.
func bytes(n float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.4g %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
}

// decimal words a size at a tick of an axis, which stands at powers of ten.
func decimal(n float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.0f %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
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
	add("scaling-readers", "What readers cost", "reader processes", "processor time", number, report.Nanoseconds, []report.Series{
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
	add("scaling-image", "The size of the image", "ballast", "time", decimal, report.Nanoseconds, []report.Series{
		growth("refresh, another part changed", lines[0].name, refresh),
		growth("refresh, the used config changed", lines[1].name, refresh),
		growth("refresh, the used config is all of it", lines[2].name, refresh),
		growth("publish a small change", lines[0].name, publish),
		growth("publish all of it", lines[2].name, publish),
		growth("Get by name", lines[0].name, byName),
	})
	add("scaling-configs", "The number of configs", "configs", "time", number, report.Nanoseconds, []report.Series{
		growth("refresh, another config changed", lines[3].name, refresh),
		growth("refresh, the used config changed", lines[4].name, refresh),
		growth("publish one change", lines[4].name, publish),
		growth("Get by name", lines[4].name, byName),
	})
	add("scaling-keys", "The keys of a config", "keys", "time", number, report.Nanoseconds, []report.Series{
		growth("refresh, the config changed", lines[5].name, refresh),
		growth("publish the config", lines[5].name, publish),
		growth("Doc.Int", lines[5].name, byKey),
	})
	return charts, err
}
