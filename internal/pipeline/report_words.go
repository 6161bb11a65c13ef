package pipeline

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// plain keeps a stranger's text from commanding a terminal, a log's reader or the
// order of letters. Lines stay.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == '\ufeff':
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	return strings.ReplaceAll(text, "##[", "## [") // which runners of CI obey
}

// oneLine is plain text without line breaks, of at most so many letters.
func oneLine(text string, most int) string {
	return wording.Shorten(strings.Join(strings.Fields(plain(text)), " "), most)
}

// seconds is a duration for people.
func seconds(d spec.Duration) string {
	switch v := time.Duration(d); {
	case v < 10*time.Millisecond:
		return fmt.Sprintf("%d ms", v.Milliseconds())
	case v < 10*time.Second:
		return fmt.Sprintf("%.1f s", v.Seconds())
	case v < time.Minute:
		return fmt.Sprintf("%.0f s", v.Seconds())
	default:
		return fmt.Sprintf("%d min %d s", int(v.Minutes()), int(v.Seconds())%60)
	}
}

// figure writes a number as people read it: four digits, a proper minus.
func figure(x float64) string {
	text := strconv.FormatFloat(x, 'g', 4, 64)
	if size := math.Abs(x); size >= 1000 && size < 1e9 {
		text = strconv.FormatFloat(x, 'f', 0, 64)
	} else if size != 0 && size < 1e-12 {
		text = strconv.FormatFloat(x, 'g', 2, 64)
	}
	return strings.Replace(text, "-", "−", 1)
}

// signed is a figure with its sign.
func signed(x float64) string {
	if text := figure(x); x > 0 {
		return "+" + text
	} else if text != "−0" {
		return text
	}
	return "0"
}

func percent(part, whole int) string {
	if whole == 0 {
		return "0 %"
	}
	share := 100 * float64(part) / float64(whole)
	if share > 0 && share < 9.95 {
		return fmt.Sprintf("%.1f %%", max(share, 0.1))
	}
	return fmt.Sprintf("%.0f %%", share)
}

// Sentence tells in a few words how a prediction has moved.
func (p PredictionShift) Sentence() string {
	total := p.Rows + p.Became + p.Was
	if p.Changed == 0 {
		return "the same on " + wording.Count(total, "row")
	}
	parts := []string{fmt.Sprintf("%d of %s changed (%s)", p.Changed, wording.Count(total, "row"), percent(p.Changed, total))}
	if n := p.Numbers; n != nil {
		parts = append(parts, fmt.Sprintf("mean %s → %s (%s)", figure(n.LiveMean), figure(n.NewMean), signed(n.Mean)))
		if n.Correlation != nil && p.Rows > 2 {
			parts = append(parts, "correlation "+figure(math.Round(*n.Correlation*1e4)/1e4))
		}
	}
	var became []string
	for _, c := range p.Classes {
		if c.From != c.To && len(became) < 3 {
			became = append(became, fmt.Sprintf("%s → %s in %d", oneLine(c.From, 30), oneLine(c.To, 30), c.Rows))
		}
	}
	if len(became) > 0 {
		parts = append(parts, strings.Join(became, ", "))
	}
	if p.Became > 0 {
		parts = append(parts, fmt.Sprintf("%d became null", p.Became))
	}
	if p.Was > 0 {
		parts = append(parts, fmt.Sprintf("%d were null", p.Was))
	}
	return strings.Join(parts, "; ")
}

// Sentence tells where most differences lie.
func (q Quantiles) Sentence() string {
	if q.Min == q.Max {
		return "every difference is " + signed(q.Min)
	}
	return fmt.Sprintf("differences from %s to %s, half of them from %s to %s, nine in ten from %s to %s, median %s",
		signed(q.Min), signed(q.Max), signed(q.P25), signed(q.P75), signed(q.P5), signed(q.P95), signed(q.Median))
}

// Sentence tells how the rows of one value moved.
func (s Segment) Sentence(numbers bool) string {
	text := fmt.Sprintf("%d of %s changed (%s)", s.Changed, wording.Count(s.Rows, "row"), percent(s.Changed, s.Rows))
	if numbers {
		text += ", by " + signed(s.Mean) + " on average"
	}
	return text
}

