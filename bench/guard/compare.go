package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
)

// chance is how likely the rounds are to differ that much without a reason,
// for a line to be worse.
const chance = 0.01

// line is a figure of both trees.
type line struct {
	key
	old, new float64 // medians
	p        float64
	worse    bool
}

// compare has a line for each figure that both trees have. Times are judged by
// medians and by chance, allocations by medians: they do not vary by chance.
// What is in other units is not judged.
func compare(found [2]figures, slower float64) []line {
	var lines []line
	for k, before := range found[0] {
		after := found[1][k]
		if len(after) == 0 || !k.timed() && k.unit != "allocs/op" {
			continue
		}
		base, tree := benchmath.NewSample(before, thresholds()), benchmath.NewSample(after, thresholds())
		l := line{
			key: k,
			old: benchmath.AssumeNothing.Summary(base, 0.95).Center,
			new: benchmath.AssumeNothing.Summary(tree, 0.95).Center,
			p:   benchmath.AssumeNothing.Compare(base, tree).P,
		}
		if k.timed() {
			l.worse = l.p < chance && l.new > l.old*(1+slower/100)
		} else {
			l.worse = l.new > l.old
		}
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.unit, b.unit)) })
	return lines
}

func thresholds() *benchmath.Thresholds {
	t := benchmath.DefaultThresholds
	t.CompareAlpha = chance
	return &t
}

// worse are the lines that are.
func worse(lines []line) []line {
	return slices.DeleteFunc(slices.Clone(lines), func(l line) bool { return !l.worse })
}

// replace puts what was measured again in the place of what it was at first.
func replace(lines, again []line) []line {
	for n := range lines {
		if at := slices.IndexFunc(again, func(l line) bool { return l.key == lines[n].key }); at >= 0 {
			lines[n] = again[at]
		}
	}
	return lines
}

// show prints the lines. What allocates nothing in either tree needs no line.
func show(w io.Writer, base string, lines []line) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "benchmark\t%s\tworking tree\tchange\tchance\t\n", base)
	for _, l := range lines {
		if l.unit == "allocs/op" && l.old == 0 && l.new == 0 {
			continue
		}
		verdict, change := "", "+"
		if l.worse {
			verdict = "worse"
		}
		if l.old > 0 {
			change = fmt.Sprintf("%+.1f %%", 100*(l.new/l.old-1))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.3f\t%s\n", l.name, l.value(l.old), l.value(l.new), change, l.p, verdict)
	}
	table.Flush()
}

// timed reports whether the figure is a time: ns/op, or a median such as p50-ns,
// both of which were made seconds when they were read.
func (k key) timed() bool { return k.unit == "sec/op" || strings.HasSuffix(k.unit, "-sec") }

// value words a figure.
func (k key) value(v float64) string {
	switch {
	case !k.timed():
		return fmt.Sprintf("%g %s", v, k.unit)
	case v >= 1e-3:
		return fmt.Sprintf("%.3g ms", v*1e3)
	case v >= 1e-6:
		return fmt.Sprintf("%.3g µs", v*1e6)
	}
	return fmt.Sprintf("%.3g ns", v*1e9)
}
