package data

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/xuri/excelize/v2"

	"modelmanager.dev"
)

var nan, inf = math.NaN(), math.Inf(1)

// outcome is what became of one row.
type outcome struct {
	saw     map[string]string          // feature → "type|value", as the model said
	back    map[string]json.RawMessage // feature → value; nil where the format is not JSON
	feature string                     // of a refused row
	reason  string
}

// TestRows sends every case to every language in every format: all get the same.
func TestRows(t *testing.T) {
	formats := []struct {
		name string
		send func(t *testing.T, model string, cases []rowCase) map[int]outcome
	}{
		{"json", sendJSON},
		{"csv", sendCSV},
		{"csv job", func(t *testing.T, model string, cases []rowCase) map[int]outcome {
			text, kept := csvOf(cases)
			return sendJob(t, model, "rows.csv", []byte(text), kept)
		}},
		{"jsonl job", func(t *testing.T, model string, cases []rowCase) map[int]outcome {
			kept := all(cases)
			return sendJob(t, model, "rows.jsonl", []byte(strings.Join(objects(cases), "\n")+"\n"), kept)
		}},
		{"parquet job", func(t *testing.T, model string, cases []rowCase) map[int]outcome {
			file, kept := parquetOf(t, cases)
			return sendJob(t, model, "rows.parquet", file, kept)
		}},
		{"xlsx job", func(t *testing.T, model string, cases []rowCase) map[int]outcome {
			file, kept := workbookOf(t, cases)
			return sendJob(t, model, "rows.xlsx", file, kept)
		}},
	}
	for _, model := range echoes {
		cases := rowCases()
		t.Run(model, func(t *testing.T) {
			need(t, languageOf(model))
			for _, format := range formats {
				t.Run(format.name, func(t *testing.T) {
					for i, got := range format.send(t, model, cases) {
						checkOutcome(t, model, cases[i], got)
					}
				})
			}
		})
	}
}

func checkOutcome(t *testing.T, model string, c rowCase, got outcome) {
	t.Helper()
	name := fmt.Sprintf("%s (%s = %.60s)", c.rule, c.feature, c.json)
	if c.notInR && model == inR {
		// The worker's own refusals name the feature in their text.
		if reason := got.feature + ":" + got.reason; !strings.Contains(reason, c.feature+":") || !strings.Contains(reason, "can't hold") {
			t.Errorf("%s: not refused as beyond R's numbers: %q; the model saw %s", name, reason, got.saw[c.feature])
		}
		return
	}
	if c.refused != "" {
		switch {
		case got.reason == "":
			t.Errorf("%s: the row is not refused; the model saw %s", name, got.saw[c.feature])
		case got.feature != c.feature || c.refused != anyReason && !strings.Contains(got.reason, c.refused):
			t.Errorf("%s: refused for %s: %q; want %s: %q", name, got.feature, got.reason, c.feature, c.refused)
		}
		return
	}
	if got.reason != "" {
		t.Errorf("%s: the row is refused: %s: %s", name, got.feature, got.reason)
		return
	}
	for _, f := range features() {
		want := c.want
		if f.Name != c.feature {
			want = exampleValues[f.Name]
		}
		checkValue(t, name, model, f, got, want)
	}
}

// exampleValues is what models see of the example row.
var exampleValues = map[string]string{
	"flag": "true", "flag_n": "true", "count": "1", "count_n": "1", "long": "1", "long_n": "1", "size": "1.5", "size_n": "1.5",
	"part": "0.5", "text": "a", "text_n": "a", "day": "2024-01-02", "day_n": "2024-01-02",
	"at": "2024-01-02T03:04:05Z", "at_n": "2024-01-02T03:04:05Z", "side": "east", "side_n": "east", "side_null": "east", "side_any": "east",
	"grade": "1", "pair": "[1,2.5]", "tags": "[x,y]", "longs": "[1,-2]", "filled": "1", "filled_null": "a",
}

func checkValue(t *testing.T, name, model string, f modelmanager.Field, got outcome, want string) {
	t.Helper()
	kind, value, _ := strings.Cut(got.saw[f.Name], "|")
	wantKind := columnTypes[f.Name][model]
	if model == plain && want == none {
		wantKind = "NoneType"
	}
	if kind != wantKind {
		t.Errorf("%s: %s came as %q, want %q", name, f.Name, kind, wantKind)
	}
	canonical := canonicalText(model, f, want)
	if value != canonical {
		t.Errorf("%s: the model saw %s %.80q, want %.80q", name, f.Name, value, canonical)
	}
	if got.back == nil {
		return
	}
	if back, wanted := string(got.back[f.Name]), backText(model, f, want); back != wanted {
		t.Errorf("%s: %s came back as %.80s, want %.80s", name, f.Name, back, wanted)
	}
}

