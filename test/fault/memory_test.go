package fault

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/proc"
	"modelmanager.dev/internal/spec"
)

// wideFiles are kinds of files, and what writes n rows of one: few features, and
// much else.
var wideFiles = map[string]func(w io.Writer, n int) error{
	"rows.csv":     wideCSV,
	"rows.csv.gz":  wideGzip,
	"rows.jsonl":   wideJSONL,
	"rows.parquet": wideParquet,
}

// TestMemoryIsFlat runs a job over a file, and over one ten times as large: the
// server and its agents need no more memory for it.
func TestMemoryIsFlat(t *testing.T) {
	for name := range wideFiles {
		t.Run(name, func(t *testing.T) {
			small, large := jobMemory(t, name, 12<<20), jobMemory(t, name, 120<<20)
			t.Logf("peak of the server and its agents: %d MiB for 12 MiB, %d MiB for 120 MiB", small>>20, large>>20)
			if bound := small*9/8 + 40<<20; large > bound {
				t.Errorf("a job over 120 MiB took %d MiB, one over 12 MiB %d MiB; it may take %d MiB", large>>20, small>>20, bound>>20)
			}
		})
	}
}

// jobMemory runs a job over a file of so many bytes (before compression), on a
// server of its own, and returns the most memory that the server had, and its
// hungriest agents.
func jobMemory(t *testing.T, name string, size int) int64 {
	t.Helper()
	s := startServer(t, "--job-slots", "1")
	s.publish("models/good", func(s *spec.Spec) {
		s.Serve, s.Batch.RowsPerShard = []modelmanager.Mode{modelmanager.Batch}, 12_000 // of which the small file has one
	})
	n := size / wideRow
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(wideFiles[name](writer, n)) }()
	upload, err := s.client.Upload(t.Context(), name, reader)
	if err != nil {
		t.Fatal(err)
	}
	job, err := s.client.SubmitJob(t.Context(), "good", modelmanager.JobRequest{
		Input: modelmanager.JobInput{Upload: upload.ID, Name: name}, Output: modelmanager.JobOutput{Add: []string{}},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	var agents int64
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				for _, p := range s.agents() {
					agents = max(agents, proc.HighWater(p.pid))
				}
			case <-stop:
				return
			}
		}
	})
	job = s.finished(t, job.ID, 120*time.Second)
	close(stop)
	watching.Wait()
	if job.State != modelmanager.JobSucceeded || job.Rows.Predicted != int64(n) {
		t.Fatalf("the job is %s (%s): %+v, of %d rows", job.State, job.Reason, job.Rows, n)
	}
	output, err := s.client.JobOutput(t.Context(), job.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	read, err := io.Copy(io.Discard, output)
	if err != nil || read == 0 || read < upload.Size && name != "rows.parquet" { // Parquet comes back compressed
		t.Errorf("the output has %d bytes, of an input of %d (%v)", read, upload.Size, err)
	}
	if agents == 0 {
		t.Fatal("no agent was seen")
	}
	server := proc.HighWater(s.running.PID())
	t.Logf("%d MiB, %d rows: the server had %d MiB, an agent %d MiB", size>>20, n, server>>20, agents>>20)
	return server + agents
}

// wideNote is what a row has beside its features, and wideRow is about a row's size.
const (
	wideNote = "a column that the model knows nothing of, and that comes out again as it went in; "
	wideRow  = len("1000000,1000000,") + 12*len(wideNote) + 1
)

func wideCSV(to io.Writer, n int) error {
	w := bufio.NewWriterSize(to, 1<<20)
	fmt.Fprintln(w, "id,x,note")
	note := strings.Repeat(wideNote, 12)
	for i := range n {
		fmt.Fprintf(w, "%d,%d,\"%s\"\n", i+1_000_000, i+1_000_000, note)
	}
	return w.Flush()
}

func wideGzip(to io.Writer, n int) error {
	w, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := wideCSV(w, n); err != nil {
		return err
	}
	return w.Close()
}

func wideJSONL(to io.Writer, n int) error {
	w := bufio.NewWriterSize(to, 1<<20)
	note := strings.Repeat(wideNote, 12)
	for i := range n {
		fmt.Fprintf(w, "{\"id\": %d, \"x\": %d, \"note\": %q}\n", i+1_000_000, i+1_000_000, note)
	}
	return w.Flush()
}

// wideParquet writes row groups of 16 MiB, whose notes are as long in the file:
// neither a dictionary nor a compression makes them less.
func wideParquet(to io.Writer, n int) error {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "note", Type: arrow.BinaryTypes.String},
	}, nil)
	const group = 16 << 20 / wideRow
	w, err := pqarrow.NewFileWriter(schema, to, parquet.NewWriterProperties(
		parquet.WithDictionaryDefault(false), parquet.WithCompression(compress.Codecs.Uncompressed), parquet.WithMaxRowGroupLength(int64(group))), pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	note := strings.Repeat(wideNote, 12)
	for first := 0; first < n; first += group {
		for i := first; i < min(first+group, n); i++ {
			b.Field(0).(*array.Int64Builder).Append(int64(i))
			b.Field(1).(*array.Float64Builder).Append(float64(i))
			b.Field(2).(*array.StringBuilder).Append(note)
		}
		record := b.NewRecordBatch()
		err := w.Write(record)
		record.Release()
		if err != nil {
			return err
		}
	}
	return w.Close()
}
