package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// shiftOf is the shift of a model whose predictions are these, for answers of
// the version before and the new one.
func shiftOf(from, to []modelmanager.Field, answers ...[2]string) *shift {
	diff := modelmanager.Diff{From: 1, To: 2}
	for _, pair := range answers {
		diff.Examples = append(diff.Examples, modelmanager.ExampleDiff{From: json.RawMessage(pair[0]), To: json.RawMessage(pair[1])})
	}
	serve := []modelmanager.Mode{modelmanager.RealTime}
	return newShift(diff, &spec.Spec{Serve: serve, Predictions: from}, &spec.Spec{Serve: serve, Predictions: to})
}

func fields(kinds ...string) []modelmanager.Field {
	var list []modelmanager.Field
	for _, kind := range kinds {
		name, kind, _ := strings.Cut(kind, ":")
		list = append(list, modelmanager.Field{Name: name, Type: modelmanager.Type(kind)})
	}
	return list
}

// TestACompareAgreesWithItself: what differs by little differs in the list and
// in the plot, and the list shows by how much.
func TestACompareAgreesWithItself(t *testing.T) {
	p := fields("p:number")
	s := shiftOf(p, p, [2]string{`{"p": 0.12341}`, `{"p": 0.12342}`}, [2]string{`{"p": 1}`, `{"p": 1.0}`})
	if s.Moved != 1 || !s.Rows[0].Differs || s.Rows[0].From != "p: 0.12341" || s.Rows[0].To != "p: 0.12342" || s.Rows[1].Differs || len(s.Charts) != 1 {
		t.Errorf("%+v", s)
	}
	if s := shiftOf(p, p, [2]string{`{"p": 5}`, `{"p": 5.0}`}); s.Moved != 0 || len(s.Charts) != 0 || s.Unmoved() != "p" {
		t.Errorf("the same in other words: %+v", s)
	}
}

func TestAPredictionThatIsGoneIsSeen(t *testing.T) {
	s := shiftOf(fields("p:number", "old:number"), fields("p:number", "new:string"),
		[2]string{`{"p": 1, "old": 2}`, `{"p": 1, "new": "a"}`})
	if s.Moved != 1 || s.Rows[0].From != "p: 1, old: 2" || s.Rows[0].To != "p: 1, new: a" {
		t.Errorf("%+v", s.Rows)
	}
	if text := strings.Join(s.Notes, " "); text != "Version 1 didn’t answer new yet. Version 2 doesn’t answer old any more." {
		t.Error(text)
	}
}

// TestWhatIsNoNumberMovesToo: texts, choices and yes or no are counted.
func TestWhatIsNoNumberMovesToo(t *testing.T) {
	p := fields("class:string", "yes:boolean", "day:string")
	s := shiftOf(p, p,
		[2]string{`{"class": "a", "yes": true, "day": "2026-01-01"}`, `{"class": "b", "yes": true, "day": "2026-01-01"}`},
		[2]string{`{"class": "a", "yes": true, "day": "2026-01-01"}`, `{"class": "b", "yes": false, "day": "2026-01-01"}`},
		[2]string{`{"class": "c", "yes": true, "day": null}`, `{"class": "c", "yes": true, "day": null}`},
		[2]string{`{"class": "c", "yes": true, "day": "2026-01-01"}`, `null`})
	want := "class: a→b 2 differs, c→no answer 1 differs, c→c 1; yes: yes→no 1 differs, yes→no answer 1 differs, yes→yes 2; day: 2026-01-01→no answer 1 differs, 2026-01-01→2026-01-01 2, unknown→unknown 1"
	var tables []string
	for _, table := range s.Changes {
		var lines []string
		for _, line := range table.Lines {
			text := fmt.Sprintf("%s→%s %d", line.From, line.To, line.Count)
			if line.Differs {
				text += " differs"
			}
			lines = append(lines, text)
		}
		tables = append(tables, table.Name+": "+strings.Join(lines, ", "))
	}
	if got := strings.Join(tables, "; "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if s.Moved != 3 || s.Rows[3].To != "no answer" {
		t.Errorf("%+v", s)
	}
	var pairs [][2]string
	for i := range 30 {
		pairs = append(pairs, [2]string{fmt.Sprintf(`{"t": "a%d"}`, i), fmt.Sprintf(`{"t": "b%d"}`, i)})
	}
	if many := shiftOf(fields("t:string"), fields("t:string"), pairs...); len(many.Changes[0].Lines) != maxChangeLines || many.Changes[0].More != 18 {
		t.Errorf("%+v", many.Changes)
	}
}

// TestALongArrayIsNotCutSilently: what moved most is drawn, and the rest is said.
func TestALongArrayIsNotCutSilently(t *testing.T) {
	list := fields("all:array")
	list[0].Items, list[0].Length = &modelmanager.Field{Type: modelmanager.Number}, ptr(9)
	s := shiftOf(list, list, [2]string{`{"all": [1,1,1,1,1,1,1,1,1]}`, `{"all": [1,2,1.1,1.2,1.3,1.4,1.5,1.6,9]}`})
	if len(s.Charts) != maxItems || strings.Join(s.Notes, "") != "Of all, 8 of 9 values moved; the 6 that moved most are drawn." {
		t.Errorf("%d %q", len(s.Charts), s.Notes)
	}
	if drawn := fmt.Sprint(s.Charts); !strings.Contains(drawn, "all 9<") || !strings.Contains(drawn, "all 2<") || strings.Contains(drawn, "all 3<") {
		t.Error("not those that moved most are drawn")
	}
	s = shiftOf(list, list, [2]string{`{"all": [1,1,1,1,1,1,1,1,1]}`, `{"all": [1,1,1,1,1,1,1,1,9]}`})
	if len(s.Charts) != 1 || strings.Join(s.Notes, "") != "Of all, 1 of 9 values moved; the others are the same for every example." {
		t.Errorf("%d %q", len(s.Charts), s.Notes)
	}
}

func TestWholeFilesCantBeCompared(t *testing.T) {
	batch, both := &spec.Spec{Serve: []modelmanager.Mode{modelmanager.Batch}}, &spec.Spec{Serve: []modelmanager.Mode{modelmanager.Batch, modelmanager.RealTime}}
	if s := newShift(modelmanager.Diff{Problem: "version 1 serves batch only"}, batch, both); !s.WholeRun {
		t.Error("the way to compare whole files isn't shown")
	}
	if s := newShift(modelmanager.Diff{Problem: "it can't start"}, both, both); s.WholeRun {
		t.Error("a failure is taken for what a model doesn't serve")
	}
}