// canonicalText is a value as the echo models write it: "=…" or NA.
func canonicalText(model string, f modelmanager.Field, want string) string {
	switch {
	case want == none:
		return "NA"
	case f.Type == modelmanager.Array:
		inner := strings.Trim(want, "[]")
		if inner == "" {
			return "[]"
		}
		items := strings.Split(inner, ",")
		for i := range items {
			items[i] = canonicalText(model, *f.Items, items[i])
		}
		return "[" + strings.Join(items, ",") + "]"
	case f.Format == modelmanager.FormatDateTime:
		at, err := time.Parse(time.RFC3339Nano, want)
		if err != nil {
			panic(err)
		}
		return "=" + strconv.FormatInt(at.UnixMicro(), 10)
	case f.Type == modelmanager.Number, f.Format == modelmanager.FormatInt64 && model == inR:
		// R has no integers of 64 bits: the nearest double.
		v, err := strconv.ParseFloat(want, 64)
		if err != nil {
			panic(err)
		}
		return fmt.Sprintf("=%.17g", v)
	default:
		return "=" + want
	}
}

// backText is the JSON of a value that a model returned as it was.
func backText(model string, f modelmanager.Field, want string) string {
	switch {
	case want == none:
		return "null"
	case f.Type == modelmanager.Array:
		inner := strings.Trim(want, "[]")
		if inner == "" {
			return "[]"
		}
		items := strings.Split(inner, ",")
		for i := range items {
			items[i] = backText(model, *f.Items, items[i])
		}
		return "[" + strings.Join(items, ",") + "]"
	case f.Format == modelmanager.FormatInt64 && model == inR:
		v, _ := strconv.ParseFloat(want, 64)
		return fmt.Sprintf(`"%.0f"`, v)
	case f.Type == modelmanager.String, f.Format == modelmanager.FormatInt64:
		text, _ := json.Marshal(want)
		return string(text)
	case f.Type == modelmanager.Number:
		v, _ := strconv.ParseFloat(want, 64)
		text, _ := json.Marshal(v)
		return string(text)
	default:
		return want
	}
}

// ---- the row in each format

// objects returns the cases as JSON objects.
func objects(cases []rowCase) []string {
	var example map[string]json.RawMessage
	if err := json.Unmarshal([]byte(exampleRow), &example); err != nil {
		panic(err)
	}
	rows := make([]string, len(cases))
	for i, c := range cases {
		var parts []string
		for _, f := range features() {
			value := string(example[f.Name])
			if f.Name == c.feature {
				value = c.json
			}
			if value != leaveOut {
				parts = append(parts, fmt.Sprintf("%q: %s", f.Name, value))
			}
		}
		rows[i] = "{" + strings.Join(parts, ", ") + "}"
	}
	return rows
}

func all(cases []rowCase) []int {
	kept := make([]int, len(cases))
	for i := range kept {
		kept[i] = i
	}
	return kept
}

// csvOf returns the cases that CSV can say, and which they are.
func csvOf(cases []rowCase) (text string, kept []int) {
	var out strings.Builder
	for i, f := range features() {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(f.Name)
	}
	out.WriteByte('\n')
	for i, c := range cases {
		if c.csv == untold {
			continue
		}
		kept = append(kept, i)
		for j, f := range features() {
			cell := exampleCells[f.Name]
			if f.Name == c.feature {
				cell = c.csv
			}
			if j > 0 {
				out.WriteByte(',')
			}
			out.WriteString(cell)
		}
		out.WriteByte('\n')
	}
	return out.String(), kept
}

// exampleCells is the example row in CSV.
var exampleCells = map[string]string{
	"flag": "true", "flag_n": "true", "count": "1", "count_n": "1", "long": "1", "long_n": "1", "size": "1.5", "size_n": "1.5",
	"part": "0.5", "text": "a", "text_n": "a", "day": "2024-01-02", "day_n": "2024-01-02",
	"at": "2024-01-02T03:04:05Z", "at_n": "2024-01-02T03:04:05Z", "side": "east", "side_n": "east", "side_null": "east", "side_any": "east",
	"grade": "1", "pair": `"[1, 2.5]"`, "tags": `"[""x"",""y""]"`, "longs": `"[""1"",""-2""]"`, "filled": "1", "filled_null": "a",
}

// exampleValue is the example row in typed columns.
func exampleValue(feature string) any {
	switch feature {
	case "flag", "flag_n":
		return true
	case "count", "count_n", "long", "long_n", "grade":
		return int64(1)
	case "size", "size_n":
		return 1.5
	case "part":
		return 0.5
	case "filled":
		return 1.0
	case "pair":
		return []float64{1, 2.5}
	case "tags":
		return []string{"x", "y"}
	case "longs":
		return []int64{1, -2}
	default:
		return exampleCells[feature]
	}
}

