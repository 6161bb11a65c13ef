package dataset

import (
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	modelmanager "modelmanager.dev"
)

// parquetGroup is how many rows a row group has: few enough to be held in
// memory, enough to be read quickly.
const parquetGroup = 64 << 10

// parquetWriter writes Parquet: the input's own columns, if it is Parquet too.
type parquetWriter struct {
	w      *Writer
	out    *pqarrow.FileWriter
	schema *arrow.Schema
	values []value
}

func newParquetWriter(out io.Writer, w *Writer) (_ *parquetWriter, err error) {
	defer guardParquet(&err)
	p := &parquetWriter{w: w}
	header := w.options.Header
	var fields []arrow.Field
	for i, name := range header.Columns {
		switch {
		case header.arrow != nil:
			field := header.arrow.Field(i)
			field.Type = plainType(field.Type)
			fields = append(fields, field)
		default:
			fields = append(fields, arrow.Field{Name: name, Type: header.columnType(i), Nullable: true})
		}
	}
	for _, column := range w.columns {
		fields = append(fields, arrow.Field{Name: column.name, Type: w.columnType(column), Nullable: true})
	}
	// Ids of fields belong to the file they come from.
	for i := range fields {
		fields[i].Metadata = arrow.Metadata{}
	}
	p.schema = arrow.NewSchema(fields, nil)
	p.out, err = newParquetFile(out, p.schema)
	return p, err
}

func newParquetFile(out io.Writer, schema *arrow.Schema) (*pqarrow.FileWriter, error) {
	options := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Snappy),
		parquet.WithMaxRowGroupLength(parquetGroup),
		parquet.WithCreatedBy("Model Manager"),
	}
	for _, field := range schema.Fields() {
		if arrow.IsFloating(field.Type.ID()) { // they hardly ever recur
			options = append(options, parquet.WithDictionaryFor(field.Name, false))
		}
	}
	file, err := pqarrow.NewFileWriter(schema, keepOpen{out}, parquet.NewWriterProperties(options...), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"writing Parquet: %w; set output.format to jsonl", err)
	}
	return file, nil
}

// keepOpen hides a writer's Close: whoever opened it closes it.
type keepOpen struct{ io.Writer }

// columnType is how a text's column is kept in Parquet: as its feature's type,
// or else as text.
func (h *Header) columnType(column int) arrow.DataType {
	if h.targets == nil || h.targets[column].feature < 0 {
		return arrow.BinaryTypes.String
	}
	switch h.kinds[column] {
	case boolKind:
		return arrow.FixedWidthTypes.Boolean
	case intKind:
		return arrow.PrimitiveTypes.Int64
	case floatKind:
		return arrow.PrimitiveTypes.Float64
	case dateKind:
		return arrow.FixedWidthTypes.Date32
	case timeKind:
		return arrow.FixedWidthTypes.Timestamp_us
	default:
		return arrow.BinaryTypes.String
	}
}

func (w *Writer) columnType(column outputColumn) arrow.DataType {
	switch {
	case column.prediction >= 0:
		return plainType(w.options.Predictions.Arrow().Field(column.prediction).Type)
	case column.name == addVersion:
		return arrow.PrimitiveTypes.Int64
	case column.name == addScoredAt:
		return arrow.FixedWidthTypes.Timestamp_us
	default:
		return arrow.BinaryTypes.String
	}
}

func (p *parquetWriter) write(s *scored) (err error) {
	defer guardParquet(&err)
	columns, err := p.inputColumns(s)
	if err != nil {
		return err
	}
	answers := make([]int, len(s.picks))
	for i, pick := range s.picks {
		answers[i] = int(pick.answer)
	}
	for _, column := range p.w.columns {
		var values arrow.Array
		if column.prediction >= 0 {
			values = plainArray(s.predictions.Column(column.prediction))
			if values, err = gather(values, answers); err != nil {
				return err
			}
		} else {
			values = p.w.addedColumn(column.name, s.picks)
		}
		columns = append(columns, values)
	}
	record := array.NewRecordBatch(p.schema, columns, int64(len(s.picks)))
	return p.out.WriteBuffered(record)
}

// inputColumns returns the input's columns, of the picked rows.
func (p *parquetWriter) inputColumns(s *scored) ([]arrow.Array, error) {
	extra := &s.batch.Extra
	if extra.columns != nil {
		rows := make([]int, len(s.picks))
		for i, pick := range s.picks {
			rows[i] = int(pick.row)
		}
		columns := make([]arrow.Array, extra.columns.NumCols())
		for i := range columns {
			var err error
			if columns[i], err = gather(plainArray(extra.columns.Column(i)), rows); err != nil {
				return nil, err
			}
		}
		return columns, nil
	}
	header := p.w.options.Header
	builders := make([]array.Builder, len(header.Columns))
	for i := range builders {
		builders[i] = array.NewBuilder(memory.DefaultAllocator, p.schema.Field(i).Type)
	}
	for _, pick := range s.picks {
		values, ok := s.inputValues(p.values[:0], pick, header, true)
		p.values = values
		if !ok {
			if err := s.unlisted(pick); err != nil {
				return nil, err
			}
		}
		for i, b := range builders {
			if i >= len(values) {
				b.AppendNull()
				continue
			}
			appendValue(b, values[i])
		}
	}
	columns := make([]arrow.Array, len(builders))
	for i, b := range builders {
		columns[i] = b.NewArray()
	}
	return columns, nil
}

// appendValue appends a cell. One that is not of the column's type belongs to
// a rejected row, which the file of rejected rows has as it was.
func appendValue(b array.Builder, v value) {
	if text, ok := b.(*array.StringBuilder); ok && v.kind != valueNull {
		text.Append(string(v.text))
		return
	}
	if v.kind == valueNull || v.kind == valueJSON {
		b.AppendNull()
		return
	}
	// Some builders append a null where they can't read the text, some don't.
	before := b.Len()
	if b.AppendValueFromString(string(v.text)) != nil && b.Len() == before {
		b.AppendNull()
	}
}

// addedColumn makes a column that the job adds.
func (w *Writer) addedColumn(name string, picks []pick) arrow.Array {
	switch name {
	case addVersion:
		b := array.NewInt64Builder(memory.DefaultAllocator)
		for range picks {
			b.Append(int64(w.options.Version))
		}
		return b.NewArray()
	case addScoredAt:
		b := array.NewTimestampBuilder(memory.DefaultAllocator, arrow.FixedWidthTypes.Timestamp_us.(*arrow.TimestampType))
		for range picks {
			b.Append(arrow.Timestamp(w.options.ScoredAt.UnixMicro()))
		}
		return b.NewArray()
	default:
		b := array.NewStringBuilder(memory.DefaultAllocator)
		for _, p := range picks {
			v := errorValue(p)
			if name != errorColumn {
				v = w.added(name)
			}
			appendValue(b, v)
		}
		return b.NewArray()
	}
}

func (p *parquetWriter) close() (err error) {
	defer guardParquet(&err)
	return p.out.Close()
}