// rowsText says which rows a shift is about.
func (s Shift) rowsText() string {
	text := wording.Count(s.Rows, "example")
	if s.Of == "sample" {
		text = fmt.Sprintf("%s of %s", wording.Count(s.Rows, "row"), s.File)
		if s.More {
			text = fmt.Sprintf("the first %s of %s", wording.Count(s.Rows, "row"), s.File)
		}
	}
	if s.OnlyNew > 0 {
		text += fmt.Sprintf(" (the live version refuses %d more)", s.OnlyNew)
	}
	if s.OnlyLive > 0 {
		text += fmt.Sprintf(" (the new version refuses %d more)", s.OnlyLive)
	}
	return text
}

// changeText says what became of a model.
func (r *Report) changeText() string {
	if r.Change == nil {
		return ""
	}
	text := string(r.Change.Kind)
	if r.Change.Kind == Moved {
		text += " from " + r.Change.From
	}
	var causes []string
	for _, cause := range r.Change.Because {
		causes = append(causes, cause.String())
	}
	if r.Change.Kind != Added && len(causes) > 0 {
		text += ": " + strings.Join(causes, ", ")
	}
	return text
}

// summary says in a few words how the review ended.
func (r *Review) summary() string {
	valid, errors, warnings := 0, 0, 0
	for _, report := range r.Models {
		if report.Valid {
			valid++
		}
		errors += report.count(SeverityError)
		warnings += report.count(SeverityWarning)
	}
	var text string
	switch failed := len(r.Models) - valid; {
	case len(r.Models) == 0:
		text = "no model has changed"
	case failed == 0 && len(r.Models) == 1:
		text = "the model is fit to be published"
	case failed == 0:
		text = fmt.Sprintf("all %d models are fit to be published", len(r.Models))
	case len(r.Models) == 1:
		text = "the model isn't fit to be published"
	case valid == 0:
		text = fmt.Sprintf("none of the %d models is fit to be published", failed)
	default:
		text = fmt.Sprintf("%d of %d models aren't fit to be published", failed, len(r.Models))
	}
	if errors > 0 {
		text += ": " + wording.Count(errors, "error")
	}
	if warnings > 0 && errors > 0 {
		text += ", " + wording.Count(warnings, "warning")
	} else if warnings > 0 {
		text += ": " + wording.Count(warnings, "warning")
	}
	return text
}

// reportGroup is the reports of models that changed for the same cause.
type reportGroup struct {
	title   string // "" for models that changed themselves
	reports []*Report
}

// groups puts together what belongs together: models that changed with a
// template or a shared folder are one group each.
func (r *Review) groups() []reportGroup {
	var changes []Change
	byFolder := map[string]*Report{}
	var own reportGroup
	for _, report := range r.Models {
		if report.Change == nil {
			own.reports = append(own.reports, report)
			continue
		}
		changes = append(changes, *report.Change)
		byFolder[report.Change.Folder] = report
	}
	var groups []reportGroup
	for _, group := range GroupChanges(changes) {
		next := reportGroup{title: group.Title()}
		if len(group.Because) == 1 && group.Because[0].Kind == OwnFiles {
			next.title = ""
		}
		for _, change := range group.Changes {
			next.reports = append(next.reports, byFolder[change.Folder])
		}
		groups = append(groups, next)
	}
	if len(own.reports) > 0 {
		groups = append([]reportGroup{own}, groups...)
	}
	return groups
}

// jsonFigure writes a JSON value for people: numbers short.
func jsonFigure(value []byte) string {
	if x, err := strconv.ParseFloat(string(value), 64); err == nil {
		return figure(x)
	}
	return string(value)
}

// harmless are the changes of a comparison that break nothing, and aren't plain
// from the difference of the files.
func (c *Comparison) harmless() []string {
	var messages []string
	for _, change := range c.Changes {
		if !change.Breaking && change.Path != "examples" {
			messages = append(messages, change.Message)
		}
	}
	return messages
}
