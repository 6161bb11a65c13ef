package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/xuri/excelize/v2"

	modelmanager "modelmanager.dev"
)

// longRow is a text of size bytes that no other row has.
func longRow(row, size int) string {
	return strings.Repeat(fmt.Sprintf("%08d ", row), size/9+1)[:size]
}

// TestBatchesAreBoundedInBytes reads files of long rows: in every format a batch
// is full by its bytes long before it is by its rows.
func TestBatchesAreBoundedInBytes(t *testing.T) {
	const (
		rows  = 600
		size  = 8 << 10
		limit = 256 << 10
	)
	note := modelmanager.Field{Name: "note", Type: modelmanager.String}
	s, err := Compile([]modelmanager.Field{note})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]func() []byte{
		"csv": func() []byte {
			var out bytes.Buffer
			out.WriteString("id,note\n")
			for i := range rows {
				fmt.Fprintf(&out, "%d,%s\n", i, longRow(i, size))
			}
			return out.Bytes()
		},
		"jsonl": func() []byte {
			var out bytes.Buffer
			for i := range rows {
				fmt.Fprintf(&out, "{\"id\": %d, \"note\": %q}\n", i, longRow(i, size))
			}
			return out.Bytes()
		},
		"parquet": func() []byte {
			schema := arrow.NewSchema([]arrow.Field{{Name: "note", Type: arrow.BinaryTypes.String}}, nil)
			b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
			for i := range rows {
				b.Field(0).(*array.StringBuilder).Append(longRow(i, size))
			}
			return parquetOf(t, b.NewRecordBatch())
		},
		"xlsx": func() []byte {
			f := excelize.NewFile()
			defer f.Close()
			sheet, err := f.NewStreamWriter("Sheet1")
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows + 1 {
				row := []any{"id", "note"}
				if i > 0 {
					row = []any{i - 1, longRow(i-1, size)}
				}
				cell, _ := excelize.CoordinatesToCellName(1, i+1)
				if err := sheet.SetRow(cell, row); err != nil {
					t.Fatal(err)
				}
			}
			if err := sheet.Flush(); err != nil {
				t.Fatal(err)
			}
			out, err := f.WriteToBuffer()
			if err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		},
	}
	for format, file := range files {
		t.Run(format, func(t *testing.T) {
			src := NewBytesSource(file())
			input, err := Sniff(t.Context(), src, modelmanager.JobInput{Format: format}, s)
			if err != nil {
				t.Fatal(err)
			}
			r, err := NewReader(t.Context(), src, input, s, Whole(), ReaderOptions{BatchBytes: limit})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			row, batches := 0, 0
			for {
				batch, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				batches++
				notes, got := batch.Record.Column(0).(*array.String), 0
				for i := range notes.Len() {
					if notes.Value(i) != longRow(row, size) {
						t.Fatalf("row %d is %.20q…", row, notes.Value(i))
					}
					got += len(notes.Value(i))
					row++
				}
				if got > limit+size {
					t.Errorf("batch %d has %d rows of %d bytes", batches, batch.Rows, got)
				}
			}
			if least := rows * size / limit; row != rows || batches > 2*least {
				t.Errorf("%d rows came in %d batches; %d would do", row, batches, least)
			}
		})
	}
}

// TestBatchesOfShortRowsAreFull: what the bytes of long rows bound says nothing
// of short ones, and a row that is longer than a batch still makes one.
func TestBatchesOfShortRowsAreFull(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "note", Type: arrow.BinaryTypes.String}}, nil)
	s, err := Compile([]modelmanager.Field{{Name: "note", Type: modelmanager.String}})
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range 1000 {
		b.Field(0).(*array.StringBuilder).Append(longRow(i, 20))
	}
	src := NewBytesSource(parquetOf(t, b.NewRecordBatch()))
	for limit, want := range map[int]int{0: 1, 1: 1000} {
		r, err := NewReader(t.Context(), src, modelmanager.JobInput{Format: "parquet"}, s, Whole(), ReaderOptions{BatchRows: 1000, BatchBytes: limit})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(drain(t, r)); got != want {
			t.Errorf("with %d bytes a batch: %d batches, want %d", limit, got, want)
		}
		r.Close()
	}
}
