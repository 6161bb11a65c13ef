package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
)

// patientFields are features of every kind.
func patientFields() []modelmanager.Field {
	return []modelmanager.Field{
		{Name: "radius", Type: modelmanager.Number, Minimum: ptr(0.0), ExclusiveMaximum: ptr(1e6)},
		{Name: "visits", Type: modelmanager.Integer, Default: &modelmanager.Default{Value: int64(1)}},
		{Name: "id", Type: modelmanager.Integer, Format: modelmanager.FormatInt64, Nullable: true, Default: &modelmanager.Default{}},
		{Name: "side", Type: modelmanager.String, Enum: []any{"left", "right"}, Nullable: true, Default: &modelmanager.Default{Value: "left"}},
		{Name: "smoker", Type: modelmanager.Boolean, Default: &modelmanager.Default{Value: false}},
		{Name: "note", Type: modelmanager.String, Nullable: true, MaxLength: ptr(5), Default: &modelmanager.Default{}},
		{Name: "taken_on", Type: modelmanager.String, Format: modelmanager.FormatDate, Default: &modelmanager.Default{}},
		{Name: "at", Type: modelmanager.String, Format: modelmanager.FormatDateTime, Default: &modelmanager.Default{}},
		{Name: "pair", Type: modelmanager.Array, Length: ptr(2), Items: &modelmanager.Field{Type: modelmanager.Number}, Default: &modelmanager.Default{Value: []any{0.0, int64(1)}}},
		{Name: "codes", Type: modelmanager.Array, MaxItems: ptr(3), Items: &modelmanager.Field{Type: modelmanager.String, Enum: []any{"x", "y"}, Nullable: true}, Default: &modelmanager.Default{Value: []any{}}},
	}
}

