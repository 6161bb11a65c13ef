package dataset

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	modelmanager "modelmanager.dev"
)

// Columns that output.add may name, and the one that inline rejection adds.
const (
	addModel    = "_model"
	addVersion  = "_version"
	addJob      = "_job"
	addScoredAt = "_scored_at"
	errorColumn = "_error"

	rejectedInline = "inline"
)

// WriterOptions say what a Writer writes. A row of output is the row of the
// input as it is, then the predictions, then what output.add names and, with
// rejected: inline, the reason of a rejection.
type WriterOptions struct {
	Format      string                // "": output.format, or else the input's
	Input       modelmanager.JobInput // sniffed; a CSV is written in its dialect
	Header      *Header               // of the input
	Features    *Schema
	Predictions *Schema
	Output      modelmanager.JobOutput
	Model       string
	Version     int
	Job         string
	ScoredAt    time.Time
	// WriteHeader makes a CSV begin with its header: true for the first part,
	// so that parts in a row are one file. Workbooks always have one.
	WriteHeader bool
}

// Writer writes scored rows in one format. It serves one goroutine.
type Writer struct {
	options WriterOptions
	columns []outputColumn
	format  formatWriter
	members *members // nil: not compressed
	rows    int64
}

// formatWriter is what each format has to offer.
type formatWriter interface {
	write(*scored) error
	close() error
}

// outputColumn is a column after those of the input.
type outputColumn struct {
	name       string
	prediction int // −1: an added one
	item       int // of a prediction's array; −1: the whole
}

// scored is a batch with its predictions, and which rows go to the output.
type scored struct {
	batch       *Batch
	predictions arrow.RecordBatch
	picks       []pick
}

// pick is a row of output.
type pick struct {
	row      int32  // among Batch.Rows
	accepted int32  // row of Batch.Record; −1: rejected before
	answer   int32  // row of predictions; −1: none
	fault    string // why it is rejected
}

// CheckOutput checks that an output can be written: that its columns have names
// of their own, and that its format, if it is given, goes with its compression.
// Columns are the input's.
func CheckOutput(columns []string, predictions *Schema, output modelmanager.JobOutput) error {
	for _, add := range output.Add {
		if !slices.Contains([]string{addModel, addVersion, addJob, addScoredAt}, add) {
			return modelmanager.Errorf(modelmanager.CodeInvalidInput,
				"output.add: %q is none of _model, _version, _job, _scored_at", add)
		}
	}
	switch output.Rejected {
	case "", "separate", rejectedInline:
	default:
		return modelmanager.Errorf(modelmanager.CodeInvalidInput, "output.rejected: %q is neither separate nor inline", output.Rejected)
	}
	if err := checkFormulas(output.Formulas); err != nil {
		return err
	}
	if err := checkCompression(output.Format, output.Compression); err != nil {
		return err
	}
	taken := make(map[string]bool, len(columns))
	for _, name := range columns {
		taken[name] = true
	}
	var predicted, added []string
	for _, column := range outputColumns(predictions, output, true) {
		if !taken[column.name] {
			continue
		}
		if column.prediction >= 0 {
			predicted = append(predicted, column.name)
		} else {
			added = append(added, column.name)
		}
	}
	for _, column := range outputColumns(predictions, output, false) {
		if taken[column.name] && column.prediction >= 0 && !slices.Contains(predicted, column.name) {
			predicted = append(predicted, column.name)
		}
	}
	switch {
	case len(predicted) > 0:
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"the input already has a column called like a prediction: %s; set output.prefix, to \"new_\" for instance, or rename the column",
			strings.Join(predicted, ", "))
	case len(added) > 0:
		return modelmanager.Errorf(modelmanager.CodeInvalidInput,
			"the input already has columns that the job adds: %s; set output.add to those that it is to add, [] for none, or rename the columns",
			strings.Join(added, ", "))
	}
	return nil
}

// outputColumns lists the columns after those of the input; flat ones have no
// arrays, but a column per item.
func outputColumns(predictions *Schema, output modelmanager.JobOutput, flat bool) []outputColumn {
	var columns []outputColumn
	for i, field := range predictions.Fields() {
		name := output.Prefix + field.Name
		items := itemHeaders(field, name)
		if !flat || items == nil {
			columns = append(columns, outputColumn{name: name, prediction: i, item: -1})
			continue
		}
		for item, name := range items {
			columns = append(columns, outputColumn{name: name, prediction: i, item: item})
		}
	}
	add := output.Add
	if add == nil {
		add = []string{addModel, addVersion, addJob, addScoredAt}
	}
	for _, name := range add {
		columns = append(columns, outputColumn{name: name, prediction: -1, item: -1})
	}
	if output.Rejected == rejectedInline {
		columns = append(columns, outputColumn{name: errorColumn, prediction: -1, item: -1})
	}
	return columns
}

