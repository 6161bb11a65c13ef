package dataset

import (
	"context"
	"encoding/json"

	"github.com/apache/arrow-go/v18/arrow"

	modelmanager "modelmanager.dev"
)

// defaultBatchRows is what goes to a worker in one call, unless the spec says otherwise.
const defaultBatchRows = 10_000

// defaultBatchBytes bounds a batch whose rows are long.
const defaultBatchBytes = 64 << 20

// ReaderOptions say how a Reader hands rows over.
type ReaderOptions struct {
	BatchRows int // rows of a Batch at the most; 0: 10,000
	// BatchBytes ends a Batch before that, once its rows have so many bytes, as
	// far as the file tells; 0: 64 MiB. One row may have more.
	BatchBytes int
	Parallel   int // goroutines that decode; 0 and 1: the caller's own alone
}

// Batch is some rows of a file, in its order.
type Batch struct {
	FirstRow int64             // number of the first row; 1 is the first data row of the file
	Rows     int               // accepted and rejected
	Record   arrow.RecordBatch // the accepted rows
	Accepted []int32           // their indices among Rows; nil: all rows are accepted
	Rejected []Rejected        // in the file's order
	Extra    Extra             // all Rows as the file has them

	filled  []int64 // per feature, rows that took its default
	dropped []bool  // rows that Keep left out; nil: none
}

// Rejected is a row that was rejected, with the row itself as a JSON object:
// header → cell. A row that has no such form, a ragged one, is {"_row": text}.
type Rejected struct {
	modelmanager.RowError
	Raw json.RawMessage `json:"raw"`

	// Further are the reasons after the first, one by one; Message has them all.
	Further []modelmanager.RowError `json:"-"`
	// First is the first reason alone, if there are others.
	First string `json:"-"`
}

// Index returns the index among Rows of an accepted row, a row of Record.
func (b *Batch) Index(accepted int) int {
	if b.Accepted == nil {
		return accepted
	}
	return int(b.Accepted[accepted])
}

// Reject gives rows that were refused later, by the model for instance, their
// place in the file. Row of each error is an index in Record.
func (b *Batch) Reject(refused []modelmanager.RowError) []Rejected {
	rejected := make([]Rejected, len(refused))
	for i, e := range refused {
		row := b.Index(int(e.Row))
		e.Row = b.FirstRow + int64(row)
		rejected[i] = Rejected{RowError: e, Raw: b.Extra.AppendJSON(nil, row)}
	}
	return rejected
}

// Reader streams a slice of a file as Batches. It serves one goroutine at a time.
type Reader struct {
	schema *Schema
	header *Header
	source batchSource
	filled []int64
	rows   int64
}

// batchSource is what each format has to offer.
type batchSource interface {
	next() (*Batch, error) // io.EOF at the end
	close() error
}

