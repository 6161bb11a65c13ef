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
	activity = known(activity)
	var errors int64
	for _, version := range activity.Versions {
		for _, minute := range version.Minutes {
			part.Calls += minute.Calls
			errors += minute.Errors
		}
	}
	since := ""
	if activity.KnownSince.After(activity.From) {
		since = "Known since " + clock(activity.KnownSince) + ": "
	}
	switch {
	case part.Calls == 0 && part.Incomplete:
		part.Says = "No calls are known of yet."
	case part.Calls == 0 && since != "":
		part.Says = since + "nobody has asked since then."
	case part.Calls == 0:
		part.Says = "Nobody has asked in the last hour."
	case errors == 0:
		part.Says = since + plural(part.Calls, "call") + " in the last hour, none of which failed."
	default:
		part.Says = since + fmt.Sprintf("%s in the last hour; %s failed.", plural(part.Calls, "call"), count(errors))
	}
	if len(activity.Versions) > 0 {
		part.Charts = activityCharts(activity)
	}
	return part
}

// known is an activity without the minutes before it is known: what a server
// counted that was restarted is missing in them.
func known(activity modelmanager.ModelActivity) modelmanager.ModelActivity {
	first := activity.KnownSince.Truncate(time.Minute)
	versions := activity.Versions
	activity.Versions = nil
	for _, version := range versions {
		minutes := version.Minutes
		version.Minutes = nil
		for _, minute := range minutes {
			if !minute.At.Before(first) {
				version.Minutes = append(version.Minutes, minute)
			}
		}
		if len(version.Minutes) > 0 {
			activity.Versions = append(activity.Versions, version)
		}
	}
	return activity
}

// clock is a time of the last hour.
func clock(t time.Time) string { return t.UTC().Format("15:04 UTC") }

// activityCharts draws the last hour, minute by minute.
func activityCharts(activity modelmanager.ModelActivity) []template.HTML {
	minutes := max(1, int(activity.To.Sub(activity.From)/time.Minute))
	labels := make([]string, minutes)
	for i := range labels {
		labels[i] = activity.From.Add(time.Duration(i) * time.Minute).UTC().Format("15:04")
	}
	first := activity.KnownSince.Truncate(time.Minute)
	// each makes a line per version of what of a minute says. Of a minute that
	// nobody knows it says nothing.
	each := func(absent float64, of func(modelmanager.MinuteActivity) float64) []chart.Series {
		var series []chart.Series
		for _, version := range activity.Versions {
			s := chart.Series{Name: fmt.Sprintf("version %d", version.Version), Values: make([]float64, minutes)}
			for i := range s.Values {
				if s.Values[i] = absent; activity.From.Add(time.Duration(i) * time.Minute).Before(first) {
					s.Values[i] = math.NaN()
				}
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
