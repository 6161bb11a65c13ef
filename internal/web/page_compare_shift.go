package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"reflect"
	"slices"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/web/chart"
	"modelmanager.dev/internal/wording"
)

// shift is how predictions of the examples moved between two versions.
type shift struct {
	Problem  string
	WholeRun bool // why not: a version takes whole files only
	Charts   []template.HTML
	Changes  []changeTable
	Notes    []string // what isn't drawn, and why
	Same     []string // predictions that are the same for every example
	Rows     []shiftRow
	Moved    int // rows whose answers differ
	Examples int

	from, to int // versions
}

// Unmoved names the predictions that are the same for every example.
func (s *shift) Unmoved() string { return listed(s.Same, "and") }

type shiftRow struct {
	Name, From, To string
	Differs        bool
}

// changeTable counts, for a prediction that is no number, what became of what.
type changeTable struct {
	Name  string
	Lines []changeLine // the most frequent first
	More  int          // examples beyond those lines
}

type changeLine struct {
	From, To string
	Count    int
	Differs  bool
}

// Bounds of what is drawn.
const (
	maxItems       = 6  // plots of an array
	maxChangeLines = 12 // lines of a changeTable
)

// answers are one version's predictions of the examples; nil: it refused one.
type answers []map[string]json.RawMessage

// bothFields is a prediction, as each of two versions declares it; nil: it doesn't.
type bothFields struct {
	Name     string
	from, to *modelmanager.Field
}

// newShift says how two versions' predictions of the examples differ.
func newShift(diff modelmanager.Diff, from, to *spec.Spec) *shift {
	s := &shift{
		Problem: sentence(diff.Problem), WholeRun: diff.Problem != "" && (!realTime(from) || !realTime(to)),
		Examples: len(diff.Examples), from: diff.From, to: diff.To,
	}
	if diff.Problem != "" {
		return s
	}
	was, is := make(answers, len(diff.Examples)), make(answers, len(diff.Examples))
	for i, example := range diff.Examples {
		// A version that refused an example has null for its answer.
		_ = json.Unmarshal(example.From, &was[i])
		_ = json.Unmarshal(example.To, &is[i])
	}
	fields := pairFields(from.Predictions, to.Predictions)
	for i, example := range diff.Examples {
		row := shiftRow{Name: exampleName(spec.Example{Name: example.Name}, i)}
		row.From, row.To, row.Differs = pairWords(was[i], is[i], fields)
		if row.Differs {
			s.Moved++
		}
		s.Rows = append(s.Rows, row)
	}
	for _, field := range fields {
		s.add(field, was, is)
	}
	return s
}

func realTime(s *spec.Spec) bool { return slices.Contains(s.Serve, modelmanager.RealTime) }

// pairFields matches what two versions predict, in the order of the newer one.
func pairFields(from, to []modelmanager.Field) []bothFields {
	var fields []bothFields
	for i := range to {
		fields = append(fields, bothFields{Name: to[i].Name, to: &to[i]})
	}
	for i := range from {
		at := slices.IndexFunc(fields, func(f bothFields) bool { return f.Name == from[i].Name })
		if at < 0 {
			fields = append(fields, bothFields{Name: from[i].Name})
			at = len(fields) - 1
		}
		fields[at].from = &from[i]
	}
	return fields
}

// pairWords writes two answers, each in one line, and tells whether they
// differ. Where they do by less than is usually written, all digits are.
func pairWords(was, is map[string]json.RawMessage, fields []bothFields) (from, to string, differs bool) {
	var texts [2][]string
	for _, field := range fields {
		differ := !sameValue(was[field.Name], is[field.Name])
		differs = differs || differ
		exact := differ && shortValue(was[field.Name]) == shortValue(is[field.Name])
		for i, side := range []struct {
			field  *modelmanager.Field
			values map[string]json.RawMessage
		}{{field.from, was}, {field.to, is}} {
			value, answered := side.values[field.Name]
			if !answered {
				continue
			}
			text := shortValue(value)
			if exact {
				text = valueText(value)
			}
			if side.field != nil {
				text = withUnit(text, side.field.Unit)
			}
			texts[i] = append(texts[i], field.Name+": "+text)
		}
	}
	words := func(texts []string, values map[string]json.RawMessage) string {
		if values == nil {
			return "no answer"
		}
		return strings.Join(texts, ", ")
	}
	return words(texts[0], was), words(texts[1], is), differs || (was == nil) != (is == nil)
}

