package platform

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
)

// Options of a Platform.
type Options struct {
	// Images says that the driver runs versions that need an image.
	Images bool
	Logger *slog.Logger // default: slog.Default
}

// Platform runs versions and jobs: the rules, over a Driver. It is used by
// many goroutines at once.
type Platform struct {
	driver  Driver
	options Options

	replicas *replicaTable
	jobs     *jobHub

	mu      sync.Mutex
	desired map[Ref]*desired
}

// desired is what a version was last told to have.
type desired struct {
	mu    sync.Mutex // held while the driver is told, so that calls arrive in order
	some  bool       // it should have replicas
	since time.Time
}

// New returns a Platform over driver. Run must be called for it to see anything.
func New(driver Driver, options Options) *Platform {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	return &Platform{
		driver: driver, options: options,
		replicas: newReplicaTable(), jobs: newJobHub(),
		desired: map[Ref]*desired{},
	}
}

// Run follows the driver's watches, and takes them up again when they break
// off, until ctx ends.
func (p *Platform) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	wait.Go(func() {
		p.follow(ctx, "replicas", func() error {
			p.replicas.begin()
			return p.driver.WatchReplicas(ctx, p.replicas.apply)
		})
	})
	wait.Go(func() {
		p.follow(ctx, "jobs", func() error { return p.driver.WatchJobs(ctx, p.jobs.emit) })
	})
	wait.Wait()
	return nil
}

func (p *Platform) follow(ctx context.Context, what string, watch func() error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 100*time.Millisecond, 10*time.Second
	for {
		started := time.Now()
		err := watch()
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > time.Minute {
			wait.Reset()
		}
		delay := wait.NextBackOff()
		p.options.Logger.Warn("the watch broke off; watching again", "watch", what, "error", err, "in", delay)
		if !pause.For(ctx, delay) {
			return
		}
	}
}

// Scale makes a version have this many replicas from now on.
func (p *Platform) Scale(ctx context.Context, workload Workload, replicas int) error {
	if replicas < 0 {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "scaling %s: %d is no number of replicas", workload.Ref(), replicas)
	}
	if replicas > 0 {
		if err := p.runnable(workload); err != nil {
			return err
		}
	}
	return p.tell(ctx, workload, replicas)
}

// ensureAgain is how long Ensure trusts that what it told the driver is under way.
const ensureAgain = time.Second

// Ensure makes a version have a replica, if it has none. It is cheap where
// there is one, ready or on its way: callers may ask on every cold call. It
// never takes a replica away that another server has asked for.
func (p *Platform) Ensure(ctx context.Context, workload Workload) error {
	if p.replicas.alive(workload.Ref()) {
		return nil
	}
	if err := p.runnable(workload); err != nil {
		return err
	}
	return p.tell(ctx, workload, AtLeastOne)
}

// tell tells the driver how many replicas a version should have.
func (p *Platform) tell(ctx context.Context, workload Workload, replicas int) error {
	ref := workload.Ref()
	p.mu.Lock()
	d := p.desired[ref]
	if d == nil {
		d = new(desired)
		p.desired[ref] = d
	}
	p.mu.Unlock()

	d.mu.Lock()
	defer d.mu.Unlock()
	if replicas == AtLeastOne && d.some && time.Since(d.since) < ensureAgain {
		return nil
	}
	if replicas == 0 {
		// From now on a cold call must not count on a replica that is about to end.
		p.replicas.dismiss(ref)
	}
	if err := p.driver.Scale(ctx, workload, replicas); err != nil {
		if replicas == 0 {
			p.replicas.recall(ref)
		}
		return err
	}
	d.some, d.since = replicas != 0, time.Now()
	return nil
}

// Replicas returns a version's replicas, whatever their stage.
func (p *Platform) Replicas(ref Ref) []Replica { return p.replicas.of(ref) }

// Running returns the versions that have replicas, whatever their stage; known
// is false before the driver has told of all.
func (p *Platform) Running() (refs []Ref, known bool) { return p.replicas.refs() }

// Subscribe calls event for every replica there is, then once with Synced
// (when the driver has told of all), then for each change, one call at a time,
// until cancel is called; one call may then still be under way. event must
// return quickly.
func (p *Platform) Subscribe(event func(ReplicaEvent)) (cancel func()) {
	return p.replicas.subscribe(event)
}

// Logs returns the last lines that a version's replicas have written.
func (p *Platform) Logs(ctx context.Context, ref Ref, lines int) (io.ReadCloser, error) {
	if lines <= 0 || lines > maxLogLines {
		lines = maxLogLines
	}
	return p.driver.Logs(ctx, ref, lines)
}

const maxLogLines = 10_000

// runnable refuses what the driver can't run.
func (p *Platform) runnable(workload Workload) error {
	if p.options.Images {
		return nil
	}
	if workload.Spec.NeedsImage() || workload.Version.Artifact.Archive == "" && workload.Version.Artifact.Image != "" {
		return modelmanager.Errorf(modelmanager.CodeNeedsKubernetes,
			"%s runs in a container image only, and this server runs models as processes of its own machine; publish it to a server on Kubernetes",
			workload.Ref())
	}
	return nil
}
