package dataset

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	modelmanager "modelmanager.dev"
)

// What is read of a column at a time: where reads are cheap, and at most of a
// slice that is a smaller part of its row groups.
const (
	parquetBuffer = 64 << 10
	parquetPart   = 1 << 20
)

// parquetError puts errors of the library into words. A hostile file can make
// it panic; that is an error of the file too.
func parquetError(err error) error {
	if err == nil {
		return nil
	}
	var known *modelmanager.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput, "reading the Parquet file: %w; write it again", err)
}

func guardParquet(err *error) {
	if r := recover(); r != nil {
		*err = parquetError(fmt.Errorf("%v", r))
	}
}

// openParquetFile reads the footer. Of a source whose bytes are at hand, pages
// are read as they are needed; of another one whole column chunks, in one
// request each.
func openParquetFile(ctx context.Context, src Source) (_ *parquetFile, err error) {
	defer guardParquet(&err)
	f := &parquetFile{sourceAt: newSourceAt(ctx, src), properties: parquet.NewReaderProperties(memory.DefaultAllocator)}
	if f.direct != nil {
		f.properties.BufferedStreamEnabled = true
		f.properties.BufferSize = parquetBuffer
	}
	if err := checkParquetMark(f); err != nil {
		return nil, err
	}
	if f.reader, err = file.NewParquetReader(f, file.WithReadProps(f.properties)); err != nil {
		return nil, parquetError(err)
	}
	return f, nil
}

// checkParquetMark says of a file of another format what the library would put
// into words of its own.
func checkParquetMark(file *parquetFile) error {
	start := make([]byte, min(16, file.src.Size()))
	n, err := file.exactly(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return parquetError(err)
	}
	if start = start[:n]; !bytes.HasPrefix(start, []byte(parquetMark)) {
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"this is not a Parquet file: it begins with %s; leave the format out, and it is found by the file itself", quote(start))
	}
	return nil
}

// ParquetFooter returns how many bytes of a file are its Parquet footer; 0 if it
// isn't Parquet.
func ParquetFooter(ctx context.Context, src Source) (int64, error) {
	const marks = len(parquetMark) + parquetTail
	if src.Size() < int64(marks) {
		return 0, nil
	}
	at := newSourceAt(ctx, src)
	start, end := make([]byte, len(parquetMark)), make([]byte, parquetTail)
	if _, err := at.ReadAt(start, 0); err != nil {
		return 0, err
	}
	if _, err := at.ReadAt(end, src.Size()-int64(parquetTail)); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if string(start) != parquetMark || string(end[4:]) != parquetMark {
		return 0, nil
	}
	return int64(binary.LittleEndian.Uint32(end)) + int64(parquetTail), nil
}

// ParquetRows returns how many rows a Parquet file says it has.
func ParquetRows(ctx context.Context, src Source) (rows int64, err error) {
	defer guardParquet(&err)
	f, err := openParquetFile(ctx, src)
	if err != nil {
		return 0, err
	}
	defer f.reader.Close()
	return f.reader.NumRows(), nil
}

// parquetSource streams a range of rows.
type parquetSource struct {
	file     *parquetFile
	records  pqarrow.RecordReader
	header   *Header
	schema   *Schema
	bound    *binding
	builder  *Builder
	casts    []*cast // per column of the file; nil: not a feature's
	lists    []listTarget
	rowIndex int64
	left     int64
	before   int64 // rows to read and drop before the slice
}

func (o opening) openParquet() (_ *Header, _ batchSource, err error) {
	defer guardParquet(&err)
	f, err := openParquetFile(o.ctx, o.src)
	if err != nil {
		return nil, nil, err
	}
	s := &parquetSource{file: f, schema: o.schema, builder: NewBuilder(o.schema)}
	if err := s.open(o); err != nil {
		s.close()
		return nil, nil, err
	}
	return s.header, s, nil
}