// TestValues checks one member of a row at a time: its value as we write it, or
// a word of the problem.
func TestValues(t *testing.T) {
	s := mustCompile(t, patientFields()...)
	for _, test := range []struct{ feature, value, want, problem string }{
		{feature: "radius", value: "14.1", want: "14.1"},
		{feature: "radius", value: "-0", want: "-0"},
		{feature: "radius", value: "1e-3", want: "0.001"},
		{feature: "radius", value: "1E5", want: "100000"},
		{feature: "radius", value: "5e-324", want: "5e-324"},
		{feature: "radius", value: "1e-400", want: "0"},
		{feature: "radius", value: "0.1000000000000000055511151231257827", want: "0.1"},
		{feature: "radius", value: "-1", problem: "below the minimum"},
		{feature: "radius", value: "1e6", problem: "not below"},
		{feature: "radius", value: "1e400", problem: "double's range"},
		{feature: "radius", value: `"5"`, problem: "without quotes"},
		{feature: "radius", value: `"five"`, problem: "is a string"},
		{feature: "radius", value: "null", problem: "null"},
		{feature: "radius", value: "true", problem: "boolean"},
		{feature: "radius", value: "[1]", problem: "array"},
		{feature: "radius", value: "{}", problem: "object"},
		{feature: "visits", value: "5.0", want: "5"},
		{feature: "visits", value: "5e0", want: "5"},
		{feature: "visits", value: "-0", want: "0"},
		{feature: "visits", value: "50e-1", want: "5"},
		{feature: "visits", value: "0e999999999999", want: "0"},
		{feature: "visits", value: "1e999999999999", problem: "2^53"},
		{feature: "visits", value: "1e-99999999999999999999", problem: "not an integer"},
		{feature: "visits", value: "5.5", problem: "not an integer"},
		{feature: "visits", value: "5.0000000000000000000001", problem: "not an integer"},
		{feature: "visits", value: "9007199254740991", want: "9007199254740991"},
		{feature: "visits", value: "9007199254740992", problem: "2^53"},
		{feature: "visits", value: "-9007199254740992", problem: "2^53"},
		{feature: "visits", value: "null", problem: "null"},
		{feature: "id", value: `"9223372036854775807"`, want: `"9223372036854775807"`},
		{feature: "id", value: `"-9223372036854775808"`, want: `"-9223372036854775808"`},
		{feature: "id", value: `"9223372036854775808"`, problem: "64 bits"},
		{feature: "id", value: `"01"`, problem: "digits"},
		{feature: "id", value: `" 1"`, problem: "digits"},
		{feature: "id", value: `"1.0"`, problem: "digits"},
		{feature: "id", value: `""`, problem: "digits"},
		{feature: "id", value: "12", want: `"12"`},
		{feature: "id", value: "9007199254740993", problem: "as a string"},
		{feature: "side", value: `"left"`, want: `"left"`},
		{feature: "side", value: `"\u006ceft"`, want: `"left"`},
		{feature: "side", value: `"Left"`, problem: "left"},
		{feature: "side", value: "null", want: "null"},
		{feature: "smoker", value: "true", want: "true"},
		{feature: "smoker", value: `"true"`, problem: "without quotes"},
		{feature: "smoker", value: "1", problem: "boolean"},
		{feature: "note", value: `"äöü😀!"`, want: `"äöü😀!"`},
		{feature: "note", value: `"\ud83d\ude00"`, want: `"😀"`},
		{feature: "note", value: `"a\/\b\f\n\t"`, problem: "characters"},
		{feature: "note", value: `"a\/\"\\\n"`, want: `"a/\"\\\n"`},
		{feature: "note", value: "5", problem: `"5"`},
		{feature: "taken_on", value: `"2024-02-29"`, want: `"2024-02-29"`},
		{feature: "taken_on", value: `"2000-02-29"`, want: `"2000-02-29"`},
		{feature: "taken_on", value: `"0000-12-31"`, problem: "a date lies between the years 0001 and 9999"},
		{feature: "taken_on", value: `"0001-01-01"`, want: `"0001-01-01"`},
		{feature: "taken_on", value: `"9999-12-31"`, want: `"9999-12-31"`},
		{feature: "taken_on", value: `"2023-02-29"`, problem: "no such day"},
		{feature: "taken_on", value: `"1900-02-29"`, problem: "no such day"},
		{feature: "taken_on", value: `"2023-13-01"`, problem: "no such month"},
		{feature: "taken_on", value: `"2023-1-1"`, problem: "YYYY-MM-DD"},
		{feature: "taken_on", value: `"2023-01-01T00:00:00Z"`, problem: "YYYY-MM-DD"},
		{feature: "taken_on", value: "null", problem: "null"},
		{feature: "at", value: `"2024-02-29T23:30:00.5+01:00"`, want: `"2024-02-29T22:30:00.5Z"`},
		{feature: "at", value: `"1969-12-31T23:59:59.9999999z"`, want: `"1969-12-31T23:59:59.999999Z"`},
		{feature: "at", value: `"2024-02-29T23:59:60Z"`, problem: "leap second"},
		{feature: "at", value: `"2024-02-29 23:59:00Z"`, problem: "YYYY-MM-DDTHH:MM:SSZ"},
		{feature: "at", value: `"2024-02-29T23:59:00"`, problem: "offset"},
		{feature: "at", value: `"2024-02-29T23:59:00+24:00"`, problem: "offset"},
		{feature: "at", value: `"2024-02-29T23:59:00.Z"`, problem: "YYYY"},
		{feature: "at", value: `"0001-01-01T00:00:00+01:00"`, problem: "years"},
		{feature: "pair", value: "[1, 2.5]", want: "[1,2.5]"},
		{feature: "pair", value: "[1]", problem: "exactly 2"},
		{feature: "pair", value: "[1, 2, 3]", problem: "exactly 2"},
		{feature: "pair", value: `[1, "2"]`, problem: "item 1"},
		{feature: "pair", value: "[1, null]", problem: "item 1"},
		{feature: "codes", value: `[]`, want: "[]"},
		{feature: "codes", value: `["x", null, "y"]`, want: `["x",null,"y"]`},
		{feature: "codes", value: `["x", "z"]`, problem: "item 1"},
		{feature: "codes", value: `["x", "x", "x", "x"]`, problem: "at the most"},
		{feature: "codes", value: `[["x"]]`, problem: "item 0"},
		{feature: "radios", value: "1", problem: "radius"},
	} {
		t.Run(test.feature+"="+test.value, func(t *testing.T) {
			row := fmt.Sprintf(`{"radius": 1, %q: %s}`, test.feature, test.value)
			if test.feature == "radius" {
				row = fmt.Sprintf(`{"radius": %s}`, test.value)
			}
			record, err := decodeRow(s, row)
			if test.problem != "" {
				var e *modelmanager.Error
				if !errors.As(err, &e) || e.Code != modelmanager.CodeInvalidRows || len(e.Rows) != 1 {
					t.Fatalf("error %v", err)
				}
				if e.Rows[0].Feature != test.feature || !strings.Contains(e.Rows[0].Message, test.problem) {
					t.Errorf("problem %+v, want one that says %q", e.Rows[0], test.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]json.RawMessage
			if err := json.Unmarshal(s.AppendRow(nil, record, 0), &got); err != nil {
				t.Fatal(err)
			}
			if string(got[test.feature]) != test.want {
				t.Errorf("got %s, want %s", got[test.feature], test.want)
			}
		})
	}
}

func TestDefaultsFillAbsentKeys(t *testing.T) {
	s := mustCompile(t, patientFields()...)
	record, err := decodeRow(s, `{"radius": 2}`)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"radius":2,"visits":1,"id":null,"side":"left","smoker":false,"note":null,"taken_on":null,"at":null,"pair":[0,1],"codes":[]}`
	if got := string(s.AppendRow(nil, record, 0)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestBadRequests checks bodies that are refused as a whole.
func TestBadRequests(t *testing.T) {
	s := mustCompile(t, modelmanager.Field{Name: "x", Type: modelmanager.Number}, modelmanager.Field{Name: "s", Type: modelmanager.String, Nullable: true, Default: &modelmanager.Default{}})
	deep := strings.Repeat("[", 100000) + strings.Repeat("]", 100000)
	for name, body := range map[string]string{
		"empty":                "",
		"array":                `[{"x": 1}]`,
		"no rows":              `{}`,
		"bare row":             `{"x": 1}`,
		"unknown key":          `{"rowz": []}`,
		"rows twice":           `{"rows": [], "rows": []}`,
		"rows object":          `{"rows": {"x": 1}}`,
		"trailing garbage":     `{"rows": []} x`,
		"two documents":        `{"rows": []}{"rows": []}`,
		"trailing comma":       `{"rows": [],}`,
		"trailing comma rows":  `{"rows": [{"x": 1},]}`,
		"trailing comma row":   `{"rows": [{"x": 1,}]}`,
		"leading comma":        `{"rows": [,{"x": 1}]}`,
		"no colon":             `{"rows" []}`,
		"no comma":             `{"rows": [{"x": 1 "s": "a"}]}`,
		"truncated":            `{"rows": [{"x": 1`,
		"leading zero":         `{"rows": [{"x": 01}]}`,
		"plus":                 `{"rows": [{"x": +1}]}`,
		"bare point":           `{"rows": [{"x": 1.}]}`,
		"point first":          `{"rows": [{"x": .5}]}`,
		"bare exponent":        `{"rows": [{"x": 1e}]}`,
		"NaN":                  `{"rows": [{"x": NaN}]}`,
		"Infinity":             `{"rows": [{"x": -Infinity}]}`,
		"hexadecimal":          `{"rows": [{"x": 0x10}]}`,
		"underscore":           `{"rows": [{"x": 1_000}]}`,
		"single quotes":        `{"rows": [{'x': 1}]}`,
		"comment":              `{"rows": [/* */]}`,
		"invalid UTF-8":        "{\"rows\": [{\"x\": 1, \"s\": \"\xff\"}]}",
		"overlong UTF-8":       "{\"rows\": [{\"x\": 1, \"s\": \"\xc0\xaf\"}]}",
		"invalid UTF-8 key":    "{\"rows\": [{\"x\": 1, \"\xff\": 1}]}",
		"invalid after escape": "{\"rows\": [{\"x\": 1, \"s\": \"\\n\xff\"}]}",
		"control character":    "{\"rows\": [{\"x\": 1, \"s\": \"a\nb\"}]}",
		"bad escape":           `{"rows": [{"x": 1, "s": "\x"}]}`,
		"short escape":         `{"rows": [{"x": 1, "s": "\u12"}]}`,
		"lone surrogate":       `{"rows": [{"x": 1, "s": "\ud83d"}]}`,
		"lone low surrogate":   `{"rows": [{"x": 1, "s": "\ude00"}]}`,
		"wrong pair":           `{"rows": [{"x": 1, "s": "\ud83d\u0041"}]}`,
		"byte order mark":      "\xef\xbb\xbf{\"rows\": []}",
		"too deep":             `{"rows": [{"x": 1, "y": ` + deep + `}]}`,
		"deep value":           `{"rows": [{"x": ` + deep + `}]}`,
		"no-break space":       "{\"rows\":\u00a0[]}",
		"ids short":            `{"rows": [{"x": 1}], "ids": []}`,
		"ids object":           `{"rows": [{"x": 1}], "ids": [{}]}`,
		"ids scalar":           `{"rows": [{"x": 1}], "ids": 1}`,
		"on_error":             `{"rows": [], "on_error": "ignore"}`,
		"on_error null":        `{"rows": [], "on_error": null}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.DecodeRequest([]byte(body), 10); modelmanager.CodeOf(err) != modelmanager.CodeBadRequest {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := s.DecodeRequest([]byte(`{"rows": [{"x": 1}, {"x": 1}, {"x": 1}]}`), 2); modelmanager.CodeOf(err) != modelmanager.CodeTooLarge {
		t.Errorf("error %v", err)
	}
	_, err := s.DecodeRequest([]byte("{\"rows\": [\n  {\"x\": 1},\n  {\"s\": \"é\", x: 1}]}"), 0)
	if err == nil || !strings.Contains(err.Error(), "line 3, column 14") {
		t.Errorf("error %v names no place", err)
	}
}

// TestInvalidRows checks that every problem of every row is named.
func TestInvalidRows(t *testing.T) {
	s := mustCompile(t, patientFields()...)
	body := []byte(`{"on_error": "ON", "ids": ["a", 2, null, true, 5.50], "rows": [
		{"radius": 1},
		{"radius": -1, "visits": 1.5, "raduis": 2},
		{"visits": 2},
		7,
		{"radius": 3, "radius": 4}]}`)
	type place struct {
		Row     int64
		Feature string
	}
	want := []place{{1, "radius"}, {1, "visits"}, {1, "raduis"}, {2, "radius"}, {3, ""}, {4, "radius"}}
	places := func(rows []modelmanager.RowError) (got []place) {
		for _, e := range rows {
			got = append(got, place{e.Row, e.Feature})
		}
		return got
	}
	_, err := s.DecodeRequest([]byte(strings.Replace(string(body), "ON", "fail", 1)), 0)
	var e *modelmanager.Error
	if !errors.As(err, &e) || e.Code != modelmanager.CodeInvalidRows {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, places(e.Rows)); diff != "" {
		t.Error(diff)
	}
	r, err := s.DecodeRequest([]byte(strings.Replace(string(body), "ON", "partial", 1)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, places(r.Rejected)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]int32{0}, r.Accepted); diff != "" || r.Rows != 5 || r.Record.NumRows() != 1 {
		t.Errorf("%s; %d rows", diff, r.Rows)
	}
	ids, _ := json.Marshal(r.IDs)
	if string(ids) != `["a",2,null,true,5.50]` {
		t.Errorf("ids %s", ids)
	}
	clear(body) // nothing may point into the body
	if again, _ := json.Marshal(r.IDs); string(again) != string(ids) {
		t.Errorf("ids became %s", again)
	}
	p := mustCompile(t, modelmanager.Field{Name: "p", Type: modelmanager.Number})
	answer, err := p.DecodeAnswers([]json.RawMessage{json.RawMessage(`{"p": 0.5}`)})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(p.AppendPredictions(nil, answer, r, nil)); got != `[{"p":0.5},null,null,null,null]` {
		t.Error(got)
	}
	if got := string(p.AppendPredictions(nil, answer, r, []modelmanager.RowError{{Row: 0}})); got != `[null,null,null,null,null]` {
		t.Error(got)
	}
	merged := r.Merge([]modelmanager.RowError{{Row: 0, Message: "refused"}})
	if len(merged) != len(want)+1 || merged[0].Message != "refused" || merged[0].Row != 0 {
		t.Errorf("%+v", merged)
	}
}

// TestManyProblemsAreBounded checks that hostile rows can't make a huge answer.
func TestManyProblemsAreBounded(t *testing.T) {
	s := mustCompile(t, patientFields()...)
	body := []byte(`{"rows": [` + strings.Repeat(`{"a":1,"b":2,"c":3},`, 4999) + `{}]}`)
	_, err := s.DecodeRequest(body, 0)
	var e *modelmanager.Error
	if !errors.As(err, &e) || len(e.Rows) != maxRowErrors || !strings.Contains(e.Detail, "19996 more") {
		t.Fatalf("%d rows: %v", len(e.Rows), err)
	}
	r, err := s.DecodeRequest([]byte(strings.Replace(string(body), "{", `{"on_error": "partial", `, 1)), 0)
	if err != nil {
		t.Fatal(err)
	}
	named := map[int64]bool{}
	for _, e := range r.Rejected {
		named[e.Row] = true
	}
	if len(named) != 5000 || len(r.Accepted) != 0 || r.Accepted == nil {
		t.Errorf("%d rows named", len(named))
	}
}

// decodeRow decodes one row, as a request of it alone.
func decodeRow(s *Schema, row string) (arrow.RecordBatch, error) {
	request, err := s.DecodeRequest([]byte(`{"rows": [`+row+`]}`), 1)
	if err != nil {
		return nil, err
	}
	return request.Record, nil
}
