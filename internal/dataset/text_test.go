package dataset

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
)

func TestCells(t *testing.T) {
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	plain := &TextRules{}
	comma := &TextRules{Decimal: ','}
	na := &TextRules{Null: []string{"NA", "-"}}
	local := &TextRules{Timezone: zurich}
	german := &TextRules{Dates: "DD.MM.YYYY", Timezone: zurich}
	american := &TextRules{Dates: "M/D/YYYY HH:mm"}
	s := mustCompile(t, patientFields()...)
	nullable := mustCompile(t, func() []modelmanager.Field {
		fields := patientFields()
		for i := range fields {
			fields[i].Nullable = true
		}
		return fields
	}()...)
	for _, test := range []struct {
		feature, cell string
		rules         *TextRules
		quoted        bool
		want, problem string
	}{
		{feature: "radius", cell: "14.1", want: "14.1"},
		{feature: "radius", cell: " 14.1\t", want: "14.1"},
		{feature: "radius", cell: "+14.1", want: "14.1"},
		{feature: "radius", cell: "007", want: "7"},
		{feature: "radius", cell: ".5", want: "0.5"},
		{feature: "radius", cell: "5.", want: "5"},
		{feature: "radius", cell: "1.5E+2", want: "150"},
		{feature: "radius", cell: "1e400", problem: "range"},
		{feature: "radius", cell: "14.1", quoted: true, want: "14.1"},
		{feature: "radius", cell: "14,1", rules: comma, want: "14.1"},
		{feature: "radius", cell: "14,1e1", rules: comma, want: "141"},
		{feature: "radius", cell: "14,1", problem: "input.decimal"},
		{feature: "radius", cell: "1,234.5", problem: "thousands"},
		{feature: "radius", cell: "1.234,5", rules: comma, problem: "input.decimal"},
		{feature: "radius", cell: "1.234.567,5", rules: comma, problem: "thousands"},
		{feature: "radius", cell: "1'234.5", problem: "thousands"},
		{feature: "radius", cell: "1 234", problem: "thousands"},
		{feature: "radius", cell: "NaN", problem: "input.null"},
		{feature: "radius", cell: "NA", problem: "input.null"},
		{feature: "radius", cell: "NA", rules: na, want: "null"},
		{feature: "radius", cell: "NA", rules: na, quoted: true, problem: "input.null"},
		{feature: "radius", cell: "", want: "null"},
		{feature: "radius", cell: "", quoted: true, problem: "quoted"},
		{feature: "radius", cell: "", rules: na, problem: "input.null"},
		{feature: "radius", cell: "inf", problem: "infinities"},
		{feature: "radius", cell: "-Infinity", problem: "infinities"},
		{feature: "radius", cell: "0x10", problem: "not a number"},
		{feature: "radius", cell: "1_000", problem: "thousands"},
		{feature: "radius", cell: "1.2.3", problem: "not a number"},
		{feature: "radius", cell: "-", problem: "input.null"},
		{feature: "radius", cell: "twelve", problem: "not a number"},
		{feature: "radius", cell: "-1", problem: "minimum"},
		{feature: "visits", cell: "5", want: "5"},
		{feature: "visits", cell: "5.0", want: "5"},
		{feature: "visits", cell: "5e0", want: "5"},
		{feature: "visits", cell: "-5,0", rules: comma, want: "-5"},
		{feature: "visits", cell: "5.5", problem: "not an integer"},
		{feature: "visits", cell: "9007199254740992", problem: "2^53"},
		{feature: "visits", cell: "99999999999999999999999", problem: "2^53"},
		{feature: "id", cell: "9223372036854775807", want: `"9223372036854775807"`},
		{feature: "id", cell: "-9223372036854775808", want: `"-9223372036854775808"`},
		{feature: "id", cell: "9223372036854775808", problem: "64 bits"},
		{feature: "smoker", cell: "TRUE", want: "true"},
		{feature: "smoker", cell: "False", want: "false"},
		{feature: "smoker", cell: "1", problem: "true or false"},
		{feature: "side", cell: "left", want: `"left"`},
		{feature: "side", cell: " left", problem: "left"},
		{feature: "side", cell: "", want: "null"},
		{feature: "note", cell: " a ", want: `" a "`},
		{feature: "note", cell: "", quoted: true, want: `""`},
		{feature: "note", cell: "", want: "null"},
		{feature: "note", cell: "", rules: na, want: `""`},
		{feature: "note", cell: "\xff", problem: "UTF-8"},
		{feature: "taken_on", cell: " 2024-02-29", want: `"2024-02-29"`},
		{feature: "taken_on", cell: "29.02.2024", rules: german, want: `"2024-02-29"`},
		{feature: "taken_on", cell: "29.2.2024", rules: german, problem: "layout"},
		{feature: "taken_on", cell: "30.02.2024", rules: german, problem: "no such day"},
		{feature: "taken_on", cell: "2/9/2024 00:00", rules: american, want: `"2024-02-09"`},
		{feature: "taken_on", cell: "2/9/2024 10:00", rules: american, problem: "time of day"},
		{feature: "at", cell: "2024-02-29T12:00:00Z", want: `"2024-02-29T12:00:00Z"`},
		{feature: "at", cell: "2024-02-29T12:00:00", problem: "timezone"},
		{feature: "at", cell: "2024-02-29 12:00:00", rules: local, want: `"2024-02-29T11:00:00Z"`},
		{feature: "at", cell: "2024-07-01 12:00", rules: local, want: `"2024-07-01T10:00:00Z"`},
		{feature: "at", cell: "2024-07-01", rules: local, want: `"2024-06-30T22:00:00Z"`},
		{feature: "at", cell: "2024-03-31 02:30:00", rules: local, problem: "clocks"},
		{feature: "at", cell: "2024-10-27 02:30:00", rules: local, want: `"2024-10-27T00:30:00Z"`},
		{feature: "at", cell: "01.07.2024", rules: german, want: `"2024-06-30T22:00:00Z"`},
		{feature: "pair", cell: "[1, 2]", want: "[1,2]"},
		{feature: "pair", cell: "[1, 2", problem: "JSON array"},
	} {
		t.Run(test.feature+"="+test.cell, func(t *testing.T) {
			rules := test.rules
			if rules == nil {
				rules = plain
			}
			schema := s
			if test.want == "null" {
				schema = nullable
			}
			b := NewBuilder(schema)
			column, _ := schema.Index(test.feature)
			b.SetText(column, []byte(test.cell), test.quoted, rules)
			if radius, _ := schema.Index("radius"); radius != column {
				b.SetFloat(radius, 1)
			}
			problems := b.EndRow(RefuseAbsent)
			if test.problem != "" {
				if len(problems) != 1 || problems[0].Column != column || !strings.Contains(problems[0].Message, test.problem) {
					t.Errorf("problems %v, want one that says %q", problems, test.problem)
				}
				return
			}
			if problems != nil {
				t.Fatal(problems)
			}
			var got map[string]json.RawMessage
			if err := json.Unmarshal(schema.AppendRow(nil, b.Record(), 0), &got); err != nil {
				t.Fatal(err)
			}
			if string(got[test.feature]) != test.want {
				t.Errorf("got %s, want %s", got[test.feature], test.want)
			}
		})
	}
}

