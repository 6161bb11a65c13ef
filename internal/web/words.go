package web

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/web/chart"
)

// functions are what templates can call.
func (w *Web) functions() template.FuncMap {
	return template.FuncMap{
		"asset":     w.assets.url,
		"path":      pathOf,
		"ago":       func(t time.Time) string { return ago(time.Now(), t) },
		"moment":    func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"count":     count,
		"plural":    plural,
		"number":    number,
		"bytes":     byteSize,
		"health":    healthWord,
		"lines":     func(text string) []string { return strings.Split(text, "\n") },
		"join":      strings.Join,
		"dict":      dict,
		"gauge":     chart.Gauge,
		"stepOf":    func(index int) int { return index + 1 },
		"orList":    func(words []string) string { return listed(words, "or") },
		"crumbs":    crumbs,
		"sentence":  sentence,
		"labelled":  asLabelled,
		"sheetRows": func() int64 { return dataset.SheetRows },
		"seconds": func(d time.Duration) string {
			return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
		},
	}
}

// pathOf makes an address of our own from its parts, each escaped.
func pathOf(parts ...any) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(fmt.Sprint(part)))
	}
	return b.String()
}

// crumb is one step of the way to a page.
type crumb struct{ Name, Href string }

// crumbs makes the way to a page, of names and addresses in turn; the page's
// own address is "".
func crumbs(pairs ...string) []crumb {
	var way []crumb
	for i := 0; i+1 < len(pairs); i += 2 {
		way = append(way, crumb{pairs[i], pairs[i+1]})
	}
	return way
}

// dict makes the arguments of a template that takes several.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict takes names and values in turn")
	}
	values := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is not a name", pairs[i])
		}
		values[name] = pairs[i+1]
	}
	return values, nil
}

// ago says how long before now something was.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < 0:
		return "in the future"
	case d < 45*time.Second:
		return "just now"
	case d < 90*time.Minute:
		return plural(int64(math.Max(1, math.Round(d.Minutes()))), "minute") + " ago"
	case d < 36*time.Hour:
		return plural(int64(math.Round(d.Hours())), "hour") + " ago"
	case d < 60*24*time.Hour:
		return plural(int64(math.Round(d.Hours()/24)), "day") + " ago"
	case d < 2*365*24*time.Hour:
		return plural(int64(math.Round(d.Hours()/24/30.4)), "month") + " ago"
	}
	return plural(int64(math.Round(d.Hours()/24/365)), "year") + " ago"
}

// plural counts things: "1 row", "2 rows", "12,000 rows".
func plural(n any, thing string) string {
	if whole(n) == 1 {
		return "1 " + thing
	}
	if strings.HasSuffix(thing, "y") && !strings.HasSuffix(thing, "ay") && !strings.HasSuffix(thing, "ey") {
		return count(n) + " " + strings.TrimSuffix(thing, "y") + "ies"
	}
	return count(n) + " " + thing + "s"
}

// count writes a whole number with commas between thousands.
func count(n any) string {
	digits := strconv.FormatInt(whole(n), 10)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// whole is a whole number of any type.
func whole(n any) int64 {
	v := reflect.ValueOf(n)
	switch {
	case v.CanInt():
		return v.Int()
	case v.CanUint():
		return int64(min(v.Uint(), math.MaxInt64))
	case v.CanFloat():
		return int64(v.Float())
	}
	return 0
}

// number writes a number as people read it: four significant digits.
func number(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "—"
	case x == math.Trunc(x) && a < 1e15:
		return count(int64(x))
	case a >= 1000 && a < 1e15:
		return count(int64(math.Round(x)))
	case a >= 1e15 || a < 1e-4:
		return strconv.FormatFloat(x, 'e', 2, 64)
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// byteSize writes a size: "1.5 MB".
func byteSize(n int64) string {
	if n < 1000 {
		return plural(n, "byte")
	}
	size, unit := float64(n), 0
	for ; size >= 999.5 && unit < 5; unit++ {
		size /= 1000
	}
	digits := 1
	if size >= 99.95 {
		digits = 0
	}
	return strconv.FormatFloat(size, 'f', digits, 64) + " " + []string{"B", "kB", "MB", "GB", "TB", "PB"}[unit]
}

// healthWord says a state in words that need no manual.
func healthWord(state modelmanager.HealthState) string {
	switch state {
	case modelmanager.Healthy:
		return "Ready"
	case modelmanager.Idle:
		return "Asleep"
	case modelmanager.Starting:
		return "Starting"
	case modelmanager.Degraded:
		return "Degraded"
	case modelmanager.Unhealthy:
		return "Failing"
	}
	return "Unknown"
}