// NewWriter starts a file on w. Its error has the code invalid_input where
// names collide; see CheckOutput.
func NewWriter(w io.Writer, opts WriterOptions) (*Writer, error) {
	if opts.Format == "" {
		opts.Format = defaultTo(opts.Output.Format, opts.Input.Format)
	}
	if err := CheckOutput(opts.Header.Columns, opts.Predictions, opts.Output); err != nil {
		return nil, err
	}
	if err := checkCompression(opts.Format, opts.Output.Compression); err != nil {
		return nil, err
	}
	flat := opts.Format == formatCSV || opts.Format == formatXLSX
	writer := &Writer{options: opts, columns: outputColumns(opts.Predictions, opts.Output, flat)}
	if writer.members = newMembers(w, opts.Output.Compression); writer.members != nil {
		w = writer.members
	}
	var err error
	switch opts.Format {
	case formatCSV:
		writer.format, err = newCSVWriter(w, writer)
	case formatJSONL:
		writer.format, err = newJSONLWriter(w, writer)
	case formatParquet:
		writer.format, err = newParquetWriter(w, writer)
	case formatXLSX:
		writer.format, err = newXLSXWriter(w, writer)
	default:
		err = unknownFormat("output.format", opts.Format)
	}
	if err != nil {
		return nil, err
	}
	return writer, writer.members.end() // behind the header
}

// Write writes a batch. Predictions have a row per row of batch.Record; refused
// names those that have no prediction after all, by their index in it. With
// rejected: separate neither they nor the batch's rejected rows are written.
func (w *Writer) Write(batch *Batch, predictions arrow.RecordBatch, refused []modelmanager.RowError) error {
	accepted := int(batch.Record.NumRows())
	if int(predictions.NumRows()) != accepted || int(predictions.NumCols()) != len(w.options.Predictions.Fields()) {
		return modelmanager.Errorf(modelmanager.CodeInternal,
			"writing rows from %d on: %d predictions in %d columns for %d rows", batch.FirstRow, predictions.NumRows(), predictions.NumCols(), accepted)
	}
	s := &scored{batch: batch, predictions: predictions, picks: make([]pick, 0, batch.Rows)}
	faults := make(map[int32]string, len(refused))
	for _, e := range refused {
		text := e.Message
		if e.Feature != "" {
			text = e.Feature + ": " + text
		}
		if before, ok := faults[int32(e.Row)]; ok {
			text = before + "; " + text
		}
		faults[int32(e.Row)] = text
	}
	inline := w.options.Output.Rejected == rejectedInline
	next, rejected := int32(0), 0
	for row := range batch.Rows {
		if batch.dropped != nil && batch.dropped[row] {
			continue
		}
		p := pick{row: int32(row), accepted: -1, answer: -1}
		if int(next) < accepted && batch.Index(int(next)) == row {
			p.accepted, p.answer = next, next
			if fault, ok := faults[next]; ok {
				p.answer, p.fault = -1, fault
			}
			next++
		} else if rejected < len(batch.Rejected) {
			p.fault = rejectedText(batch.Rejected[rejected])
			rejected++
		}
		if p.answer >= 0 || inline {
			s.picks = append(s.picks, p)
		}
	}
	w.rows += int64(len(s.picks))
	if len(s.picks) == 0 {
		return nil
	}
	return w.format.write(s)
}

func rejectedText(r Rejected) string {
	if r.Feature == "" {
		return r.Message
	}
	return fmt.Sprintf("%s: %s", r.Feature, r.Message)
}

// Rows returns how many rows have been written.
func (w *Writer) Rows() int64 { return w.rows }

// Close completes the file. It doesn't close what NewWriter was given.
func (w *Writer) Close() error {
	if err := w.format.close(); err != nil {
		return err
	}
	return w.members.close()
}

// added returns the value of a column that the job adds.
func (w *Writer) added(name string) value {
	switch name {
	case addModel:
		return value{kind: valueText, text: []byte(w.options.Model)}
	case addVersion:
		return value{kind: valueNumber, text: fmt.Append(nil, w.options.Version)}
	case addJob:
		return value{kind: valueText, text: []byte(w.options.Job)}
	default:
		return value{kind: valueText, text: appendTime(nil, w.options.ScoredAt.UnixMicro())}
	}
}

// errorValue is the value of _error.
func errorValue(p pick) value {
	if p.fault == "" {
		return value{}
	}
	return value{kind: valueText, text: []byte(p.fault)}
}

// answerValue returns a prediction, or one item of it.
func (s *scored) answerValue(c outputColumn, p pick) value {
	if p.answer < 0 {
		return value{}
	}
	column := s.predictions.Column(c.prediction)
	if c.item < 0 {
		return arrowValue(column, int(p.answer))
	}
	return itemValue(column, int(p.answer), c.item)
}

// unlisted explains why a scored row has no values for the output's columns.
// Leaving out what doesn't fit would lose data.
func (s *scored) unlisted(p pick) error {
	if s.batch.Extra.json == nil || p.accepted < 0 {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeInvalidInput,
		"row %d has a key that none of the first %d rows has, so that the output has no column for it; set output.format to jsonl",
		s.batch.FirstRow+int64(p.row), jsonlHeaderRows)
}

// inputValues returns a row's cells as the input has them. With typed, features
// from a text or a workbook are what they were read as, unless they are strings.
func (s *scored) inputValues(dst []value, p pick, header *Header, typed bool) ([]value, bool) {
	values, ok := s.batch.Extra.values(dst, int(p.row))
	if !ok || !typed || p.accepted < 0 || header.targets == nil {
		return values, ok
	}
	for column, to := range header.targets {
		if to.feature < 0 || header.kinds[column] == stringKind || header.kinds[column] == arrayKind {
			continue
		}
		if to.item >= 0 {
			values[column] = itemValue(s.batch.Record.Column(to.feature), int(p.accepted), to.item)
		} else {
			values[column] = arrowValue(s.batch.Record.Column(to.feature), int(p.accepted))
		}
	}
	return values, true
}
