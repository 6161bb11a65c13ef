package shard

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
)

// ahead is how many batches wait between two stages of the pipeline: enough to
// keep the worker busy, few enough to keep memory flat.
const ahead = 2

// answered is a batch with its predictions.
type answered struct {
	batch   *dataset.Batch
	record  arrow.RecordBatch // checked
	refused []modelmanager.RowError
}

// stream takes the shard's rows through the worker. Reading and decoding run
// ahead of it, encoding and sending behind.
func (r *run) stream(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	batches, results := make(chan *dataset.Batch, ahead), make(chan answered, ahead)
	group.Go(func() error {
		defer close(batches)
		return r.read(ctx, batches)
	})
	group.Go(func() error {
		defer close(results)
		switch {
		case r.spec.Run.Job != nil:
			return r.predictFile(ctx, batches, results)
		case r.spec.SeesAllRows():
			return r.predictTogether(ctx, batches, results)
		}
		return r.predict(ctx, batches, results)
	})
	group.Go(func() error { return r.write(ctx, results) })
	return group.Wait()
}

func (r *run) read(ctx context.Context, batches chan<- *dataset.Batch) error {
	for {
		if r.stopped() && r.lastRow > 0 && !r.spec.SeesAllRows() {
			r.cut = true
			return nil
		}
		batch, err := r.reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.lastRow = batch.FirstRow + int64(batch.Rows) - 1
		if r.filter != nil {
			r.filter.apply(batch)
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *run) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// predict asks the worker batch by batch, and finds the rows at fault. Where it
// is stopped while it looks for them, it leaves them and all that follow undone.
func (r *run) predict(ctx context.Context, batches <-chan *dataset.Batch, results chan<- answered) error {
	var search *worker.Search
	done := int64(0) // the last row
	for batch := range batches {
		result := answered{batch: batch}
		if batch.Record.NumRows() > 0 {
			if search == nil {
				p, err := r.predictor(ctx)
				if err != nil {
					return err
				}
				search = worker.NewSearch(p, worker.SearchOptions{
					Predictions: r.predictions, Resume: r.saver.resume, Proven: r.provenElsewhere, Stop: r.stop,
					Save: func(found worker.Progress) {
						r.counts.judge(found)
						r.saver.save(found)
					},
				})
			}
			before := search.Progress().Guilty
			answer, err := search.Predict(ctx, batch.Record)
			if errors.Is(err, worker.ErrStopped) {
				r.counts.judge(worker.Progress{Passed: search.Progress().Passed, Guilty: before})
				for range batches { // the reader ends, too
				}
				r.cut, r.left, r.lastRow = true, true, done
				return ctx.Err()
			}
			if err != nil {
				return err
			}
			result.record, result.refused = answer.Record, answer.Errors
		}
		if err := send(ctx, results, result); err != nil {
			return err
		}
		done = batch.FirstRow + int64(batch.Rows) - 1
	}
	return ctx.Err()
}

func send(ctx context.Context, results chan<- answered, result answered) error {
	select {
	case results <- result:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write encodes what was answered, and reports what was rejected.
func (r *run) write(ctx context.Context, results <-chan answered) error {
	encoder := json.NewEncoder(r.rejected)
	encoder.SetEscapeHTML(false)
	for result := range results {
		if err := r.writeOne(result, encoder); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *run) writeOne(result answered, encoder *json.Encoder) error {
	batch := result.batch
	refused := oneEach(result.refused)
	record := result.record
	if record == nil {
		record = emptyRecord(r.predictions)
	}
	if err := r.writer.Write(batch, record, refused); err != nil {
		return err
	}
	rejected := mergeRejected(batch.Rejected, batch.Reject(refused))
	for i := range rejected {
		if err := encoder.Encode(&rejected[i]); err != nil {
			return err
		}
	}
	r.counts.add(modelmanager.JobRows{
		Read:      batch.Record.NumRows() + int64(len(batch.Rejected)),
		Predicted: batch.Record.NumRows() - int64(len(refused)),
		Rejected:  int64(len(rejected)),
	})
	return nil
}
