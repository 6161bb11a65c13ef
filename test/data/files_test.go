package data

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/test/program"
)

// fileCase is a file, and what models see of its rows. A wanted row is
// "feature=value; feature=value", the others null; a refused one is
// "refused feature: part of the reason".
type fileCase struct {
	rule  string
	file  []byte
	input modelmanager.JobInput
	want  []string
	code  modelmanager.Code // of a file that is refused as a whole
	part  string            // of what is said about it
}

// fileFeatures are the features of the files' models: only size needs its column.
func fileFeatures() []modelmanager.Field {
	var fields []modelmanager.Field
	for _, f := range features() {
		if f.Name == "size" {
			fields = append(fields, f)
		} else if f.Nullable || f.Default != nil {
			f.Optional = true
			fields = append(fields, f)
		}
	}
	return fields
}

func csvCases() []fileCase {
	text := func(lines ...string) []byte { return []byte(strings.Join(lines, "\n") + "\n") }
	encoded := func(e encoding.Encoding, lines ...string) []byte {
		out, err := e.NewEncoder().Bytes(text(lines...))
		if err != nil {
			panic(err)
		}
		return out
	}
	in := func(change func(*modelmanager.JobInput)) modelmanager.JobInput {
		var input modelmanager.JobInput
		change(&input)
		return input
	}
	return []fileCase{
		{rule: "columns in any order, features without a column", file: text("text_n,size", "a,1.5"), want: []string{"size=1.5; text_n=a"}},
		{rule: "a byte order mark", file: text("\ufeffsize,text_n", "1,a"), want: []string{"size=1; text_n=a"}},
		{rule: "CRLF", file: []byte("size,text_n\r\n1,a\r\n2,\r\n"), want: []string{"size=1; text_n=a", "size=2"}},
		{rule: "no line end at the end", file: []byte("size,text_n\n1,a"), want: []string{"size=1; text_n=a"}},
		{rule: "a quoted line break", file: text("size,text_n", "1,\"a", "b\"", "2,c"), want: []string{"size=1; text_n=a\nb", "size=2; text_n=c"}},
		{rule: "a quoted CRLF", file: []byte("size,text_n\r\n1,\"a\r\nb\"\r\n"), want: []string{"size=1; text_n=a\r\nb"}},
		{rule: "empty and quoted empty", file: text("size,text_n,count_n", `1,"",`, `2,,""`), want: []string{"size=1; text_n=", "refused count_n: quoted"}},
		{rule: "semicolons", file: text("size;text_n;count_n", "1.5;a,b;3", "2.5;c;4"), want: []string{"size=1.5; text_n=a,b; count_n=3", "size=2.5; text_n=c; count_n=4"}},
		{rule: "tabs", file: text("size\ttext_n", "1.5\ta", "2.5\tb"), want: []string{"size=1.5; text_n=a", "size=2.5; text_n=b"}},
		{rule: "bars", file: text("size|text_n", "1.5|a", "2.5|b"), want: []string{"size=1.5; text_n=a", "size=2.5; text_n=b"}},
		{rule: "decimal commas", file: text("size;text_n", "1,5;a", "2,25;b"), want: []string{"size=1.5; text_n=a", "size=2.25; text_n=b"}},
		{rule: "decimal commas, said", input: in(func(i *modelmanager.JobInput) { i.Decimal = "," }), file: text("size,text_n", `"1,5",a`), want: []string{"size=1.5; text_n=a"}},
		{rule: "5.0 with decimal commas", input: in(func(i *modelmanager.JobInput) { i.Decimal, i.Delimiter = ",", ";" }), file: text("size;count_n", "1,5;5,0"), want: []string{"size=1.5; count_n=5"}},
		{rule: "title rows", file: text("A report,", ",", "size,text_n", "1,a", "2,b"), want: []string{"size=1; text_n=a", "size=2; text_n=b"}},
		{rule: "title rows, said", input: in(func(i *modelmanager.JobInput) { i.HeaderRow = 3 }), file: text("A report", "of things", "size,text_n", "1,a"), want: []string{"size=1; text_n=a"}},
		{rule: "other nulls", input: in(func(i *modelmanager.JobInput) { i.Null = []string{"", "NA", "-"} }), file: text("size,text_n,count_n", "1,NA,-", `2,"NA",`), want: []string{"size=1", "size=2; text_n=NA"}},
		{rule: "dates in another order", input: in(func(i *modelmanager.JobInput) { i.Dates = "DD/MM/YYYY" }), file: text("size,day_n", "1,02/01/2024"), want: []string{"size=1; day_n=2024-01-02"}},
		{rule: "dates whose order shows", file: text("size,day_n", "1,31/01/2024", "2,01/02/2024"), want: []string{"size=1; day_n=2024-01-31", "size=2; day_n=2024-02-01"}},
		{rule: "dates that could be two", file: text("size,day_n", "1,02/01/2024"), code: modelmanager.CodeInvalidInput, part: "input.dates"},
		{rule: "naive times, refused", file: text("size,at_n", "1,2024-07-01T12:00:00"), want: []string{"refused at_n: timezone"}},
		{rule: "naive times in a timezone", input: in(func(i *modelmanager.JobInput) { i.Timezone = "Europe/Berlin" }), file: text("size,at_n", "1,2024-07-01 12:00:00", "2,2024-01-01T12:00:00", "3,2024-07-01T12:00:00Z"), want: []string{"size=1; at_n=2024-07-01T10:00:00Z", "size=2; at_n=2024-01-01T11:00:00Z", "size=3; at_n=2024-07-01T12:00:00Z"}},
		{rule: "windows-1252, said", input: in(func(i *modelmanager.JobInput) { i.Encoding = "windows-1252" }), file: encoded(charmap.Windows1252, "size,text_n", "1,grün “€”"), want: []string{"size=1; text_n=grün “€”"}},
		{rule: "UTF-16 with its mark", file: encoded(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "size,text_n", "1,grün"), want: []string{"size=1; text_n=grün"}},
		{rule: "UTF-16, big end first", file: encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM), "size,text_n", "1,🚀"), want: []string{"size=1; text_n=🚀"}},
		{rule: "gzip", file: gzipped(text("size,text_n", "1,a")), want: []string{"size=1; text_n=a"}},
		{rule: "zstd", file: zstded(text("size,text_n", "1,a")), want: []string{"size=1; text_n=a"}},
		{rule: "a gzip that is cut off", file: gzipped(text("size,text_n", "1,a"))[:30], code: modelmanager.CodeInvalidInput},
		{rule: "invalid UTF-8, said to be UTF-8", input: in(func(i *modelmanager.JobInput) { i.Encoding = "utf-8" }), file: []byte("size,text_n\n1,gr\xfcn\n2,b\n"), want: []string{"refused : UTF-8", "size=2; text_n=b"}},
		{rule: "ragged rows", file: text("size,text_n", "1,a", "2", "3,c,d", "4,e"), want: []string{"size=1; text_n=a", "refused : cells", "refused : cells", "size=4; text_n=e"}},
		{rule: "a duplicate header", file: text("size,text_n,size", "1,a,2"), code: modelmanager.CodeInvalidInput, part: `"size" (columns 1 and 3)`},
		{rule: "a missing column, and the nearest", file: text("sise,text_n", "1,a"), code: modelmanager.CodeMissingColumn, part: `the nearest is "sise"`},
		{rule: "a mapped column", input: in(func(i *modelmanager.JobInput) { i.Columns = map[string]string{"size": "Net size"} }), file: text("Net size,text_n", "1,a"), want: []string{"size=1; text_n=a"}},
		{rule: "a mapping to no column", input: in(func(i *modelmanager.JobInput) { i.Columns = map[string]string{"size": "Net"} }), file: text("size,text_n", "1,a"), code: modelmanager.CodeMissingColumn, part: `"Net"`},
		{rule: "a mapping of no feature", input: in(func(i *modelmanager.JobInput) { i.Columns = map[string]string{"sise": "size"} }), file: text("size,text_n", "1,a"), code: modelmanager.CodeInvalidInput, part: `is "size" meant`},
		{rule: "unknown columns are no fault", file: text("id,size,note", "x,1,hi"), want: []string{"size=1"}},
		{rule: "an array in columns", file: text("size,pair.0,pair.1", "1,0.5,3"), want: []string{"size=1; pair=[0.5,3]"}},
		{rule: "a part of an array's columns", file: text("size,pair.0", "1,0.5"), code: modelmanager.CodeMissingColumn, part: "pair.1"},
		{rule: "text after a quote", file: text("size,text_n", `1,"a"b`, "2,c"), want: []string{"refused : quote", "size=2; text_n=c"}},
		{rule: "a file without rows", file: text("size,text_n"), want: nil},
		{rule: "an empty file", file: nil, code: modelmanager.CodeInvalidInput, part: "empty"},
		{rule: "JSON Lines", file: []byte("{\"size\": 1, \"text_n\": \"a\", \"id\": 7}\n\n{\"size\": 2.5, \"count_n\": 5.0}\n"), input: in(func(i *modelmanager.JobInput) { i.Format = "jsonl" }), want: []string{"size=1; text_n=a", "size=2.5; count_n=5"}},
		{rule: "JSON Lines, a duplicate key", file: []byte("{\"size\": 1, \"size\": 2}\n{\"size\": 1}\n"), want: []string{"refused size: twice", "size=1"}},
		{rule: "JSON Lines, invalid UTF-8", file: []byte("{\"size\": 1, \"text_n\": \"\xff\"}\n{\"size\": 1}\n"), input: in(func(i *modelmanager.JobInput) { i.Format, i.Encoding = "jsonl", "utf-8" }), want: []string{"refused : UTF-8", "size=1"}},
		{rule: "JSON Lines, a missing key, and the nearest", file: []byte("{\"sise\": 1}\n{\"sise\": 2}\n"), code: modelmanager.CodeMissingColumn, part: `the nearest is "sise"`},
		{rule: "JSON Lines, a key that some rows lack", file: []byte("{\"size\": 1}\n{\"text_n\": \"a\"}\n"), want: []string{"size=1", "refused size: missing"}},
		{rule: "JSON Lines, a mapped key", input: in(func(i *modelmanager.JobInput) { i.Columns = map[string]string{"size": "Net size"} }), file: []byte("{\"Net size\": 1}\n"), want: []string{"size=1"}},
		{rule: "JSON Lines, a mapping to no key", input: in(func(i *modelmanager.JobInput) { i.Columns = map[string]string{"size": "Net"} }), file: []byte("{\"size\": 1}\n"), code: modelmanager.CodeMissingColumn, part: `"Net"`},
		{rule: "rows wider than the header", file: text("size,text_n", "1,a,", "2,b,"), code: modelmanager.CodeInvalidInput, part: "2 names, and every row 3 cells"},
		{rule: "JSON Lines, gzip", file: gzipped([]byte("{\"size\": 1}\n")), want: []string{"size=1"}},
	}
}

