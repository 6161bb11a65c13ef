package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
)

// sampleRows is how many rows of a sample are looked at.
const sampleRows = 10000

// rowSet is rows of a file that fit some features.
type rowSet struct {
	numbers []int64
	rows    []json.RawMessage
	batches []arrow.RecordBatch
	more    bool
}

func (s *rowSet) release() {
	for _, batch := range s.batches {
		batch.Release()
	}
}

// readRows reads the first rows of a file, of those that fit the features.
func readRows(ctx context.Context, path string, schema *dataset.Schema, call int) (_ *rowSet, err error) {
	source, err := dataset.NewFileSource(path)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	input, err := dataset.Sniff(ctx, source, modelmanager.JobInput{Name: path}, schema)
	if err != nil {
		return nil, err
	}
	reader, err := dataset.NewReader(ctx, source, input, schema, dataset.Whole(), dataset.ReaderOptions{BatchRows: min(call, sampleRows)})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	set := &rowSet{}
	defer func() {
		if err != nil {
			set.release()
		}
	}()
	for {
		batch, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return set, nil
		}
		if err != nil {
			return nil, err
		}
		if len(set.rows) >= sampleRows {
			batch.Record.Release()
			set.more = true
			return set, nil
		}
		set.batches = append(set.batches, batch.Record)
		for i := range int(batch.Record.NumRows()) {
			set.numbers = append(set.numbers, batch.FirstRow+int64(batch.Index(i)))
			set.rows = append(set.rows, schema.AppendRow(nil, batch.Record, i))
		}
	}
}

// predictionsFor asks the new version for those of all rows.
func (r *examplesRun) predictionsFor(ctx context.Context, set *rowSet) ([]json.RawMessage, error) {
	var predictions []json.RawMessage
	for _, batch := range set.batches {
		if batch.NumRows() == 0 {
			continue
		}
		outcomes, err := r.ask(ctx, batch)
		if err != nil {
			return nil, err
		}
		predictions = append(predictions, predictionsOf(outcomes)...)
	}
	return predictions, nil
}

func predictionsOf(outcomes []outcome) []json.RawMessage {
	predictions := make([]json.RawMessage, len(outcomes))
	for i, o := range outcomes {
		if o.problem == "" {
			predictions[i] = o.prediction
		}
	}
	return predictions
}

// shiftOfExamples compares both versions' predictions of the examples.
func (l liveVersion) shiftOfExamples(ctx context.Context, run *examplesRun, outcomes []outcome) error {
	rows := pairedRows{new: predictionsOf(outcomes)}
	for i, example := range run.spec.Examples {
		rows.numbers = append(rows.numbers, int64(i+1))
		rows.features = append(rows.features, rowOf(run.spec.Features, example.Features))
	}
	select {
	case answer := <-l.examples:
		if answer.err != nil {
			return answer.err
		}
		rows.live = answer.predictions
	case <-ctx.Done():
		return ctx.Err()
	}
	shift := compareRows(run.spec.Features, l.comparison.live.Predictions, run.spec.Predictions, rows)
	shift.Of = "examples"
	l.comparison.Shifts = append(l.comparison.Shifts, shift)
	return nil
}

// rowOf writes the values of those features that there are, in their order.
func rowOf(features []modelmanager.Field, values map[string]json.RawMessage) json.RawMessage {
	row := []byte{'{'}
	for _, feature := range features {
		value, found := values[feature.Name]
		if !found {
			continue
		}
		if len(row) > 1 {
			row = append(row, ',')
		}
		row = append(strconv.AppendQuote(row, feature.Name), ':')
		row = append(row, value...)
	}
	return append(row, '}')
}

// sample is a sample file with the new version's predictions of its rows.
type sample struct {
	path        string
	set         *rowSet
	predictions []json.RawMessage
}

// readSample reads a sample file and asks the new version for predictions.
func readSample(ctx context.Context, path string, run *examplesRun) (*sample, error) {
	set, err := readRows(ctx, path, run.features, run.spec.Batch.RowsPerCall)
	if err != nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "the sample can't be read: %w", err)
	}
	defer set.release()
	if len(set.rows) == 0 {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "no row of the sample fits the model's features")
	}
	if run.spec.Rows == spec.Dependent && len(set.batches) > 1 {
		return nil, modelmanager.Errorf(modelmanager.CodeInvalidInput, "the model's predictions look across rows, and the sample has more than one call takes (batch.rows_per_call: %d)", run.spec.Batch.RowsPerCall)
	}
	predictions, err := run.predictionsFor(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("predicting the sample: %w", err)
	}
	return &sample{path: path, set: set, predictions: predictions}, nil
}

// shift compares both versions' predictions of the sample. The file is read once
// more, as the live version sees it, if its features are others.
func (s *sample) shift(ctx context.Context, server LiveServer, c *Comparison, run *examplesRun) error {
	asked := make([]json.RawMessage, len(s.set.rows))
	if sameFields(c.live.Features, run.spec.Features) {
		copy(asked, s.set.rows)
	} else {
		schema, err := dataset.Compile(c.live.Features)
		if err != nil {
			return err
		}
		live, err := readRows(ctx, s.path, schema, sampleRows)
		if err != nil {
			return fmt.Errorf("the sample doesn't have what version %d needs: %w", c.Version, err)
		}
		live.release()
		byNumber := map[int64]json.RawMessage{}
		for i, number := range live.numbers {
			byNumber[number] = live.rows[i]
		}
		for i, number := range s.set.numbers {
			asked[i] = byNumber[number]
		}
	}
	var present []json.RawMessage
	for _, row := range asked {
		if row != nil {
			present = append(present, row)
		}
	}
	outcomes, err := askedVersion{server, c.live, c.Version}.outcomes(ctx, present)
	if err != nil {
		return err
	}
	answers := predictionsOf(outcomes)
	rows := pairedRows{numbers: s.set.numbers, features: s.set.rows, new: s.predictions, live: make([]json.RawMessage, len(asked))}
	for i, row := range asked {
		if row != nil {
			rows.live[i], answers = answers[0], answers[1:]
		}
	}
	shift := compareRows(run.spec.Features, c.live.Predictions, run.spec.Predictions, rows)
	shift.Of, shift.File, shift.More = "sample", s.path, s.set.more
	c.Shifts = append(c.Shifts, shift)
	return nil
}

func sameFields(a, b []modelmanager.Field) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
