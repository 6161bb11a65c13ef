package worker

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// answers are predictions in a whole file: Parquet, JSON Lines or CSV, as its
// first bytes say. Other columns than predictions are passed over; rows that
// break the schema have errors.
type answers struct {
	schema *dataset.Schema
	source dataset.Source
	reader *dataset.Reader
	held   arrow.RecordBatch       // read, and not asked for yet; may be nil
	errors []modelmanager.RowError // of held, and what follows
	read   int64                   // rows, held ones included
	asked  int64                   // rows
}

// openAnswers begins to read answers, batch rows at a time; 0: as files of rows
// are read. It closes source if that fails, or else with the answers.
func openAnswers(schema *dataset.Schema, source dataset.Source, batch int) (*answers, error) {
	a := &answers{schema: schema, source: source}
	if err := a.open(batch); err != nil {
		a.close()
		return nil, unreadable(err)
	}
	return a, nil
}

func unreadable(err error) error { return invalid("the answer can't be read: %w", err) }

func (a *answers) open(batch int) error {
	ctx := context.Background()
	head, err := a.source.ReadAt(ctx, 0, min(a.source.Size(), 512))
	if err != nil {
		return err
	}
	data, err := io.ReadAll(head)
	head.Close()
	if err != nil {
		return err
	}
	input := modelmanager.JobInput{Compression: "none"}
	switch {
	case bytes.HasPrefix(data, []byte("PAR1")):
		input.Format = "parquet"
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		input.Format = "jsonl"
	default:
		input.Format, input.Delimiter, input.Encoding = "csv", ",", "utf-8"
		input.Decimal, input.HeaderRow, input.Null, input.Dates = ".", 1, []string{"", "NA"}, "ISO"
	}
	if input, err = dataset.Sniff(ctx, a.source, input, a.schema); err != nil {
		return err
	}
	a.reader, err = dataset.NewReader(ctx, a.source, input, a.schema, dataset.Whole(), dataset.ReaderOptions{BatchRows: batch})
	return err
}

// next returns the next n of all answers.
func (a *answers) next(n int, all int64) (*Answer, error) {
	var records []arrow.RecordBatch
	for missing := int64(n); missing > 0; {
		if a.held == nil || a.held.NumRows() == 0 {
			if err := a.more(); errors.Is(err, io.EOF) {
				return nil, wrongCount(a.read, int(all))
			} else if err != nil {
				return nil, err
			}
			continue
		}
		some := min(missing, a.held.NumRows())
		records = append(records, a.held.NewSlice(0, some))
		a.held = a.held.NewSlice(some, a.held.NumRows())
		missing -= some
	}
	answer := new(Answer)
	for len(a.errors) > 0 && a.errors[0].Row < a.asked+int64(n) {
		e := a.errors[0]
		a.errors = a.errors[1:]
		e.Row -= a.asked
		answer.Errors = append(answer.Errors, e)
	}
	a.asked += int64(n)
	var err error
	if answer.Record, err = Concatenate(a.schema.Arrow(), records); err != nil {
		return nil, unreadable(err)
	}
	return answer, nil
}

// more reads a batch.
func (a *answers) more() error {
	batch, err := a.reader.Next()
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return unreadable(err)
	}
	for _, rejected := range batch.Rejected {
		rejected.RowError.Row-- // of a file, rows count from 1
		a.errors = append(a.errors, rejected.RowError)
	}
	a.held = withNulls(batch)
	a.read += int64(batch.Rows)
	return nil
}

// end makes sure that the answers are as many as was expected.
func (a *answers) end(all int64) error {
	for {
		if err := a.more(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if a.read != all {
		return wrongCount(a.read, int(all))
	}
	return nil
}

func (a *answers) close() {
	if a.reader != nil {
		_ = a.reader.Close()
	}
	if file, ok := a.source.(io.Closer); ok {
		_ = file.Close()
	}
}

// readAnswers reads predictions for n rows from a file that is in memory.
func readAnswers(schema *dataset.Schema, data []byte, n int) (*Answer, error) {
	a, err := openAnswers(schema, dataset.NewBytesSource(data), max(n, 1))
	if err != nil {
		return nil, err
	}
	defer a.close()
	answer, err := a.next(n, int64(n))
	if err == nil {
		err = a.end(int64(n))
	}
	return answer, err
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