// NewReader opens a slice of a sniffed file. The header is checked first: its
// error has the code missing_column or invalid_input and names everything that
// doesn't fit. Close the Reader, whatever happens.
func NewReader(ctx context.Context, src Source, input modelmanager.JobInput, s *Schema, slice Slice, opts ReaderOptions) (*Reader, error) {
	if opts.BatchRows <= 0 {
		opts.BatchRows = defaultBatchRows
	}
	if opts.BatchBytes <= 0 {
		opts.BatchBytes = defaultBatchBytes
	}
	if slice.Length == 0 && slice.Rows == 0 {
		slice = Whole()
	}
	o := opening{ctx: ctx, src: src, input: input, schema: s, slice: slice, opts: opts}
	r := &Reader{schema: s, filled: make([]int64, len(s.Fields()))}
	var err error
	switch input.Format {
	case formatCSV:
		r.header, r.source, err = o.openCSV()
	case formatJSONL:
		r.header, r.source, err = o.openJSONL()
	case formatParquet:
		r.header, r.source, err = o.openParquet()
	case formatXLSX:
		r.header, r.source, err = o.openXLSX()
	default:
		err = unknownFormat("input.format", input.Format)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// opening is what NewReader was asked for.
type opening struct {
	ctx    context.Context
	src    Source
	input  modelmanager.JobInput
	schema *Schema
	slice  Slice
	opts   ReaderOptions
}

// Header returns what the file says about its columns.
func (r *Reader) Header() *Header { return r.header }

// Next returns the next rows; io.EOF at the end of the slice. The Batch is the caller's.
func (r *Reader) Next() (*Batch, error) {
	batch, err := r.source.next()
	if err != nil {
		return nil, err
	}
	for i, n := range batch.filled {
		r.filled[i] += n
	}
	r.rows += int64(batch.Rows)
	return batch, nil
}

// Rows returns how many rows have been read, rejected ones included.
func (r *Reader) Rows() int64 { return r.rows }

// Filled returns, for each feature that took its default in a row, in how many.
func (r *Reader) Filled() map[string]int64 {
	filled := map[string]int64{}
	for i, n := range r.filled {
		if n > 0 {
			filled[r.schema.Fields()[i].Name] = n
		}
	}
	return filled
}

// Close ends reading and closes the file.
func (r *Reader) Close() error { return r.source.close() }

// rowCollector builds a Batch row by row; the formats share it.
type rowCollector struct {
	builder *Builder
	batch   *Batch
	before  []int64 // filled, before the batch
}

func newRowCollector(b *Builder, firstRow int64) *rowCollector {
	return &rowCollector{
		builder: b, batch: &Batch{FirstRow: firstRow},
		before: append([]int64(nil), b.Filled()...),
	}
}

// endRow ends the builder's row.
func (c *rowCollector) endRow(absent AbsentPolicy, extra *Extra) {
	problems := c.builder.EndRow(absent)
	if problems == nil {
		c.accept()
		return
	}
	for _, p := range problems {
		c.note(p.Feature, p.Message)
	}
	c.reject(extra, len(problems))
}

// accept counts a row that the builder took.
func (c *rowCollector) accept() {
	if c.batch.Accepted != nil {
		c.batch.Accepted = append(c.batch.Accepted, int32(c.batch.Rows))
	}
	c.batch.Rows++
}

// refuse rejects a row that the builder has not seen.
func (c *rowCollector) refuse(message string, extra *Extra) {
	c.note("", message)
	c.reject(extra, 1)
}

func (c *rowCollector) note(feature, message string) {
	c.batch.Rejected = append(c.batch.Rejected, Rejected{RowError: modelmanager.RowError{
		Row: c.batch.FirstRow + int64(c.batch.Rows), Feature: feature, Message: message,
	}})
}

// reject counts the row as rejected, for the last n reasons noted. It is one
// rejected row: further reasons join the first.
func (c *rowCollector) reject(extra *Extra, n int) {
	if c.batch.Accepted == nil {
		c.batch.Accepted = make([]int32, c.batch.Rows, c.batch.Rows+64)
		for i := range c.batch.Accepted {
			c.batch.Accepted[i] = int32(i)
		}
	}
	rejected := c.batch.Rejected
	first := &rejected[len(rejected)-n]
	if n > 1 {
		first.First = first.Message
	}
	for _, further := range rejected[len(rejected)-n+1:] {
		first.Message += "; "
		if further.Feature != "" {
			first.Message += further.Feature + ": "
		}
		first.Message += further.Message
		first.Further = append(first.Further, further.RowError)
	}
	first.Raw = extra.AppendJSON(nil, c.batch.Rows)
	c.batch.Rejected = rejected[:len(rejected)-n+1]
	c.batch.Rows++
}

// finish hands the batch over.
func (c *rowCollector) finish(extra Extra) *Batch {
	c.batch.Record = c.builder.Record()
	c.batch.Extra = extra
	c.batch.filled = append([]int64(nil), c.builder.Filled()...)
	for i := range c.before {
		c.batch.filled[i] -= c.before[i]
	}
	return c.batch
}
