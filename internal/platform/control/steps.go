package control

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/platform"
)

// Task is one attempt at one index of a step.
type Task struct {
	Run     platform.JobRun
	Index   int
	Attempt int // 1 is the first
}

// RunTask runs one task to its end. An error with CodeModelError fails the
// index at once; any other counts against the step's retries. When ctx ends,
// it returns soon, and leaves nothing running.
type RunTask func(ctx context.Context, task Task) error

// Steps runs the tasks of steps side by side: of each step at most its
// Parallelism, of all together at most the number of slots. Steps take turns,
// so that a large one doesn't hold up a small one.
type Steps struct {
	run     RunTask
	feed    *Feed
	backoff Backoff

	mu     sync.Mutex
	free   int
	closed bool
	steps  map[stepKey]*step
	turn   []*step // in the order in which they may next start a task
	wait   sync.WaitGroup
}

type stepKey struct {
	job  string
	step platform.Step
}

type step struct {
	run     platform.JobRun
	ctx     context.Context
	cancel  context.CancelCauseFunc
	pending []Task // not started, in order
	running int
	left    int // indexes without an outcome
	failed  *platform.JobEvent
	done    chan struct{}

	// The time left to it, and the timer that ends it; the timer runs while
	// tasks do.
	budget time.Duration
	since  time.Time
	timer  *time.Timer
}

// NewSteps returns a Steps with so many slots, which reports to feed.
func NewSteps(slots int, feed *Feed, run RunTask, backoff Backoff) *Steps {
	return &Steps{run: run, feed: feed, backoff: backoff.withDefaults(), free: max(slots, 1), steps: map[stepKey]*step{}}
}

// Start starts a step, unless it is under way.
func (s *Steps) Start(run platform.JobRun) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "starting job %s: the server is shutting down", run.Job)
	}
	key := stepKey{run.Job, run.Step}
	if s.steps[key] != nil {
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	st := &step{run: run, ctx: ctx, cancel: cancel, done: make(chan struct{})}
	done := make(map[int]bool, len(run.Done))
	for _, index := range run.Done {
		done[index] = true
	}
	for index := range run.Count {
		if !done[index] {
			st.pending = append(st.pending, Task{Run: run, Index: index, Attempt: 1})
		}
	}
	st.left = len(st.pending)
	s.steps[key] = st
	s.turn = append(s.turn, st)
	if run.Timeout > 0 {
		st.budget = run.Timeout
		st.timer = time.AfterFunc(run.Timeout, func() {
			cancel(modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "it took longer than %s", run.Timeout))
		})
		st.timer.Stop()
	}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.abandon(st)
		s.settle(st)
		s.dispatch()
	})
	s.settle(st)
	s.dispatch()
	return nil
}

// Stop ends a step, and waits until none of its tasks is left.
func (s *Steps) Stop(ctx context.Context, job string, name platform.Step) error {
	s.mu.Lock()
	st := s.steps[stepKey{job, name}]
	s.mu.Unlock()
	if st == nil {
		return nil
	}
	st.cancel(modelmanager.Errorf(modelmanager.CodeCancelled, "it was stopped"))
	select {
	case <-st.done:
		return nil
	case <-ctx.Done():
		return modelmanager.Errorf(modelmanager.CodeDeadlineExceeded, "stopping step %s of job %s: its tasks have not ended yet: %w", name, job, ctx.Err())
	}
}

// Close ends every step and waits for them.
func (s *Steps) Close() {
	s.mu.Lock()
	s.closed = true
	var open []*step
	for _, st := range s.steps {
		open = append(open, st)
	}
	s.mu.Unlock()
	for _, st := range open {
		st.cancel(modelmanager.Errorf(modelmanager.CodeUnavailable, "the server is shutting down"))
		<-st.done
	}
	s.wait.Wait()
}

