// Package memory is a platform driver whose replicas and tasks are functions
// of this process. A replica serves HTTP on a Unix socket as an agent does, so
// that a gateway can't tell the difference; faults can be put in. It is for
// tests of what stands on the platform.
package memory

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"

	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
)

// Options of a Driver. Every function may be called by many goroutines at once.
type Options struct {
	// Predict answers POST /predict of a version, once the key was checked.
	// Default: it echoes the body.
	Predict func(workload platform.Workload, w http.ResponseWriter, r *http.Request)
	// Load loads a replica's model; report tells stages on the way. A replica
	// whose load fails is failed, and is loaded again after a pause.
	// Default: it is ready at once.
	Load func(ctx context.Context, workload platform.Workload, report func(agent.Stage, string)) error
	// Task runs one attempt at a task of a job; see control.RunTask.
	// Default: it succeeds.
	Task func(ctx context.Context, task control.Task) error

	Backoff control.Backoff
	Slots   int // tasks at a time; default 4
}

// Driver is a platform.Driver.
type Driver struct {
	options  Options
	dir      string
	table    *control.Table
	feed     *control.Feed
	replicas *control.Replicas
	steps    *control.Steps

	mu   sync.Mutex
	live map[string]*replica
	logs map[platform.Ref][]string
}

var _ platform.Driver = (*Driver)(nil)

// New returns a driver; Close ends it.
func New(options Options) (*Driver, error) {
	if options.Predict == nil {
		options.Predict = func(_ platform.Workload, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
			_, _ = io.Copy(w, r.Body) // the caller sees a short answer
		}
	}
	if options.Slots <= 0 {
		options.Slots = 4
	}
	dir, err := os.MkdirTemp("", "mm-memory-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the sockets of replicas: %w", err)
	}
	d := &Driver{
		options: options, dir: dir,
		table: control.NewTable(), feed: control.NewFeed(),
		live: map[string]*replica{}, logs: map[platform.Ref][]string{},
	}
	d.replicas = control.NewReplicas(d.table, d.runReplica, options.Backoff)
	d.steps = control.NewSteps(options.Slots, d.feed, d.runTask, options.Backoff)
	return d, nil
}

// Scale implements platform.Driver.
func (d *Driver) Scale(_ context.Context, workload platform.Workload, replicas int) error {
	return d.replicas.Scale(workload, replicas)
}

// WatchReplicas implements platform.Driver.
func (d *Driver) WatchReplicas(ctx context.Context, event func(platform.ReplicaEvent)) error {
	return d.table.Watch(ctx, event)
}

// StartJob implements platform.Driver.
func (d *Driver) StartJob(_ context.Context, run platform.JobRun) error { return d.steps.Start(run) }

// StopJob implements platform.Driver.
func (d *Driver) StopJob(ctx context.Context, job string, step platform.Step) error {
	return d.steps.Stop(ctx, job, step)
}

// WatchJobs implements platform.Driver.
func (d *Driver) WatchJobs(ctx context.Context, event func(platform.JobEvent)) error {
	return d.feed.Watch(ctx, event)
}

// Log writes a line into a version's log.
func (d *Driver) Log(ref platform.Ref, line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.logs[ref] = append(d.logs[ref], line)
}

// Logs implements platform.Driver.
func (d *Driver) Logs(_ context.Context, ref platform.Ref, lines int) (io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.logs[ref]
	var text strings.Builder
	for _, line := range slices.Clone(all[max(0, len(all)-lines):]) {
		text.WriteString(line + "\n")
	}
	return io.NopCloser(strings.NewReader(text.String())), nil
}

// Close implements platform.Driver.
func (d *Driver) Close() error {
	d.steps.Close()
	d.replicas.Close()
	return os.RemoveAll(d.dir)
}

func (d *Driver) runTask(ctx context.Context, task control.Task) error {
	if d.options.Task == nil {
		return nil
	}
	return d.options.Task(ctx, task)
}
