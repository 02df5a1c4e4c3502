package report

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type fixed struct{ page Page }

func (fixed) Name() string          { return "fixed" }
func (fixed) Title() string         { return "A fixed section" }
func (fixed) Contestants() []string { return nil }
func (f fixed) Measure(context.Context, *Run, json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`{}`), nil
}
func (f fixed) Render(json.RawMessage) (Page, error) { return f.page, nil }

// TestSaveAndLoad writes a document with a chart, and finds the raw results
// again.
func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	r, err := Load(dir)
	if err != nil || r.Old("fixed") != nil {
		t.Fatalf("in an empty folder there is %s (%v)", r.Old("fixed"), err)
	}
	svg, err := Bars("title", "axis", Nanoseconds, []Bar{{Label: "ours", Value: 0.5, Ours: true}, {Label: "theirs", Value: 2e6, Low: 1e6, High: 3e6}, {Label: "none"}})
	if err != nil {
		t.Fatal(err)
	}
	s := fixed{Page{Markdown: "the text", Charts: []Chart{{"chart", svg}}, Loses: []string{"It loses."}}}
	r.Sections["fixed"] = &Measured{When: time.Unix(0, 0), Command: "a command", Machine: ThisMachine(), Raw: json.RawMessage(`{"a":1}`)}
	if err := r.Save(dir, []Section{s}); err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(filepath.Join(dir, documentName))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## A fixed section", "the text", "- It loses.", "1970-01-01", "a command", ThisMachine().CPU} {
		if !strings.Contains(string(document), want) {
			t.Errorf("the document lacks %q:\n%s", want, document)
		}
	}
	written, err := os.ReadFile(filepath.Join(dir, chartsName, "chart.svg"))
	if err != nil || !strings.Contains(string(written), "theirs") || strings.Contains(string(written), "none<") {
		t.Errorf("the chart is %s (%v)", written, err)
	}
	again, err := Load(dir)
	if err != nil || !strings.Contains(string(again.Old("fixed")), "1") {
		t.Errorf("found again: %s (%v)", again.Old("fixed"), err)
	}
	if err := os.WriteFile(filepath.Join(dir, rawName), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("half a file of results is taken")
	}
}

// other is a second section.
type other struct{ fixed }

func (other) Name() string  { return "other" }
func (other) Title() string { return "Another section" }

// TestSaveKeepsSections measures one section at a time, without the raw results of the
// other one.
func TestSaveKeepsSections(t *testing.T) {
	dir := t.TempDir()
	measure := func(name, text string) string {
		t.Helper()
		page := fixed{Page{Markdown: text + " text\n\n### Its own heading\n\nmore", Loses: []string{"It loses " + text + "."}}}
		r, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		r.Sections[name] = &Measured{Raw: json.RawMessage(`{}`)}
		if err := errors.Join(r.Save(dir, []Section{page, other{page}}), os.Remove(filepath.Join(dir, rawName))); err != nil {
			t.Fatal(err)
		}
		written, err := os.ReadFile(filepath.Join(dir, documentName))
		if err != nil {
			t.Fatal(err)
		}
		return string(written)
	}
	measure("fixed", "old")
	both := measure("other", "other")
	for _, want := range []string{"- It loses old.", "- It loses other.", "old text", "other text", "## Another section"} {
		if !strings.Contains(both, want) {
			t.Errorf("the document lacks %q:\n%s", want, both)
		}
	}
	if got, want := measure("fixed", "new"), strings.ReplaceAll(both, "old", "new"); got != want {
		t.Errorf("the document is\n%s\nwant\n%s", got, want)
	}
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		Nanoseconds(0.432): "0.43 ns", Nanoseconds(999.9): "1.00 µs", Nanoseconds(12_345): "12.3 µs", Nanoseconds(2.5e9): "2.50 s",
		Nanoseconds(-2e6): "−2.00 ms", Bytes(1023): "1023 B", Bytes(1.5 * (1 << 20)): "1.5 MiB", DecimalBytes(1e7): "10 MB",
		Count(9999): "9999", Count(10_000): "10,000", Percent(1): "100 %", Percent(0.0345): "3.5 %",
		Duration(time.Minute): "1 min", Duration(10 * time.Second): "10 s",
		Times(1.234): "1.23", Times(4_022_907): "4,022,907", Times(1000): "1,000",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	v := []float64{3, 1, 2}
	if Median(v) != 2 || Percentile(v, 0.99) != 3 || Percentile(v, 0) != 1 || Median(nil) != 0 {
		t.Errorf("median %v, p99 %v, p0 %v", Median(v), Percentile(v, 0.99), Percentile(v, 0))
	}
	if v[0] != 3 {
		t.Error("the figures were sorted in place")
	}
}

// result is a row with the figures of some rounds.
type result struct {
	contender Contender
	times     []float64
}

func (r result) Contender() Contender { return r.contender }
func (r result) values() []float64    { return r.times }

// TestTable has columns of every kind. The floor and a peer that is better by less
// than a tenth are not named, nor is one without a figure.
func TestTable(t *testing.T) {
	rows := []result{
		{Contender{Title: "ours", Ours: true}, []float64{300, 200}},
		{Contender{Title: "faster", Remark: " for less"}, []float64{10, 20}},
		{Contender{Title: "as fast"}, []float64{290}},
		{Contender{Title: "absent"}, nil},
		{Contender{Title: "floor", Floor: true}, []float64{0, 0}},
	}
	Sort(rows, result.values)
	columns := []Column[result]{
		Text("title", func(r result) string { return r.contender.Title }),
		Middle("middle", Nanoseconds, result.values).Judged("%s: %s; %s"),
		Range("range", Nanoseconds, result.values),
		Spread("both", Nanoseconds, result.values),
		Value("rounds", Whole, func(r result) float64 { return float64(len(r.times)) }),
	}
	const want = `| title | middle | range | both | rounds |
| --- | --- | --- | --- | --- |
| absent | – | – | – | 0 |
| floor | 0.00 ns | 0.00 ns – 0.00 ns | none | 2 |
| faster | 20.0 ns | 10.0 ns – 20.0 ns | 20.0 ns (10.0 ns – 20.0 ns) | 2 |
| as fast | 290 ns | 290 ns – 290 ns | 290 ns | 1 |
| ours | 300 ns | 200 ns – 300 ns | 300 ns (200 ns – 300 ns) | 2 |
`
	if got := Table(rows, columns...); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	if got := Losses(rows, columns...); !slices.Equal(got, []string{"ours: 300 ns; faster (20.0 ns for less)"}) {
		t.Errorf("it loses at %q", got)
	}
}
