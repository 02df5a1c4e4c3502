package match

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/bench/peers/report"
)

// row is a mode with what was measured of it.
type row struct {
	name string
	*modeResult
}

// stop is a row of the table of stopped backends.
type stop struct {
	row
	outage
}

// Render words the results.
func (Section) Render(raw json.RawMessage) (report.Page, error) {
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return report.Page{}, err
	}
	var rows []row
	var stops []stop
	var grpc row // the mode that the others' CPU is compared with
	for _, name := range modes {
		m := row{name, r.Modes[name]}
		if m.modeResult == nil {
			continue
		}
		for _, o := range m.Outages {
			stops = append(stops, stop{m, o})
		}
		if len(m.Turns) > 0 {
			rows = append(rows, m)
			if name == modeGRPC {
				grpc = m
			}
		}
	}
	latencies, costs, changes := latencies(), costs(grpc), changes()
	var b strings.Builder
	fmt.Fprintf(&b, setting, r.Rate, report.Duration(configDeadline), waiting, report.Duration(r.CalmFor))
	b.WriteString("\n### Latency\n\n")
	b.WriteString(report.Table(rows, latencies...))
	fmt.Fprintf(&b, explainLatency, late(rows))
	b.WriteString("\n### CPU, memory and the collector\n\n")
	b.WriteString(report.Table(rows, costs...))
	b.WriteString(explainCosts)
	b.WriteString("\n### What a change costs\n\n")
	b.WriteString(report.Table(rows, changes...))
	fmt.Fprintf(&b, explainChanges, report.Times(float64(r.CachedOf)))
	fmt.Fprintf(&b, "\n### A backend that stops for %s\n\n", report.Duration(r.StoppedIn))
	b.WriteString(outages(stops))
	fmt.Fprintf(&b, explainOutages, report.Duration(configDeadline), report.Duration(r.StoppedIn), report.Duration(ttl))
	b.WriteString(limits)
	chart, err := draw(rows)
	return report.Page{Markdown: b.String(), Charts: chart, Loses: report.Losses(rows, slices.Concat(latencies, changes, costs)...)}, err
}

func (r row) title() string { return titles[r.name] }

// Contender is the mode in the sentences and in the chart.
func (r row) Contender() report.Contender {
	return report.Contender{Title: r.title(), Ours: r.name == modeStateSync, Floor: r.name == modeConstant}
}

// judged is a column in which another mode than the floor may be better than this
// project. A mode without changes has none of their figures, and does not win by that.
func judged(c report.Column[row], what string) report.Column[row] {
	return c.Judged("Under load, " + what + ": %s has %s; better are %s.")
}

// original is a column of what was published of the modes.
func original(head string, of func(published) string) report.Column[row] {
	return report.Text(head, func(r row) string { return report.OrNone(of(article[r.name])) })
}

func latencies() []report.Column[row] {
	calm := func(head string, of func(latency) time.Duration) report.Column[row] {
		return report.Spread(head, report.Nanoseconds, func(r row) []float64 {
			return r.values(func(t turn) float64 { return float64(of(t.Calm)) })
		})
	}
	changing := func(head string, of func(latency) time.Duration) report.Column[row] {
		return report.Spread(head, report.Nanoseconds, func(r row) []float64 {
			if r.Turns[0].Changing.Answered == 0 {
				return nil
			}
			return r.values(func(t turn) float64 { return float64(of(t.Changing)) })
		})
	}
	p50 := func(l latency) time.Duration { return l.P50 }
	p99 := func(l latency) time.Duration { return l.P99 }
	p999 := func(l latency) time.Duration { return l.P999 }
	return []report.Column[row]{
		report.Text("mode", row.title),
		calm("calm P50", p50),
		judged(calm("P99", p99), "a request's P99 in calm"),
		judged(calm("P99.9", p999), "a request's P99.9 in calm"),
		changing("in a change P50", p50),
		judged(changing("P99", p99), "a request's P99 in a change"),
		judged(changing("P99.9", p999), "a request's P99.9 in a change"),
		original("origin's P99", func(p published) string { return p.p99 }),
	}
}

func costs(grpc row) []report.Column[row] {
	perTurn := func(of func(turn) float64) func(row) []float64 {
		return func(r row) []float64 { return r.values(of) }
	}
	pause := func(p float64) func(row) float64 {
		return func(r row) float64 {
			var all pauses
			for _, t := range r.Turns {
				all = all.add(t.Quiet.Usage.Pauses)
			}
			return 1e9 * all.at(p)
		}
	}
	return []report.Column[row]{
		report.Text("mode", row.title),
		report.Spread("CPU a request, service", report.Nanoseconds, perTurn(turn.service)),
		judged(report.Spread("whole stack", report.Nanoseconds, perTurn(turn.stack)), "the CPU of the whole stack for a request"),
		report.Middle("beside gRPC + Redis", report.Percent, func(r row) []float64 {
			if grpc.modeResult == nil {
				return nil
			}
			return []float64{r.median(turn.stack) / grpc.median(turn.stack)}
		}),
		original("origin's CPU per pod", func(p published) string { return p.cpu }),
		judged(report.Middle("allocations a request", report.Whole, perTurn(turn.allocations)), "the allocations of a request"),
		report.Middle("bytes a request", report.Whole, perTurn(func(t turn) float64 { return float64(t.Quiet.Usage.Bytes) / float64(t.Quiet.Requests) })),
		judged(report.Value("GC cycles a minute", report.Whole, row.collections), "GC cycles a minute"),
		report.Value("GC pause P99", report.Nanoseconds, pause(0.99)),
		report.Value("longest", report.Nanoseconds, pause(1)),
	}
}

