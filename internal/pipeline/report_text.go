package pipeline

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// Text is the report for people, of a model that is about to be published.
func (r *Report) Text() string {
	var b strings.Builder
	for _, f := range r.Findings {
		if f.Code != FoundWrong {
			fmt.Fprintf(&b, "%s: %s: %s\n", f.Severity, f.place(), oneLine(f.Message, 500))
		}
	}
	if r.Skipped != "" {
		fmt.Fprintf(&b, "%s: its examples were not run: %s\n", r.Model, plain(r.Skipped))
		return b.String()
	}
	fmt.Fprintf(&b, "%s: started in %s; its examples:\n", r.Model, durationText(r.Start))
	for _, example := range r.Examples {
		fmt.Fprintf(&b, "  %s\n", exampleText(example))
	}
	return b.String()
}

func durationText(d spec.Duration) string {
	text, _ := d.MarshalText()
	return string(text)
}

func exampleText(example ExampleResult) string {
	if example.Problem != "" {
		return fmt.Sprintf("✗ %s: %s", oneLine(example.Name, 80), oneLine(example.Problem, 300))
	}
	return fmt.Sprintf("✓ %s: %s", oneLine(example.Name, 80), oneLine(string(example.Predictions), 200))
}

// TextOptions say how a review is written for people.
type TextOptions struct {
	Color bool // the reader is a terminal
}

// Colours of a terminal.
const (
	bold   = "1"
	red    = "31;1"
	green  = "32"
	yellow = "33"
	dim    = "2"
)

// exampleLines is how many examples of a model are shown, beside those that
// fail.
const exampleLines = 5

// WriteText writes the review for people.
func (r *Review) WriteText(w io.Writer, options TextOptions) error {
	t := &textReport{options: options, root: r.root}
	for _, group := range r.groups() {
		t.group(group)
	}
	for _, removed := range r.Removed {
		t.line(yellow, "– %s: %s is gone; publishing retires the model", oneLine(removed.Model, 80), oneLine(removed.Folder, 200))
	}
	color := green
	if !r.Valid {
		color = red
	}
	t.line(color, "%s (%s)", r.summary(), seconds(r.Took))
	_, err := io.WriteString(w, t.String())
	return err
}

// textReport is a text that is being written.
type textReport struct {
	strings.Builder
	options TextOptions
	root    string
}

