package pipeline

import (
	"fmt"
	"io"
	"strings"

	"modelmanager.dev/internal/wording"
)

// markdownLimit is how many characters a comment on GitHub may have; a note that
// something was left out still has to fit.
const markdownLimit = 65536 - 512

// detail is how much a Markdown report tells.
type detail struct {
	shifts   bool // how predictions moved, row by row
	valid    bool // sections of models without findings
	snippets bool
	models   int // rows of the table, and sections, at most
}

// details are tried in turn until the report is short enough.
var details = []detail{
	{shifts: true, valid: true, snippets: true, models: 300},
	{shifts: true, snippets: true, models: 200},
	{snippets: true, models: 150},
	{models: 100},
	{models: 40},
	{models: 10},
}

// WriteMarkdown writes the review as a comment on a pull request. What comes
// from the models is escaped: it can't break the table, be HTML, or call people.
func (r *Review) WriteMarkdown(w io.Writer) error {
	text := ""
	for i, d := range details {
		text = r.markdown(d)
		if i > 0 {
			text += "\n_Some details are left out: a comment has room for 65,536 characters. The whole report is in the pipeline's log._\n"
		}
		if len(text) <= markdownLimit {
			break
		}
	}
	if len(text) > markdownLimit { // ten models with very long findings
		runes := []rune(text)
		text = string(runes[:min(len(runes), markdownLimit/4)])
		text = text[:strings.LastIndexByte(text, '\n')+1] + "\n````\n</details>\n\n_The rest is left out: a comment has room for 65,536 characters. The whole report is in the pipeline's log._\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

func (r *Review) markdown(d detail) string {
	m := &markdownReport{detail: d}
	mark := "✅"
	if !r.Valid {
		mark = "❌"
	}
	m.line("## %s Model Manager: %s", mark, r.summary())
	m.line("")
	var about []string
	if r.Since != "" {
		about = append(about, "changes since "+codeSpan(r.Since))
	}
	for _, server := range r.Servers {
		about = append(about, "compared with what is live on "+codeSpan(server))
	}
	about = append(about, "took "+seconds(r.Took))
	m.line("%s", strings.Join(about, " · "))
	for _, group := range r.groups() {
		m.line("")
		if group.title != "" {
			m.line("### Because of %s: %s", codeSpan(group.title), wording.Count(len(group.reports), "model"))
			m.line("")
		}
		m.table(group.reports, len(r.Servers) > 0)
		m.sections(group.reports)
	}
	if len(r.Removed) > 0 {
		m.line("")
		m.line("### Removed: %s", wording.Count(len(r.Removed), "model"))
		m.line("")
		for _, removed := range r.Removed {
			m.line("- %s (%s): publishing retires it", codeSpan(removed.Model), codeSpan(removed.Folder))
		}
	}
	return m.String()
}

// markdownReport is a report in Markdown that is being written.
type markdownReport struct {
	strings.Builder
	detail detail
}

func (m *markdownReport) line(format string, args ...any) { fmt.Fprintf(m, format+"\n", args...) }

// table sums each model up in a row.
func (m *markdownReport) table(reports []*Report, compared bool) {
	header, rule := "| | model | what changed | findings | examples |", "|---|---|---|---|---|"
	if compared {
		header, rule = header+" beside the live version |", rule+"---|"
	}
	m.line("%s start | memory |", header)
	m.line("%s---|---|", rule)
	for i, r := range reports {
		if i == m.detail.models {
			m.line("")
			m.line("… and %s more", wording.Count(len(reports)-i, "model"))
			return
		}
		cells := []string{statusMark(r), "**" + cell(r.name()) + "**", orDash(markdownText(r.changeText())), findingsText(r), examplesText(r)}
		if compared {
			cells = append(cells, liveText(r))
		}
		start, memory := "–", "–"
		if r.Start > 0 {
			start = seconds(r.Start)
		}
		if r.Memory != nil {
			memory = sizeText(r.Memory.Peak) + " of " + sizeText(r.Memory.Limit)
		}
		m.line("| %s |", strings.Join(append(cells, start, memory), " | "))
	}
}

func statusMark(r *Report) string {
	switch {
	case !r.Valid:
		return "❌"
	case r.count(SeverityWarning) > 0:
		return "⚠️"
	}
	return "✅"
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}

func findingsText(r *Report) string {
	var parts []string
	if n := r.count(SeverityError); n > 0 {
		parts = append(parts, wording.Count(n, "error"))
	}
	if n := r.count(SeverityWarning); n > 0 {
		parts = append(parts, wording.Count(n, "warning"))
	}
	return orDash(strings.Join(parts, ", "))
}

func examplesText(r *Report) string {
	if len(r.Examples) == 0 {
		return "not run"
	}
	good := 0
	for _, example := range r.Examples {
		if example.Problem == "" {
			good++
		}
	}
	return fmt.Sprintf("%d of %d", good, len(r.Examples))
}

// liveText sums up how a model differs from the live versions.
func liveText(r *Report) string {
	var parts []string
	for i := range r.Live {
		c := &r.Live[i]
		if c.New() {
			parts = append(parts, "new")
			continue
		}
		if c.Version == 0 {
			parts = append(parts, "unknown")
			continue
		}
		text := fmt.Sprintf("v%d", c.Version)
		for _, change := range c.Changes {
			if change.Breaking {
				text += ", **breaking**"
				break
			}
		}
		if len(c.Shifts) > 0 {
			last := c.Shifts[len(c.Shifts)-1] // of the sample, if there is one
			changed, rows := 0, last.Rows
			for _, p := range last.Predictions {
				changed = max(changed, p.Changed)
			}
			if changed == 0 {
				text += ", same predictions"
			} else {
				text += fmt.Sprintf(", %s of %ss moved", percent(changed, rows), strings.TrimSuffix(map[string]string{"sample": "rows", "examples": "examples"}[last.Of], "s"))
			}
		}
		parts = append(parts, text)
	}
	return orDash(strings.Join(parts, "; "))
}

// sections tell what was found, the same finding of several models once, and then
// how the predictions moved.
func (m *markdownReport) sections(reports []*Report) {
	for _, same := range sameFindings(reports) {
		m.finding(same)
	}
	for i, r := range reports {
		if i == m.detail.models {
			break
		}
		if len(r.Output) > 0 && m.detail.snippets {
			m.line("")
			m.line("<details><summary>The last output of <b>%s</b></summary>", markdownText(oneLine(r.name(), 100)))
			m.line("")
			m.fence("", plain(strings.Join(r.Output, "\n")))
			m.line("</details>")
		}
		if r.Valid && r.count(SeverityWarning) == 0 && !m.detail.valid && !moved(r) {
			continue
		}
		if m.detail.shifts {
			m.live(r)
		}
	}
}

func moved(r *Report) bool {
	for _, c := range r.Live {
		for _, shift := range c.Shifts {
			for _, p := range shift.Predictions {
				if p.Changed > 0 {
					return true
				}
			}
		}
	}
	return false
}

func (m *markdownReport) finding(f sharedFinding) {
	mark := "❌"
	if f.Severity == SeverityWarning {
		mark = "⚠️"
	}
	lines := strings.Split(strings.TrimSpace(plain(f.Message)), "\n")
	m.line("")
	m.line("%s **%s**: %s", mark, markdownText(f.who()), markdownWords(oneLine(lines[0], 500)))
	m.line("%s in %s", codeSpan(string(f.Code)), codeSpan(f.place()))
	if f.Snippet != "" && m.detail.snippets {
		line, pointer, _ := strings.Cut(f.Snippet, "\n")
		number := fmt.Sprint(f.Line)
		m.line("")
		m.fence("", fmt.Sprintf("%s | %s\n%s | %s", number, plain(line), strings.Repeat(" ", len(number)), pointer))
	}
	if len(lines) > 1 && m.detail.snippets {
		m.line("")
		m.fence("", strings.Join(lines[1:], "\n"))
	}
	if f.Suggestion != "" {
		m.line("")
		m.line("→ %s", markdownWords(oneLine(f.Suggestion, 500)))
	}
}

// fence writes text as it is.
func (m *markdownReport) fence(language, text string) {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if runes := []rune(text); len(runes) > 4000 {
		text = "…" + string(runes[len(runes)-4000:])
	}
	m.line("%s%s\n%s\n%s", fence, language, text, fence)
}

// live tells what changes for callers, and how predictions moved.
func (m *markdownReport) live(r *Report) {
	for i := range r.Live {
		c := &r.Live[i]
		if c.live == nil && c.Version == 0 {
			continue
		}
		harmless := c.harmless()
		if len(harmless) == 0 && c.Problem == "" && len(c.Shifts) == 0 {
			continue
		}
		m.line("")
		m.line("<details><summary><b>%s</b> beside version %d: %s</summary>", markdownText(oneLine(r.name(), 100)), c.Version, markdownText(c.headline()))
		if len(harmless) > 0 {
			m.line("")
		}
		for _, message := range harmless[:min(len(harmless), 30)] {
			m.line("- %s", markdownWords(oneLine(message, 300)))
		}
		if c.Problem != "" {
			m.line("\nPredictions were not compared: %s", markdownText(oneLine(c.Problem, 500)))
		}
		for _, shift := range c.Shifts {
			m.shift(shift)
		}
		m.line("")
		m.line("</details>")
	}
}

// headline says the most important of a comparison.
func (c *Comparison) headline() string {
	if len(c.Shifts) == 0 {
		if c.Problem != "" {
			return "predictions were not compared"
		}
		return wording.Count(len(c.Changes), "change")
	}
	shift := c.Shifts[len(c.Shifts)-1]
	var parts []string
	for _, p := range shift.Predictions[:min(len(shift.Predictions), 3)] {
		parts = append(parts, oneLine(p.Name, 60)+" "+p.Sentence())
	}
	return strings.Join(parts, "; ")
}

func (m *markdownReport) shift(s Shift) {
	m.line("")
	m.line("**On %s:**", markdownText(s.rowsText()))
	for _, p := range s.Predictions {
		m.line("")
		m.line("%s: %s", codeSpan(p.Name), markdownText(p.Sentence()))
		if p.Changed == 0 {
			continue
		}
		if n := p.Numbers; n != nil {
			m.numbers(n)
		} else if len(p.Classes) > 0 {
			m.classes(p.Classes)
		}
		if len(p.Parts) > 0 {
			m.line("\n| where | rows | changed | by, on average |\n|---|---|---|---|")
			for _, part := range p.Parts {
				by := "–"
				if p.Numbers != nil {
					by = signed(part.Mean)
				}
				m.line("| %s is %s | %d | %s | %s |", cell(part.Feature), cell(part.Value), part.Rows, percent(part.Changed, part.Rows), by)
			}
		}
		if len(p.Moved) > 0 {
			m.line("\n| row | live | new | features |\n|---|---|---|---|")
			for _, row := range p.Moved {
				m.line("| %d | %s | %s | %s |", row.Row, cell(jsonFigure(row.Live)), cell(jsonFigure(row.New)), cell(oneLine(string(row.Features), 300)))
			}
		}
	}
}

func (m *markdownReport) numbers(n *NumberShift) {
	correlations := "–"
	if n.Correlation != nil {
		correlations = figure(*n.Correlation)
	}
	ranks := "–"
	if n.RankCorrelation != nil {
		ranks = figure(*n.RankCorrelation)
	}
	q := n.Quantiles
	m.line("\n| mean, live → new | correlation | of ranks | difference: least | 5 %% | 25 %% | median | 75 %% | 95 %% | most |\n|---|---|---|---|---|---|---|---|---|---|")
	m.line("| %s → %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |", figure(n.LiveMean), figure(n.NewMean), correlations, ranks,
		signed(q.Min), signed(q.P5), signed(q.P25), signed(q.Median), signed(q.P75), signed(q.P95), signed(q.Max))
}

func (m *markdownReport) classes(classes []Confusion) {
	m.line("\n| live | new | rows |\n|---|---|---|")
	for _, c := range classes {
		m.line("| %s | %s | %d |", cell(c.From), cell(c.To), c.Rows)
	}
}