func columnType(f modelmanager.Field) arrow.DataType {
	switch {
	case f.Type == modelmanager.Boolean:
		return arrow.FixedWidthTypes.Boolean
	case f.Type == modelmanager.Integer:
		return arrow.PrimitiveTypes.Int64
	case f.Type == modelmanager.Number:
		return arrow.PrimitiveTypes.Float64
	case f.Type == modelmanager.Array:
		return arrow.ListOf(columnType(*f.Items))
	case f.Format == modelmanager.FormatDate:
		return arrow.FixedWidthTypes.Date32
	case f.Format == modelmanager.FormatDateTime:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	default:
		return arrow.BinaryTypes.String
	}
}

func appendCell(t *testing.T, b array.Builder, value any) {
	t.Helper()
	switch v := value.(type) {
	case nil:
		b.AppendNull()
	case bool:
		b.(*array.BooleanBuilder).Append(v)
	case int64:
		b.(*array.Int64Builder).Append(v)
	case float64:
		b.(*array.Float64Builder).Append(v)
	case string:
		if err := b.AppendValueFromString(v); err != nil {
			t.Fatal(err)
		}
	case []float64:
		list := b.(*array.ListBuilder)
		list.Append(true)
		for _, item := range v {
			appendCell(t, list.ValueBuilder(), item)
		}
	case []int64:
		list := b.(*array.ListBuilder)
		list.Append(true)
		for _, item := range v {
			appendCell(t, list.ValueBuilder(), item)
		}
	case []string:
		list := b.(*array.ListBuilder)
		list.Append(true)
		for _, item := range v {
			appendCell(t, list.ValueBuilder(), item)
		}
	}
}

