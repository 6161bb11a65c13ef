package shard

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/pause"
)

// backOff is what an attempt waits after a failure, doubled with each.
const backOff = 100 * time.Millisecond

// maxAttempts bounds how often one process begins anew after the server or the
// network failed it; after that the platform starts another.
const maxAttempts = 5

// What a model can't reach (its feature store, say) is often away for a minute:
// one process tries again for half as long, ever more slowly, and the platform
// starts others.
const (
	outage     = 30 * time.Second
	maxBackOff = 5 * time.Second
)

// tired tells whether this process has tried often enough, and long enough.
func tired(err error, try int, first time.Time) bool {
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeInternal:
		return true
	case modelmanager.CodeUnavailable:
		return try >= maxAttempts && time.Since(first) > outage
	}
	return try >= maxAttempts
}

// Run runs the task that config names and returns the process's exit code: 0,
// agent.ExitModelFault if another try is no use, or agent.ExitStorageFault,
// with the error that led to it. It calls predictor at most once, when there
// are rows to predict, and closes what it returns.
func Run(ctx context.Context, config agent.Config, predictor func(ctx context.Context) (worker.Predictor, error)) (exitCode int, err error) {
	if config.Task == nil {
		return agent.ExitModelFault, modelmanager.Errorf(modelmanager.CodeBadRequest, "running a shard: the configuration names no task")
	}
	t := &task{config: config, client: newClient(*config.Task), start: predictor}
	defer t.client.close()
	defer t.stop()
	var first time.Time // failure
	for try := 1; ; try++ {
		err = t.attempt(ctx)
		if err == nil {
			return 0, nil
		}
		if ctx.Err() != nil {
			return agent.ExitStorageFault, err
		}
		if !worthwhile(err) {
			return agent.ExitModelFault, err
		}
		if try == 1 {
			first = time.Now()
		}
		if !pause.For(ctx, min(backOff<<try, maxBackOff)) || tired(err, try, first) {
			return agent.ExitStorageFault, err
		}
	}
}

// task is one run of Run.
type task struct {
	config agent.Config
	client *client
	start  func(ctx context.Context) (worker.Predictor, error)
	worker worker.Predictor
	meter  atomic.Pointer[meter] // of worker, if it has one
}

// meter is a Predictor that knows the processor time it has taken.
type meter interface{ CPU() time.Duration }

// cpuSeconds is what the task has cost so far; 0 before the worker is there.
func (t *task) cpuSeconds() float64 {
	if m := t.meter.Load(); m != nil {
		return (*m).CPU().Seconds()
	}
	return 0
}

// predictor starts the worker, unless it has been.
func (t *task) predictor(ctx context.Context) (worker.Predictor, error) {
	if t.worker != nil {
		return t.worker, nil
	}
	p, err := t.start(ctx)
	if err != nil {
		var known *modelmanager.Error
		if !errors.As(err, &known) {
			err = modelmanager.Errorf(modelmanager.CodeModelError, "starting the worker: %w", err)
		}
		return nil, err
	}
	t.worker = p
	if m, ok := p.(meter); ok {
		t.meter.Store(&m)
	}
	return p, nil
}

func (t *task) stop() {
	if t.worker != nil {
		_ = t.worker.Close() // it is going away; its work is committed, or not
	}
}

// attempt asks for an assignment and does it.
func (t *task) attempt(ctx context.Context) error {
	session, err := t.client.begin(ctx)
	if modelmanager.CodeOf(err) == modelmanager.CodeConflict {
		return nil // somebody else has done it, or nobody needs it any more
	}
	if err != nil {
		return err
	}
	do := t.shard
	if t.config.Task.Step == "plan" {
		do = t.plan
	}
	err = do(ctx, session)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if modelmanager.CodeOf(err) == modelmanager.CodeConflict {
		return nil // the job was cancelled, or has ended without us
	}
	report := Fault{Code: modelmanager.CodeOf(err), Message: err.Error()}
	if failure := session.call(ctx, "fault", report, &struct{}{}); failure != nil && !worthwhile(failure) &&
		modelmanager.CodeOf(failure) != modelmanager.CodeConflict {
		return errors.Join(err, fmt.Errorf("and telling the server failed: %w", failure))
	}
	return err
}

// source opens the input, or the piece of it that is the shard's.
func (s *session) source(ctx context.Context) (*dataset.HTTPSource, error) {
	name := s.assignment.Input.Name
	if name == "" {
		name = "input"
	}
	return dataset.NewHTTPSource(ctx, s.readingInput(), s.task.Server+"/"+url.PathEscape(name))
}

// input opens the job's input, which must be what it was when the job was accepted.
func (s *session) input(ctx context.Context) (*dataset.HTTPSource, error) {
	src, err := s.source(ctx)
	if err != nil {
		return nil, err
	}
	if src.ETag() != s.assignment.ETag {
		return nil, modelmanager.Errorf(modelmanager.CodeInputChanged,
			"the input changed after the job was accepted; submit it again with a file that stays as it is")
	}
	return src, nil
}

// plan runs the plan step.
func (t *task) plan(ctx context.Context, s *session) error {
	src, err := s.input(ctx)
	if err != nil {
		return err
	}
	parsed, err := s.spec()
	if err != nil {
		return err
	}
	plan, err := MakePlan(ctx, src, PlanOptions{Input: s.assignment.Input, Output: s.assignment.Output, Spec: parsed, Piece: s.piece})
	if err != nil {
		return err
	}
	plan.ETag = src.ETag()
	var verdict Verdict
	return s.call(ctx, "plan", plan, &verdict)
}

// piece begins a piece of an input that has to be split.
func (s *session) piece(ctx context.Context, index int) (Piece, error) {
	var to struct{ Key, URL string }
	if err := s.call(ctx, fmt.Sprintf("pieces/%d", index), struct{}{}, &to); err != nil {
		return Piece{}, err
	}
	u, err := s.put(ctx, s.task.Server+to.URL)
	if err != nil {
		return Piece{}, err
	}
	return Piece{Key: to.Key, PieceWriter: u}, nil
}

// progressInterval is the least time between two posts of an attempt's progress.
const progressInterval = 500 * time.Millisecond
