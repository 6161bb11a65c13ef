// Package chart draws plots as SVG: lines over time, bars, histograms and
// pairs. Everything is a pure function of its data. A drawing has
// classes and no styles, so that a page's own style sheet colours it, in light
// and dark; its title and description, and a table of its data, say to those
// who can't see it what it shows.
package chart

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Series is a line of a plot. NaN is a gap.
type Series struct {
	Name   string
	Values []float64
}

// figure wraps a drawing and its data.
func figure(title string, drawing, legend, data string) template.HTML {
	var b strings.Builder
	b.WriteString(`<figure class="chart"><figcaption>`)
	b.WriteString(escape(title))
	b.WriteString("</figcaption>")
	b.WriteString(legend)
	b.WriteString(drawing)
	if data != "" {
		b.WriteString(`<details class="chart-data"><summary>Data<span class="unseen"> of “`)
		b.WriteString(escape(title))
		b.WriteString(`”</span></summary><div class="tablewrap" tabindex="0" role="region" aria-label="Data of `)
		b.WriteString(escape(title))
		b.WriteString(`">`)
		b.WriteString(data)
		b.WriteString("</div></details>")
	}
	b.WriteString("</figure>")
	return template.HTML(b.String()) // every text in it was escaped
}

// canvas collects the elements of a drawing of a fixed size.
type canvas struct {
	strings.Builder
	width, height float64
}

func newCanvas(width, height float64, title, description string) *canvas {
	c := &canvas{width: width, height: height}
	fmt.Fprintf(c, `<svg class="plot" role="img" viewBox="0 0 %s %s"><title>%s</title>`, f(width), f(height), escape(title))
	if description != "" {
		fmt.Fprintf(c, "<desc>%s</desc>", escape(description))
	}
	return c
}

func (c *canvas) end() string {
	c.WriteString("</svg>")
	return c.String()
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(c, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, f(x1), f(y1), f(x2), f(y2))
}

func (c *canvas) text(class string, x, y float64, text string) {
	fmt.Fprintf(c, `<text class="%s" x="%s" y="%s">%s</text>`, class, f(x), f(y), escape(text))
}

// rect draws a rectangle that says what it is when it is pointed at.
func (c *canvas) rect(class string, x, y, width, height float64, says string) {
	fmt.Fprintf(c, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"><title>%s</title></rect>`, class, f(x), f(y), f(width), f(height), escape(says))
}

func (c *canvas) circle(class string, x, y, radius float64, says string) {
	fmt.Fprintf(c, `<circle class="%s" cx="%s" cy="%s" r="%s"><title>%s</title></circle>`, class, f(x), f(y), f(radius), escape(says))
}

// f writes a coordinate: a tenth of a unit is less than anybody sees.
func f(x float64) string {
	text := strconv.FormatFloat(x, 'f', 1, 64)
	return strings.TrimSuffix(text, ".0")
}

func escape(text string) string { return template.HTMLEscapeString(text) }

// scale is an axis of numbers: where it begins and ends, and its ticks.
type scale struct {
	low, high, step float64
}

// newScale makes an axis that has all values, from a round number to a round
// number, with at most so many steps. whole keeps the steps whole.
func newScale(low, high float64, steps int, whole bool) scale {
	if math.IsInf(low, 0) || math.IsInf(high, 0) || math.IsNaN(low) || math.IsNaN(high) || low > high {
		low, high = 0, 1
	}
	if low == high {
		switch {
		case low == 0:
			high = 1
		case low > 0:
			low = 0
		default:
			high = 0
		}
	}
	raw := (high - low) / float64(steps)
	magnitude := math.Pow(10, math.Floor(math.Log10(raw)))
	step := magnitude
	for _, factor := range []float64{1, 2, 2.5, 5, 10} {
		step = factor * magnitude
		if step >= raw*0.999999 {
			break
		}
	}
	if whole {
		step = math.Max(1, math.Ceil(step))
	}
	return scale{low: math.Floor(low/step+1e-9) * step, high: math.Ceil(high/step-1e-9) * step, step: step}
}

// at returns where a value lies between 0 and 1.
func (s scale) at(value float64) float64 { return (value - s.low) / (s.high - s.low) }

func (s scale) ticks() []float64 {
	var ticks []float64
	for i := 0; i <= 50; i++ {
		tick := s.low + float64(i)*s.step
		if tick > s.high+s.step/2 {
			break
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

// label writes a tick, with as many digits as the step needs.
func (s scale) label(tick float64) string {
	if math.Abs(tick) < s.step/1e6 {
		return "0"
	}
	if a := math.Max(math.Abs(s.low), math.Abs(s.high)); a >= 1e4 || a < 1e-3 {
		return short(tick)
	}
	digits := 0
	for step := s.step; digits < 6 && math.Abs(step-math.Round(step)) > 1e-6; digits++ {
		step *= 10
	}
	return strconv.FormatFloat(tick, 'f', digits, 64)
}

// short writes a number in few characters: 12k, 3.4M.
func short(x float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(x) >= unit.size {
			return strconv.FormatFloat(x/unit.size, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// exact writes a number for the table of data.
func exact(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	return strconv.FormatFloat(x, 'g', 6, 64)
}

// extent returns the least and the greatest value; ok is false without any.
func extent(series []Series) (low, high float64, ok bool) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, s := range series {
		for _, v := range s.Values {
			if !math.IsNaN(v) && !math.IsInf(v, 0) {
				low, high, ok = math.Min(low, v), math.Max(high, v), true
			}
		}
	}
	return low, high, ok
}

// table writes the data of a drawing.
func table(header []string, rows [][]string) string {
	var b strings.Builder
	b.WriteString("<table><thead><tr>")
	for _, name := range header {
		fmt.Fprintf(&b, `<th scope="col">%s</th>`, escape(name))
	}
	b.WriteString("</tr></thead><tbody>")
	for _, row := range rows {
		b.WriteString("<tr>")
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&b, `<th scope="row">%s</th>`, escape(cell))
			} else {
				fmt.Fprintf(&b, "<td>%s</td>", escape(cell))
			}
		}
		b.WriteString("</tr>")
	}
	b.WriteString("</tbody></table>")
	return b.String()
}

// legend names the series, where there are several.
func legend(names []string) string {
	if len(names) < 2 {
		return ""
	}
	var b strings.Builder
	b.WriteString(`<ul class="legend">`)
	for i, name := range names {
		fmt.Fprintf(&b, `<li><svg class="key" viewBox="0 0 12 12" aria-hidden="true"><rect class="fill-%d" width="12" height="12" rx="2"/></svg>%s</li>`, colour(i), escape(name))
	}
	b.WriteString("</ul>")
	return b.String()
}

// colour is a series' number among the colours that there are.
func colour(series int) int { return series%6 + 1 }
