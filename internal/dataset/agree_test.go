package dataset

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	modelmanager "modelmanager.dev"
)

// TestFilesAgreeWithJSON holds cells of CSV and columns of Parquet, which have
// quick ways of their own, against the checks of JSON, which TestAgreesWithJSONSchema
// holds against a general validator: random rows of random schemas are accepted
// and refused alike, and hold the same values. So they do whatever an enum's order.
func TestFilesAgreeWithJSON(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		fields := drawFields(t)
		s, err := Compile(fields)
		if err != nil {
			t.Fatal(err)
		}
		rows := make([][]string, rapid.IntRange(1, 12).Draw(t, "rows"))
		for i := range rows {
			rows[i] = make([]string, len(fields))
			for j, f := range fields {
				rows[i][j] = drawCell(t, f)
			}
		}
		want := judged(t, s, fields, rows)
		for _, row := range want {
			if row == "" {
				refused++
			} else {
				accepted++
			}
		}
		input := modelmanager.JobInput{Format: "csv", Compression: "none", Delimiter: ",", Encoding: "utf-8", Decimal: ".", HeaderRow: 1, Null: []string{""}}
		check(t, s, NewBytesSource(asCSV(fields, rows)), input, want)
		check(t, s, NewBytesSource(asParquet(t, fields, rows)), modelmanager.JobInput{Format: "parquet"}, want)

		shuffled := slices.Clone(fields)
		for i := range shuffled {
			if len(shuffled[i].Enum) > 1 {
				shuffled[i].Enum = rapid.Permutation(shuffled[i].Enum).Draw(t, "levels")
			}
		}
		other, err := Compile(shuffled)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, judged(t, other, shuffled, rows)); diff != "" {
			t.Fatalf("the order of an enum matters: %s", diff)
		}
	})
	if accepted < refused/20 || refused < accepted/20 {
		t.Errorf("one-sided: %d rows accepted, %d refused", accepted, refused)
	}
}

var digitsOnly = regexp.MustCompile(`^"-?(0|[1-9][0-9]*)"$`)

// drawCell draws a JSON value that a cell of its type can hold: in a file 5 is
// no string, and "5" no number.
func drawCell(t *rapid.T, f modelmanager.Field) string {
	for range 20 {
		value := drawValue(t, f)
		first := value[0]
		number := first == '-' || first >= '0' && first <= '9'
		var fits bool
		switch {
		case value == "null":
			fits = true
		case f.Type == modelmanager.Boolean:
			fits = first == 't' || first == 'f'
		case f.Format == modelmanager.FormatInt64:
			_, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 64)
			fits = digitsOnly.MatchString(value) && err == nil
		case f.Type == modelmanager.Integer:
			r, ok := new(big.Rat).SetString(value)
			fits = number && ok && r.IsInt() && r.Num().IsInt64()
		case f.Type == modelmanager.Number:
			v, err := strconv.ParseFloat(value, 64)
			fits = number && err == nil && !math.IsInf(v, 0)
		case f.Type == modelmanager.Array:
			fits = first == '['
		default:
			fits = first == '"'
		}
		if fits {
			return value
		}
	}
	return "null"
}

// judged says what JSON makes of the rows: "" for those that it refuses.
func judged(t *rapid.T, s *Schema, fields []modelmanager.Field, rows [][]string) []string {
	b := NewBuilder(s)
	texts := make([]string, len(rows))
	for i, row := range rows {
		var members []string
		for j, value := range row {
			members = append(members, quoted(fields[j].Name)+":"+value)
		}
		b.SetJSON([]byte("{" + strings.Join(members, ",") + "}"))
		if b.EndRow(RefuseAbsent) == nil {
			texts[i] = string(s.AppendRow(nil, b.Record(), 0))
		}
	}
	return texts
}

