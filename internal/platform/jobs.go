package platform

import (
	"context"
	"slices"
	"sync"

	"modelmanager.dev"
)

// jobHub passes the driver's events of jobs on.
type jobHub struct {
	mu          sync.Mutex
	subscribers *subscribers[JobEvent]
}

func newJobHub() *jobHub { return &jobHub{subscribers: newSubscribers[JobEvent]()} }

func (h *jobHub) emit(event JobEvent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subscribers.tell(event)
}

// SubscribeJobs calls event for what becomes of tasks from now on, one call at
// a time, until cancel is called; one call may then still be under way. event
// must return quickly.
func (p *Platform) SubscribeJobs(event func(JobEvent)) (cancel func()) {
	h := p.jobs
	h.mu.Lock()
	defer h.mu.Unlock()
	id := h.subscribers.add(event, nil)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.subscribers.remove(id)
	}
}

// Bounds of one step, those of an Indexed Job (docs/jobs.md).
const (
	maxTasks       = 100_000
	maxParallelism = 10_000
)

// StartJob starts a step of a job, unless it is under way. What becomes of it
// arrives through SubscribeJobs.
func (p *Platform) StartJob(ctx context.Context, run JobRun) error {
	if run.Job == "" || run.Count < 1 || run.Count > maxTasks {
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"starting job %q: a step has 1 to %d tasks, not %d; choose larger shards (batch.rows_per_shard)", run.Job, maxTasks, run.Count)
	}
	if err := p.runnable(run.Workload); err != nil {
		return err
	}
	run.Parallelism = min(max(run.Parallelism, 1), maxParallelism, run.Count)
	run.Retries = max(run.Retries, 0)
	run.Done = slices.DeleteFunc(slices.Clone(run.Done), func(index int) bool { return index < 0 || index >= run.Count })
	slices.Sort(run.Done)
	run.Done = slices.Compact(run.Done)
	return p.driver.StartJob(ctx, run)
}

// StopJob ends a step: when it returns, no process of it is left.
func (p *Platform) StopJob(ctx context.Context, job string, step Step) error {
	return p.driver.StopJob(ctx, job, step)
}
