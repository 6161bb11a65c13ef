package dataset

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// TestConcatenateParquet joins parts of several row groups, of none, and with
// dictionaries, and reads every row at its new place.
func TestConcatenateParquet(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	next := int64(0)
	part := func(rows int) []byte {
		var out bytes.Buffer
		w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(100)), pqarrow.DefaultWriterProps())
		if err != nil {
			t.Fatal(err)
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for range rows {
			b.Field(0).(*array.Int64Builder).Append(next)
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("name ", next%7))
			next++
		}
		if err := w.WriteBuffered(b.NewRecordBatch()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	parts := [][]byte{part(250), part(0), part(1), part(777)}
	var all iter.Seq2[Source, error] = func(yield func(Source, error) bool) {
		for _, p := range parts {
			if !yield(NewBytesSource(p), nil) {
				return
			}
		}
	}
	var whole bytes.Buffer
	if err := Concatenate(context.Background(), &whole, formatParquet, all); err != nil {
		t.Fatal(err)
	}
	r, err := file.NewParquetReader(bytes.NewReader(whole.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if r.NumRows() != next {
		t.Fatalf("%d rows of %d", r.NumRows(), next)
	}
	arrows, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: 64}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	table, err := arrows.ReadTable(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	row := int64(0)
	for records := array.NewTableReader(table, 100); records.Next(); {
		record := records.RecordBatch()
		for i := range int(record.NumRows()) {
			id, name := record.Column(0).(*array.Int64).Value(i), record.Column(1).(*array.String).Value(i)
			if id != row || name != fmt.Sprint("name ", row%7) {
				t.Fatalf("row %d is %d, %q", row, id, name)
			}
			row++
		}
	}
}
