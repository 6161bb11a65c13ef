package batch

import (
	"context"
	"encoding/json"
	"io"
	"math"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
)

// Retry makes a new job of the rows of a finished one that failed or were
// rejected. It reads them from the same input, which must still be as it was,
// so that they keep their numbers. CodeConflict if there is nothing to retry.
func (s *Service) Retry(ctx context.Context, id, by, idempotencyKey string) (modelmanager.Job, error) {
	old, err := s.Get(ctx, id)
	if err != nil {
		return old, err
	}
	if !old.State.Final() {
		return old, modelmanager.Errorf(modelmanager.CodeConflict, "retrying job %s: it is still %s", id, old.State)
	}
	r, err := s.record(ctx, id)
	if err != nil {
		return old, err
	}
	request := Request{
		Model: old.Model, Version: old.Version, Input: r.Job.Input, Output: r.Job.Output,
		MaxRejected: old.MaxRejected, Labels: old.Labels, By: by, IdempotencyKey: idempotencyKey, RetryOf: id,
	}
	if request.Output.URI != "" {
		// Beside what is there, or may come: it is only some of the rows.
		request.Output.URI = within(request.Output.URI, "retry-of-"+id)
	}
	if idempotencyKey != "" {
		first, err := s.claimed(ctx, request, fingerprint(request))
		if err != nil {
			return old, err
		}
		if first != "" {
			return s.Submit(ctx, request)
		}
	}
	p, err := s.plan(ctx, id)
	if err != nil {
		return old, err
	}
	if p != nil && old.State != modelmanager.JobCancelled {
		if err := s.unchanged(ctx, r.Source); err != nil {
			return old, err
		}
		wanted, err := s.wanted(ctx, id, p)
		if err != nil {
			return old, err
		}
		if err := s.readable(ctx, id, wanted); err != nil {
			return old, err
		}
		if len(wanted) == 0 {
			return old, modelmanager.Errorf(modelmanager.CodeConflict, "retrying job %s: no row of it failed or was rejected", id)
		}
	}
	return s.Submit(ctx, request)
}

// leftover is what one shard of a job has left to retry.
type leftover struct {
	old      shard.Shard
	from     int64 // rows beyond it were never done; none if math.MaxInt64
	rejected string
}

// wanted lists what a finished job has left to retry.
func (s *Service) wanted(ctx context.Context, id string, p *plan) ([]leftover, error) {
	records, err := s.files(ctx, id)
	if err != nil {
		return nil, err
	}
	done := make(map[int]*shardRecord, len(records))
	for _, r := range records {
		done[r.Index] = r
	}
	var wanted []leftover
	for i, one := range p.Shards {
		switch r := done[i]; {
		case r == nil:
			wanted = append(wanted, leftover{old: one})
		case r.Stopped:
			wanted = append(wanted, leftover{old: one, from: r.LastRow, rejected: r.Rejected.Key})
		case r.Rows.Rejected > 0:
			wanted = append(wanted, leftover{old: one, from: math.MaxInt64, rejected: r.Rejected.Key})
		}
	}
	return wanted, nil
}

// readable fails if what a retry needs of a job was deleted.
func (s *Service) readable(ctx context.Context, id string, wanted []leftover) error {
	for _, w := range wanted {
		for _, key := range []string{w.rejected, w.old.Only, w.old.Piece} {
			if key == "" {
				continue
			}
			if _, err := s.config.Bucket.Stat(ctx, key); err != nil {
				return deleted(id, err)
			}
		}
	}
	return nil
}

// earlierPlan returns the plan of the job that this one retries, nil if it has
// none, or was cancelled: then its pieces are gone, and all rows are wanted.
func (d *drive) earlierPlan(ctx context.Context) (*plan, error) {
	if d.t.record.Job.RetryOf == "" {
		return nil, nil
	}
	m, err := d.Service.manifest(ctx, d.t.record.Job.RetryOf)
	if err != nil || m == nil || m.State == modelmanager.JobCancelled {
		return nil, err
	}
	return d.plan(ctx, d.t.record.Job.RetryOf)
}

// planRetry makes the plan of a retry from that of the job before it, without
// reading the input.
func (d *drive) planRetry(ctx context.Context, before *plan) error {
	wanted, err := d.wanted(ctx, d.t.record.Job.RetryOf, before)
	if err != nil {
		return err
	}
	earlier, err := d.Service.manifest(ctx, d.t.record.Job.RetryOf)
	if err != nil {
		return err
	}
	made := &plan{Plan: before.Plan, Started: d.now().UTC()}
	made.Proven = before.Proven || earlier != nil && earlier.Rows.Predicted > 0
	made.Shards = make([]shard.Shard, 0, len(wanted))
	for i, w := range wanted {
		one, err := d.carry(ctx, i, w)
		if err != nil {
			return err
		}
		made.Shards = append(made.Shards, one)
	}
	_, err = d.keepPlan(ctx, d.t, made)
	return err
}

// carry makes shard i of a retry. What it needs of the older job is copied, as
// that one's data may be deleted at any time.
func (d *drive) carry(ctx context.Context, i int, w leftover) (shard.Shard, error) {
	one := w.old
	one.Index = i
	if one.Piece != "" {
		key := pieceKey(d.id, newAttempt(), i)
		if err := d.copyIn(ctx, one.Piece, key); err != nil {
			return one, err
		}
		one.Piece = key
	}
	if w.from == 0 && w.rejected == "" && !one.Filtered {
		return one, nil
	}
	one.Filtered, one.After = true, max(one.After, w.from)
	only, err := d.config.Bucket.Write(ctx, rowsKey(d.id, i))
	if err != nil {
		return one, err
	}
	defer only.Abort()
	if w.rejected != "" {
		if err := d.copyRows(ctx, only, w.rejected, 0); err != nil {
			return one, err
		}
	}
	if w.old.Only != "" {
		if err := d.copyRows(ctx, only, w.old.Only, w.from); err != nil {
			return one, err
		}
	}
	one.Only = rowsKey(d.id, i)
	return one, only.Close()
}

// copyRows copies the numbers of rows beyond after.
func (d *drive) copyRows(ctx context.Context, w io.Writer, key string, after int64) error {
	r, err := d.config.Bucket.Read(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	decoder, encoder := json.NewDecoder(r), json.NewEncoder(w)
	for {
		var one shard.RowNumber
		switch err := decoder.Decode(&one); {
		case err == io.EOF:
			return nil
		case err != nil:
			return modelmanager.Errorf(modelmanager.CodeStorage, "reading %s: %w", key, err)
		}
		if one.Row > after {
			if err := encoder.Encode(one); err != nil {
				return err
			}
		}
	}
}

func (d *drive) copyIn(ctx context.Context, from, to string) error {
	r, err := d.config.Bucket.Read(ctx, from, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := d.config.Bucket.Write(ctx, to)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.Copy(w, r); err != nil {
		return modelmanager.Errorf(modelmanager.CodeStorage, "copying %s: %w", from, err)
	}
	return w.Close()
}
