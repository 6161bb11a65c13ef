package shard

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
)

// filer is a Predictor that takes rows in a file.
type filer interface {
	Begin() (*worker.JobRun, error)
}

// predictFile takes all rows through a command that runs from file to file. As
// its answers come after the last row was read, the input is read once more
// beside them: neither is ever in memory.
func (r *run) predictFile(ctx context.Context, batches <-chan *dataset.Batch, results chan<- answered) error {
	var file *worker.JobRun // once there are rows
	for batch := range batches {
		if batch.Record.NumRows() == 0 {
			continue
		}
		if file == nil {
			var err error
			if file, err = r.beginFile(ctx); err != nil {
				return err
			}
			defer file.Close()
		}
		if err := file.Write(batch.Record); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if file == nil {
		return r.readAgain(ctx, nil, results)
	}
	if err := file.Run(ctx); err != nil {
		return err
	}
	if err := r.readAgain(ctx, file, results); err != nil {
		return err
	}
	return file.End()
}

func (r *run) beginFile(ctx context.Context) (*worker.JobRun, error) {
	p, err := r.predictor(ctx)
	if err != nil {
		return nil, err
	}
	command, ok := p.(filer)
	if !ok {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "a model with run.job was opened as a %T", p)
	}
	return command.Begin()
}

// readAgain reads the shard's rows a second time, with their answers; file is
// nil if there are no rows for the model.
func (r *run) readAgain(ctx context.Context, file *worker.JobRun, results chan<- answered) error {
	reader, err := r.newReader(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		batch, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.filter != nil {
			r.filter.apply(batch)
		}
		result := answered{batch: batch}
		if n := int(batch.Record.NumRows()); n > 0 {
			answer, err := file.Next(n)
			if err != nil {
				return err
			}
			if result.record, result.refused, err = r.check(answer, n); err != nil {
				return err
			}
		}
		if err := send(ctx, results, result); err != nil {
			return err
		}
	}
}

// predictTogether asks the worker once for all rows.
func (r *run) predictTogether(ctx context.Context, batches <-chan *dataset.Batch, results chan<- answered) error {
	var all []*dataset.Batch
	var records []arrow.RecordBatch
	for batch := range batches {
		all = append(all, batch)
		records = append(records, batch.Record)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	record, refused, err := r.together(ctx, records)
	if err != nil {
		return err
	}
	from := int64(0)
	for _, batch := range all {
		n := batch.Record.NumRows()
		result := answered{batch: batch}
		if n > 0 {
			result.record = record.NewSlice(from, from+n)
			for _, e := range refused {
				if e.Row >= from && e.Row < from+n {
					e.Row -= from
					result.refused = append(result.refused, e)
				}
			}
		}
		from += n
		if err := send(ctx, results, result); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) together(ctx context.Context, records []arrow.RecordBatch) (arrow.RecordBatch, []modelmanager.RowError, error) {
	rows := int64(0)
	for _, record := range records {
		rows += record.NumRows()
	}
	if rows == 0 {
		return nil, nil, nil
	}
	p, err := r.predictor(ctx)
	if err != nil {
		return nil, nil, err
	}
	whole, err := worker.Concatenate(r.features.Arrow(), records)
	if err != nil {
		return nil, nil, err
	}
	answer, err := p.Predict(ctx, whole)
	if err != nil {
		return nil, nil, err
	}
	return r.check(answer, int(rows))
}

// check checks an answer to n rows; rows that break the predictions are refused.
func (r *run) check(answer *worker.Answer, n int) (arrow.RecordBatch, []modelmanager.RowError, error) {
	checked, bad, err := r.predictions.CheckPredictions(answer.Record, n)
	if err != nil {
		return nil, nil, err
	}
	refused := answer.Errors
	named := make(map[int64]bool, len(refused))
	for _, e := range refused {
		named[e.Row] = true
	}
	for _, e := range bad {
		if !named[e.Row] { // an all-null row of a refusal isn't wrong, too
			refused = append(refused, e)
		}
	}
	return checked, refused, nil
}
