package batch

import (
	"context"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/platform"
)

// commitPlan takes the plan that an agent made, unless there is one.
func (s *Service) commitPlan(ctx context.Context, c *call) (any, error) {
	var body shard.Plan
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	t, err := s.openCall(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.step != platform.StepPlan {
		return nil, modelmanager.Errorf(modelmanager.CodeForbidden, "only the plan step makes a plan")
	}
	if body.ETag != t.record.Source.ETag {
		return nil, s.unchanged(ctx, t.record.Source)
	}
	for i := range body.Shards {
		// An agent names no object but those it was given.
		if one := &body.Shards[i]; one.Index != i || one.Only != "" || one.Piece != "" && one.Piece != pieceKey(c.job, c.attempt, i) {
			return nil, modelmanager.Errorf(modelmanager.CodeBadRequest, "shard %d of the plan is not one that this attempt can make", i)
		}
	}
	accepted, err := s.keepPlan(ctx, t, &plan{Plan: body, Started: s.now().UTC()})
	return shard.Verdict{Accepted: accepted}, err
}

// keepPlan writes plan.json; false if there is one already.
func (s *Service) keepPlan(ctx context.Context, t *tracker, p *plan) (bool, error) {
	err := s.create(ctx, planKey(t.record.Job.ID), p)
	if err != nil && modelmanager.CodeOf(err) != modelmanager.CodeConflict {
		return false, err
	}
	return err == nil, s.refresh(ctx, t)
}

// commit makes an attempt's files the shard's, if it is the first to commit.
func (s *Service) commit(ctx context.Context, c *call) (any, error) {
	var body shard.Commit
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	t, err := s.openCall(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.step != platform.StepShards {
		return nil, modelmanager.Errorf(modelmanager.CodeForbidden, "only the shards step commits shards")
	}
	if err := s.complete(ctx, t, c, &body); err != nil {
		return nil, err
	}
	done := &shardRecord{Index: c.index, Attempt: c.attempt, Finished: s.now().UTC(), Commit: body}
	err = s.create(ctx, shardKey(c.job, c.index), done)
	switch {
	case err == nil:
		t.finished(done)
		return shard.Verdict{Accepted: true}, nil
	case modelmanager.CodeOf(err) != modelmanager.CodeConflict:
		return nil, err
	}
	if err := s.readShard(ctx, t, c.index); err != nil {
		return nil, err
	}
	if t.winner(c.index) == c.attempt {
		return shard.Verdict{Accepted: true}, nil // it asks again, having lost our answer
	}
	for _, key := range []string{body.Part.Key, body.Rejected.Key, logsKey(c.job, c.index, c.attempt)} {
		if err := s.config.Bucket.Delete(ctx, key); err != nil {
			return nil, err
		}
	}
	return shard.Verdict{}, nil
}

// complete checks that a commit's files are there, and that its rows add up.
func (s *Service) complete(ctx context.Context, t *tracker, c *call, body *shard.Commit) error {
	p := t.planned()
	rows, planned := body.Rows, p.Shards[c.index]
	if rows.Read != rows.Predicted+rows.Rejected || rows.Predicted < 0 || rows.Rejected < 0 {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "shard %d of job %s: %d rows read, but %d predicted and %d rejected",
			c.index, c.job, rows.Read, rows.Predicted, rows.Rejected)
	}
	if planned.Rows > 0 && !planned.Filtered && !body.Stopped && rows.Read != planned.Rows {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "shard %d of job %s: %d rows read, but %d planned",
			c.index, c.job, rows.Read, planned.Rows)
	}
	body.CPUSeconds, body.Guilt = max(body.CPUSeconds, 0), clipped(body.Guilt)
	body.Part.Key = partKey(c.job, c.index, c.attempt, outputExtension(t.record, p))
	body.Rejected.Key = rejectedKey(c.job, c.index, c.attempt)
	if body.Logs != nil {
		body.Logs.Key = logsKey(c.job, c.index, c.attempt)
	}
	for _, file := range []*shard.File{&body.Part, &body.Rejected} {
		attributes, err := s.config.Bucket.Stat(ctx, file.Key)
		if modelmanager.CodeOf(err) == modelmanager.CodeNotFound && t.has(c.index) {
			continue // it lost before, and its files are gone
		}
		if err != nil {
			return err
		}
		if attributes.Size != file.Size {
			return modelmanager.Errorf(modelmanager.CodeStorage, "shard %d of job %s: %s has %d bytes, not %d",
				c.index, c.job, file.Key, attributes.Size, file.Size)
		}
	}
	return nil
}