func gzipped(data []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(data)
	w.Close()
	return out.Bytes()
}

func zstded(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(data, nil)
}

// parquetCases have columns of other types than the features'.
func parquetCases(t *testing.T) []fileCase {
	t.Helper()
	file := func(columns map[string]arrow.DataType, values map[string]string) []byte {
		var fields []arrow.Field
		for _, name := range []string{"size", "count_n", "text_n", "day_n", "at_n", "side_n", "flag_n", "id"} {
			if kind, ok := columns[name]; ok {
				fields = append(fields, arrow.Field{Name: name, Type: kind, Nullable: true})
			}
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
		for i, field := range fields {
			if values[field.Name] == "" {
				b.Field(i).AppendNull()
			} else if err := b.Field(i).AppendValueFromString(values[field.Name]); err != nil {
				t.Fatal(field.Name, err)
			}
		}
		return parquetFile(t, b.NewRecordBatch())
	}
	double := arrow.PrimitiveTypes.Float64
	decimal := &arrow.Decimal128Type{Precision: 20, Scale: 3}
	naive := &arrow.TimestampType{Unit: arrow.Nanosecond}
	type types = map[string]arrow.DataType
	type values = map[string]string
	return []fileCase{
		{rule: "decimals are the nearest double", file: file(types{"size": decimal, "count_n": decimal}, values{"size": "0.1", "count_n": "5.000"}), want: []string{"size=0.1; count_n=5"}},
		{rule: "a decimal that is no integer", file: file(types{"size": double, "count_n": decimal}, values{"size": "1", "count_n": "5.5"}), want: []string{"refused count_n: not an integer"}},
		{rule: "float32 and int32", file: file(types{"size": arrow.PrimitiveTypes.Float32, "count_n": arrow.PrimitiveTypes.Int32}, values{"size": "0.5", "count_n": "-3"}), want: []string{"size=0.5; count_n=-3"}},
		{rule: "an integer column of doubles", file: file(types{"size": arrow.PrimitiveTypes.Int64, "count_n": double}, values{"size": "2", "count_n": "5"}), want: []string{"size=2; count_n=5"}},
		{rule: "5.5 in an integer column", file: file(types{"size": double, "count_n": double}, values{"size": "1", "count_n": "5.5"}), want: []string{"refused count_n: not an integer"}},
		{rule: "naive timestamps, refused", file: file(types{"size": double, "at_n": naive}, values{"size": "1", "at_n": "2024-07-01T12:00:00"}), code: modelmanager.CodeInvalidInput, part: "timezone"},
		{rule: "naive timestamps in a timezone", input: modelmanager.JobInput{Timezone: "Europe/Berlin"}, file: file(types{"size": double, "at_n": naive}, values{"size": "1", "at_n": "2024-07-01T12:00:00"}), want: []string{"size=1; at_n=2024-07-01T10:00:00Z"}},
		{rule: "a date in a timestamp", file: file(types{"size": double, "day_n": naive}, values{"size": "1", "day_n": "2024-07-01T00:00:00"}), want: []string{"size=1; day_n=2024-07-01"}},
		{rule: "a timestamp is no date", file: file(types{"size": double, "day_n": naive}, values{"size": "1", "day_n": "2024-07-01T12:00:00"}), want: []string{"refused day_n: date-time"}},
		{rule: "dates as text", file: file(types{"size": double, "day_n": arrow.BinaryTypes.String}, values{"size": "1", "day_n": "2024-07-01"}), want: []string{"size=1; day_n=2024-07-01"}},
		{rule: "a dictionary", file: file(types{"size": double, "side_n": &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}}, values{"size": "1", "side_n": "east"}), want: []string{"size=1; side_n=east"}},
		{rule: "a column of nulls", file: file(types{"size": double, "count_n": arrow.PrimitiveTypes.Int64, "text_n": arrow.BinaryTypes.String}, values{"size": "1"}), want: []string{"size=1"}},
		{rule: "text is no number", file: file(types{"size": arrow.BinaryTypes.String}, values{"size": "1"}), code: modelmanager.CodeInvalidInput, part: "size"},
		{rule: "a number is no text", file: file(types{"size": double, "text_n": double}, values{"size": "1", "text_n": "7"}), code: modelmanager.CodeInvalidInput, part: "text_n"},
		{rule: "a double beyond 2^53 is no integer", file: file(types{"size": double, "count_n": double}, values{"size": "1", "count_n": "9007199254740993"}), want: []string{"refused count_n: 2^53"}},
		{rule: "a float beyond 2^24 is no integer", file: file(types{"size": double, "count_n": arrow.PrimitiveTypes.Float32}, values{"size": "1", "count_n": "16777217"}), want: []string{"refused count_n: 2^24"}},
		{rule: "a mapped column of Parquet", input: modelmanager.JobInput{Columns: map[string]string{"size": "id"}}, file: file(types{"id": double}, values{"id": "1.5"}), want: []string{"size=1.5"}},
		{rule: "a missing column", file: file(types{"id": double}, values{"id": "1"}), code: modelmanager.CodeMissingColumn, part: "size"},
	}
}

