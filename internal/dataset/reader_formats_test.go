package dataset

import (
	"bytes"
	"context"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	modelmanager "modelmanager.dev"
)

// everyType has a feature of every type.
func everyType(t testing.TB) *Schema {
	t.Helper()
	s, err := Compile([]modelmanager.Field{
		{Name: "flag", Type: modelmanager.Boolean, Nullable: true},
		{Name: "count", Type: modelmanager.Integer, Nullable: true},
		{Name: "amount", Type: modelmanager.Number, Nullable: true, Minimum: ptr(-10.0)},
		{Name: "kind", Type: modelmanager.String, Nullable: true, Enum: []any{"a", "b"}},
		{Name: "note", Type: modelmanager.String, Nullable: true},
		{Name: "day", Type: modelmanager.String, Format: modelmanager.FormatDate, Nullable: true},
		{Name: "at", Type: modelmanager.String, Format: modelmanager.FormatDateTime, Nullable: true},
		{Name: "pair", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, Length: ptr(2), Nullable: true},
		{Name: "extra", Type: modelmanager.Integer, Optional: true, Nullable: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const everyJSONL = `{"id":"x1","flag":true,"count":5,"amount":1.25,"kind":"b","note":"é, \"q\"\nz","day":"2024-02-29","at":"2024-07-01T10:30:00Z","pair":[1,2.5]}
{"id":"x2","flag":false,"count":-3,"amount":-2,"kind":"a","note":"n","day":"1999-12-31","at":"2024-01-01T00:00:00Z","pair":[0,0]}
{"id":"x3","flag":null,"count":7,"amount":-11,"kind":null,"note":null,"day":null,"at":null,"pair":[3,4]}
{"id":"x4","flag":null,"count":null,"amount":null,"kind":null,"note":null,"day":null,"at":null,"pair":[3,4]}
`

const everyCSV = "id,flag,count,amount,kind,note,day,at,pair.0,pair.1\r\n" +
	"x1,True,5.0,1.25,b,\"é, \"\"q\"\"\nz\",2024-02-29,2024-07-01T10:30:00Z,1,2.5\r\n" +
	"x2,FALSE,-3,-2,a,n,1999-12-31,2024-01-01 00:00:00,0,0\r\n" +
	"x3,,7,-11,,,,,3,4\r\n" +
	"x4,,,,,,,,3,4\r\n"

func everyParquet(t testing.TB) []byte {
	t.Helper()
	fields := []arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.LargeString},
		{Name: "flag", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "count", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "amount", Type: &arrow.Decimal128Type{Precision: 20, Scale: 3}, Nullable: true},
		{Name: "kind", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "note", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Nanosecond}, Nullable: true},
		{Name: "pair.0", Type: arrow.PrimitiveTypes.Float32},
		{Name: "pair.1", Type: arrow.PrimitiveTypes.Float64},
	}
	schema := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for row, values := range [][]string{
		{"x1", "true", "5", "", "b", "é, \"q\"\nz", "2024-02-29", "2024-07-01T10:30:00", "1", "2.5"},
		{"x2", "false", "-3", "", "a", "n", "1999-12-31", "2024-01-01T00:00:00", "0", "0"},
		{"x3", "", "7", "", "", "", "", "", "3", "4"},
		{"x4", "", "", "", "", "", "", "", "3", "4"},
	} {
		for i, v := range values {
			if i == 3 {
				continue
			}
			if v == "" {
				b.Field(i).AppendNull()
			} else if err := b.Field(i).AppendValueFromString(v); err != nil {
				t.Fatal(row, i, err)
			}
		}
	}
	amounts := b.Field(3).(*array.Decimal128Builder)
	for _, v := range []int64{1250, -2000, -11000} {
		amounts.Append(decimal128.FromI64(v))
	}
	amounts.AppendNull()
	return parquetOf(t, b.NewRecordBatch())
}

// parquetOf writes records as a Parquet file.
func parquetOf(t interface {
	Helper()
	Fatal(...any)
}, records ...arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	w := &parquetWriter{sink: &out, schema: records[0].Schema(), held: records}
	for _, record := range records {
		w.rows += record.NumRows()
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func everyXLSX(t testing.TB) []byte {
	t.Helper()
	f := excelize.NewFile()
	format := "dd/mm/yyyy"
	day, _ := f.NewStyle(&excelize.Style{CustomNumFmt: &format})
	at := func(year int, month time.Month, d, hour, minute int) time.Time {
		return time.Date(year, month, d, hour, minute, 0, 0, time.UTC)
	}
	for i, row := range [][]any{
		{"A report", nil, nil, "of three"},
		{},
		{"id", "flag", "count", "amount", "kind", "note", "day", "at", "pair.0", "pair.1"},
		{"x1", true, 5, 1.25, "b", "é, \"q\"\nz", at(2024, 2, 29, 0, 0), at(2024, 7, 1, 10, 30), 1, 2.5},
		{"x2", false, -3, -2, "a", "n", at(1999, 12, 31, 0, 0), at(2024, 1, 1, 0, 0), 0, 0},
		{"x3", nil, 7, -11, nil, nil, nil, nil, 3, 4},
		{"x4", nil, nil, nil, nil, nil, nil, nil, 3, 4},
	} {
		name, _ := excelize.CoordinatesToCellName(1, i+1)
		if err := f.SetSheetRow("Sheet1", name, &row); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.SetCellStyle("Sheet1", "G4", "G5", day); err != nil {
		t.Fatal(err)
	}
	if err := f.MergeCell("Sheet1", "D1", "F1"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := f.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestFormatsAgree(t *testing.T) {
	s := everyType(t)
	want := `{"flag":true,"count":5,"amount":1.25,"kind":"b","note":"é, \"q\"\nz","day":"2024-02-29","at":"2024-07-01T10:30:00Z","pair":[1,2.5],"extra":null}
{"flag":false,"count":-3,"amount":-2,"kind":"a","note":"n","day":"1999-12-31","at":"2024-01-01T00:00:00Z","pair":[0,0],"extra":null}
{"flag":null,"count":null,"amount":null,"kind":null,"note":null,"day":null,"at":null,"pair":[3,4],"extra":null}
`
	for format, data := range map[string][]byte{
		"csv": []byte(everyCSV), "jsonl": []byte(everyJSONL), "parquet": everyParquet(t), "xlsx": everyXLSX(t),
	} {
		t.Run(format, func(t *testing.T) {
			src := NewBytesSource(data)
			input, err := Sniff(context.Background(), src, modelmanager.JobInput{Timezone: "UTC"}, s)
			if err != nil {
				t.Fatal(err)
			}
			if input.Format != format {
				t.Errorf("sniffed %s", input.Format)
			}
			batches, r := read(t, src, input, s)
			if diff := cmp.Diff(want, rowsOf(s, batches)); diff != "" {
				t.Error(diff)
			}
			if got := batches[0].Rejected; len(got) != 1 || got[0].Row != 3 || got[0].Feature != "amount" || !strings.Contains(got[0].Message, "-11") {
				t.Errorf("rejected: %+v", got)
			}
			if !batches[0].Record.Schema().Equal(s.Arrow()) {
				t.Errorf("schema %s", batches[0].Record.Schema())
			}
			if r.Filled()["extra"] == 0 {
				t.Errorf("filled: %v", r.Filled())
			}
			slices, err := Plan(context.Background(), src, input, 3)
			if err != nil || len(slices) != 2 || slices[1].FirstRow != 4 || slices[1].Rows != 1 {
				t.Fatal(err, slices)
			}
			second, err := NewReader(context.Background(), src, input, s, slices[1], ReaderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if batch := drain(t, second)[0]; batch.FirstRow != 4 || batch.Rows != 1 {
				t.Errorf("second slice: row %d, %d rows", batch.FirstRow, batch.Rows)
			}
		})
	}
}

// TestWriteAndJoin writes shards in each format, joins them, and reads the whole.
func TestWriteAndJoin(t *testing.T) {
	ctx := context.Background()
	s, predictions := everyType(t), risks(t)
	for _, from := range []string{"csv", "jsonl", "parquet", "xlsx"} {
		data := map[string][]byte{"csv": []byte(everyCSV), "jsonl": []byte(everyJSONL), "parquet": everyParquet(t), "xlsx": everyXLSX(t)}[from]
		src := NewBytesSource(data)
		input, err := Sniff(ctx, src, modelmanager.JobInput{Timezone: "UTC"}, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range []string{"csv", "jsonl", "parquet", "xlsx"} {
			t.Run(from+" to "+to, func(t *testing.T) {
				slices, err := Plan(ctx, src, input, 3)
				if err != nil {
					t.Fatal(err)
				}
				var parts []Source
				for _, slice := range slices {
					r, err := NewReader(ctx, src, input, s, slice, ReaderOptions{})
					if err != nil {
						t.Fatal(err)
					}
					var out bytes.Buffer
					w, err := NewWriter(&out, WriterOptions{
						Format: to, Input: input, Header: r.Header(), Features: s, Predictions: predictions,
						Model: "m", Version: 1, Job: "j", ScoredAt: time.Unix(1.7e9, 0), WriteHeader: slice.Index == 0,
					})
					if err != nil {
						t.Fatal(err)
					}
					for _, batch := range drain(t, r) {
						if err := w.Write(batch, answer(predictions, int(batch.Record.NumRows())), nil); err != nil {
							t.Fatal(err)
						}
					}
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
					parts = append(parts, NewBytesSource(out.Bytes()))
				}
				var whole bytes.Buffer
				if err := Concatenate(ctx, &whole, to, eachOf(parts)); err != nil {
					t.Fatal(err)
				}
				if to == "jsonl" && from != "jsonl" { // the pair stays two columns, which JSON Lines has no use for
					if n := bytes.Count(whole.Bytes(), []byte{'\n'}); n != 3 {
						t.Errorf("%d lines", n)
					}
					return
				}
				joined := NewBytesSource(whole.Bytes())
				batches, _ := read(t, joined, modelmanager.JobInput{Timezone: "UTC"}, s)
				rows := rowsOf(s, batches)
				if n := strings.Count(rows, "\n"); n != 3 || !strings.HasPrefix(rows, `{"flag":true,"count":5,"amount":1.25,"kind":"b","note":"é, \"q\"\nz","day":"2024-02-29","at":"2024-07-01T10:30:00Z","pair":[1,2.5]`) {
					t.Errorf("joined:\n%s\n%s", rows, whole.Bytes()[:min(whole.Len(), 500)])
				}
			})
		}
	}
}

func eachOf(parts []Source) iter.Seq2[Source, error] {
	return func(yield func(Source, error) bool) {
		for _, part := range parts {
			if !yield(part, nil) {
				return
			}
		}
	}
}

func TestParquetSlowAndFastAgree(t *testing.T) {
	s, err := Compile([]modelmanager.Field{
		{Name: "a", Type: modelmanager.Number, Minimum: ptr(0.0), Nullable: true},
		{Name: "b", Type: modelmanager.Integer, Nullable: true},
		{Name: "c", Type: modelmanager.String, Enum: []any{"x", "y"}, Nullable: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "b", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "c", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	rows := [][]string{{"1.5", "2", "x"}, {"", "", ""}, {"2.5", "-7", "y"}, {"NaN", "1", "x"}, {"-1", "1", "z"}}
	for n := range len(rows) + 1 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for _, row := range rows[:n] {
			for i, v := range row {
				if v == "" {
					b.Field(i).AppendNull()
				} else if err := b.Field(i).AppendValueFromString(v); err != nil {
					t.Fatal(err)
				}
			}
		}
		file := parquetOf(t, b.NewRecordBatch())
		batches, _ := read(t, NewBytesSource(file), modelmanager.JobInput{}, s)
		want := strings.Join([]string{`{"a":1.5,"b":2,"c":"x"}`, `{"a":null,"b":null,"c":null}`, `{"a":2.5,"b":-7,"c":"y"}`}[:min(n, 3)], "\n")
		if diff := cmp.Diff(want, strings.TrimSuffix(rowsOf(s, batches), "\n")); diff != "" {
			t.Errorf("%d rows: %s", n, diff)
		}
		if n > 3 && len(batches[0].Rejected) != n-3 {
			t.Errorf("rejected %+v", batches[0].Rejected)
		}
	}
}

func TestHostileParquet(t *testing.T) {
	s := everyType(t)
	good := everyParquet(t)
	for i := 0; i < len(good); i += 3 {
		data := bytes.Clone(good)
		data[i] ^= 0x5a
		src := NewBytesSource(data)
		r, err := NewReader(context.Background(), src, modelmanager.JobInput{Format: "parquet", Timezone: "UTC"}, s, Whole(), ReaderOptions{})
		if err != nil {
			continue
		}
		for err == nil {
			_, err = r.Next()
		}
		if err != io.EOF && modelmanager.CodeOf(err) == modelmanager.CodeInternal {
			t.Errorf("byte %d: %v", i, err)
		}
		r.Close()
	}
}

func TestNotParquet(t *testing.T) {
	s := mustCompile(t, modelmanager.Field{Name: "x", Type: modelmanager.Number})
	for _, text := range []string{"id,x\n1,2\n", "P", "{\"x\": 1}\n"} {
		_, err := NewReader(t.Context(), NewBytesSource([]byte(text)), modelmanager.JobInput{Format: formatParquet}, s, Slice{}, ReaderOptions{})
		if modelmanager.CodeOf(err) != modelmanager.CodeInvalidInput || !strings.Contains(err.Error(), "begins with") {
			t.Errorf("%q read as Parquet: %v", text, err)
		}
	}
}
