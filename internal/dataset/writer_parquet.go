package dataset

import (
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	modelmanager "modelmanager.dev"
)

// parquetGroup is how many rows a row group has at least, but for the last:
// few enough to be held in memory, enough to be read quickly.
const parquetGroup = 64 << 10

// parquetPage is how many bytes a page has before compression: few enough to
// stay in a processor's cache until they are compressed.
const parquetPage = 128 << 10

// parquetWriter writes Parquet: the input's own columns, if it is Parquet too.
// It holds a row group's rows and writes column after column, as pages that are
// encoded go out at once; the file begins with the first of them, when it is
// known how the columns are best encoded.
type parquetWriter struct {
	w      *Writer
	sink   io.Writer
	out    *pqarrow.FileWriter // nil: nothing has been written
	schema *arrow.Schema
	values []value
	held   []arrow.RecordBatch
	rows   int64 // held
}

func newParquetWriter(sink io.Writer, w *Writer) (*parquetWriter, error) {
	p := &parquetWriter{w: w, sink: sink}
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
	if _, err := pqarrow.ToParquet(p.schema, nil, pqarrow.DefaultWriterProps()); err != nil {
		return nil, notParquet(err)
	}
	return p, nil
}

func notParquet(err error) error {
	return modelmanager.Errorf(modelmanager.CodeInvalidInput, "writing Parquet: %w; set output.format to jsonl", err)
}

// open begins the file; sample has rows of it, or none.
func (p *parquetWriter) open(sample arrow.RecordBatch) (err error) {
	properties := append(parquetEncodings(sample),
		parquet.WithMaxRowGroupLength(math.MaxInt32), // flush bounds them
		parquet.WithDataPageSize(parquetPage),
		parquet.WithCreatedBy("Model Manager"))
	p.out, err = pqarrow.NewFileWriter(p.schema, keepOpen{p.sink}, parquet.NewWriterProperties(properties...), pqarrow.DefaultWriterProps())
	if err != nil {
		return notParquet(err)
	}
	return nil
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
	p.held = append(p.held, array.NewRecordBatch(p.schema, columns, int64(len(s.picks))))
	if p.rows += int64(len(s.picks)); p.rows < parquetGroup {
		return nil
	}
	return p.flush()
}

// flush writes what is held as a row group.
func (p *parquetWriter) flush() error {
	if p.rows == 0 {
		return nil
	}
	if p.out == nil {
		if err := p.open(p.held[0]); err != nil {
			return err
		}
	}
	table := array.NewTableFromRecords(p.schema, p.held)
	defer table.Release()
	if err := p.out.WriteTable(table, p.rows); err != nil {
		return err
	}
	p.held, p.rows = nil, 0
	return nil
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
	if err := p.flush(); err != nil {
		return err
	}
	if p.out == nil {
		if err := p.open(array.NewRecordBatch(p.schema, emptyColumns(p.schema), 0)); err != nil {
			return err
		}
	}
	return p.out.Close()
}