func (s *parquetSource) open(o opening) error {
	arrows, err := pqarrow.NewFileReader(s.file.reader, pqarrow.ArrowReadProperties{
		BatchSize: s.file.batchRows(o.opts), Parallel: o.opts.Parallel > 1,
	}, memory.DefaultAllocator)
	if err != nil {
		return parquetError(err)
	}
	schema, err := arrows.Schema()
	if err != nil {
		return parquetError(err)
	}
	s.header = &Header{newline: "\n", arrow: schema}
	for _, field := range schema.Fields() {
		s.header.Columns = append(s.header.Columns, field.Name)
	}
	if s.bound, err = bindHeader(o.schema, s.header.Columns, o.input); err != nil {
		return err
	}
	if err := s.bindCasts(o, schema); err != nil {
		return err
	}
	total := s.file.reader.NumRows()
	s.rowIndex = max(o.slice.FirstRow, 1)
	s.left = total - (s.rowIndex - 1)
	if o.slice.Rows > 0 {
		s.left = min(s.left, o.slice.Rows)
	}
	if s.left <= 0 {
		s.left = 0
		return nil
	}
	return s.seek(o.ctx, arrows, o.slice.Pages)
}

// batchRows is how many rows a batch may have: what the row group with the
// longest rows says of their bytes bounds it, too.
func (f *parquetFile) batchRows(opts ReaderOptions) int64 {
	most := int64(opts.BatchRows)
	for i := range f.reader.NumRowGroups() {
		group := f.reader.MetaData().RowGroup(i)
		rows, size := group.NumRows(), group.TotalByteSize() // before compression
		if rows > 0 && size > 0 {
			most = min(most, int64(opts.BatchBytes)/max(size/rows, 1))
		}
	}
	return max(most, 1)
}

// seek opens the row groups that hold the slice, whose first row is in pages.
func (s *parquetSource) seek(ctx context.Context, arrows *pqarrow.FileReader, pages []PageStart) error {
	var groups []int
	first, skip := s.rowIndex-1, int64(0)
	start, opened, size := int64(0), int64(0), int64(0)
	for i := range s.file.reader.NumRowGroups() {
		group := s.file.reader.MetaData().RowGroup(i)
		rows := group.NumRows()
		if start+rows > first && start < first+s.left {
			if len(groups) == 0 {
				skip = first - start
			}
			groups = append(groups, i)
			opened += rows
			size += group.TotalByteSize()
		}
		start += rows
	}
	if properties := s.file.properties; opened > 2*s.left && !properties.BufferedStreamEnabled {
		// Fetch little of what comes after the slice.
		part := size / opened * s.left / int64(len(s.header.Columns)) / 4
		properties.BufferedStreamEnabled, properties.BufferSize = true, min(max(part, parquetBuffer), parquetPart)
	}
	seeks := skip > 0 && !s.file.hasLists()
	if seeks {
		if err := s.file.know(groups[0], pages); err != nil {
			return parquetError(err)
		}
	}
	var err error
	if s.records, err = arrows.GetRecordReader(ctx, nil, groups); err != nil {
		return parquetError(err)
	}
	if !seeks {
		s.before = skip
		return nil
	}
	return parquetError(s.records.SeekToRow(skip))
}

func (s *parquetSource) bindCasts(o opening, schema *arrow.Schema) error {
	rules, err := newTextRules(o.input)
	if err != nil {
		return err
	}
	s.casts = make([]*cast, len(s.bound.targets))
	var faults []modelmanager.RowError
	for column, to := range s.bound.targets {
		if to.feature < 0 {
			continue
		}
		r := o.schema.rules[to.feature]
		if to.item >= 0 {
			r = r.item
		}
		var fault string
		s.casts[column], fault = newCast(schema.Field(column).Type, r, rules.Timezone)
		if fault != "" {
			faults = append(faults, modelmanager.RowError{Feature: o.schema.Fields()[to.feature].Name, Message: fault})
		}
	}
	_, s.lists = splitTargets(s.bound)
	if len(faults) == 0 {
		return nil
	}
	text := ""
	for i, fault := range faults {
		if i > 0 {
			text += "; "
		}
		text += fault.Feature + ": " + fault.Message
	}
	failure := modelmanager.Errorf(modelmanager.CodeInvalidInput, "the Parquet file's columns don't fit the model: %s", text)
	failure.Rows = faults
	return failure
}

