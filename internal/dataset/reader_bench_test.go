package dataset

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	modelmanager "modelmanager.dev"
)

const benchRows, benchColumns = 100_000, 30

func benchSchema(b *testing.B) *Schema {
	b.Helper()
	var fields []modelmanager.Field
	for i := range benchColumns {
		fields = append(fields, modelmanager.Field{Name: fmt.Sprintf("feature_%02d", i), Type: modelmanager.Number, Minimum: ptr(-1000.0), Nullable: true})
	}
	s, err := Compile(fields)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func benchValues(visit func(row, column int, v float64)) {
	r := rand.New(rand.NewPCG(1, 2))
	for row := range benchRows {
		for column := range benchColumns {
			visit(row, column, float64(r.IntN(10_000_000))/1e4)
		}
	}
}

func benchCSV() []byte {
	var text []byte
	text = append(text, "id"...)
	for i := range benchColumns {
		text = fmt.Appendf(text, ",feature_%02d", i)
	}
	benchValues(func(row, column int, v float64) {
		if column == 0 {
			text = strconv.AppendInt(append(text, '\n'), int64(row), 10)
		}
		text = strconv.AppendFloat(append(text, ','), v, 'f', 4, 64)
	})
	return append(text, '\n')
}

func benchRead(b *testing.B, data []byte, input modelmanager.JobInput, opts ReaderOptions) {
	s := benchSchema(b)
	src := NewBytesSource(data)
	input, err := Sniff(context.Background(), src, input, s)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	rows, start := 0, readerCPU()
	b.ResetTimer()
	for range b.N {
		r, err := NewReader(context.Background(), src, input, s, Whole(), opts)
		if err != nil {
			b.Fatal(err)
		}
		for {
			batch, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil || len(batch.Rejected) > 0 {
				b.Fatal(err, batch.Rejected)
			}
			rows += batch.Rows
		}
		r.Close()
	}
	reportRows(b, rows, start)
}

// readerCPU is the process's, which other processes on the machine don't change much.
func readerCPU() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func reportRows(b *testing.B, rows int, start time.Duration) {
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric(float64(rows)/(readerCPU()-start).Seconds(), "rows/cpu-s")
}

func BenchmarkReadCSV(b *testing.B) {
	data := benchCSV()
	b.Run("one", func(b *testing.B) { benchRead(b, data, modelmanager.JobInput{}, ReaderOptions{}) })
	b.Run("two", func(b *testing.B) { benchRead(b, data, modelmanager.JobInput{}, ReaderOptions{Parallel: 2}) })
	b.Run("encoding-csv", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		rows, start := 0, readerCPU()
		for range b.N {
			r := csv.NewReader(bytes.NewReader(data))
			r.ReuseRecord = true
			for {
				if _, err := r.Read(); err == io.EOF {
					break
				}
				rows++
			}
		}
		reportRows(b, rows, start)
	})
	b.Run("plan", func(b *testing.B) {
		start := readerCPU()
		b.SetBytes(int64(len(data)))
		for range b.N {
			if _, err := Plan(context.Background(), NewBytesSource(data), modelmanager.JobInput{Format: "csv", HeaderRow: 1}, 10_000); err != nil {
				b.Fatal(err)
			}
		}
		reportRows(b, benchRows*b.N, start)
	})
	b.Run("write", func(b *testing.B) {
		s := benchSchema(b)
		predictions, _ := Compile([]modelmanager.Field{{Name: "p", Type: modelmanager.Number}})
		src := NewBytesSource(data)
		input, _ := Sniff(context.Background(), src, modelmanager.JobInput{}, s)
		r, err := NewReader(context.Background(), src, input, s, Whole(), ReaderOptions{})
		if err != nil {
			b.Fatal(err)
		}
		batch, _ := r.Next()
		builder := NewBuilder(predictions)
		for i := range batch.Rows {
			builder.SetFloat(0, float64(i)/7)
			builder.EndRow(RefuseAbsent)
		}
		record := builder.Record()
		start := readerCPU()
		b.ResetTimer()
		for range b.N {
			w, _ := NewWriter(io.Discard, WriterOptions{Input: input, Header: r.Header(), Predictions: predictions, ScoredAt: time.Now()})
			if err := w.Write(batch, record, nil); err != nil {
				b.Fatal(err)
			}
		}
		reportRows(b, batch.Rows*b.N, start)
	})
}

func BenchmarkReadParquet(b *testing.B) {
	var fields []arrow.Field
	var builders []*array.Float64Builder
	for i := range benchColumns {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("feature_%02d", i), Type: arrow.PrimitiveTypes.Float64})
		builders = append(builders, array.NewFloat64Builder(memory.DefaultAllocator))
	}
	benchValues(func(_, column int, v float64) { builders[column].Append(v) })
	var columns []arrow.Array
	for _, builder := range builders {
		columns = append(columns, builder.NewArray())
	}
	schema := arrow.NewSchema(fields, nil)
	file := parquetOf(b, array.NewRecordBatch(schema, columns, benchRows))
	b.Run("one", func(b *testing.B) { benchRead(b, file, modelmanager.JobInput{}, ReaderOptions{}) })
	b.Run("two", func(b *testing.B) { benchRead(b, file, modelmanager.JobInput{}, ReaderOptions{Parallel: 2}) })
}