func changes() []report.Column[row] {
	took := func(head string, of func(change) time.Duration) report.Column[row] {
		return report.Spread(head, report.Nanoseconds, func(r row) []float64 {
			return r.ofChanges(func(_ turn, c change) float64 { return float64(of(c)) })
		})
	}
	each := func(of func(turn, change) float64) func(row) []float64 {
		return func(r row) []float64 { return r.ofChanges(of) }
	}
	calm := func(t turn, c change, of float64) float64 { return of * float64(c.Long) / float64(t.Quiet.For) }
	more := func(n float64) string { return report.Whole(max(0, n)) }
	return []report.Column[row]{
		report.Text("mode", row.title),
		judged(took("the change itself", func(c change) time.Duration { return c.Call }), "the change itself"),
		judged(took("until the first new answer", func(c change) time.Duration { return c.Seen }), "from a change to the first new answer"),
		judged(took("until the last old one", func(c change) time.Duration { return c.Stale }), "from a change to the last old answer"),
		original("origin's invalidation", func(p published) string { return p.invalidation }),
		report.Middle("reads of the backend", report.Whole, each(func(_ turn, c change) float64 { return float64(c.Reads) })),
		report.Middle("of them more than in calm", more, each(func(t turn, c change) float64 {
			return float64(c.Reads) - calm(t, c, float64(t.Quiet.Usage.Reads))
		})),
		report.Middle("CPU more than in calm", report.Nanoseconds, each(func(t turn, c change) float64 {
			return float64(c.Spent) - calm(t, c, float64(t.Quiet.Stack))
		})),
	}
}

func outages(stops []stop) string {
	// A figure of a stop in which no request has what it is about is missing.
	where := func(some int, ns time.Duration) []float64 {
		if some == 0 {
			return nil
		}
		return []float64{float64(ns)}
	}
	return report.Table(
		stops,
		report.Text("mode", stop.title),
		report.Text("what is stopped", func(s stop) string { return s.What }),
		report.Text("failed requests", func(s stop) string {
			failed, total := s.During.Failed, s.During.Failed+s.During.Answered
			if failed == 0 {
				return "none"
			}
			return fmt.Sprintf("%d of %d (%s)", failed, total, report.Percent(float64(failed)/float64(total)))
		}),
		report.Middle("worst latency of the others", report.Nanoseconds, func(s stop) []float64 { return where(s.During.Answered, s.During.Worst) }),
		report.Middle("from its return to the last failure", report.Nanoseconds, func(s stop) []float64 { return where(s.During.Failed, max(s.After, 0)) }),
		report.Text("origin's blast radius", func(s stop) string { return report.OrNone(article[s.name].radius) }),
	)
}

// service is the CPU of a request in the service, in nanoseconds.
func (t turn) service() float64 { return float64(t.Quiet.Service) / float64(t.Quiet.Requests) }

// stack is the CPU of a request in all that the mode needs, in nanoseconds.
func (t turn) stack() float64 { return float64(t.Quiet.Stack) / float64(t.Quiet.Requests) }

// allocations are those of a request in the service.
func (t turn) allocations() float64 {
	return float64(t.Quiet.Usage.Objects) / float64(t.Quiet.Requests)
}

// collections are the GC cycles of the service in a minute, over all turns.
func (m *modeResult) collections() float64 {
	var cycles uint64
	var during time.Duration
	for _, t := range m.Turns {
		cycles += t.Quiet.Usage.Collections
		during += t.Quiet.For
	}
	return float64(cycles) / during.Minutes()
}

// ofChanges has a figure for each change of all turns.
func (m *modeResult) ofChanges(f func(t turn, c change) float64) (v []float64) {
	for _, t := range m.Turns {
		for _, c := range t.Changes {
			v = append(v, f(t, c))
		}
	}
	return v
}

// values has a figure for each turn.
func (m *modeResult) values(f func(turn) float64) []float64 {
	v := make([]float64, len(m.Turns))
	for i, t := range m.Turns {
		v[i] = f(t)
	}
	return v
}

func (m *modeResult) median(f func(turn) float64) float64 { return report.Median(m.values(f)) }

// late is how late the load generator itself was at worst.
func late(rows []row) string {
	var most float64
	for _, r := range rows {
		most = max(most, r.median(func(t turn) float64 { return float64(t.Late) }))
	}
	return report.Nanoseconds(most)
}

// draw shows the P99 of all modes, calm and in a change.
func draw(rows []row) ([]report.Chart, error) {
	var bars []report.Bar
	for _, r := range rows {
		calm := r.Contender().Bar(r.values(func(t turn) float64 { return float64(t.Calm.P99) }))
		changing := r.Contender().Bar(r.values(func(t turn) float64 { return float64(t.Changing.P99) }))
		calm.Label += ", calm"
		changing.Label += ", in a change"
		bars = append(bars, calm, changing)
	}
	svg, err := report.Bars("Latency of a match, P99", "from the intended time of the request", report.Nanoseconds, bars)
	return []report.Chart{{Name: "match", SVG: svg}}, err
}
