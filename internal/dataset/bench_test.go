package dataset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"modelmanager.dev"
)

// benchFields are 30 numbers, as measured from a digitised biopsy image.
func benchFields() []modelmanager.Field {
	var fields []modelmanager.Field
	for _, statistic := range []string{"mean", "se", "worst"} {
		for _, feature := range []string{"radius", "texture", "perimeter", "area", "smoothness", "compactness",
			"concavity", "points", "symmetry", "fractal"} {
			fields = append(fields, modelmanager.Field{Name: statistic + "_" + feature, Type: modelmanager.Number, Minimum: ptr(0.0)})
		}
	}
	return fields
}

// benchRow is one record of them, of 771 bytes.
func benchRow(t testing.TB) []byte {
	values := []float64{17.99, 10.38, 122.8, 1001, 0.1184, 0.2776, 0.3001, 0.1471, 0.2419, 0.07871,
		1.095, 0.9053, 8.589, 153.4, 0.006399, 0.04904, 0.05373, 0.01587, 0.03003, 0.006193,
		25.38, 17.33, 184.6, 2019, 0.1622, 0.6656, 0.7119, 0.2654, 0.4601, 0.1189}
	texts := make([]string, len(values))
	size := len("{}") - len(", ")
	for i, f := range benchFields() {
		texts[i] = strconv.FormatFloat(values[i], 'f', -1, 64)
		size += len(f.Name) + len(`"": , `) + len(texts[i])
	}
	// More digits make up the size that the figures elsewhere are for.
	for i := 0; size < 771; i++ {
		if n := i % len(texts); strings.Contains(texts[n], ".") {
			texts[n] += strconv.Itoa(1 + i%9)
			size++
		}
	}
	var row []byte
	for i, f := range benchFields() {
		row = append(row, fmt.Sprintf(", %q: %s", f.Name, texts[i])...)
	}
	return append(append([]byte("{"), row[2:]...), '}')
}

func benchBody(t testing.TB, rows int) []byte {
	row := benchRow(t)
	return append(append([]byte(`{"rows": [`), bytes.Join(slicesRepeat(row, rows), []byte(", "))...), "]}"...)
}

func slicesRepeat(row []byte, n int) [][]byte {
	rows := make([][]byte, n)
	for i := range rows {
		rows[i] = row
	}
	return rows
}

// BenchmarkDecode compares with encoding/json into maps, checked by a general
// JSON Schema validator, on the same requests; ns/row is the figure.
func BenchmarkDecode(b *testing.B) {
	s := mustCompile(b, benchFields()...)
	oracle := compileOracle(b, benchFields())
	for _, rows := range []int{1, 100} {
		body := benchBody(b, rows)
		b.Run(fmt.Sprintf("ours/%d", rows), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			var calls []time.Duration
			for b.Loop() {
				start := time.Now()
				request, err := s.DecodeRequest(body, 0)
				if err != nil || request.Rows != rows {
					b.Fatal(err)
				}
				calls = append(calls, time.Since(start))
			}
			slices.Sort(calls)
			b.ReportMetric(float64(calls[len(calls)/2])/float64(rows), "p50-ns/row")
		})
		b.Run(fmt.Sprintf("ours+arrays/%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			var calls []time.Duration
			for b.Loop() {
				start := time.Now()
				request, err := s.DecodeRequest(body, 0)
				if err != nil || len(request.Record.Columns()) != 30 {
					b.Fatal(err)
				}
				calls = append(calls, time.Since(start))
			}
			slices.Sort(calls)
			b.ReportMetric(float64(calls[len(calls)/2])/float64(rows), "p50-ns/row")
		})
		b.Run(fmt.Sprintf("general/%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			var calls []time.Duration
			for b.Loop() {
				start := time.Now()
				var request struct{ Rows []any }
				if err := json.Unmarshal(body, &request); err != nil {
					b.Fatal(err)
				}
				for _, row := range request.Rows {
					if err := oracle.Validate(row); err != nil {
						b.Fatal(err)
					}
				}
				calls = append(calls, time.Since(start))
			}
			slices.Sort(calls)
			b.ReportMetric(float64(calls[len(calls)/2])/float64(rows), "p50-ns/row")
		})
	}
}

func compileOracle(t testing.TB, fields []modelmanager.Field) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(RowSchema(fields))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("row.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("row.json")
}

func TestBenchRow(t *testing.T) {
	row := benchRow(t)
	if len(row) != 771 || !json.Valid(row) {
		t.Errorf("%d bytes: %s", len(row), row)
	}
}