func (t *textReport) paint(color, text string) string {
	if !t.options.Color || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (t *textReport) line(color, format string, args ...any) {
	t.WriteString(t.paint(color, fmt.Sprintf(format, args...)) + "\n")
}

// path writes a file's path as it is seen from here.
func (t *textReport) path(file string) string {
	if t.root != "" && !filepath.IsAbs(file) {
		here, err := os.Getwd()
		if real, evalErr := filepath.EvalSymlinks(here); evalErr == nil {
			here = real
		}
		absolute := filepath.Join(t.root, filepath.FromSlash(file))
		if relative, relErr := filepath.Rel(here, absolute); err == nil && relErr == nil && len(relative) < len(absolute) {
			file = relative
		}
	}
	return oneLine(file, 300)
}

// group writes the models that changed for one cause: what they have in common
// once, and those that have nothing else to tell in a line.
func (t *textReport) group(g reportGroup) {
	if g.title == "" {
		for _, report := range g.reports {
			t.model(report, nil)
		}
		return
	}
	t.line(bold, "Because of %s: %s", plain(g.title), wording.Count(len(g.reports), "model"))
	common := map[Finding]bool{}
	for _, f := range sameFindings(g.reports) {
		if len(f.models) > 1 {
			common[f.Finding] = true
			t.finding(f.Finding)
			t.line(dim, "    in %s", f.who())
		}
	}
	t.WriteString("\n")
	for _, report := range g.reports {
		t.model(report, common)
	}
}

// model writes one model, without the findings that are told elsewhere.
func (t *textReport) model(r *Report, told map[Finding]bool) {
	mark, color := "✓", green
	if !r.Valid {
		mark, color = "✗", red
	}
	heading := t.paint(color, mark) + " " + t.paint(bold, oneLine(r.name(), 100))
	if r.Folder != r.name() && r.Folder != "" {
		heading += "  " + t.paint(dim, t.path(r.Folder))
	}
	if change := r.changeText(); change != "" {
		heading += t.paint(dim, " · "+oneLine(change, 200))
	}
	t.WriteString(heading + "\n")
	for _, f := range r.Findings {
		if !told[f] {
			t.finding(f)
		}
	}
	if len(r.Output) > 0 {
		t.line(dim, "  its last output:")
		for _, line := range r.Output {
			t.line(dim, "    | %s", oneOutputLine(line))
		}
	}
	t.examples(r)
	for i := range r.Live {
		t.live(&r.Live[i])
	}
	t.WriteString("\n")
}

func oneOutputLine(line string) string {
	return wording.Shorten(strings.ReplaceAll(plain(line), "\t", "    "), 300)
}

func (t *textReport) finding(f Finding) {
	color := red
	if f.Severity == SeverityWarning {
		color = yellow
	}
	f.File = t.path(f.File)
	lines := strings.Split(strings.TrimSpace(plain(f.Message)), "\n")
	t.WriteString("  " + t.paint(color, string(f.Severity)+"["+string(f.Code)+"]") + " ")
	if f.File != "" {
		t.WriteString(f.place() + ": ")
	}
	t.WriteString(lines[0] + "\n")
	for _, line := range lines[1:] { // never at the beginning: logs of CI obey some lines
		t.line("", "    | %s", line)
	}
	gutter := "  "
	if line, pointer, found := strings.Cut(f.Snippet, "\n"); found {
		number := fmt.Sprint(f.Line)
		gutter = strings.Repeat(" ", len(number))
		t.line("", "    %s %s", t.paint(dim, number+" |"), strings.ReplaceAll(plain(line), "\t", "    "))
		t.line("", "    %s %s", t.paint(dim, gutter+" |"), t.paint(color, strings.ReplaceAll(pointer, "\t", "    ")))
	}
	if f.Suggestion != "" {
		t.line("", "    %s = %s", gutter, oneLine(f.Suggestion, 500))
	}
}

func (t *textReport) examples(r *Report) {
	if r.Skipped != "" {
		t.line("", "  its examples were not run: %s", oneLine(r.Skipped, 300))
		return
	}
	shown, more := 0, 0
	for _, example := range r.Examples {
		switch {
		case example.Problem != "":
			t.line(red, "  %s", exampleText(example))
		case shown < exampleLines:
			shown++
			t.line("", "  %s%s", t.paint(green, "✓"), strings.TrimPrefix(exampleText(example), "✓"))
		default:
			more++
		}
	}
	if more > 0 {
		t.line("", "  %s … and %d more as expected", t.paint(green, "✓"), more)
	}
	if r.Start == 0 {
		return
	}
	text := "  started in " + seconds(r.Start)
	if r.Memory != nil {
		text += fmt.Sprintf(", held %s of %s", sizeText(r.Memory.Peak), sizeText(r.Memory.Limit))
	}
	t.line(dim, "%s", text)
	if len(r.Locked) > 0 {
		t.line(dim, "  kept with the version: %s", oneLine(strings.Join(r.Locked, ", "), 300))
	}
}

func (t *textReport) live(c *Comparison) {
	switch {
	case c.New():
		t.line("", "  no version is live on %s", oneLine(c.Server, 100))
		return
	case c.live == nil && c.Version == 0:
		return // a finding says it
	}
	t.line("", "  beside version %d, live on %s:", c.Version, oneLine(c.Server, 100))
	for _, message := range c.harmless() {
		t.line(dim, "    · %s", oneLine(message, 200))
	}
	if c.Problem != "" {
		t.line(yellow, "    predictions were not compared: %s", oneLine(c.Problem, 400))
	}
	for _, shift := range c.Shifts {
		shift.File = t.path(shift.File)
		t.line("", "    on %s:", shift.rowsText())
		for _, p := range shift.Predictions {
			t.prediction(p)
		}
	}
}

func (t *textReport) prediction(p PredictionShift) {
	color := ""
	if p.Changed == 0 {
		color = dim
	}
	t.line("", "      %s  %s", t.paint(bold, oneLine(p.Name, 80)), t.paint(color, p.Sentence()))
	if p.Changed == 0 {
		return
	}
	if p.Numbers != nil && p.Rows > 2 {
		t.line(dim, "        %s", p.Numbers.Quantiles.Sentence())
	}
	for _, part := range p.Parts {
		t.line("", "        where %s is %s: %s", oneLine(part.Feature, 60), oneLine(part.Value, 40), part.Sentence(p.Numbers != nil))
	}
	for _, row := range p.Moved {
		t.line("", "        row %d: %s → %s  %s", row.Row, oneLine(jsonFigure(row.Live), 40), oneLine(jsonFigure(row.New), 40), t.paint(dim, oneLine(string(row.Features), 160)))
	}
}
