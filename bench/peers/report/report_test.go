package report

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
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

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		Nanoseconds(0.432): "0.43 ns", Nanoseconds(999.9): "1.00 µs", Nanoseconds(12_345): "12.3 µs", Nanoseconds(2.5e9): "2.50 s",
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
