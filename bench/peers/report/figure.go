package report

import (
	"fmt"
	"slices"
	"time"
)

// Unit words a value of one unit.
type Unit func(float64) string

// None stands where a contestant has no figure.
const None = "–"

// Median words the middle of some values.
func (u Unit) Median(v []float64) string {
	if len(v) == 0 {
		return None
	}
	return u(Median(v))
}

// Range words the lowest and the highest of some values.
func (u Unit) Range(v []float64) string {
	if len(v) == 0 {
		return None
	}
	return u(slices.Min(v)) + " – " + u(slices.Max(v))
}

// Spread words the middle of some values, and their range if there are several.
func (u Unit) Spread(v []float64) string {
	switch {
	case len(v) == 0:
		return None
	case slices.Max(v) == 0:
		return "none"
	case len(v) == 1:
		return u.Median(v)
	}
	return u.Median(v) + " (" + u.Range(v) + ")"
}

// Median of some values; 0 of none.
func Median(v []float64) float64 { return Percentile(v, 0.5) }

// Percentile p (0 to 1) of some values; 0 of none.
func Percentile(v []float64, p float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[min(int(float64(len(v))*p), len(v)-1)]
}

// Ratios has, for each round, the value divided by the floor's.
func Ratios(v, floor []float64) (ratios []float64) {
	for i := range min(len(v), len(floor)) {
		ratios = append(ratios, v[i]/floor[i])
	}
	return ratios
}

// Nanoseconds words a time in the unit that suits it, to three digits.
func Nanoseconds(ns float64) string {
	if ns < 0 {
		return "−" + Nanoseconds(-ns)
	}
	return inUnits(ns, digits, 0.9995, "ns", prefix{1e9, "s"}, prefix{1e6, "ms"}, prefix{1e3, "µs"})
}

// Bytes words a size in binary units.
func Bytes(n float64) string {
	short := func(v float64) string { return fmt.Sprintf("%.4g", v) }
	if n < 1<<10 {
		short = Whole
	}
	return inUnits(n, short, 1, "B", prefix{1 << 40, "TiB"}, prefix{1 << 30, "GiB"}, prefix{1 << 20, "MiB"}, prefix{1 << 10, "KiB"})
}

// DecimalBytes words a size at a tick of an axis, which stands at powers of ten.
func DecimalBytes(n float64) string {
	return inUnits(n, Whole, 1, "B", prefix{1e9, "GB"}, prefix{1e6, "MB"}, prefix{1e3, "kB"})
}

type prefix struct {
	size float64
	name string
}

// inUnits words a value in the first of larger that it reaches, of which least is
// the part that rounds up to it, and in the base unit if it reaches none.
func inUnits(v float64, word Unit, least float64, base string, larger ...prefix) string {
	for _, unit := range larger {
		if v >= unit.size*least {
			return word(v/unit.size) + " " + unit.name
		}
	}
	return word(v) + " " + base
}

// Whole words a number without its fraction.
func Whole(n float64) string { return fmt.Sprintf("%.0f", n) }

// Count words a count, and groups the digits of one that is long.
func Count(n float64) string {
	if n < 10_000 {
		return Whole(n)
	}
	return grouped(n)
}

// Times words a ratio, to three digits.
func Times(ratio float64) string {
	if ratio < 999.5 {
		return digits(ratio)
	}
	return grouped(ratio)
}

// Percent words a part of 1.
func Percent(part float64) string {
	if part >= 0.1 {
		return Whole(100*part) + " %"
	}
	return fmt.Sprintf("%.2g %%", 100*part)
}

// Duration words a duration that is a whole number of seconds or minutes.
func Duration(d time.Duration) string {
	if d >= time.Minute {
		return fmt.Sprintf("%g min", d.Minutes())
	}
	return fmt.Sprintf("%g s", d.Seconds())
}

// grouped has a comma before each three digits.
func grouped(n float64) string {
	s := Whole(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func digits(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
