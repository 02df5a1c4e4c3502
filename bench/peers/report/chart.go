package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The colours of all charts. The paper is drawn, so that a chart looks the same
// in a document with a dark background.
var (
	paper = color.NRGBA{0xff, 0xff, 0xff, 0xff}
	ink   = color.NRGBA{0x24, 0x29, 0x2f, 0xff}
	faint = color.NRGBA{0xd8, 0xde, 0xe4, 0xff}
	peers = color.NRGBA{0x6e, 0x77, 0x81, 0xff}
	// Series are told apart by colour and by dash. The first is this project's.
	series = []color.NRGBA{
		{0x09, 0x69, 0xda, 0xff},
		{0xbc, 0x4c, 0x00, 0xff},
		{0x1a, 0x7f, 0x37, 0xff},
		{0x82, 0x50, 0xdf, 0xff},
		{0xbf, 0x39, 0x89, 0xff},
		{0x57, 0x60, 0x6a, 0xff},
	}
)

// Bar is a line of a Bars chart.
type Bar struct {
	Label     string
	Value     float64 // nanoseconds, or what the chart's unit says; more than 0
	Low, High float64 // its spread; 0 when there is none
	Ours      bool    // this project's
	Text      string  // beside the bar; the value when it is empty
}

// Bars is a chart of labelled values on a logarithmic axis, the smallest on
// top. label words a value.
func Bars(title, axis string, label func(float64) string, bars []Bar) ([]byte, error) {
	bars = slices.DeleteFunc(slices.Clone(bars), func(b Bar) bool { return b.Value <= 0 })
	if len(bars) == 0 {
		return nil, fmt.Errorf("chart %q: nothing to show", title)
	}
	slices.SortStableFunc(bars, func(a, b Bar) int { // the axis goes up
		switch {
		case a.Value > b.Value:
			return -1
		case a.Value < b.Value:
			return 1
		}
		return 0
	})
	p := newPlot(title)
	low, high := math.Inf(1), 0.0
	for _, b := range bars {
		low, high = min(low, b.Value), max(high, b.Value, b.High)
	}
	low = math.Pow(10, math.Floor(math.Log10(low)))
	p.X.Min, p.X.Max = low, high*6 // room for the last label
	p.X.Label.Text = axis
	logarithmic(&p.X, label)
	names := make([]string, len(bars))
	for i, b := range bars {
		names[i] = b.Label
		shade := peers
		if b.Ours {
			shade = series[0]
		}
		line, err := plotter.NewLine(plotter.XYs{{X: low, Y: float64(i)}, {X: b.Value, Y: float64(i)}})
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = shade, vg.Points(7)
		p.Add(line)
		if b.Low > 0 && b.High > b.Low {
			spread, err := plotter.NewLine(plotter.XYs{{X: max(b.Low, low), Y: float64(i)}, {X: b.High, Y: float64(i)}})
			if err != nil {
				return nil, err
			}
			spread.Color, spread.Width = ink, vg.Points(1)
			p.Add(spread)
		}
		if b.Text == "" {
			b.Text = label(b.Value)
		}
		value, err := plotter.NewLabels(plotter.XYLabels{
			XYs: plotter.XYs{{X: max(b.Value, b.High), Y: float64(i)}}, Labels: []string{b.Text},
		})
		if err != nil {
			return nil, err
		}
		value.TextStyle[0].Color = ink
		value.TextStyle[0].Font.Variant, value.TextStyle[0].Font.Size = "Sans", vg.Points(9)
		value.TextStyle[0].YAlign = text.YCenter
		value.Offset = vg.Point{X: vg.Points(4)}
		p.Add(value)
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	p.Y.Width, p.Y.Tick.Length = 0, 0
	p.Y.Padding = vg.Points(30) // a viewer's font may be wider than the one that is measured
	return svg(p, 800, 80+17*len(bars))
}

// Series is a line of a Lines chart.
type Series struct {
	Label string
	X, Y  []float64 // more than 0
}

// Lines is a chart of lines over two logarithmic axes; labelX and labelY word
// the values at their ticks. By custom the first series is this project's.
func Lines(title, axisX, axisY string, labelX, labelY func(float64) string, lines []Series) ([]byte, error) {
	p := newPlot(title)
	p.X.Label.Text, p.Y.Label.Text = axisX, axisY
	logarithmic(&p.X, labelX)
	logarithmic(&p.Y, labelY)
	p.Legend.TextStyle.Font, p.Legend.TextStyle.Color = p.Y.Tick.Label.Font, p.Y.Tick.Label.Color
	p.Legend.Top, p.Legend.Left = true, true
	points := 0
	for i, s := range lines {
		var xys plotter.XYs
		for j := range s.X {
			if s.X[j] > 0 && s.Y[j] > 0 {
				xys = append(xys, plotter.XY{X: s.X[j], Y: s.Y[j]})
			}
		}
		if len(xys) == 0 {
			continue
		}
		points += len(xys)
		line, dots, err := plotter.NewLinePoints(xys)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = series[i%len(series)], vg.Points(2)
		if i >= len(series) {
			line.Dashes = []vg.Length{vg.Points(6), vg.Points(3)}
		}
		dots.Color, dots.Shape, dots.Radius = line.Color, draw.CircleGlyph{}, vg.Points(3)
		p.Add(line, dots)
		p.Legend.Add(s.Label, line, dots)
	}
	if points == 0 {
		return nil, fmt.Errorf("chart %q: nothing to show", title)
	}
	p.Y.Max *= 10 // room for the legend
	return svg(p, 760, 420)
}

func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = paper
	p.Title.Text = title
	p.Title.Padding = vg.Points(8)
	for _, style := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label,
	} {
		style.Color = ink
		style.Font.Variant = "Sans"
		style.Font.Size = vg.Points(10)
	}
	p.Title.TextStyle.Font.Size = vg.Points(13)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, color.Transparent
	p.Add(grid)
	return p
}

// logarithmic makes an axis one of powers of ten, with a label at each.
func logarithmic(a *plot.Axis, label func(float64) string) {
	a.Scale = plot.LogScale{}
	a.Color, a.Tick.Color = faint, faint
	a.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		var ticks []plot.Tick
		for e := math.Ceil(math.Log10(low) - 1e-9); e <= math.Log10(high)+1e-9; e++ {
			text := strings.NewReplacer(".00 ", " ", ".0 ", " ").Replace(label(math.Pow(10, e)))
			ticks = append(ticks, plot.Tick{Value: math.Pow(10, e), Label: text})
		}
		return ticks
	})
}

func svg(p *plot.Plot, width, height int) ([]byte, error) {
	c := vgsvg.New(vg.Points(float64(width)), vg.Points(float64(height)))
	all := draw.New(c)
	all.SetColor(paper)
	all.Fill(all.Path())
	const margin = vg.Length(10)
	p.Draw(draw.Crop(all, margin, -margin, margin, -margin))
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	// The other names are those of fonts that are as wide.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), err
}
