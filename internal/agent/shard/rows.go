package shard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// oneEach joins what is wrong with one row into one error: a row is rejected once.
func oneEach(refused []modelmanager.RowError) []modelmanager.RowError {
	if len(refused) < 2 {
		return refused
	}
	slices.SortStableFunc(refused, func(a, b modelmanager.RowError) int { return cmp.Compare(a.Row, b.Row) })
	joined := refused[:1]
	for _, e := range refused[1:] {
		last := &joined[len(joined)-1]
		if e.Row != last.Row {
			joined = append(joined, e)
			continue
		}
		last.Message += "; "
		if e.Feature != "" {
			last.Message += e.Feature + ": "
		}
		last.Message += e.Message
	}
	return joined
}

// mergeRejected puts rows that validation and the model rejected in order.
func mergeRejected(invalid, refused []dataset.Rejected) []dataset.Rejected {
	if len(refused) == 0 {
		return invalid
	}
	all := slices.Concat(invalid, refused)
	slices.SortStableFunc(all, func(a, b dataset.Rejected) int { return cmp.Compare(a.Row, b.Row) })
	return all
}

// emptyRecord has no rows: the predictions of a batch that has no valid row.
func emptyRecord(s *dataset.Schema) arrow.RecordBatch {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, s.Arrow())
	defer builder.Release()
	return builder.NewRecordBatch()
}

// filter selects the rows of a retry.
type filter struct {
	after int64
	rows  map[int64]struct{}
}

// readFilter reads which of the slice's rows are wanted; nil: all.
func (r *run) readFilter(ctx context.Context) (*filter, error) {
	if !r.assignment.Shard.Filtered {
		return nil, nil
	}
	f := &filter{after: r.assignment.Shard.After, rows: make(map[int64]struct{})}
	if r.assignment.Shard.Only == "" {
		return f, nil
	}
	body, err := r.get(ctx, func(u *URLs) string { return u.Rows })
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, modelmanager.Errorf(modelmanager.CodeInternal, "the list of rows to retry is missing")
	}
	defer body.Close()
	decoder := json.NewDecoder(body)
	for {
		var one RowNumber
		if err := decoder.Decode(&one); errors.Is(err, io.EOF) {
			return f, nil
		} else if err != nil {
			return nil, modelmanager.Errorf(modelmanager.CodeStorage, "reading the list of rows to retry: %w", err)
		}
		f.rows[one.Row] = struct{}{}
	}
}

func (f *filter) wanted(row int64) bool {
	_, ok := f.rows[row]
	return ok || row > f.after
}

// apply drops the rows of a batch that aren't wanted.
func (f *filter) apply(batch *dataset.Batch) { batch.Keep(f.wanted) }
