package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// appendCSV writes rows as CSV with a header: null is an empty cell, an empty
// string a quoted one, an array its JSON.
func appendCSV(dst []byte, schema *dataset.Schema, rows arrow.RecordBatch) ([]byte, error) {
	for i, field := range schema.Fields() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCell(dst, field.Name)
	}
	dst = append(dst, '\n')
	var line []byte
	for row := range int(rows.NumRows()) {
		line = schema.AppendRow(line[:0], rows, row)
		first := true
		err := members(line, '{', func(_, value []byte) error {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			switch value[0] {
			case 'n':
			case '"':
				var text string
				if err := json.Unmarshal(value, &text); err != nil {
					return err
				}
				dst = appendCell(dst, text)
			case '[':
				dst = appendCell(dst, string(value))
			default:
				dst = append(dst, value...)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		dst = append(dst, '\n')
	}
	return dst, nil
}

func appendCell(dst []byte, text string) []byte {
	if text != "" && !bytes.ContainsAny([]byte(text), ",\"\r\n \t;") {
		return append(dst, text...)
	}
	dst = append(dst, '"')
	for i := range len(text) {
		if text[i] == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, text[i])
	}
	return append(dst, '"')
}

// readAnswers reads predictions for n rows from a whole file: Parquet, JSON
// Lines or CSV, as its first bytes say. Other columns than predictions are
// passed over; rows that break the schema have errors.
func readAnswers(schema *dataset.Schema, data []byte, n int) (*Answer, error) {
	input := modelmanager.JobInput{Compression: "none"}
	switch start := bytes.TrimSpace(data[:min(len(data), 512)]); {
	case bytes.HasPrefix(data, []byte("PAR1")):
		input.Format = "parquet"
	case bytes.HasPrefix(start, []byte("{")):
		input.Format = "jsonl"
	default:
		input.Format, input.Delimiter, input.Encoding = "csv", ",", "utf-8"
		input.Decimal, input.HeaderRow, input.Null, input.Dates = ".", 1, []string{"", "NA"}, "ISO"
	}
	ctx, source := context.Background(), dataset.NewBytesSource(data)
	input, err := dataset.Sniff(ctx, source, input, schema)
	if err != nil {
		return nil, invalid("the answer can't be read: %w", err)
	}
	reader, err := dataset.NewReader(ctx, source, input, schema, dataset.Whole(), dataset.ReaderOptions{BatchRows: max(n, 1)})
	if err != nil {
		return nil, invalid("the answer can't be read: %w", err)
	}
	defer reader.Close()
	var records []arrow.RecordBatch
	answer := new(Answer)
	rows := int64(0)
	for {
		batch, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, invalid("the answer can't be read: %w", err)
		}
		for _, rejected := range batch.Rejected {
			rejected.RowError.Row -= 1 // of a file, rows count from 1
			answer.Errors = append(answer.Errors, rejected.RowError)
		}
		records = append(records, withNulls(batch))
		rows += int64(batch.Rows)
	}
	if rows != int64(n) {
		return nil, wrongCount(rows, n)
	}
	if answer.Record, err = Concatenate(schema.Arrow(), records); err != nil {
		return nil, invalid("the answer can't be read: %w", err)
	}
	return answer, nil
}

// withNulls returns all rows of a batch, those that were rejected as nulls.
func withNulls(batch *dataset.Batch) arrow.RecordBatch {
	if batch.Accepted == nil {
		return batch.Record
	}
	schema := batch.Record.Schema()
	var parts []arrow.RecordBatch
	next := 0
	for i := 0; i <= len(batch.Accepted); i++ {
		row := batch.Rows
		if i < len(batch.Accepted) {
			row = int(batch.Accepted[i])
		}
		if row > next {
			parts = append(parts, nullRecord(schema, int64(row-next)))
		}
		if i < len(batch.Accepted) {
			parts = append(parts, batch.Record.NewSlice(int64(i), int64(i+1)))
		}
		next = row + 1
	}
	record, err := Concatenate(schema, parts)
	if err != nil {
		return nullRecord(schema, int64(batch.Rows)) // parts of one record always fit
	}
	return record
}