// parquetOf returns the cases that typed columns can say.
func parquetOf(t *testing.T, cases []rowCase) (file []byte, kept []int) {
	t.Helper()
	var fields []arrow.Field
	for _, f := range features() {
		fields = append(fields, arrow.Field{Name: f.Name, Type: columnType(f), Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	for i, c := range cases {
		if c.cell == untold {
			continue
		}
		kept = append(kept, i)
		for j, f := range features() {
			value := exampleValue(f.Name)
			if f.Name == c.feature {
				value = c.cell
			}
			appendCell(t, b.Field(j), value)
		}
	}
	return parquetFile(t, b.NewRecordBatch()), kept
}

func parquetFile(t *testing.T, record arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(record.Schema(), &out, parquet.NewWriterProperties(), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteBuffered(record); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// workbookOf returns the cases that a sheet can say.
func workbookOf(t *testing.T, cases []rowCase) (file []byte, kept []int) {
	t.Helper()
	f := excelize.NewFile()
	defer f.Close()
	row := 1
	put := func(column int, value any) {
		cell, err := excelize.CoordinatesToCellName(column+1, row)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.SetCellValue("Sheet1", cell, value); err != nil {
			t.Fatal(err)
		}
	}
	for j, field := range features() {
		put(j, field.Name)
	}
	for i, c := range cases {
		if c.cell == untold || c.noSheet {
			continue
		}
		if v, ok := c.cell.(float64); ok && (math.IsNaN(v) || math.IsInf(v, 0)) {
			continue
		}
		kept = append(kept, i)
		row++
		for j, field := range features() {
			value := exampleValue(field.Name)
			if field.Name == c.feature {
				value = c.cell
			}
			put(j, sheetValue(t, field, value))
		}
	}
	out, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), kept
}

func sheetValue(t *testing.T, f modelmanager.Field, value any) any {
	t.Helper()
	switch v := value.(type) {
	case int64:
		if v >= 1e15 || v <= -1e15 { // as a number it would keep 15 digits
			return strconv.FormatInt(v, 10)
		}
	case string:
		if f.Format == modelmanager.FormatDate {
			day, err := time.Parse(time.DateOnly, v)
			if err != nil {
				t.Fatal(err)
			}
			return day
		}
	case []int64:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = strconv.FormatInt(item, 10)
		}
		return sheetValue(t, f, items)
	case []float64, []string:
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return value
}

// ---- sending

func sendJSON(t *testing.T, model string, cases []rowCase) map[int]outcome {
	t.Helper()
	response := post(t, "/v1/models/"+model+"/predict", "application/json",
		`{"on_error": "partial", "rows": [`+strings.Join(objects(cases), ",\n")+`]}`)
	var answer modelmanager.PredictResponse
	decode(t, response, &answer)
	if len(answer.Predictions) != len(cases) {
		t.Fatalf("%d predictions for %d rows", len(answer.Predictions), len(cases))
	}
	outcomes := map[int]outcome{}
	for i, row := range answer.Predictions {
		outcomes[i] = outcomeOf(t, row)
	}
	for _, e := range answer.Errors {
		outcomes[int(e.Row)] = outcome{feature: e.Feature, reason: e.Message}
	}
	return outcomes
}

func decode(t *testing.T, response *http.Response, to any) {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %.2000s", response.Status, body)
	}
	if err := json.Unmarshal(body, to); err != nil {
		t.Fatalf("%v: %.2000s", err, body)
	}
}

// outcomeOf reads a row of predictions as JSON.
func outcomeOf(t *testing.T, row json.RawMessage) outcome {
	t.Helper()
	var values map[string]json.RawMessage
	if err := json.Unmarshal(row, &values); err != nil {
		t.Fatal(err)
	}
	got := outcome{saw: map[string]string{}, back: map[string]json.RawMessage{}}
	for name, value := range values {
		if feature, ok := strings.CutPrefix(name, "saw_"); ok {
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				text = string(value)
			}
			got.saw[feature] = text
		} else if feature, ok := strings.CutPrefix(name, "back_"); ok {
			got.back[feature] = value
		}
	}
	return got
}

func sendCSV(t *testing.T, model string, cases []rowCase) map[int]outcome {
	t.Helper()
	text, kept := csvOf(cases)
	response := post(t, "/v1/models/"+model+"/predict?on_error=partial&dates=ISO", "text/csv", text)
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %.2000s", response.Status, body)
	}
	return csvOutcomes(t, body, kept)
}

func csvOutcomes(t *testing.T, body []byte, kept []int) map[int]outcome {
	t.Helper()
	records, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != len(kept)+1 {
		t.Fatalf("%d rows came back of %d", len(records)-1, len(kept))
	}
	outcomes := map[int]outcome{}
	fault := slices.Index(records[0], "_error")
	for i, record := range records[1:] {
		got := outcome{saw: map[string]string{}}
		for j, name := range records[0] {
			if feature, ok := strings.CutPrefix(name, "saw_"); ok {
				got.saw[feature] = record[j]
			}
		}
		if fault >= 0 && record[fault] != "" {
			feature, reason, _ := strings.Cut(record[fault], ":")
			got = outcome{feature: feature, reason: reason}
		}
		outcomes[kept[i]] = got
	}
	return outcomes
}

// sendJob runs a job whose output is JSON Lines, whatever its input.
func sendJob(t *testing.T, model, name string, file []byte, kept []int) map[int]outcome {
	t.Helper()
	job, output, rejected := runJob(t, model, name, file, modelmanager.JobRequest{
		// Not sniffed: one case writes a date in another order.
		Input:  modelmanager.JobInput{Dates: "ISO"},
		Output: modelmanager.JobOutput{Format: "jsonl", Add: []string{}}, MaxRejected: "100%",
	})
	if job.State != modelmanager.JobSucceeded {
		t.Fatalf("the job %s: %s %s", job.State, job.Code, job.Reason)
	}
	if job.Rows.Read != int64(len(kept)) || job.Rows.Predicted+job.Rows.Rejected != job.Rows.Read {
		t.Errorf("the job counts %+v rows, of %d", job.Rows, len(kept))
	}
	outcomes := map[int]outcome{}
	for _, e := range rejected {
		outcomes[kept[e.Row-1]] = outcome{feature: e.Feature, reason: e.Message}
	}
	var predicted []int
	for _, i := range kept {
		if _, ok := outcomes[i]; !ok {
			predicted = append(predicted, i)
		}
	}
	lines := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
	if len(lines) != len(predicted) {
		t.Fatalf("the output has %d rows, want %d", len(lines), len(predicted))
	}
	for n, i := range predicted {
		outcomes[i] = outcomeOf(t, json.RawMessage(lines[n]))
	}
	return outcomes
}

// runJob uploads a file, runs a job over it, and reads what came out.
func runJob(t *testing.T, model, name string, file []byte, request modelmanager.JobRequest) (modelmanager.Job, []byte, []modelmanager.RowError) {
	t.Helper()
	ctx := within(t, 3*time.Minute)
	upload, err := server.api.Upload(ctx, name, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	request.Input.Upload = upload.ID
	job, err := server.api.SubmitJob(ctx, model, request, "")
	if err != nil {
		t.Fatal(err)
	}
	job, err = server.api.WatchJob(ctx, job.ID, func(modelmanager.Job) {})
	if err != nil {
		t.Fatal(err)
	}
	if job.State != modelmanager.JobSucceeded {
		return job, nil, nil
	}
	body, err := server.api.JobOutput(ctx, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	output, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	reasons, err := server.api.JobRejected(ctx, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer reasons.Close()
	var rejected []modelmanager.RowError
	for decoder := json.NewDecoder(reasons); ; {
		var e modelmanager.RowError
		if err := decoder.Decode(&e); err == io.EOF {
			return job, output, rejected
		} else if err != nil {
			t.Fatal(err)
		}
		rejected = append(rejected, e)
	}
}
