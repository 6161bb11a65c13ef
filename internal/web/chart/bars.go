package chart

import (
	"fmt"
	"html/template"
	"math"
	"modelmanager.dev/internal/wording"
	"strconv"
	"unicode/utf8"
)

// Bar is one bar of Bars.
type Bar struct {
	Name  string
	Value float64
	Text  string // beside the bar; "": the value
}

// Bars draws a bar for each of a few named values, one below the other.
type Bars struct {
	Title       string
	Description string
	Bars        []Bar
	Low, High   float64 // of the axis; both 0: by the values
	Marked      int     // the bar that stands out, from 1; 0: none
}

// HTML draws them.
func (b Bars) HTML() template.HTML {
	const width, row, pad, chars = 440, 26, 4, 6.6
	names, texts := 0, 0
	low, high := b.Low, b.High
	own := low == 0 && high == 0
	for _, bar := range b.Bars {
		names = max(names, utf8.RuneCountInString(bar.Name))
		texts = max(texts, utf8.RuneCountInString(bar.text()))
		if own && !math.IsNaN(bar.Value) {
			low, high = math.Min(low, bar.Value), math.Max(high, bar.Value)
		}
	}
	if low == high {
		high = low + 1
	}
	names = min(names, 26)
	left := float64(names)*chars + 12
	room := width - left - float64(min(texts, 14))*chars - 14
	c := newCanvas(width, float64(len(b.Bars)*row+2*pad), b.Title, b.Description)
	x := func(v float64) float64 {
		return left + (math.Max(low, math.Min(high, v))-low)/(high-low)*room
	}
	zero := x(math.Max(low, math.Min(high, 0)))
	rows := make([][]string, len(b.Bars))
	for i, bar := range b.Bars {
		y := float64(pad + i*row)
		c.text("label end", left-8, y+17, wording.Shorten(bar.Name, names))
		c.rect("track", left, y+5, room, row-10, bar.Name+": "+bar.text())
		if !math.IsNaN(bar.Value) {
			class := "fill-1"
			if b.Marked != 0 && b.Marked != i+1 {
				class = "fill-6"
			}
			from, to := math.Min(zero, x(bar.Value)), math.Max(zero, x(bar.Value))
			c.rect(class, from, y+5, math.Max(1, to-from), row-10, bar.Name+": "+bar.text())
		}
		c.text("label", left+room+8, y+17, bar.text())
		rows[i] = []string{bar.Name, bar.text()}
	}
	return figure(b.Title, c.end(), "", table([]string{"Name", "Value"}, rows))
}

func (b Bar) text() string {
	if b.Text != "" {
		return b.Text
	}
	return exact(b.Value)
}

// Gauge draws a share, between 0 and 1, as a bar without words: what stands
// beside it has the number.
func Gauge(share float64) template.HTML {
	if !(share >= 0) { // NaN, too
		share = 0
	}
	return template.HTML(`<svg class="gauge" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="4"/><rect class="fill-1" width="` +
		f(100*math.Min(1, share)) + `" height="4"/></svg>`)
}

// Bin counts the values from From to below To.
type Bin struct {
	From, To float64
	Count    int64
}

// Histogram draws how many values lie where.
type Histogram struct {
	Title       string
	Description string
	Unit        string // of the values
	Bins        []Bin  // in order, side by side
}

