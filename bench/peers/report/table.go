package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Column is a column of a table with a line for each row of type R.
type Column[R any] struct {
	head   string
	cell   func(R) string
	unit   Unit
	values func(R) []float64
	judged string // a sentence, if the column is judged; see Judged
}

// Text is a column of texts.
func Text[R any](head string, cell func(R) string) Column[R] {
	return Column[R]{head: head, cell: cell}
}

// Value is a column of single values.
func Value[R any](head string, unit Unit, value func(R) float64) Column[R] {
	return Middle(head, unit, func(r R) []float64 { return []float64{value(r)} })
}

// Middle is a column of the medians of values.
func Middle[R any](head string, unit Unit, values func(R) []float64) Column[R] {
	return figures(head, unit, Unit.Median, values)
}

// Range is a column of the lowest and the highest of values.
func Range[R any](head string, unit Unit, values func(R) []float64) Column[R] {
	return figures(head, unit, Unit.Range, values)
}

// Spread is a column of the medians of values, with their ranges.
func Spread[R any](head string, unit Unit, values func(R) []float64) Column[R] {
	return figures(head, unit, Unit.Spread, values)
}

func figures[R any](head string, unit Unit, word func(Unit, []float64) string, values func(R) []float64) Column[R] {
	return Column[R]{head: head, cell: func(r R) string { return word(unit, values(r)) }, unit: unit, values: values}
}

// Judged is the column, of which less is better, with the sentence about a peer that
// beats this project: its verbs take our title, our figure, and the peers with theirs.
func (c Column[R]) Judged(sentence string) Column[R] {
	c.judged = sentence
	return c
}

// Table is a table in Markdown.
func Table[R any](rows []R, columns ...Column[R]) string {
	var b strings.Builder
	line := func(cell func(Column[R]) string) {
		for _, c := range columns {
			fmt.Fprintf(&b, "| %s ", cell(c))
		}
		b.WriteString("|\n")
	}
	line(func(c Column[R]) string { return c.head })
	line(func(Column[R]) string { return "---" })
	for _, r := range rows {
		line(func(c Column[R]) string { return c.cell(r) })
	}
	return b.String()
}

// Contender names the contestant that a row is about.
type Contender struct {
	Title  string
	Ours   bool   // this project's
	Floor  bool   // what the others are compared with, and not a peer
	Remark string // follows a figure in a sentence
}

// Losses has a sentence for each judged figure of ours that a peer's beats.
func Losses[R interface{ Contender() Contender }](rows []R, columns ...Column[R]) (sentences []string) {
	for _, c := range columns {
		for _, us := range rows {
			if c.judged == "" || !us.Contender().Ours || len(c.values(us)) == 0 {
				continue
			}
			word := func(r R) string { return c.unit.Spread([]float64{Median(c.values(r))}) }
			var better []string
			for _, r := range rows {
				peer := r.Contender()
				if !peer.Ours && !peer.Floor && len(c.values(r)) > 0 && beats(Median(c.values(r)), Median(c.values(us))) {
					better = append(better, fmt.Sprintf("%s (%s%s)", peer.Title, word(r), peer.Remark))
				}
			}
			if len(better) > 0 {
				sentences = append(sentences, fmt.Sprintf(c.judged, us.Contender().Title, word(us), strings.Join(better, ", ")))
			}
		}
	}
	return sentences
}

// beats reports whether a peer's figure is clearly less than ours: closer together,
// the difference may be noise.
func beats(peer, ours float64) bool { return peer*1.1 < ours }

// Bar is a contender's bar in a chart: the median of its values, and their spread.
func (c Contender) Bar(values []float64) Bar {
	b := Bar{Label: strings.ReplaceAll(c.Title, "`", ""), Value: Median(values), Ours: c.Ours}
	if len(values) > 0 {
		b.Low, b.High = slices.Min(values), slices.Max(values)
	}
	return b
}

// Sort puts the rows with the lowest median of their values first.
func Sort[R any](rows []R, values func(R) []float64) {
	slices.SortStableFunc(rows, func(a, b R) int { return cmp.Compare(Median(values(a)), Median(values(b))) })
}

// OrNone is a text, or what stands where there is none.
func OrNone(s string) string { return cmp.Or(s, None) }
