package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	modelmanager "modelmanager.dev"
)

// indexColumns are columns of every kind that pages are made of differently, the
// last one of lists.
var indexColumns = []arrow.Field{
	{Name: "id", Type: arrow.BinaryTypes.String},
	{Name: "price", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "count", Type: arrow.PrimitiveTypes.Int64},
	{Name: "colour", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "long", Type: arrow.BinaryTypes.String},
	{Name: "marks", Type: arrow.ListOf(arrow.PrimitiveTypes.Float64)},
}

func indexSchema(t testing.TB) *Schema {
	t.Helper()
	s, err := Compile([]modelmanager.Field{
		{Name: "price", Type: modelmanager.Number, Nullable: true},
		{Name: "count", Type: modelmanager.Integer},
		{Name: "colour", Type: modelmanager.String, Nullable: true},
		{
			Name: "marks", Type: modelmanager.Array, Items: &modelmanager.Field{Type: modelmanager.Number}, MaxItems: ptr(3),
			Default: &modelmanager.Default{Value: []any{}}, Optional: true,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// indexFile makes a file of some of the columns, whose row groups have many pages.
func indexFile(t testing.TB, columns []arrow.Field, rows, group int, properties ...parquet.WriterProperty) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	schema := arrow.NewSchema(columns, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for row := range rows {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("row-%07d", row))
		if random.IntN(10) == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.Float64Builder).Append(random.Float64())
		}
		b.Field(2).(*array.Int64Builder).Append(random.Int64N(1 << 50))
		if colour := random.IntN(4); colour == 0 {
			b.Field(3).AppendNull()
		} else {
			b.Field(3).(*array.StringBuilder).Append([]string{"", "red", "green", "blue"}[colour])
		}
		b.Field(4).(*array.StringBuilder).Append(fmt.Sprintf("%d%s", random.Int64(), strings.Repeat("x", random.IntN(200))))
		if len(columns) == 5 {
			continue
		}
		marks := b.Field(5).(*array.ListBuilder)
		marks.Append(true)
		for range row % 4 {
			marks.ValueBuilder().(*array.Float64Builder).Append(random.Float64())
		}
	}
	var out bytes.Buffer
	all := append([]parquet.WriterProperty{
		parquet.WithMaxRowGroupLength(int64(group)), parquet.WithDataPageSize(32 << 10), parquet.WithBatchSize(256),
	}, properties...)
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(all...), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b.NewRecordBatch()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sliceRows reads a slice, each row as text.
func sliceRows(t testing.TB, src Source, s *Schema, slice Slice) []string {
	t.Helper()
	r, err := NewReader(t.Context(), src, modelmanager.JobInput{Format: "parquet"}, s, slice, ReaderOptions{BatchRows: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var rows []string
	for {
		batch, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Rejected) > 0 {
			t.Fatalf("%+v: rejected %+v", slice, batch.Rejected)
		}
		for row := range batch.Rows {
			text := string(s.AppendRow(nil, batch.Record, row))
			for _, column := range []int{0, 4} {
				text += "|" + batch.Extra.columns.Column(column).ValueStr(row)
			}
			rows = append(rows, text)
		}
	}
}

// TestParquetSlices: a slice is the same rows, whatever pages they are in, and
// whether its plan knows them or not.
func TestParquetSlices(t *testing.T) {
	const rows = 30_000
	s := indexSchema(t)
	for name, data := range map[string][]byte{
		"plain":               indexFile(t, indexColumns[:5], rows, rows, parquet.WithDictionaryDefault(false), parquet.WithCompression(compress.Codecs.Uncompressed)),
		"dictionaries":        indexFile(t, indexColumns[:5], rows, rows, parquet.WithCompression(compress.Codecs.Snappy), parquet.WithDictionaryPageSizeLimit(64<<10)),
		"pages of version 2":  indexFile(t, indexColumns[:5], rows, rows, parquet.WithDataPageVersion(parquet.DataPageV2), parquet.WithCompression(compress.Codecs.Zstd)),
		"an index of its own": indexFile(t, indexColumns[:5], rows, rows, parquet.WithPageIndexEnabled(true)),
		"lists":               indexFile(t, indexColumns, rows, rows/2),
		"lists with an index": indexFile(t, indexColumns, rows, rows/2, parquet.WithPageIndexEnabled(true)),
		"several groups":      indexFile(t, indexColumns[:5], rows, rows/3+17),
	} {
		t.Run(name, func(t *testing.T) {
			src := NewBytesSource(data)
			all := sliceRows(t, src, s, Whole())
			if len(all) != rows {
				t.Fatalf("%d rows", len(all))
			}
			random := rand.New(rand.NewPCG(5, 6))
			for range 4 {
				slices, err := planRows(rows, 1000+random.Int64N(rows))
				if err != nil {
					t.Fatal(err)
				}
				for _, known := range []bool{false, true} {
					if known {
						findAllPages(t, src, slices)
					}
					var got []string
					for _, slice := range slices {
						got = append(got, sliceRows(t, src, s, slice)...)
					}
					if len(got) != rows {
						t.Fatalf("%d rows in %d slices", len(got), len(slices))
					}
					for i, row := range got {
						if row != all[i] {
							t.Fatalf("%d slices, row %d is %q, not %q (pages known: %v)", len(slices), i, row, all[i], known)
						}
					}
				}
			}
		})
	}
}

// findAllPages does what a plan does for large row groups.
func findAllPages(t testing.TB, src Source, slices []Slice) {
	t.Helper()
	f, err := openParquetFile(t.Context(), src)
	if err != nil {
		t.Fatal(err)
	}
	if f.hasLists() {
		return
	}
	if err := f.findPages(slices, 0); err != nil {
		t.Fatal(err)
	}
}

// TestParquetSlicesReadTheirOwnPages: to read a tenth of a row group over HTTP
// takes little more than a tenth of its bytes, from wherever it is, and to plan it
// far less than the file.
func TestParquetSlicesReadTheirOwnPages(t *testing.T) {
	const rows, shards = 150_000, 10
	data := indexFile(t, indexColumns[:5], rows, rows, parquet.WithDictionaryDefault(false))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer server.Close()
	src, err := NewHTTPSource(t.Context(), server.Client(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	slices, err := Plan(t.Context(), src, modelmanager.JobInput{Format: "parquet"}, rows/shards)
	if err != nil || len(slices) != shards {
		t.Fatalf("%d slices, %v", len(slices), err)
	}
	if read := src.read.Load(); read > int64(len(data))/8 {
		t.Errorf("to plan a file of %d bytes, %d were read", len(data), read)
	}
	src.read.Store(0)
	for _, slice := range slices {
		if got := sliceRows(t, src, indexSchema(t), slice); len(got) != rows/shards {
			t.Fatalf("%d rows", len(got))
		}
	}
	if times := float64(src.read.Load()) / float64(len(data)); times > 2 {
		t.Errorf("all shards together read the file %.1f times", times)
	}
}

func FuzzPageHeader(f *testing.F) {
	data := indexFile(f, indexColumns, 3000, 3000)
	for offset := 4; offset < len(data); offset += 997 {
		f.Add(data[offset:min(offset+200, len(data))])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		header, used, err := parsePageHeader(t.Context(), data)
		if used < 0 || used > int64(len(data)) || err == nil && header.rows < -1 {
			t.Errorf("%+v of %d of %d bytes", header, used, len(data))
		}
	})
}
