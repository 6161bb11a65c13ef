package dataset

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
)

func probability() []modelmanager.Field {
	return []modelmanager.Field{{Name: "probability", Type: modelmanager.Number, Minimum: ptr(0.0), Maximum: ptr(1.0)}}
}

// TestAnswers decodes and checks answers as workers write them.
func TestAnswers(t *testing.T) {
	scored := []modelmanager.Field{
		{Name: "score", Type: modelmanager.Integer},
		{Name: "class", Type: modelmanager.String, Enum: []any{"a", "b"}, Nullable: true},
	}
	classes := []modelmanager.Field{{Name: "p", Type: modelmanager.Array, Labels: []string{"a", "b"}, Items: &probability()[0]}}
	for _, test := range []struct {
		name          string
		fields        []modelmanager.Field
		rows, columns string // one of them
		n             int
		want          string
		bad           []int64
		fault         string
	}{
		{name: "objects", fields: probability(), rows: `[{"probability": 0.5}, {"probability": 1}]`, want: `[{"probability":0.5},{"probability":1}]`},
		{name: "bare", fields: probability(), rows: `[0.5, 1]`, want: `[{"probability":0.5},{"probability":1}]`},
		{name: "nested", fields: probability(), rows: `[[0.5], [1]]`, want: `[{"probability":0.5},{"probability":1}]`},
		{name: "proba", fields: probability(), rows: `[[0.5, 0.5]]`, fault: "predict_proba"},
		{name: "range", fields: probability(), rows: `[0.5, 1.5, -0.1]`, want: `[{"probability":0.5},{"probability":null},{"probability":null}]`, bad: []int64{1, 2}},
		{name: "NaN", fields: probability(), rows: `[NaN, 0.5, -Infinity, null]`, want: `[{"probability":null},{"probability":0.5},{"probability":null},{"probability":null}]`, bad: []int64{0, 2, 3}},
		{name: "string", fields: probability(), rows: `["0.5"]`, fault: "without quotes"},
		{name: "misspelt", fields: probability(), rows: `[{"probabilty": 0.5}]`, fault: "did you mean probability"},
		{name: "lacking", fields: scored, rows: `[{"score": 1}]`, fault: "lacks the prediction class"},
		{name: "not JSON", fields: probability(), rows: `[{"probability": 0.5}]`, columns: `{"probability": [0.5`, n: 1, fault: "not valid"},
		{name: "columns", fields: scored, columns: `{"class": ["a", null], "score": [1, 2.0]}`, n: 2, want: `[{"score":1,"class":"a"},{"score":2,"class":null}]`},
		{name: "bad values", fields: scored, columns: `{"class": ["a", "c", "b"], "score": [1, 2, 2.5]}`, n: 3,
			want: `[{"score":1,"class":"a"},{"score":null,"class":null},{"score":null,"class":null}]`, bad: []int64{1, 2}},
		{name: "too large", fields: scored, columns: `{"class": ["a", "a"], "score": [9007199254740991, 9007199254740993]}`, n: 2,
			want: `[{"score":9007199254740991,"class":"a"},{"score":null,"class":null}]`, bad: []int64{1}},
		{name: "short", fields: scored, columns: `{"class": ["a"], "score": [1, 2]}`, n: 2, fault: "has 1 values"},
		{name: "long", fields: scored, columns: `{"class": ["a", "b", "a"], "score": [1, 2]}`, n: 2, fault: "more than 2"},
		{name: "scalar", fields: scored, columns: `{"class": "a", "score": [1]}`, n: 1, fault: "array"},
		{name: "twice", fields: scored, columns: `{"class": ["a"], "class": ["a"], "score": [1]}`, n: 1, fault: "twice"},
		{name: "extra", fields: scored, columns: `{"class": ["a"], "score": [1], "other": [1]}`, n: 1, fault: "other"},
		{name: "classes", fields: classes, rows: `[[0.25, 0.75], {"p": [1, 0]}]`, want: `[{"p":[0.25,0.75]},{"p":[1,0]}]`},
		{name: "class out of range", fields: classes, rows: `[[0.25, 1.75], [1, 0]]`, want: `[{"p":null},{"p":[1,0]}]`, bad: []int64{0}},
		{name: "class missing", fields: classes, rows: `[[0.25], [1, 0]]`, want: `[{"p":null},{"p":[1,0]}]`, bad: []int64{0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := mustCompile(t, test.fields...)
			var record arrow.RecordBatch
			var err error
			n := test.n
			if test.columns != "" {
				record, err = s.DecodeColumns(n, json.RawMessage(test.columns))
			} else {
				rows := splitRows(t, test.rows)
				n = len(rows)
				record, err = s.DecodeAnswers(rows)
			}
			var bad []modelmanager.RowError
			if err == nil {
				record, bad, err = s.CheckPredictions(record, n)
			}
			if test.fault != "" {
				if modelmanager.CodeOf(err) != modelmanager.CodeInvalidPredictions || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("error %v, want one that says %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(s.AppendRows(nil, record)); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			var rows []int64
			for _, e := range bad {
				rows = append(rows, e.Row)
			}
			if len(rows) != len(test.bad) || len(rows) > 0 && rows[0] != test.bad[0] {
				t.Errorf("errors %v, want those of rows %v", bad, test.bad)
			}
		})
	}
}

// splitRows splits an array whose items may hold NaN.
func splitRows(t *testing.T, text string) []json.RawMessage {
	s := scanner{data: []byte(text), pos: 1}
	var rows []json.RawMessage
	for more := true; more; {
		s.next()
		start := s.pos
		if _, ok := s.notFinite(); !ok && !s.skip(0) {
			t.Fatal(s.fault)
		}
		rows = append(rows, json.RawMessage(text[start:s.pos]))
		more, _ = s.more(']')
	}
	return rows
}

// TestArrowAnswers checks which types are cast, and which are refused.
func TestArrowAnswers(t *testing.T) {
	m := memory.DefaultAllocator
	float64s := func(values ...float64) arrow.Array {
		b := array.NewFloat64Builder(m)
		b.AppendValues(values, nil)
		return b.NewArray()
	}
	float32s := func(values ...float32) arrow.Array {
		b := array.NewFloat32Builder(m)
		b.AppendValues(values, nil)
		return b.NewArray()
	}
	int32s := func(values ...int32) arrow.Array {
		b := array.NewInt32Builder(m)
		b.AppendValues(values, nil)
		return b.NewArray()
	}
	texts := func(values ...string) arrow.Array {
		b := array.NewStringBuilder(m)
		b.AppendValues(values, nil)
		return b.NewArray()
	}
	levels := func(values ...string) arrow.Array {
		b := array.NewDictionaryBuilder(m, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
		for _, v := range values {
			if err := b.AppendString(v); err != nil {
				t.Fatal(err)
			}
		}
		return b.NewArray()
	}
	bools := func(values ...bool) arrow.Array {
		b := array.NewBooleanBuilder(m)
		b.AppendValues(values, nil)
		return b.NewArray()
	}
	stamps := func(unit arrow.TimeUnit, values ...arrow.Timestamp) arrow.Array {
		b := array.NewTimestampBuilder(m, &arrow.TimestampType{Unit: unit})
		b.AppendValues(values, nil)
		return b.NewArray()
	}
	pairs := func(values ...float64) arrow.Array {
		b := array.NewFixedSizeListBuilder(m, 2, arrow.PrimitiveTypes.Float64)
		for i, v := range values {
			if i%2 == 0 {
				b.Append(true)
			}
			b.ValueBuilder().(*array.Float64Builder).Append(v)
		}
		return b.NewArray()
	}
	number := modelmanager.Field{Name: "p", Type: modelmanager.Number}
	integer := modelmanager.Field{Name: "p", Type: modelmanager.Integer}
	class := modelmanager.Field{Name: "p", Type: modelmanager.String, Enum: []any{"a", "b"}}
	text := modelmanager.Field{Name: "p", Type: modelmanager.String}
	yes := modelmanager.Field{Name: "p", Type: modelmanager.Boolean}
	date := modelmanager.Field{Name: "p", Type: modelmanager.String, Format: modelmanager.FormatDate}
	at := modelmanager.Field{Name: "p", Type: modelmanager.String, Format: modelmanager.FormatDateTime}
	list := modelmanager.Field{Name: "p", Type: modelmanager.Array, MaxItems: ptr(2), Items: &modelmanager.Field{Type: modelmanager.Integer}}
	for _, test := range []struct {
		name   string
		field  modelmanager.Field
		answer arrow.Array
		want   string
		bad    int
		fault  string
	}{
		{name: "double", field: number, answer: float64s(0.5, -1), want: `{"p":[0.5,-1]}`},
		{name: "NaN", field: number, answer: float64s(0.5, math.NaN(), math.Inf(1)), want: `{"p":[0.5,null,null]}`, bad: 2},
		{name: "single", field: number, answer: float32s(0.5), want: `{"p":[0.5]}`},
		{name: "integer to number", field: number, answer: int32s(5), want: `{"p":[5]}`},
		{name: "whole double to integer", field: integer, answer: float64s(5, 5.5), want: `{"p":[5,null]}`, bad: 1},
		{name: "short integer", field: integer, answer: int32s(-5), want: `{"p":[-5]}`},
		{name: "boolean to number", field: number, answer: bools(true), fault: "astype"},
		{name: "integer to boolean", field: yes, answer: int32s(1), fault: "astype"},
		{name: "text to number", field: number, answer: texts("0.5"), fault: "labels"},
		{name: "pairs to number", field: number, answer: pairs(0.5, 0.5), fault: "[:, 1]"},
		{name: "text to class", field: class, answer: texts("b", "c"), want: `{"p":["b",null]}`, bad: 1},
		{name: "dictionary to class", field: class, answer: levels("b", "a", "c"), want: `{"p":["b","a",null]}`, bad: 1},
		{name: "dictionary to text", field: text, answer: levels("b", "a"), want: `{"p":["b","a"]}`},
		{name: "integer to text", field: text, answer: int32s(1), fault: "strings"},
		{name: "timestamp to date", field: date, answer: stamps(arrow.Second, 86400, 86401), want: `{"p":["1970-01-02",null]}`, bad: 1},
		{name: "nanoseconds", field: at, answer: stamps(arrow.Nanosecond, -1), want: `{"p":["1969-12-31T23:59:59.999999Z"]}`},
		{name: "text to date", field: date, answer: texts("2024-02-29", "x"), want: `{"p":["2024-02-29",null]}`, bad: 1},
		{name: "lists", field: list, answer: pairs(1, 2, 3, 4.5), want: `{"p":[[1,2],null]}`, bad: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := mustCompile(t, test.field)
			batch := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "p", Type: test.answer.DataType(), Nullable: true}}, nil),
				[]arrow.Array{test.answer}, int64(test.answer.Len()))
			record, bad, err := s.CheckPredictions(batch, test.answer.Len())
			if test.fault != "" {
				if modelmanager.CodeOf(err) != modelmanager.CodeInvalidPredictions || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("error %v, want one that says %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(s.AppendColumns(nil, record)); got != test.want || len(bad) != test.bad {
				t.Errorf("got  %s\nwant %s\nerrors %v", got, test.want, bad)
			}
			// A slice of an answer, as Arrow hands it on, is read at its offset.
			sliced, _, err := s.CheckPredictions(batch.NewSlice(1, batch.NumRows()), test.answer.Len()-1)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(s.AppendColumns(nil, sliced)), string(s.AppendColumns(nil, record.NewSlice(1, record.NumRows()))); got != want {
				t.Errorf("sliced\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

// TestAnswersByName checks order, names, counts and refused rows.
func TestAnswersByName(t *testing.T) {
	s := mustCompile(t, modelmanager.Field{Name: "x", Type: modelmanager.Number}, modelmanager.Field{Name: "y", Type: modelmanager.Number})
	answer := func(names ...string) arrow.RecordBatch {
		fields := make([]modelmanager.Field, len(names))
		values := make([]any, len(names))
		for i, name := range names {
			fields[i] = modelmanager.Field{Name: name, Type: modelmanager.Number, Nullable: true}
			values[i] = float64(i)
		}
		other := mustCompile(t, fields...)
		b := NewBuilder(other)
		for i := range names {
			b.SetFloat(i, float64(i))
		}
		b.EndRow(RefuseAbsent)
		for i := range names {
			b.SetNull(i)
		}
		b.EndRow(RefuseAbsent)
		return b.Record()
	}
	refused := []modelmanager.RowError{{Row: 1, Message: "too young"}}
	record, errs, err := s.CheckAnswers(answer("y", "x"), 2, refused)
	if err != nil || len(errs) != 1 || errs[0] != refused[0] {
		t.Fatal(errs, err)
	}
	if got := string(s.AppendRows(nil, record)); got != `[{"x":1,"y":0},{"x":null,"y":null}]` {
		t.Error(got)
	}
	for _, names := range [][]string{{"x"}, {"x", "z"}, {"x", "y", "z"}, {"0", "1", "2"}, {}} {
		if _, _, err := s.CheckPredictions(answer(names...), 2); modelmanager.CodeOf(err) != modelmanager.CodeInvalidPredictions {
			t.Errorf("%v: %v", names, err)
		}
	}
	if _, _, err := s.CheckPredictions(answer("x", "y"), 3); modelmanager.CodeOf(err) != modelmanager.CodeInvalidPredictions {
		t.Error(err)
	}
	if _, _, err := s.CheckAnswers(answer("x", "y"), 2, []modelmanager.RowError{{Row: 2}}); modelmanager.CodeOf(err) != modelmanager.CodeInvalidPredictions {
		t.Error(err)
	}
}