func sheetCases(t *testing.T) []fileCase {
	t.Helper()
	file := func(rows ...[]any) []byte {
		f := excelize.NewFile()
		defer f.Close()
		for i, row := range rows {
			if err := f.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+1), &row); err != nil {
				t.Fatal(err)
			}
		}
		out, err := f.WriteToBuffer()
		if err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	noon := time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC)
	return []fileCase{
		{rule: "a sheet with a title", file: file([]any{"A report"}, []any{}, []any{"size", "count_n", "text_n", "flag_n"}, []any{1.5, 5, "a", true}, []any{2, nil, nil, false}), want: []string{"size=1.5; count_n=5; text_n=a; flag_n=true", "size=2; flag_n=false"}},
		{rule: "a date in a sheet", file: file([]any{"size", "day_n"}, []any{1, time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)}), want: []string{"size=1; day_n=2024-02-29"}},
		{rule: "a time in a sheet is naive", file: file([]any{"size", "at_n"}, []any{1, noon}), want: []string{"refused at_n: timezone"}},
		{rule: "a time in a sheet, with a timezone", input: modelmanager.JobInput{Timezone: "Europe/Berlin"}, file: file([]any{"size", "at_n"}, []any{1, noon}), want: []string{"size=1; at_n=2024-07-01T10:00:00Z"}},
		{rule: "a number of 16 digits in a sheet", file: file([]any{"size", "count_n", "text_n"}, []any{1, 1234567890123456, "a"}, []any{2, 3, 4111111111111111}, []any{3, "1234567890123456", "4111111111111111"}), want: []string{"refused count_n: 15 digits", "refused text_n: 15 digits", "size=3; count_n=1234567890123456; text_n=4111111111111111"}},
		{rule: "a mapped column of a sheet", input: modelmanager.JobInput{Columns: map[string]string{"size": "Net size"}}, file: file([]any{"Net size"}, []any{1.5}), want: []string{"size=1.5"}},
		{rule: "a missing column in a sheet", file: file([]any{"sise", "text_n"}, []any{1, "a"}), code: modelmanager.CodeMissingColumn, part: "sise"},
	}
}