// HTML draws it.
func (h Histogram) HTML() template.HTML {
	const width, height, left, right, top, bottom = 440, 190, 44, 10, 12, 24
	c := newCanvas(width, height, h.Title, h.Description)
	most := int64(0)
	for _, bin := range h.Bins {
		most = max(most, bin.Count)
	}
	axis := newScale(0, float64(most), 4, true)
	y := func(v float64) float64 { return top + (1-axis.at(v))*(height-top-bottom) }
	for _, tick := range axis.ticks() {
		c.line("grid-line", left, y(tick), width-right, y(tick))
		c.text("tick end", left-6, y(tick)+4, axis.label(tick))
	}
	room := (width - left - right) / math.Max(1, float64(len(h.Bins)))
	rows := make([][]string, len(h.Bins))
	for i, bin := range h.Bins {
		where := between(bin)
		at := left + float64(i)*room
		if bin.Count > 0 {
			c.rect("fill-1", at+room*.04, y(float64(bin.Count)), room*.92, math.Max(1, y(0)-y(float64(bin.Count))), fmt.Sprintf("%s: %d", where, bin.Count))
		}
		rows[i] = []string{where, strconv.FormatInt(bin.Count, 10)}
	}
	if n := len(h.Bins); n > 0 {
		values := newScale(h.Bins[0].From, h.Bins[n-1].To, n, false)
		c.text("tick", left, height-6, values.label(h.Bins[0].From))
		if n > 3 {
			c.text("tick middle", left+float64(n/2)*room, height-6, values.label(h.Bins[n/2].From))
		}
		c.text("tick end", width-right, height-6, values.label(h.Bins[n-1].To))
	}
	title := h.Title
	if h.Unit != "" {
		title += ", " + h.Unit
	}
	return figure(title, c.end(), "", table([]string{"From – to", "Count"}, rows))
}

func between(bin Bin) string {
	if bin.From == bin.To {
		return exact(bin.From)
	}
	return exact(bin.From) + " – " + exact(bin.To)
}

// Pair is a value before and after.
type Pair struct {
	Name     string
	From, To float64 // NaN: there is none
}

// Pairs draws how far values have moved, one below the other on one axis.
type Pairs struct {
	Title       string
	Description string
	Unit        string
	From, To    string // what the two are called
	Pairs       []Pair
}

// HTML draws them.
func (p Pairs) HTML() template.HTML {
	const width, row, top, bottom, chars, right = 440, 28, 6, 26, 6.6, 16
	low, high := math.Inf(1), math.Inf(-1)
	names := 0
	for _, pair := range p.Pairs {
		names = max(names, utf8.RuneCountInString(pair.Name))
		for _, v := range []float64{pair.From, pair.To} {
			if !math.IsNaN(v) {
				low, high = math.Min(low, v), math.Max(high, v)
			}
		}
	}
	names = min(names, 22)
	left := float64(names)*chars + 18
	axis := newScale(low, high, 4, false)
	height := float64(top + len(p.Pairs)*row + bottom)
	c := newCanvas(width, height, p.Title, p.Description)
	x := func(v float64) float64 { return left + axis.at(v)*(width-left-right) }
	for _, tick := range axis.ticks() {
		c.line("grid-line", x(tick), top, x(tick), height-bottom)
		c.text("tick middle", x(tick), height-8, axis.label(tick))
	}
	rows := make([][]string, len(p.Pairs))
	for i, pair := range p.Pairs {
		y := float64(top+i*row) + row/2
		c.text("label end", left-10, y+4, wording.Shorten(pair.Name, names))
		if !math.IsNaN(pair.From) && !math.IsNaN(pair.To) {
			c.line("link", x(pair.From), y, x(pair.To), y)
		}
		if !math.IsNaN(pair.From) {
			c.circle("ring-2", x(pair.From), y, 5, p.From+": "+exact(pair.From))
		}
		if !math.IsNaN(pair.To) {
			c.circle("fill-1", x(pair.To), y, 4, p.To+": "+exact(pair.To))
		}
		rows[i] = []string{pair.Name, exact(pair.From), exact(pair.To)}
	}
	title := p.Title
	if p.Unit != "" {
		title += ", " + p.Unit
	}
	key := `<ul class="legend"><li><svg class="key" viewBox="0 0 12 12" aria-hidden="true"><circle class="ring-2" cx="6" cy="6" r="4.5"/></svg>` + escape(p.From) +
		`</li><li><svg class="key" viewBox="0 0 12 12" aria-hidden="true"><circle class="fill-1" cx="6" cy="6" r="4.5"/></svg>` + escape(p.To) + `</li></ul>`
	return figure(title, c.end(), key, table([]string{"", p.From, p.To}, rows))
}
