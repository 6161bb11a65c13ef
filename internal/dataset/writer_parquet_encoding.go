package dataset

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/snappy"
)

// What is looked at to choose a column's encoding.
const (
	sampleValues = 1024
	sampleBytes  = 64 << 10
)

// parquetEncodings chooses for each column whether a dictionary and compression
// pay, by the first rows: measurements hardly ever recur and don't compress,
// and ids are a dictionary as large as themselves; trying costs more than all
// the rest of writing. A wrong guess makes a file larger, never wrong.
func parquetEncodings(sample arrow.RecordBatch) []parquet.WriterProperty {
	properties := []parquet.WriterProperty{parquet.WithCompression(compress.Codecs.Snappy)}
	for i, field := range sample.Schema().Fields() {
		column := sample.Column(i)
		if !recurs(column) {
			properties = append(properties, parquet.WithDictionaryFor(field.Name, false))
			if !compresses(column) {
				properties = append(properties, parquet.WithCompressionFor(field.Name, compress.Codecs.Uncompressed))
			}
		}
	}
	return properties
}

// recurs tells whether half of the values have been there before.
func recurs(column arrow.Array) bool {
	n := min(column.Len(), sampleValues)
	if n < 2 {
		return !arrow.IsFloating(column.DataType().ID())
	}
	seen := 0
	switch column := column.(type) {
	case *array.String:
		seen = distinct(n, column.Value)
	case *array.Float64:
		seen = distinct(n, column.Value)
	case *array.Int64:
		seen = distinct(n, column.Value)
	default:
		return true
	}
	return seen <= n/2
}

func distinct[T comparable](n int, value func(int) T) int {
	seen := make(map[T]struct{}, n)
	for i := range n {
		seen[value(i)] = struct{}{}
	}
	return len(seen)
}

// compresses tells whether a column of plain numbers shrinks by a third. Below
// that, compressing takes longer than the few times that a job copies the bytes.
func compresses(column arrow.Array) bool {
	wide, ok := column.DataType().(arrow.FixedWidthDataType)
	if !ok || column.Len() == 0 || column.Data().Buffers()[1] == nil {
		return true
	}
	size := wide.Bytes()
	start := column.Data().Offset() * size
	raw := column.Data().Buffers()[1].Bytes()
	raw = raw[start:min(start+column.Len()*size, start+sampleBytes, len(raw))]
	return len(snappy.Encode(nil, raw)) < len(raw)*2/3
}

func emptyColumns(schema *arrow.Schema) []arrow.Array {
	columns := make([]arrow.Array, schema.NumFields())
	for i, field := range schema.Fields() {
		columns[i] = array.MakeArrayOfNull(memory.DefaultAllocator, field.Type, 0)
	}
	return columns
}
