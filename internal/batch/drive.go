package batch

import (
	"context"
	"fmt"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/shard"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/spec"
)

// drive is the leader's hand on one job.
type drive struct {
	*Service
	t        *tracker
	id       string
	workload platform.Workload
	restarts int

	used   time.Duration // of batch.timeout
	kept   time.Duration // what of it the job's folder says
	since  time.Time     // when we last looked
	active bool          // tasks were running then
}

// maxRestarts bounds how often a step that ended without having done all of
// its work is started again.
const maxRestarts = 3

// run takes a job through what is left of its steps, and says how it ends.
func (d *drive) run(ctx context.Context) (*end, error) {
	version, err := d.config.Versions.Version(ctx, d.t.record.Job.Model, d.t.record.Job.Version)
	if err != nil {
		return nil, err
	}
	parsed, err := spec.FromCanonical(version.Spec)
	if err != nil {
		return nil, err
	}
	d.workload = platform.Workload{Version: version, Spec: parsed}
	if err := d.refresh(ctx, d.t); err != nil {
		return nil, err
	}
	if d.t.planned() == nil {
		if end, err := d.makePlan(ctx); err != nil || end != nil {
			return end, err
		}
	}
	if err := d.fits(); err != nil {
		return nil, err
	}
	if err := d.resume(ctx); err != nil { // making the plan doesn't count
		return nil, err
	}
	end, err := d.runShards(ctx)
	if err != nil { // another run goes on from here
		d.leave(ctx)
	}
	return end, err
}

// runShards starts the shards that aren't done, and follows them.
func (d *drive) runShards(ctx context.Context) (*end, error) {
	if total, done := d.t.shards(); done < total {
		if err := d.start(ctx, platform.StepShards, total); err != nil {
			return nil, err
		}
	}
	return d.follow(ctx, platform.StepShards)
}

// start starts a step on the platform.
func (d *drive) start(ctx context.Context, step platform.Step, count int) error {
	d.t.begin(step)
	run := platform.JobRun{
		Job: d.id, Step: step, Workload: d.workload, Count: count,
		Parallelism: d.workload.Spec.Batch.Parallelism, Retries: d.workload.Spec.Batch.Retries,
		Timeout: max(d.timeout()-d.used, time.Second),
		Server:  d.config.Server, Token: d.token(d.id, string(step)),
	}
	if step == platform.StepShards {
		run.Done = d.t.indexes()
	}
	return d.config.Platform.StartJob(ctx, run)
}

// follow waits until a step has done its work (nil for a plan) or the job ends.
func (d *drive) follow(ctx context.Context, step platform.Step) (*end, error) {
	poll := time.NewTicker(d.config.Poll)
	defer poll.Stop()
	for fresh := false; ; {
		changed := d.t.next()
		end, done, err := d.look(ctx, step, fresh)
		if err != nil || end != nil || done {
			return end, err
		}
		fresh = false
		if step == platform.StepShards {
			d.keepUsed(ctx, min(usedEvery, d.timeout()/100))
		}
		d.keepLogs(ctx)
		d.tell(ctx, d.t) // why it waits, which only the leader knows
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		case <-poll.C:
			fresh = true // other servers may have written something
			if err := d.glance(ctx, d.t); err != nil {
				return nil, err
			}
		}
	}
}

// look tells whether a step is done, or the job ends; neither: go on waiting.
func (d *drive) look(ctx context.Context, step platform.Step, fresh bool) (*end, bool, error) {
	if end, err := d.interrupted(ctx, fresh); err != nil || end != nil {
		return end, false, err
	}
	if step == platform.StepPlan && d.t.planned() != nil {
		return nil, true, nil
	}
	if step == platform.StepShards {
		if message, yes := d.t.failsEverything(); yes {
			return failed(worker.FailsEverything(message)), true, nil
		}
		if d.t.overLimit() {
			return d.drain(ctx)
		}
		if total, done := d.t.shards(); done == total {
			return &end{state: modelmanager.JobSucceeded}, true, nil
		}
	}
	event, ended := d.t.ended(step)
	if !ended && d.t.hopeless(step) {
		end, err := d.blame(ctx, step, event)
		return end, false, err
	}
	if !ended {
		return nil, false, nil
	}
	return d.stepEnded(ctx, step, event)
}

// interrupted tells whether the job was cancelled or is out of time.
func (d *drive) interrupted(ctx context.Context, fresh bool) (*end, error) {
	if fresh || d.t.cancelAsked() {
		var by cancellation
		found, err := d.load(ctx, cancelKey(d.id), &by)
		if err != nil {
			return nil, err
		}
		if found {
			reason := "was cancelled"
			if by.By != "" {
				reason += " by " + by.By
			}
			return &end{state: modelmanager.JobCancelled, code: modelmanager.CodeCancelled, reason: reason}, nil
		}
	}
	if d.count(); d.used > d.timeout() {
		return &end{state: modelmanager.JobFailed, code: modelmanager.CodeDeadlineExceeded,
			reason: fmt.Sprintf("took longer than its batch.timeout of %s", d.timeout())}, nil
	}
	return nil, nil
}

func (d *drive) timeout() time.Duration { return time.Duration(d.workload.Spec.Batch.Timeout) }