// TestFiles reads every file as an agent does, and asks a worker of each
// language for predictions of its rows.
func TestFiles(t *testing.T) {
	cases := append(append(csvCases(), parquetCases(t)...), sheetCases(t)...)
	features := compile(t, fileFeatures())
	for _, model := range echoes {
		t.Run(model, func(t *testing.T) {
			need(t, languageOf(model))
			predict := start(t, model, fileFeatures())
			for _, c := range cases {
				t.Run(c.rule, func(t *testing.T) {
					got, err := readAndPredict(t, c, features, predict)
					if c.code != "" {
						if modelmanager.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.part) {
							t.Errorf("the file gives %v (%s), want %s: …%s…", err, modelmanager.CodeOf(err), c.code, c.part)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					checkFile(t, model, c, got)
				})
			}
		})
	}
}

func checkFile(t *testing.T, model string, c fileCase, got []outcome) {
	t.Helper()
	if len(got) != len(c.want) {
		t.Fatalf("%d rows, want %d", len(got), len(c.want))
	}
	for i, want := range c.want {
		name := fmt.Sprintf("row %d", i+1)
		if refused, ok := strings.CutPrefix(want, "refused "); ok {
			feature, part, _ := strings.Cut(refused, ": ")
			if got[i].feature != feature || !strings.Contains(got[i].reason, part) {
				t.Errorf("%s: refused for %q: %q, want %q: %q", name, got[i].feature, got[i].reason, feature, part)
			}
			continue
		}
		if got[i].reason != "" {
			t.Errorf("%s: refused for %s: %s", name, got[i].feature, got[i].reason)
			continue
		}
		values := map[string]string{"filled": "0.5"}
		for pair := range strings.SplitSeq(want, "; ") {
			feature, value, _ := strings.Cut(pair, "=")
			values[feature] = value
		}
		for _, f := range fileFeatures() {
			value, ok := values[f.Name]
			if !ok {
				value = none
			}
			checkValue(t, name, model, f, got[i], value)
		}
	}
}

type predictor func(t *testing.T, rows arrow.RecordBatch) []outcome

// start starts a worker of one of the echo models, with other features.
func start(t *testing.T, name string, fields []modelmanager.Field) predictor {
	t.Helper()
	s := &spec.Spec{
		Name: name, Rows: spec.Independent, Features: fields, Predictions: echoed(fields),
		Resources: spec.Resources{CPU: 500, Memory: 1 << 30},
		Timeouts:  spec.Timeouts{Start: spec.Duration(time.Minute), Predict: spec.Duration(time.Minute)},
	}
	if languageOf(name) == "r" {
		s.Run.R = "predict.R:predict"
	} else {
		s.Run.Python = "predict.py:predict"
	}
	dir := filepath.Join(server.dir, "models", name)
	environments, err := program.Environments()
	if err != nil {
		t.Fatal(err)
	}
	manager := &environment.Manager{Dir: environments}
	prepared, err := manager.Prepare(t.Context(), environment.Need{Spec: s, Dir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	predictions := compile(t, s.Predictions)
	supervisor := worker.NewSupervisor(worker.Options{
		Model: name, Version: 1, Spec: s, Features: compile(t, fields), Predictions: predictions,
		Dir: dir, RunDir: t.TempDir(), Environment: prepared,
	})
	t.Cleanup(func() {
		if err := supervisor.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(t *testing.T, rows arrow.RecordBatch) []outcome {
		t.Helper()
		answer, err := supervisor.Predict(within(t, time.Minute), rows)
		if err != nil {
			t.Fatal(err)
		}
		checked, faults, err := predictions.CheckPredictions(answer.Record, int(rows.NumRows()))
		if err != nil || len(faults) > 0 || len(answer.Errors) > 0 {
			t.Fatal(err, faults, answer.Errors)
		}
		outcomes := make([]outcome, rows.NumRows())
		for i := range outcomes {
			outcomes[i] = outcomeOf(t, json.RawMessage(predictions.AppendRow(nil, checked, i)))
		}
		return outcomes
	}
}

func compile(t *testing.T, fields []modelmanager.Field) *dataset.Schema {
	t.Helper()
	schema, err := dataset.Compile(fields)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func readAndPredict(t *testing.T, c fileCase, features *dataset.Schema, predict predictor) ([]outcome, error) {
	t.Helper()
	ctx := context.Background()
	source := dataset.NewBytesSource(c.file)
	input, err := dataset.Sniff(ctx, source, c.input, features)
	if err != nil {
		return nil, err
	}
	reader, err := dataset.NewReader(ctx, source, input, features, dataset.Whole(), dataset.ReaderOptions{})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	var got []outcome
	for {
		batch, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return nil, err
		}
		rows := make([]outcome, batch.Rows)
		for _, rejected := range batch.Rejected {
			rows[rejected.Row-batch.FirstRow] = outcome{feature: rejected.Feature, reason: rejected.Message}
		}
		if batch.Record.NumRows() > 0 {
			for i, o := range predict(t, batch.Record) {
				rows[batch.Index(i)] = o
			}
		}
		got = append(got, rows...)
	}
}
