// Package platform runs versions and jobs. The rules live once, in Platform; a
// Driver beneath it starts and stops things and reports what it sees. Package
// platformtest holds the suite that every Driver passes.
package platform

import (
	"context"
	"io"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/spec"
)

// Workload is a version with all that a driver needs to run it.
type Workload struct {
	Version modelmanager.Version
	Spec    *spec.Spec
	Key     string // agents refuse callers that don't know it
}

// Ref names a version.
type Ref struct {
	Model   string
	Version int
}

// AtLeastOne, told to Driver.Scale instead of a number, is for a server that
// needs a replica and doesn't know how many others have asked for.
const AtLeastOne = -1

// Replica is one agent of a version, with its worker.
type Replica struct {
	ID      string
	Ref     Ref
	Network string // "unix" or "tcp"
	Address string // a socket's path, or host:port; "" until there is one
	Key     string
	Stage   agent.Stage
	Reason  string // one sentence: why it isn't ready, or is failed; of a ready one, what is wrong all the same
	Remark  string // one sentence, of a ready one: what is odd, though nothing is wrong
	Since   time.Time
}

// Step is a part of a job.
type Step string

// A job's first step makes its plan; the second runs the plan's shards.
const (
	StepPlan   Step = "plan"
	StepShards Step = "shards"
)

// JobRun is one step of a job: Count tasks with indexes 0 to Count−1, at most
// Parallelism at a time, each in an agent of its own in batch mode.
type JobRun struct {
	Job         string
	Step        Step
	Workload    Workload
	Count       int
	Done        []int // indexes that need not run: a resumed job
	Parallelism int
	Retries     int           // a task's attempts beyond its first, but for faults of the model
	Timeout     time.Duration // of the whole step; waiting for a slot doesn't count

	Server string // base URL of the server's internal endpoints, for the agents
	Token  string // lets an agent act for this job, and nothing else
}

// TaskState is what became of one task of a step.
type TaskState string

// States of a task. A failed one has no attempts left, or failed by the
// model's fault.
const (
	TaskWaiting   TaskState = "waiting" // told only where there is a Reason why it doesn't run
	TaskRunning   TaskState = "running"
	TaskSucceeded TaskState = "succeeded"
	TaskFailed    TaskState = "failed"
	// TaskKilled tells of one attempt whose agent was killed, and so could send
	// nothing any more, with what is left of its log. It says nothing of the
	// task, which may be tried again, and may be running again by then.
	TaskKilled TaskState = "killed"
)

// JobEvent tells what became of a task; with Index −1, of the whole step,
// which is the last event of the step.
type JobEvent struct {
	Job     string
	Step    Step
	Index   int
	Attempt int
	State   TaskState
	Fault   modelmanager.Code // of a failed task: model_error, storage, deadline_exceeded, cancelled …
	Reason  string            // one sentence
	Log     string            // of a killed attempt: the last of what it has written, as LastOfLog has it
}

// ReplicaEvent is a replica's new state; Gone if it is no more.
type ReplicaEvent struct {
	Replica Replica
	Gone    bool
	Synced  bool // alone: all that ran when Watch was called has been told
}

// Driver starts and stops replicas and jobs on one kind of platform. All its
// calls are idempotent, return before the work is done, and may come from many
// goroutines at once; what becomes of the work arrives through the watches.
type Driver interface {
	// Scale makes a version have this many replicas, from now on: one that
	// dies is started again, with back-off. Replicas in excess drain first:
	// they finish what they have, and take no more. Zero ends all of them.
	// AtLeastOne starts one where there is none, and else changes nothing.
	Scale(ctx context.Context, workload Workload, replicas int) error

	// WatchReplicas calls event for every replica there is, then once with
	// Synced, then for each change, until ctx ends. Events of one replica
	// arrive in order. event must return quickly.
	WatchReplicas(ctx context.Context, event func(ReplicaEvent)) error

	// StartJob starts a step of a job. Starting one that is under way changes
	// nothing, but that the driver may tell of it again. On a platform that
	// outlives the driver, a step that has failed is told of again, too. For as
	// long as ctx lasts, whoever calls drives the step, and the driver may change
	// what it has on the platform for its sake; afterwards somebody else may.
	StartJob(ctx context.Context, run JobRun) error

	// StopJob ends a step: when it returns, no process of it is left. Stopping
	// one that isn't there is no error.
	StopJob(ctx context.Context, job string, step Step) error

	// WatchJobs calls event for what becomes of tasks from now on, until ctx
	// ends, and first for what became of them while nobody watched; it may tell
	// of the same state more than once. event must return quickly.
	WatchJobs(ctx context.Context, event func(JobEvent)) error

	// Logs returns the last lines that a version's replicas have written.
	Logs(ctx context.Context, ref Ref, lines int) (io.ReadCloser, error)

	// Close ends the watches and, where what runs is the driver's own, every
	// replica and job that it started, and waits for them. On a cluster they are
	// not: they go on, and the next driver tells of them.
	Close() error
}