// sameValue compares two JSON values, numbers as such. A value that isn't there
// is another than null.
func sameValue(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return string(a) == string(b)
	}
	return reflect.DeepEqual(x, y)
}

// add draws how one prediction moved, or says why it isn't drawn.
func (s *shift) add(field bothFields, was, is answers) {
	switch {
	case field.to == nil:
		s.Notes = append(s.Notes, fmt.Sprintf("Version %d doesn’t answer %s any more.", s.to, field.Name))
		return
	case field.from == nil:
		s.Notes = append(s.Notes, fmt.Sprintf("Version %d didn’t answer %s yet.", s.from, field.Name))
		return
	}
	items := numericItems(*field.to)
	if len(items) == 0 || len(numericItems(*field.from)) != len(items) {
		s.tabulate(field.Name, was, is)
		return
	}
	s.draw(*field.to, items, was, is)
}

// draw draws the numbers of a prediction, those that moved most.
func (s *shift) draw(field modelmanager.Field, items []numericItem, was, is answers) {
	type drawn struct {
		chart.Pairs
		moved float64
		index int
	}
	var moved []drawn
	for index, item := range items {
		d := drawn{index: index, Pairs: chart.Pairs{
			Title: item.name, Unit: field.Unit, From: fmt.Sprintf("Version %d", s.from), To: fmt.Sprintf("Version %d", s.to),
			Description: fmt.Sprintf("%s of each example, by version %d and by version %d", item.name, s.from, s.to),
		}}
		for i := range s.Rows {
			pair := chart.Pair{Name: s.Rows[i].Name, From: item.of(was[i][field.Name]), To: item.of(is[i][field.Name])}
			d.Pairs.Pairs = append(d.Pairs.Pairs, pair)
			switch missing := math.IsNaN(pair.From) != math.IsNaN(pair.To); {
			case missing:
				d.moved = math.Inf(1)
			case !math.IsNaN(pair.From):
				d.moved = math.Max(d.moved, math.Abs(pair.To-pair.From))
			}
		}
		if d.moved > 0 {
			moved = append(moved, d)
		}
	}
	if len(moved) == 0 {
		s.Same = append(s.Same, field.Name)
		return
	}
	if len(moved) > maxItems {
		s.Notes = append(s.Notes, fmt.Sprintf("Of %s, %d of %d values moved; the %d that moved most are drawn.", field.Name, len(moved), len(items), maxItems))
		slices.SortStableFunc(moved, func(a, b drawn) int { return cmp.Compare(b.moved, a.moved) })
		moved = moved[:maxItems]
		slices.SortFunc(moved, func(a, b drawn) int { return cmp.Compare(a.index, b.index) })
	} else if left := len(items) - len(moved); left > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("Of %s, %d of %d values moved; the others are the same for every example.", field.Name, len(moved), len(items)))
	}
	for _, d := range moved {
		s.Charts = append(s.Charts, d.HTML())
	}
}

// tabulate counts what became of what.
func (s *shift) tabulate(name string, was, is answers) {
	type change struct{ from, to string }
	counts := map[change]*changeLine{}
	moved := false
	for i := range was {
		line := changeLine{From: changeText(was[i], name), To: changeText(is[i], name), Differs: !sameValue(was[i][name], is[i][name])}
		moved = moved || line.Differs
		if known := counts[change{line.From, line.To}]; known != nil {
			known.Count++
			known.Differs = known.Differs || line.Differs
			continue
		}
		line.Count = 1
		counts[change{line.From, line.To}] = &line
	}
	if !moved {
		s.Same = append(s.Same, name)
		return
	}
	table := changeTable{Name: name}
	for _, line := range counts {
		table.Lines = append(table.Lines, *line)
	}
	slices.SortFunc(table.Lines, func(a, b changeLine) int {
		return cmp.Or(boolFirst(a.Differs, b.Differs), cmp.Compare(b.Count, a.Count), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	for len(table.Lines) > maxChangeLines {
		last := len(table.Lines) - 1
		table.More += table.Lines[last].Count
		table.Lines = table.Lines[:last]
	}
	s.Changes = append(s.Changes, table)
}

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func changeText(values map[string]json.RawMessage, name string) string {
	value, answered := values[name]
	if !answered {
		return "no answer"
	}
	return wording.Shorten(valueText(value), 80)
}
