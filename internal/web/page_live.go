package web

import (
	"fmt"
	"html/template"
	"math"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/web/chart"
)

// hourPart is what a model did in the last hour.
type hourPart struct {
	Calls      int64
	Says       string // the last hour, in a sentence
	Charts     []template.HTML
	Note       string // what isn't known, and why
	Incomplete bool   // other servers haven't been waited for
}

// lastHour asks what a model did in the last hour. That it can't be known takes
// nothing else off the page.
func (v *visit) lastHour(model string) hourPart {
	wait, full := v.patience()
	activity, err := v.api().ModelActivityWithin(v.ctx(), wait, model)
	if err != nil {
		return hourPart{Note: "What it did in the last hour can’t be known now. " + sentence(problem.Of(err).Detail)}
	}
	part := hourPart{Incomplete: activity.Incomplete != "" && !full}
	if full {
		part.Note = sentence(activity.Incomplete)
	}
	var errors int64
	for _, version := range activity.Versions {
		part.Calls += version.Total.Calls
		errors += version.Total.Errors
	}
	switch {
	case part.Calls == 0 && part.Incomplete:
		part.Says = "No calls are known of yet."
	case part.Calls == 0:
		part.Says = "Nobody has asked in the last hour."
	case errors == 0:
		part.Says = plural(part.Calls, "call") + " in the last hour, none of which failed."
	default:
		part.Says = fmt.Sprintf("%s in the last hour; %s failed.", plural(part.Calls, "call"), count(errors))
	}
	if len(activity.Versions) > 0 {
		part.Charts = activityCharts(activity)
	}
	return part
}

// activityCharts draws the last hour, minute by minute.
func activityCharts(activity modelmanager.ModelActivity) []template.HTML {
	minutes := max(1, int(activity.To.Sub(activity.From)/time.Minute))
	labels := make([]string, minutes)
	for i := range labels {
		labels[i] = activity.From.Add(time.Duration(i) * time.Minute).UTC().Format("15:04")
	}
	// each makes a line per version of what of a minute says.
	each := func(absent float64, of func(modelmanager.MinuteActivity) float64) []chart.Series {
		var series []chart.Series
		for _, version := range activity.Versions {
			s := chart.Series{Name: fmt.Sprintf("version %d", version.Version), Values: make([]float64, minutes)}
			for i := range s.Values {
				s.Values[i] = absent
			}
			for _, minute := range version.Minutes {
				if i := int(minute.At.Sub(activity.From) / time.Minute); i >= 0 && i < minutes {
					s.Values[i] = of(minute)
				}
			}
			series = append(series, s)
		}
		return series
	}
	latency := func(of func(modelmanager.CallCounts) float64) func(modelmanager.MinuteActivity) float64 {
		return func(minute modelmanager.MinuteActivity) float64 {
			if minute.Calls == 0 {
				return math.NaN()
			}
			return of(minute.CallCounts)
		}
	}
	slow := each(math.NaN(), latency(func(c modelmanager.CallCounts) float64 { return c.P99 }))
	typical := each(math.NaN(), latency(func(c modelmanager.CallCounts) float64 { return c.P50 }))
	if len(typical) == 1 {
		typical[0].Name, slow[0].Name = "half of the calls within", "99 of 100 within"
		typical = append(typical, slow[0])
	} else {
		typical = slow
	}
	line := func(title, unit, description string, whole bool, series []chart.Series, empty string) template.HTML {
		return chart.Line{
			Title: title, Unit: unit, Description: description + ", by minute, from " + labels[0] + " to " + labels[minutes-1] + " UTC",
			Labels: labels, Step: "Minute (UTC)", Series: series, Whole: whole, Empty: empty,
		}.HTML()
	}
	return []template.HTML{
		line("Calls", "per minute", "How many calls there were", true, each(0, func(m modelmanager.MinuteActivity) float64 { return float64(m.Calls) }), ""),
		line("Time to answer", "ms", "How long calls took", false, typical, "No calls"),
		line("Failed calls", "per minute", "How many calls failed", true, each(0, func(m modelmanager.MinuteActivity) float64 { return float64(m.Errors) }), ""),
		line("Replicas", "running", "How many replicas answered", true, each(0, func(m modelmanager.MinuteActivity) float64 { return float64(m.Replicas) }), ""),
	}
}
