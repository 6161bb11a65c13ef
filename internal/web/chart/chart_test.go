package chart

import (
	"encoding/xml"
	"flag"
	"html/template"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

var nan = math.NaN()

func drawings() map[string]template.HTML {
	hostile := `<script>alert("x")</script>&'`
	return map[string]template.HTML{
		"line": Line{
			Title: "Calls", Unit: "per minute", Step: "Minute", Whole: true, Description: "Between 0 and 12 calls per minute",
			Labels: []string{"20:00", "20:01", "20:02", "20:03", "20:04", "20:05"},
			Series: []Series{{"version 1", []float64{0, 12, 7, nan, 3, nan}}, {"version 2", []float64{nan, nan, 1, 2, 3, 4}}},
		}.HTML(),
		"line-negative": Line{Title: "Drift", Step: "Day", Labels: []string{"a", "b"}, Series: []Series{{"d", []float64{-3, 2}}}}.HTML(),
		"line-empty":    Line{Title: "Calls", Step: "Minute", Labels: []string{"20:00", "21:00"}, Series: []Series{{"all", []float64{nan, nan}}}, Empty: "No calls in the last hour"}.HTML(),
		"line-nothing":  Line{}.HTML(),
		"bars":          Bars{Title: "Probability", Bars: []Bar{{"setosa", .9, ""}, {"versicolor", .1, "10 %"}, {"virginica", nan, ""}}, High: 1, Marked: 1}.HTML(),
		"bars-negative": Bars{Title: "Effect", Bars: []Bar{{"up", 3, ""}, {"down", -2, ""}}}.HTML(),
		"bars-nothing":  Bars{}.HTML(),
		"histogram":     Histogram{Title: "Litres", Unit: "l/100 km", Bins: []Bin{{0, 2, 1}, {2, 4, 3}, {4, 6, 0}, {6, 8, 1}, {8, 10, 1}}}.HTML(),
		"histogram-one": Histogram{Title: "Same", Bins: []Bin{{4, 4, 3}}}.HTML(),
		"histogram-no":  Histogram{Title: "None", Bins: nil}.HTML(),
		"pairs":         Pairs{Title: "Shift", Unit: "kg", From: "version 1", To: "version 2", Pairs: []Pair{{"first", 1, 2}, {"second", nan, 1.5}, {"third", 1.2, nan}}}.HTML(),
		"gauge":         Gauge(.925) + Gauge(nan) + Gauge(-1) + Gauge(7),
		"hostile": Line{Title: hostile, Unit: hostile, Description: hostile, Step: hostile, Labels: []string{hostile, hostile},
			Series: []Series{{hostile, []float64{1, 2}}, {hostile, []float64{1, 2}}}}.HTML() +
			Bars{Title: hostile, Bars: []Bar{{hostile, 1, hostile}}}.HTML() +
			Pairs{Title: hostile, From: hostile, To: hostile, Pairs: []Pair{{hostile, 1, 2}}}.HTML(),
	}
}

func TestDrawings(t *testing.T) {
	for name, got := range drawings() {
		path := filepath.Join("testdata", name+".html")
		if *update {
			if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(want) != string(got)+"\n" {
			t.Errorf("%s isn't as in testdata (%v); look at it, and run with -update if it is right:\n%s", name, err, got)
		}
	}
}

// TestDrawingsAreSafeAndWhole: well-formed, no text became an element, no style.
func TestDrawingsAreSafeAndWhole(t *testing.T) {
	for name, got := range drawings() {
		decoder := xml.NewDecoder(strings.NewReader("<all>" + string(got) + "</all>"))
		for {
			token, err := decoder.Token()
			if token == nil {
				if err.Error() != "EOF" {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			element, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			if element.Name.Local == "script" {
				t.Errorf("%s: a text became a script", name)
			}
			for _, attribute := range element.Attr {
				if attribute.Name.Local == "style" || strings.HasPrefix(attribute.Name.Local, "on") {
					t.Errorf("%s: <%s %s>", name, element.Name.Local, attribute.Name.Local)
				}
			}
		}
		if regexp.MustCompile(`"(NaN|[+-]?Inf)"`).MatchString(string(got)) {
			t.Errorf("%s has coordinates that are no numbers:\n%s", name, got)
		}
	}
}

func TestScales(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		whole     bool
		want      scale
	}{
		{0, 0, false, scale{0, 1, .25}},
		{0, 12, true, scale{0, 15, 5}},
		{0, 3, true, scale{0, 3, 1}},
		{0, 1, true, scale{0, 1, 1}},
		{-3, 2, false, scale{-4, 2, 2}},
		{5, 5, false, scale{0, 6, 2}},
		{nan, nan, false, scale{0, 1, .25}},
		{math.Inf(-1), math.Inf(1), false, scale{0, 1, .25}},
	} {
		got := newScale(c.low, c.high, 4, c.whole)
		if math.Abs(got.low-c.want.low)+math.Abs(got.high-c.want.high)+math.Abs(got.step-c.want.step) > 1e-9 {
			t.Errorf("%v to %v: %+v, want %+v", c.low, c.high, got, c.want)
		}
	}
}
