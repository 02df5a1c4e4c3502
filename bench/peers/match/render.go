package match

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/statesync/statesync/bench/peers/report"
)

// Render words the results.
func (Section) Render(raw json.RawMessage) (report.Page, error) {
	var r result
	if err := json.Unmarshal(raw, &r); err != nil {
		return report.Page{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, setting, r.Rate, seconds(configDeadline), waiting, seconds(r.CalmFor))
	b.WriteString("\n### Latency\n\n")
	b.WriteString(r.table([]string{"mode", "calm P50", "P99", "P99.9", "in a change P50", "P99", "P99.9", "origin's P99"}, r.latencies))
	fmt.Fprintf(&b, explainLatency, r.late())
	b.WriteString("\n### CPU, memory and the collector\n\n")
	b.WriteString(r.table([]string{"mode", "CPU a request, service", "whole stack", "beside gRPC + Redis", "origin's CPU per pod", "allocations a request", "bytes a request", "GC cycles a minute", "GC pause P99", "longest"}, r.costs))
	b.WriteString(explainCosts)
	b.WriteString("\n### What a change costs\n\n")
	b.WriteString(r.table([]string{"mode", "the change itself", "until the first new answer", "until the last old one", "origin's invalidation", "reads of the backend", "of them more than in calm", "CPU more than in calm"}, r.changes))
	fmt.Fprintf(&b, explainChanges, report.Times(float64(r.CachedOf)))
	fmt.Fprintf(&b, "\n### A backend that stops for %s\n\n", seconds(r.StoppedIn))
	b.WriteString(r.outages())
	fmt.Fprintf(&b, explainOutages, seconds(configDeadline), seconds(r.StoppedIn), seconds(ttl))
	b.WriteString(limits)
	chart, err := r.chart()
	return report.Page{Markdown: b.String(), Charts: chart, Loses: r.loses()}, err
}

// table has a line for each mode that was measured.
func (r *result) table(heads []string, cells func(name string, m *modeResult) []string) string {
	var rows [][]string
	for _, name := range modes {
		if m := r.Modes[name]; m != nil && len(m.Turns) > 0 {
			rows = append(rows, append([]string{titles[name]}, cells(name, m)...))
		}
	}
	return report.Table(heads, rows)
}

func (r *result) latencies(name string, m *modeResult) []string {
	calm := func(f func(latency) time.Duration) string {
		return m.figure(func(t turn) float64 { return float64(f(t.Calm)) })
	}
	changing := func(f func(latency) time.Duration) string {
		if m.Turns[0].Changing.Answered == 0 {
			return "–"
		}
		return m.figure(func(t turn) float64 { return float64(f(t.Changing)) })
	}
	p50 := func(l latency) time.Duration { return l.P50 }
	p99 := func(l latency) time.Duration { return l.P99 }
	p999 := func(l latency) time.Duration { return l.P999 }
	return []string{
		calm(p50), calm(p99), calm(p999), changing(p50), changing(p99), changing(p999), orDash(article[name].p99),
	}
}

func (r *result) costs(name string, m *modeResult) []string {
	var all pauses
	for _, t := range m.Turns {
		all = all.add(t.Quiet.Usage.Pauses)
	}
	beside := "–"
	if sync := r.Modes[modeGRPC]; sync != nil && len(sync.Turns) > 0 {
		beside = fmt.Sprintf("%.0f %%", 100*m.median(turn.stack)/sync.median(turn.stack))
	}
	return []string{
		m.figure(turn.service), m.figure(turn.stack), beside, orDash(article[name].cpu),
		fmt.Sprintf("%.0f", m.median(turn.allocations)),
		fmt.Sprintf("%.0f", m.median(func(t turn) float64 { return float64(t.Quiet.Usage.Bytes) / float64(t.Quiet.Requests) })),
		fmt.Sprintf("%.0f", m.collections()),
		report.Nanoseconds(1e9 * all.at(0.99)), report.Nanoseconds(1e9 * all.at(1)),
	}
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

func (r *result) changes(name string, m *modeResult) []string {
	of := m.ofChanges
	calls := of(func(_ turn, c change) float64 { return float64(c.Call) })
	if len(calls) == 0 {
		return []string{"–", "–", "–", orDash(article[name].invalidation), "–", "–", "–"}
	}
	calm := func(t turn, c change, of float64) float64 { return of * float64(c.Long) / float64(t.Quiet.For) }
	return []string{
		figure(calls),
		figure(of(func(_ turn, c change) float64 { return float64(c.Seen) })),
		figure(of(func(_ turn, c change) float64 { return float64(c.Stale) })),
		orDash(article[name].invalidation),
		fmt.Sprintf("%.0f", report.Median(of(func(_ turn, c change) float64 { return float64(c.Reads) }))),
		fmt.Sprintf("%.0f", max(0, report.Median(of(func(t turn, c change) float64 {
			return float64(c.Reads) - calm(t, c, float64(t.Quiet.Usage.Reads))
		})))),
		signed(report.Median(of(func(t turn, c change) float64 {
			return float64(c.Spent) - calm(t, c, float64(t.Quiet.Stack))
		}))),
	}
}

func (r *result) outages() string {
	var rows [][]string
	for _, name := range modes {
		m := r.Modes[name]
		if m == nil {
			continue
		}
		for _, o := range m.Outages {
			failed, recovered := "none", "–"
			if o.During.Failed > 0 {
				total := o.During.Failed + o.During.Answered
				failed = fmt.Sprintf("%d of %d (%.0f %%)", o.During.Failed, total, 100*float64(o.During.Failed)/float64(total))
				recovered = report.Nanoseconds(float64(max(o.After, 0)))
			}
			worst := "–"
			if o.During.Answered > 0 {
				worst = report.Nanoseconds(float64(o.During.Worst))
			}
			rows = append(rows, []string{titles[name], o.What, failed, worst, recovered, orDash(article[name].radius)})
		}
	}
	return report.Table([]string{"mode", "what is stopped", "failed requests", "worst latency of the others", "from its return to the last failure", "origin's blast radius"}, rows)
}

// late is how late the load generator itself was at worst.
func (r *result) late() string {
	var most time.Duration
	for _, m := range r.Modes {
		most = max(most, time.Duration(m.median(func(t turn) float64 { return float64(t.Late) })))
	}
	return report.Nanoseconds(float64(most))
}

func (m *modeResult) values(f func(turn) float64) []float64 {
	v := make([]float64, len(m.Turns))
	for i, t := range m.Turns {
		v[i] = f(t)
	}
	return v
}

func (m *modeResult) median(f func(turn) float64) float64 { return report.Median(m.values(f)) }
func (m *modeResult) figure(f func(turn) float64) string  { return figure(m.values(f)) }

// figure is the median of times in nanoseconds, with their spread.
func figure(v []float64) string {
	if slices.Max(v) == 0 {
		return "none"
	}
	middle := report.Nanoseconds(report.Median(v))
	if len(v) < 2 {
		return middle
	}
	return fmt.Sprintf("%s (%s – %s)", middle, report.Nanoseconds(slices.Min(v)), report.Nanoseconds(slices.Max(v)))
}

func signed(ns float64) string {
	if ns < 0 {
		return "−" + report.Nanoseconds(-ns)
	}
	return report.Nanoseconds(ns)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// chart shows the P99 of all modes, calm and in a change.
func (r *result) chart() ([]report.Chart, error) {
	var bars []report.Bar
	for _, name := range modes {
		m := r.Modes[name]
		if m == nil || len(m.Turns) == 0 {
			continue
		}
		for _, what := range []struct {
			label string
			of    func(turn) float64
		}{
			{", calm", func(t turn) float64 { return float64(t.Calm.P99) }},
			{", in a change", func(t turn) float64 { return float64(t.Changing.P99) }},
		} {
			v := m.values(what.of)
			bars = append(bars, report.Bar{
				Label: titles[name] + what.label, Value: report.Median(v), Low: slices.Min(v), High: slices.Max(v),
				Ours: name == modeStateSync,
			})
		}
	}
	svg, err := report.Bars("Latency of a match, P99", "from the intended time of the request", report.Nanoseconds, bars)
	return []report.Chart{{Name: "match", SVG: svg}}, err
}

// loses says where another way than the floor is better than this project.
func (r *result) loses() (sentences []string) {
	ours := r.Modes[modeStateSync]
	if ours == nil || len(ours.Turns) == 0 {
		return nil
	}
	// A mode without changes has none of their figures, and does not win by that.
	changes := func(f func(change) time.Duration) func(*modeResult) []float64 {
		return func(m *modeResult) []float64 {
			return m.ofChanges(func(_ turn, c change) float64 { return float64(f(c)) })
		}
	}
	turns := func(f func(turn) float64) func(*modeResult) []float64 {
		return func(m *modeResult) []float64 { return m.values(f) }
	}
	count := func(n float64) string { return fmt.Sprintf("%.0f", n) }
	took := func(ns float64) string {
		if ns == 0 {
			return "none"
		}
		return report.Nanoseconds(ns)
	}
	for _, what := range []struct {
		label string
		word  func(float64) string
		of    func(*modeResult) []float64
	}{
		{"a request's P99 in calm", report.Nanoseconds, turns(func(t turn) float64 { return float64(t.Calm.P99) })},
		{"a request's P99.9 in calm", report.Nanoseconds, turns(func(t turn) float64 { return float64(t.Calm.P999) })},
		{"a request's P99 in a change", report.Nanoseconds, turns(func(t turn) float64 { return float64(t.Changing.P99) })},
		{"a request's P99.9 in a change", report.Nanoseconds, turns(func(t turn) float64 { return float64(t.Changing.P999) })},
		{"the change itself", report.Nanoseconds, changes(func(c change) time.Duration { return c.Call })},
		{"from a change to the first new answer", report.Nanoseconds, changes(func(c change) time.Duration { return c.Seen })},
		{"from a change to the last old answer", took, changes(func(c change) time.Duration { return c.Stale })},
		{"the CPU of the whole stack for a request", report.Nanoseconds, turns(turn.stack)},
		{"the allocations of a request", count, turns(turn.allocations)},
		{"GC cycles a minute", count, func(m *modeResult) []float64 { return []float64{m.collections()} }},
	} {
		mine := report.Median(what.of(ours))
		var better []string
		for _, name := range modes[1:] {
			m := r.Modes[name]
			if name == modeStateSync || m == nil || len(m.Turns) == 0 {
				continue
			}
			if v := what.of(m); len(v) > 0 && report.Beats(report.Median(v), mine) {
				better = append(better, fmt.Sprintf("%s (%s)", titles[name], what.word(report.Median(v))))
			}
		}
		if len(better) > 0 {
			sentences = append(sentences, fmt.Sprintf("Under load, %s: this project has %s; better are %s.",
				what.label, what.word(mine), strings.Join(better, ", ")))
		}
	}
	return sentences
}