func (s *parquetSource) next() (_ *Batch, err error) {
	defer guardParquet(&err)
	if s.left == 0 {
		return nil, io.EOF
	}
	record, err := s.records.Read()
	if err == io.EOF || record == nil && err == nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"the Parquet file has fewer rows than its footer says; write it again")
	}
	if err != nil {
		return nil, parquetError(err)
	}
	if dropped := min(s.before, record.NumRows()); dropped > 0 || record.NumRows() > s.left {
		s.before -= dropped
		if dropped == record.NumRows() {
			return s.next()
		}
		record = record.NewSlice(dropped, min(record.NumRows(), dropped+s.left))
	} else {
		record.Retain() // the reader releases its own at the next Read
	}
	batch, err := s.convert(record)
	if err != nil {
		return nil, err
	}
	s.left -= record.NumRows()
	s.rowIndex += record.NumRows()
	return batch, nil
}

// convert casts the features' columns. A column that passes as a whole is
// taken as it is; only a batch where one doesn't is looked at row by row.
func (s *parquetSource) convert(record arrow.RecordBatch) (*Batch, error) {
	rows := int(record.NumRows())
	extra := Extra{header: s.header, columns: record}
	columns := make([]*castColumn, len(s.casts))
	for i, c := range s.casts {
		if c == nil {
			continue
		}
		var err error
		if columns[i], err = c.apply(record.Column(i)); err != nil {
			return nil, parquetError(err)
		}
	}
	c := newRowCollector(s.builder, s.rowIndex)
	if whole := s.takeWhole(columns, rows); whole != nil {
		c.batch.Rows = rows
		batch := c.finish(extra)
		batch.Record = whole
		for _, feature := range s.bound.absent {
			batch.filled[feature] += int64(rows)
		}
		return batch, nil
	}
	for row := range rows {
		for i, column := range columns {
			if column != nil && s.bound.targets[i].item < 0 {
				column.set(s.builder, s.bound.targets[i].feature, row)
			}
		}
		for _, l := range s.lists {
			s.setList(l, columns, row)
		}
		c.endRow(FillAbsent, &extra)
	}
	return c.finish(extra), nil
}

func (s *parquetSource) setList(l listTarget, columns []*castColumn, row int) {
	text := []byte{'['}
	for i, column := range l.columns {
		if i > 0 {
			text = append(text, ',')
		}
		text = columns[column].appendJSON(text, row)
	}
	s.builder.SetValue(l.feature, append(text, ']'))
}

// takeWhole makes a record of columns that need no look at single values; nil
// if there is a column that does.
func (s *parquetSource) takeWhole(columns []*castColumn, rows int) arrow.RecordBatch {
	if len(s.lists) > 0 {
		return nil
	}
	arrays := make([]arrow.Array, len(s.schema.Fields()))
	for i, column := range columns {
		if column == nil {
			continue
		}
		feature := s.bound.targets[i].feature
		if arrays[feature] = column.whole(s.schema.rules[feature]); arrays[feature] == nil {
			return nil
		}
	}
	for _, feature := range s.bound.absent {
		if s.schema.Fields()[feature].Default != nil {
			return nil
		}
		arrays[feature] = nullColumn(s.schema.rules[feature], rows)
	}
	return array.NewRecordBatch(s.schema.Arrow(), arrays, int64(rows))
}

func (s *parquetSource) close() error {
	if s.records != nil {
		s.records.Release()
	}
	return s.file.reader.Close()
}
