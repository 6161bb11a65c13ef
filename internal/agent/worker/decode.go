package worker

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// noReason is said of a row that was refused without a message.
const noReason = "the model refused this row and gave no reason"

// checkRefusals returns a worker's refusals as row errors, one a row.
func checkRefusals(refusals []refusal, n int) ([]modelmanager.RowError, error) {
	if len(refusals) == 0 {
		return nil, nil
	}
	seen := make(map[int64]bool, len(refusals))
	var errors []modelmanager.RowError
	for _, r := range refusals {
		if r.Row < 0 || r.Row >= int64(n) {
			return nil, invalid("the worker refused row %d of %s; rows count from 0", r.Row, countRows(int64(n)))
		}
		if seen[r.Row] {
			continue
		}
		seen[r.Row] = true
		message := clip(r.Message)
		if message == "" {
			message = noReason
		}
		errors = append(errors, modelmanager.RowError{Row: r.Row, Message: message})
	}
	return errors, nil
}

// decodeJSON reads predictions as a list of objects, null for a refused row,
// or as an object of columns.
func decodeJSON(schema *dataset.Schema, data json.RawMessage, n int, refused []modelmanager.RowError) (*Answer, error) {
	if data[0] == '{' {
		record, err := schema.DecodeColumns(n, data)
		if err != nil {
			return nil, invalid("the worker's answer can't be used: %w", err)
		}
		if record.NumRows() != int64(n) {
			defer record.Release()
			return nil, wrongCount(record.NumRows(), n)
		}
		return &Answer{Record: record, Errors: refused}, nil
	}
	rows, err := elements(data)
	if err != nil {
		return nil, invalid("the worker's predictions are neither a list of objects nor an object of columns")
	}
	if len(rows) != n {
		return nil, wrongCount(int64(len(rows)), n)
	}
	named := make(map[int64]bool, len(refused))
	for _, r := range refused {
		named[r.Row] = true
		rows[r.Row] = json.RawMessage("null")
	}
	for i, row := range rows {
		if string(row) == "null" && !named[int64(i)] {
			refused = append(refused, modelmanager.RowError{Row: int64(i), Message: noReason})
		}
	}
	record, err := schema.DecodeAnswers(rows)
	if err != nil {
		return nil, invalid("the worker's answer can't be used: %w", err)
	}
	return &Answer{Record: record, Errors: refused}, nil
}

// encodeArrow appends rows to a buffer as an Arrow IPC stream.
func encodeArrow(buffer *bytes.Buffer, rows arrow.RecordBatch) error {
	w := ipc.NewWriter(buffer, ipc.WithSchema(rows.Schema()))
	if err := w.Write(rows); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}

// decodeArrow reads an Arrow IPC stream that nobody vouches for as one record.
func decodeArrow(data []byte, limit int64) (record arrow.RecordBatch, err error) {
	defer func() {
		if r := recover(); r != nil {
			record, err = nil, fmt.Errorf("it is not a valid Arrow stream: %v", r)
		}
	}()
	reader, err := ipc.NewReader(bytes.NewReader(data),
		ipc.WithMetadataSizeLimit(16<<20), ipc.WithBodySizeLimit(int64(len(data))),
		ipc.WithAllocator(&boundedAllocator{left: 4 * limit}))
	if err != nil {
		return nil, fmt.Errorf("it is not a valid Arrow stream: %w", err)
	}
	defer reader.Release()
	var records []arrow.RecordBatch
	defer func() {
		for _, r := range records {
			r.Release()
		}
	}()
	for reader.Next() {
		r := reader.RecordBatch()
		if err := array.ValidateRecordFull(r); err != nil {
			return nil, fmt.Errorf("it is not a valid Arrow stream: %w", err)
		}
		r.Retain()
		records = append(records, r)
	}
	if err := reader.Err(); err != nil {
		return nil, fmt.Errorf("it is not a valid Arrow stream: %w", err)
	}
	return Concatenate(reader.Schema(), records)
}

// Concatenate makes one record of several with the same schema.
func Concatenate(schema *arrow.Schema, records []arrow.RecordBatch) (arrow.RecordBatch, error) {
	if len(records) == 1 {
		records[0].Retain()
		return records[0], nil
	}
	columns := make([]arrow.Array, schema.NumFields())
	defer func() {
		for _, column := range columns {
			if column != nil {
				column.Release()
			}
		}
	}()
	var rows int64
	for _, r := range records {
		rows += r.NumRows()
	}
	for i := range columns {
		if len(records) == 0 {
			builder := array.NewBuilder(memory.DefaultAllocator, schema.Field(i).Type)
			columns[i] = builder.NewArray()
			builder.Release()
			continue
		}
		parts := make([]arrow.Array, len(records))
		for j, r := range records {
			parts[j] = r.Column(i)
		}
		var err error
		if columns[i], err = array.Concatenate(parts, memory.DefaultAllocator); err != nil {
			return nil, err
		}
	}
	return array.NewRecordBatch(schema, columns, rows), nil
}

// boundedAllocator panics where a stream asks for more than it may: a
// compressed body may say anything of its size. decodeArrow recovers.
type boundedAllocator struct {
	memory.GoAllocator
	left int64
}

func (a *boundedAllocator) take(n int) {
	if a.left -= int64(n); a.left < 0 {
		panic("it unpacks to more than is allowed")
	}
}

func (a *boundedAllocator) Allocate(size int) []byte {
	a.take(size)
	return a.GoAllocator.Allocate(size)
}

func (a *boundedAllocator) Reallocate(size int, b []byte) []byte {
	a.take(max(0, size-len(b)))
	return a.GoAllocator.Reallocate(size, b)
}

// nullRecord returns n rows of nulls.
func nullRecord(schema *arrow.Schema, n int64) arrow.RecordBatch {
	columns := make([]arrow.Array, schema.NumFields())
	for i := range columns {
		columns[i] = array.MakeArrayOfNull(memory.DefaultAllocator, schema.Field(i).Type, int(n))
	}
	record := array.NewRecordBatch(schema, columns, n)
	for _, column := range columns {
		column.Release()
	}
	return record
}
