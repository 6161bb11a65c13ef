package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/platform/control"
)

// Options of a Driver.
type Options struct {
	// Dir keeps what runs; it is this driver's alone.
	Dir string
	// Agent starts an agent when the path of its configuration is appended,
	// such as ["/usr/bin/mm", "agent"].
	Agent []string
	// Artifact opens the archive of a version's folder (see package archive).
	Artifact func(ctx context.Context, artifact modelmanager.Artifact) (io.ReadCloser, error)
	// Environments builds what versions need.
	Environments *environment.Manager
	// Secret returns the value of a secret that a spec names; nil: there are none.
	Secret func(ctx context.Context, name string) (string, error)

	// Unused is how long unpacked artifacts and environments stay that nothing
	// uses; default 30 days.
	Unused time.Duration

	// Zygotes is how many processes there may be at most that have imported
	// what Python models of one environment need, and fork their workers;
	// default 8, negative: none. One ends that nobody has asked for during
	// ZygoteUnused; default an hour.
	Zygotes      int
	ZygoteUnused time.Duration

	Slots   int             // tasks of jobs at a time; default one per core
	Grace   time.Duration   // how long a replica may drain; default 1m
	Backoff control.Backoff // of replicas and tasks that fail
	Logger  *slog.Logger    // default slog.Default
}

// Driver is a platform.Driver.
type Driver struct {
	options   Options
	runtime   string // short path for sockets
	lock      *os.File
	replicas  *control.Replicas
	steps     *control.Steps
	table     *control.Table
	feed      *control.Feed
	artifacts *artifacts
	logs      *logs
	zygotes   *zygotes
	realTime  *spawner
	batch     *spawner
	mu        sync.Mutex
	live      map[string]*process // by id
	// housekeeping ends it, and waits.
	housekeeping func()
	closeOnce    sync.Once
	closeErr     error
}

var _ platform.Driver = (*Driver)(nil)

// batchNiceness keeps jobs from slowing real-time replicas down.
const batchNiceness = 10

// New returns a driver over a folder, and ends what a killed one has left
// behind there. Close ends it.
func New(options Options) (*Driver, error) {
	if options.Slots <= 0 {
		options.Slots = runtime.NumCPU()
	}
	if options.Grace <= 0 {
		options.Grace = time.Minute
	}
	if options.Unused <= 0 {
		options.Unused = 30 * 24 * time.Hour
	}
	if options.Zygotes == 0 {
		options.Zygotes = 8
	}
	if options.ZygoteUnused <= 0 {
		options.ZygoteUnused = time.Hour
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of the local platform: %w", err)
	}
	options.Dir = dir
	for _, name := range []string{"run", "artifacts", "logs", "modules"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, fmt.Errorf("opening the folder of the local platform: %w", err)
		}
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err := sweep(filepath.Join(dir, "run"), options.Logger); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	short, err := runtimeDir(filepath.Join(dir, "sockets"))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	d := &Driver{
		options: options, runtime: short, lock: lock,
		table: control.NewTable(), feed: control.NewFeed(), live: map[string]*process{},
		artifacts: newArtifacts(filepath.Join(dir, "artifacts"), options.Artifact),
		logs:      newLogs(filepath.Join(dir, "logs")),
		realTime:  newSpawner(0), batch: newSpawner(batchNiceness),
	}
	d.zygotes = newZygotes(zygoteOptions{
		homes: filepath.Join(dir, "run"), sockets: short, most: options.Zygotes, unused: options.ZygoteUnused,
		backoff: options.Backoff, logger: options.Logger,
	}, moduleNotes{filepath.Join(dir, "modules"), options.Logger})
	d.zygotes.wait.Go(d.zygotes.restore)
	d.housekeeping = d.startHousekeeping()
	d.replicas = control.NewReplicas(d.table, d.runReplica, options.Backoff)
	d.steps = control.NewSteps(options.Slots, d.feed, d.runTask, options.Backoff)
	return d, nil
}

func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the folder of the local platform: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close() // nothing was written
		return nil, modelmanager.Errorf(modelmanager.CodeConflict, "the folder %s is in use by another server; end that one, or choose another folder", dir)
	}
	return file, nil
}

// longestSocket is the longest path of a Unix socket, without the final zero
// (of the systems that this runs on, the shortest).
const longestSocket = 103

// runtimeDir makes a folder for sockets whose path is short: the driver's own
// may be too long for a socket. note is a link to it, by which the folder of a
// killed server is found and removed.
func runtimeDir(note string) (string, error) {
	if old, err := os.Readlink(note); err == nil && strings.HasPrefix(filepath.Base(old), "mm-") {
		_ = os.RemoveAll(old) // one that isn't ours can't be removed, and does no harm
	}
	var errs []error
	for _, parent := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/tmp", os.TempDir()} {
		if parent == "" || len(parent) > longestSocket-40 {
			continue
		}
		dir, err := os.MkdirTemp(parent, "mm-") // with mode 0700
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("making a folder for the agents' sockets: %w", err)
		}
		if err := os.Symlink(dir, note); err != nil {
			return "", fmt.Errorf("making a folder for the agents' sockets: %w", err)
		}
		return dir, nil
	}
	return "", fmt.Errorf("making a folder for the agents' sockets: %w", errors.Join(errs...))
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

// Logs implements platform.Driver. Each line starts with its time and the
// replica's id.
func (d *Driver) Logs(_ context.Context, ref platform.Ref, lines int) (io.ReadCloser, error) {
	live := map[string]string{}
	d.mu.Lock()
	for _, p := range d.live {
		if p.ref == ref {
			live[p.id] = p.workerLog()
		}
	}
	d.mu.Unlock()
	return d.logs.tail(ref, lines, live)
}

// Close implements platform.Driver.
func (d *Driver) Close() error {
	d.closeOnce.Do(func() {
		var wait sync.WaitGroup
		wait.Go(d.steps.Close)
		wait.Go(d.replicas.Close)
		wait.Wait()
		d.housekeeping()
		d.zygotes.close()
		d.realTime.close()
		d.batch.close()
		d.closeErr = errors.Join(os.RemoveAll(d.runtime), d.lock.Close())
	})
	return d.closeErr
}
