package chart

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// Line plots values over steps of equal length, such as minutes.
type Line struct {
	Title       string
	Description string   // in a sentence, for who can't see it
	Unit        string   // of the values
	Labels      []string // of the steps, in order; the first, the last and a middle one are written
	Step        string   // what a step is: "Minute"
	Series      []Series // each with as many values as there are labels
	Whole       bool     // values are whole
	Empty       string   // what is said if there are no values
}

// HTML draws it.
func (l Line) HTML() template.HTML {
	const width, height, left, right, top, bottom = 440, 190, 44, 10, 12, 24
	_, high, ok := extent(l.Series)
	if !ok {
		high = 0
	}
	axis := newScale(0, high, 4, l.Whole)
	if low, _, ok := extent(l.Series); ok && low < 0 {
		axis = newScale(low, high, 4, l.Whole)
	}
	c := newCanvas(width, height, l.Title, l.Description)
	y := func(v float64) float64 { return top + (1-axis.at(v))*(height-top-bottom) }
	x := func(i int) float64 {
		return left + float64(i)/math.Max(1, float64(len(l.Labels)-1))*(width-left-right)
	}
	for _, tick := range axis.ticks() {
		c.line("grid-line", left, y(tick), width-right, y(tick))
		c.text("tick end", left-6, y(tick)+4, axis.label(tick))
	}
	if n := len(l.Labels); n > 0 {
		c.text("tick", x(0), height-6, l.Labels[0])
		if n > 4 {
			c.text("tick middle", x(n/2), height-6, l.Labels[n/2])
		}
		if n > 1 {
			c.text("tick end", x(n-1), height-6, l.Labels[n-1])
		}
	}
	if !ok && l.Empty != "" {
		c.text("empty-text middle", left+(width-left-right)/2, top+(height-top-bottom)/2, l.Empty)
	}
	names := make([]string, len(l.Series))
	for i, s := range l.Series {
		names[i] = s.Name
		c.path(i, s, x, y, y(math.Max(axis.low, 0)), len(l.Series) == 1)
	}
	return figure(l.titled(), c.end(), legend(names), l.data(names))
}

func (l Line) titled() string {
	if l.Unit == "" {
		return l.Title
	}
	return l.Title + ", " + l.Unit
}

// path draws one line, with gaps where there are no values; a value alone
// between gaps is a dot.
func (c *canvas) path(i int, s Series, x func(int) float64, y func(float64) float64, base float64, area bool) {
	var lines, fill strings.Builder
	for start := 0; start < len(s.Values); {
		if math.IsNaN(s.Values[start]) {
			start++
			continue
		}
		end := start
		for end+1 < len(s.Values) && !math.IsNaN(s.Values[end+1]) {
			end++
		}
		for j := start; j <= end; j++ {
			command := "L"
			if j == start {
				command = "M"
			}
			fmt.Fprintf(&lines, "%s%s %s", command, f(x(j)), f(y(s.Values[j])))
		}
		if start == end {
			c.circle(fmt.Sprintf("fill-%d", colour(i)), x(start), y(s.Values[start]), 2.5, exact(s.Values[start]))
		} else if area {
			fmt.Fprintf(&fill, "M%s %s", f(x(start)), f(base))
			for j := start; j <= end; j++ {
				fmt.Fprintf(&fill, "L%s %s", f(x(j)), f(y(s.Values[j])))
			}
			fmt.Fprintf(&fill, "L%s %sZ", f(x(end)), f(base))
		}
		start = end + 1
	}
	if fill.Len() > 0 {
		fmt.Fprintf(c, `<path class="area-%d" d="%s"/>`, colour(i), fill.String())
	}
	if lines.Len() > 0 {
		fmt.Fprintf(c, `<path class="line-%d" d="%s"/>`, colour(i), lines.String())
	}
}

// data lists the steps in which there is anything.
func (l Line) data(names []string) string {
	var rows [][]string
	for i, label := range l.Labels {
		row, any := []string{label}, false
		for _, s := range l.Series {
			v := math.NaN()
			if i < len(s.Values) {
				v = s.Values[i]
			}
			any = any || !math.IsNaN(v) && v != 0
			row = append(row, exact(v))
		}
		if any {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return table(append([]string{l.Step}, names...), rows)
}