// check reads a file in batches of random sizes: a batch without a fault takes
// other ways than one with.
func check(t *rapid.T, s *Schema, src Source, input modelmanager.JobInput, want []string) {
	r, err := NewReader(context.Background(), src, input, s, Whole(), ReaderOptions{BatchRows: rapid.IntRange(1, 13).Draw(t, "batch")})
	if err != nil {
		t.Fatalf("%s: %v", input.Format, err)
	}
	defer r.Close()
	got := make([]string, 0, len(want))
	reasons := ""
	for len(got) < len(want) {
		batch, err := r.Next()
		if err != nil {
			t.Fatalf("%s: after %d rows: %v", input.Format, len(got), err)
		}
		texts := make([]string, batch.Rows)
		for i := range int(batch.Record.NumRows()) {
			texts[batch.Index(i)] = string(s.AppendRow(nil, batch.Record, i))
		}
		for _, rejected := range batch.Rejected {
			reasons += fmt.Sprintf("\nrow %d, %s: %s", rejected.Row, rejected.Feature, rejected.Message)
		}
		got = append(got, texts...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		spec, _ := json.Marshal(s.Fields())
		t.Fatalf("schema %s\n%s differs from JSON: %s%s", spec, input.Format, diff, reasons)
	}
}

// asCSV writes texts in quotes, and everything else without.
func asCSV(fields []modelmanager.Field, rows [][]string) []byte {
	var out strings.Builder
	write := func(text string) { out.WriteString(`"` + strings.ReplaceAll(text, `"`, `""`) + `",`) }
	for _, f := range fields {
		write(f.Name)
	}
	out.WriteString("row\n") // so that no line is empty
	for i, row := range rows {
		for j, value := range row {
			switch {
			case value == "null":
				out.WriteByte(',')
			case fields[j].Format == modelmanager.FormatInt64:
				out.WriteString(strings.Trim(value, `"`) + ",")
			case value[0] == '"':
				write(unquoted(value))
			case value[0] == '[':
				write(value)
			default:
				out.WriteString(value + ",")
			}
		}
		fmt.Fprintf(&out, "%d\n", i)
	}
	return []byte(out.String())
}

func unquoted(value string) string {
	var text string
	if err := json.Unmarshal([]byte(value), &text); err != nil {
		panic(err)
	}
	return text
}

// asParquet writes typed columns; dates and date-times as such where all are some.
func asParquet(t *rapid.T, fields []modelmanager.Field, rows [][]string) []byte {
	kinds := make([]arrow.Field, len(fields))
	for j, f := range fields {
		kinds[j] = arrow.Field{Name: f.Name, Type: parquetKind(t, f, j, rows), Nullable: true}
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(kinds, nil))
	for _, row := range rows {
		for j, value := range row {
			appendJSON(t, b.Field(j), kinds[j].Type, fields[j], value)
		}
	}
	return parquetOf(t, b.NewRecordBatch())
}

// appendJSON appends a JSON value to a column.
func appendJSON(t *rapid.T, to array.Builder, kind arrow.DataType, f modelmanager.Field, value string) {
	if value == "null" {
		to.AppendNull()
		return
	}
	text := strings.Trim(value, `"`)
	if value[0] == '"' && f.Format != modelmanager.FormatInt64 {
		text = unquoted(value)
	}
	if r, ok := new(big.Rat).SetString(text); ok && f.Type == modelmanager.Integer {
		text = r.Num().String() // 5.0 is 5
	}
	switch to := to.(type) {
	case *array.Date32Builder:
		days, _ := parseDate([]byte(text))
		to.Append(arrow.Date32(days))
	case *array.TimestampBuilder:
		micros, _ := parseTime([]byte(text))
		to.Append(arrow.Timestamp(micros))
	default:
		if err := to.AppendValueFromString(text); err != nil {
			t.Fatalf("%s in a column of %s: %v", text, kind, err)
		}
	}
}

func parquetKind(t *rapid.T, f modelmanager.Field, column int, rows [][]string) arrow.DataType {
	all := func(ok func(text []byte) bool) bool {
		for _, row := range rows {
			if value := row[column]; value != "null" && !ok([]byte(unquoted(value))) {
				return false
			}
		}
		return true
	}
	switch {
	case f.Type == modelmanager.Boolean:
		return arrow.FixedWidthTypes.Boolean
	case f.Type == modelmanager.Integer:
		return arrow.PrimitiveTypes.Int64
	case f.Type == modelmanager.Number:
		return arrow.PrimitiveTypes.Float64
	case f.Format == modelmanager.FormatDate && all(func(text []byte) bool { _, fault := parseDate(text); return fault == "" }):
		return arrow.FixedWidthTypes.Date32
	case f.Format == modelmanager.FormatDateTime && all(func(text []byte) bool { _, fault := parseTime(text); return fault == "" }):
		return arrow.FixedWidthTypes.Timestamp_us
	case len(f.Enum) > 0 && chance(t, 50, "dictionary"):
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	default:
		return arrow.BinaryTypes.String
	}
}