// stepEnded judges a step of which the platform says that it has ended.
func (d *drive) stepEnded(ctx context.Context, step platform.Step, event platform.JobEvent) (*end, bool, error) {
	if err := d.refresh(ctx, d.t); err != nil {
		return nil, false, err
	}
	total, done := d.t.shards()
	if step == platform.StepPlan && d.t.planned() != nil || step == platform.StepShards && done == total {
		return d.look(ctx, step, false)
	}
	if event.State != platform.TaskFailed {
		// Its agents ended well, and something is missing: they were told that
		// there was nothing to do, or their commits are still to be seen.
		if d.restarts++; d.restarts > maxRestarts {
			return &end{state: modelmanager.JobFailed, code: modelmanager.CodeInternal,
				reason: fmt.Sprintf("the step %q ended %d times without all of its results", step, d.restarts)}, false, nil
		}
		return nil, false, d.start(ctx, step, max(total, 1))
	}
	if event.Fault == modelmanager.CodeCancelled {
		// Not by us: the platform is going away, and with it this server.
		return nil, false, modelmanager.Errorf(modelmanager.CodeUnavailable, "job %s was ended by its platform", d.id)
	}
	end, err := d.blame(ctx, step, event)
	return end, false, err
}

// blame finds out why a step failed: the agents' own words say more than the
// platform's.
func (d *drive) blame(ctx context.Context, step platform.Step, event platform.JobEvent) (*end, error) {
	failedTasks := d.t.failures(step)
	code, reason := event.Fault, event.Reason
	if len(failedTasks) > 0 {
		first := failedTasks[0]
		code, reason = first.Fault, first.Reason
		var fault shard.Fault
		found, err := d.load(ctx, faultKey(d.id, string(step), first.Index), &fault)
		if err != nil {
			return nil, err
		}
		if found && fault.Message != "" {
			code, reason = fault.Code, fault.Message
		}
		if step == platform.StepShards {
			total, _ := d.t.shards()
			reason = fmt.Sprintf("%d of %d shards failed; shard %d: %s", len(failedTasks), total, first.Index, reason)
		}
	}
	if code == "" {
		code = modelmanager.CodeInternal
	}
	if reason == "" {
		reason = "the platform gave no reason"
	}
	return &end{state: modelmanager.JobFailed, code: code, reason: reason}, nil
}

// drain lets running shards commit what they have, and ends the job.
func (d *drive) drain(ctx context.Context) (*end, bool, error) {
	d.t.stop()
	grace := time.NewTimer(d.config.Grace)
	defer grace.Stop()
	for {
		changed := d.t.next()
		if !d.t.running() {
			break
		}
		select {
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-changed:
			continue
		case <-grace.C:
		}
		break
	}
	rows := d.t.total(true).rows
	return &end{state: modelmanager.JobFailed, code: modelmanager.CodeRejectedRows,
		reason: fmt.Sprintf("%d of the %d rows read so far were rejected, and max_rejected is %s",
			rows.Rejected, rows.Read, d.t.record.Job.MaxRejected)}, true, nil
}

// makePlan plans a job: here if its input is small, or else by an agent.
func (d *drive) makePlan(ctx context.Context) (*end, error) {
	if end, err := d.interrupted(ctx, true); err != nil || end != nil {
		return end, err
	}
	if err := d.unchanged(ctx, d.t.record.Source); err != nil {
		return nil, err
	}
	earlier, err := d.earlierPlan(ctx)
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		return nil, d.planRetry(ctx, earlier)
	}
	here, err := d.plansHere(ctx)
	if err != nil {
		return nil, err
	}
	if here {
		return nil, d.planHere(ctx)
	}
	if err := d.start(ctx, platform.StepPlan, 1); err != nil {
		return nil, err
	}
	end, err := d.follow(ctx, platform.StepPlan)
	if err == nil {
		err = d.config.Platform.StopJob(ctx, d.id, platform.StepPlan)
	}
	return end, err
}

// maxFooter bounds what is read of a large Parquet file in this process.
const maxFooter = 4 << 20

// plansHere tells whether planning takes so little that this process does it:
// of a small input, and of a Parquet file whose hash is known, since its footer
// says all the rest.
func (d *drive) plansHere(ctx context.Context) (bool, error) {
	from := d.t.record.Source
	if from.Size <= d.config.PlanHere || from.SHA256 == "" {
		return from.Size <= d.config.PlanHere, nil
	}
	src, err := d.Service.open(from)
	if err != nil {
		return false, err
	}
	footer, err := dataset.ParquetFooter(ctx, src)
	return footer > 0 && footer <= maxFooter, err
}

// planHere plans in this process.
func (d *drive) planHere(ctx context.Context) error {
	select {
	case d.planning <- struct{}{}:
		defer func() { <-d.planning }()
	case <-ctx.Done():
		return ctx.Err()
	}
	src, err := d.Service.open(d.t.record.Source)
	if err != nil {
		return err
	}
	attempt := newAttempt()
	made, err := shard.MakePlan(ctx, src, shard.PlanOptions{
		Input: d.t.record.Job.Input, Output: d.t.record.Job.Output, Spec: d.workload.Spec,
		SHA256: d.t.record.Source.SHA256,
		Piece: func(ctx context.Context, index int) (shard.Piece, error) {
			key := pieceKey(d.id, attempt, index)
			w, err := d.config.Bucket.Write(ctx, key)
			if err != nil {
				return shard.Piece{}, err
			}
			return shard.Piece{Key: key, PieceWriter: w}, nil
		},
	})
	if err != nil {
		return err
	}
	made.ETag = d.t.record.Source.ETag
	if err := d.unchanged(ctx, d.t.record.Source); err != nil {
		return err
	}
	_, err = d.keepPlan(ctx, d.t, &plan{Plan: *made, Started: d.now().UTC()})
	return err
}
