package batch

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/storage"
)

// BenchmarkJob takes rows of 30 numbers from CSV to CSV through a model that
// costs next to nothing, over HTTP and files.
func BenchmarkJob(b *testing.B) {
	const rows, columns = 400_000, 30
	var text bytes.Buffer
	random := rand.New(rand.NewPCG(1, 2))
	var fields []modelmanager.Field
	for c := range columns {
		name := fmt.Sprintf("f%d", c)
		fields = append(fields, modelmanager.Field{Name: name, Type: modelmanager.Number})
		if c > 0 {
			text.WriteByte(',')
		}
		text.WriteString(name)
	}
	text.WriteByte('\n')
	for range rows {
		for c := range columns {
			if c > 0 {
				text.WriteByte(',')
			}
			fmt.Fprintf(&text, "%.6g", random.NormFloat64()*100)
		}
		text.WriteByte('\n')
	}
	w := newWorld(b, func(s *spec.Spec) {
		s.Features = fields
		s.Batch.RowsPerShard, s.Batch.RowsPerCall, s.Batch.Parallelism = 100_000, 10_000, 2
	})
	bucket, err := storage.Open(b.Context(), "file://"+b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	w.bucket, w.config.Bucket, w.config.Uploads = bucket, bucket, storage.NewUploads(bucket)
	w.start()
	if err := os.WriteFile(w.in+"/a.csv", text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		job := w.run(w.request(modelmanager.JobInput{URI: "file://" + w.in + "/a.csv"}))
		if job.State != modelmanager.JobSucceeded {
			b.Fatalf("%+v", job)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
