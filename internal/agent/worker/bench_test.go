package worker_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
)

// BenchmarkPython asks a model that only adds 30 features up, for one row as
// in real time and for many as in a job.
func BenchmarkPython(b *testing.B) {
	var features []modelmanager.Field
	row := ""
	for i := range 30 {
		name := fmt.Sprintf("f%d", i)
		features = append(features, modelmanager.Field{Name: name, Type: modelmanager.Number})
		row += fmt.Sprintf(`,"%s":%d.5`, name, i)
	}
	row = "{" + row[1:] + "}"
	for _, f := range flavours(b) {
		text := "def predict(rows):\n    return rows.sum(axis=1)\n"
		if f.name == "standard library" {
			text = "def predict(rows):\n    return [sum(row.values()) for row in rows]\n"
		}
		for _, n := range []int{1, 10_000} {
			body := []byte(`{"rows":[` + row)
			for range n - 1 {
				body = append(append(body, ','), row...)
			}
			rows := rowsOf(b, features, string(append(body, "]}"...)))
			b.Run(fmt.Sprintf("%s/%d", f.name, n), func(b *testing.B) {
				o := pythonOptions(b, f, newSpec(features, []modelmanager.Field{y}), text)
				s := supervise(b, o)
				if err := s.WaitReady(context.Background()); err != nil {
					b.Fatal(err)
				}
				askMany(b, s, rows)
			})
		}
	}
}

func askMany(b *testing.B, s *worker.Supervisor, rows arrow.RecordBatch) {
	for b.Loop() {
		if _, err := s.Predict(context.Background(), rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows.NumRows())*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