// dispatch starts tasks while there are slots and tasks for them.
func (s *Steps) dispatch() {
	for i := 0; i < len(s.turn) && s.free > 0; {
		st := s.turn[i]
		if len(st.pending) == 0 || st.ctx.Err() != nil || st.run.Parallelism > 0 && st.running >= st.run.Parallelism {
			i++
			continue
		}
		task := st.pending[0]
		st.pending = st.pending[1:]
		st.count(+1)
		s.free--
		// It goes to the back of the row: the next slot is another step's.
		s.turn = append(slices.Delete(s.turn, i, i+1), st)
		s.tell(st, platform.JobEvent{Index: task.Index, Attempt: task.Attempt, State: platform.TaskRunning})
		s.wait.Go(func() {
			err := s.run(st.ctx, task)
			s.finish(st, task, err)
		})
		i = 0
	}
}

// count notes that a task has started or ended, and stops the step's clock
// while none runs: a step that waits for a slot is not late.
func (st *step) count(change int) {
	before := st.running
	st.running += change
	switch {
	case st.timer == nil:
	case before == 0:
		st.since = time.Now()
		st.timer.Reset(st.budget)
	case st.running == 0:
		st.timer.Stop()
		st.budget = max(st.budget-time.Since(st.since), 0)
	}
}

// finish takes note of what became of an attempt.
func (s *Steps) finish(st *step, task Task, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	st.count(-1)
	code := modelmanager.CodeOf(err)
	var killed *killedError
	if errors.As(err, &killed) && st.ctx.Err() == nil {
		s.tell(st, platform.JobEvent{Index: task.Index, Attempt: task.Attempt, State: platform.TaskKilled, Reason: err.Error(), Log: killed.log})
	}
	switch {
	case err == nil:
		st.left--
		s.tell(st, platform.JobEvent{Index: task.Index, Attempt: task.Attempt, State: platform.TaskSucceeded})
	case st.ctx.Err() != nil:
		s.fail(st, task, context.Cause(st.ctx))
	case code != modelmanager.CodeModelError && task.Attempt <= st.run.Retries:
		s.retry(st, task)
	default:
		s.fail(st, task, err)
	}
	s.settle(st)
	s.dispatch()
}

// retry queues the next attempt, after a pause.
func (s *Steps) retry(st *step, task Task) {
	next := task
	next.Attempt++
	s.wait.Go(func() {
		if !pause.For(st.ctx, s.backoff.delay(task.Attempt)) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fail(st, task, context.Cause(st.ctx))
			s.settle(st)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if st.ctx.Err() != nil {
			s.fail(st, task, context.Cause(st.ctx))
			s.settle(st)
			return
		}
		st.pending = append(st.pending, next)
		s.dispatch()
	})
}

func (s *Steps) fail(st *step, task Task, err error) {
	st.left--
	event := platform.JobEvent{
		Index: task.Index, Attempt: task.Attempt, State: platform.TaskFailed,
		Fault: modelmanager.CodeOf(err), Reason: err.Error(),
	}
	if st.failed == nil {
		st.failed = &event
	}
	s.tell(st, event)
}

// abandon gives up what a step has not started: it is ending.
func (s *Steps) abandon(st *step) {
	st.left -= len(st.pending)
	st.pending = nil
}

// settle ends a step whose tasks all have an outcome.
func (s *Steps) settle(st *step) {
	key := stepKey{st.run.Job, st.run.Step}
	if st.left > 0 || st.running > 0 || s.steps[key] != st {
		return
	}
	delete(s.steps, key)
	s.turn = slices.DeleteFunc(s.turn, func(other *step) bool { return other == st })
	last := platform.JobEvent{Index: -1, State: platform.TaskSucceeded}
	if st.ctx.Err() != nil {
		cause := context.Cause(st.ctx)
		last.State, last.Fault, last.Reason = platform.TaskFailed, modelmanager.CodeOf(cause), cause.Error()
	} else if st.failed != nil {
		last.State, last.Fault, last.Reason = platform.TaskFailed, st.failed.Fault, st.failed.Reason
	}
	s.tell(st, last)
	st.cancel(nil)
	close(st.done)
}

func (s *Steps) tell(st *step, event platform.JobEvent) {
	event.Job, event.Step = st.run.Job, st.run.Step
	s.feed.Emit(event)
}