// TestAbsentColumns checks what fills a file's missing columns.
func TestAbsentColumns(t *testing.T) {
	s := mustCompile(t,
		modelmanager.Field{Name: "a", Type: modelmanager.Number, Optional: true},
		modelmanager.Field{Name: "b", Type: modelmanager.Number, Optional: true, Default: &modelmanager.Default{Value: 2.5}},
		modelmanager.Field{Name: "c", Type: modelmanager.Number},
	)
	b := NewBuilder(s)
	b.SetInt(2, 7)
	if problems := b.EndRow(FillAbsent); problems != nil {
		t.Fatal(problems)
	}
	if problems := b.EndRow(FillAbsent); len(problems) != 1 || problems[0].Column != 2 {
		t.Fatal(problems)
	}
	if problems := b.EndRow(RefuseAbsent); len(problems) != 2 {
		t.Fatal(problems)
	}
	if f := b.Filled(); f[0] != 1 || f[1] != 1 || f[2] != 0 {
		t.Errorf("filled %v", f)
	}
	if got := string(s.AppendColumns(nil, b.Record())); got != `{"a":[null],"b":[2.5],"c":[7]}` {
		t.Error(got)
	}
}

func TestRenamedAndExtraKeys(t *testing.T) {
	s := mustCompile(t, modelmanager.Field{Name: "net_worth", Type: modelmanager.Number}, modelmanager.Field{Name: "x", Type: modelmanager.Number})
	b := NewBuilder(s)
	b.Rename(map[string]string{"net_worth": "Net worth"})
	extra := ""
	b.PassExtra(func(key, value []byte) { extra += string(key) + "=" + string(value) + ";" })
	b.SetJSON([]byte(`{"Net worth": 5, "id": "\u0041", "x": 1, "o": {"a": [1]}}`))
	if problems := b.EndRow(RefuseAbsent); problems != nil {
		t.Fatal(problems)
	}
	if extra != `id="\u0041";o={"a": [1]};` {
		t.Error(extra)
	}
	if got := string(s.AppendRow(nil, b.Record(), 0)); got != `{"net_worth":5,"x":1}` {
		t.Error(got)
	}
	b.SetJSON([]byte(`{"Net worth": 5, "x": 1, "\u0069d": "\u0062", "id": 2}`))
	if problems := b.EndRow(RefuseAbsent); len(problems) != 1 || problems[0].Feature != "id" {
		t.Fatal(problems)
	}
	if !strings.HasSuffix(extra, `;id="\u0062";`) {
		t.Error(extra)
	}
	b.SetJSON([]byte(`{"Net worth": 5, "x": `))
	if problems := b.EndRow(RefuseAbsent); len(problems) != 1 || problems[0].Column != -1 {
		t.Error(problems)
	}
	b.SetFloat(0, 1)
	b.SetFloat(0, 2)
	b.SetFloat(1, 2)
	if problems := b.EndRow(RefuseAbsent); len(problems) != 1 || problems[0].Column != 0 {
		t.Error(problems)
	}
}
