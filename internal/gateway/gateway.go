// Package gateway routes rows to replicas: it finds a model's version by
// traffic, starts it where it is cold, picks the replica with the least to do,
// and copies the answer through. It never decodes a body to route it.
package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/gateway/upstream"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
)

// Registry is what the gateway needs of the registry.
type Registry interface {
	// Get returns a model, also a retired one; CodeNotFound, with the nearest
	// names in its detail, if there is none.
	Get(ctx context.Context, model string) (modelmanager.Model, error)
	// Subscribe calls event for each change of a model, in order, from now on
	// at the latest; of its history only the setting in force need be there.
	Subscribe(event func(modelmanager.Model)) (cancel func())
}

// Platform is what the gateway needs of the platform.
type Platform interface {
	// Subscribe calls event for every replica there is, then once with
	// Synced, then for each change, in order.
	Subscribe(event func(platform.ReplicaEvent)) (cancel func())
	// Ensure makes a version have a replica, if it has none.
	Ensure(ctx context.Context, workload platform.Workload) error
	// Stage says how far a version's furthest replica has come.
	Stage(ref platform.Ref) (agent.Stage, string)
}

// Limits bounds what callers can ask for. They are published with the API.
type Limits struct {
	Body    int64         `json:"body_bytes"`     // of a request; default 16 MiB
	Answer  int64         `json:"answer_bytes"`   // of an answer; default 64 MiB
	Wait    time.Duration `json:"wait"`           // a caller's deadline without Prefer; default 30 s
	MaxWait time.Duration `json:"max_wait"`       // the longest deadline; default 5 min
	Queue   int           `json:"queue_calls"`    // calls that wait for one version to start; default 1,000
	Calls   int           `json:"calls"`          // calls at once, of all models; default 20,000
	Shadow  int           `json:"shadow_queue"`   // calls that wait for replay; default 256
	Sample  int           `json:"shadow_sample"`  // one in so many shadow answers is compared; default 10
	Labels  int           `json:"metrics_models"` // versions with metrics of their own; default 2,000
}

// Config is all that a gateway is told.
type Config struct {
	Registry Registry
	Platform Platform
	// Workload returns what the platform needs to start a version;
	// CodeNotFound if there is no such version.
	Workload func(ctx context.Context, ref platform.Ref) (platform.Workload, error)
	// Activity counts the calls; nil: a Recorder of the gateway's own.
	Activity *activity.Recorder
	Limits   Limits
	Metrics  prometheus.Registerer // nil: none
	Logger   *slog.Logger          // nil: slog.Default
}

// Gateway answers predictions. Its methods may be called by many goroutines.
type Gateway struct {
	registry Registry
	platform Platform
	workload func(context.Context, platform.Ref) (platform.Workload, error)
	limits   Limits
	upstream upstream.Limits
	log      *slog.Logger

	spare   sync.Pool // of *call
	table   *table
	shadows *shadows
	metrics *metrics

	ctx    context.Context // of work that outlives a call: ends at Shutdown
	end    context.CancelFunc
	cancel []func() // subscriptions
	tasks  sync.WaitGroup

	calls    atomic.Int64 // under way
	draining atomic.Bool
	idle     chan struct{} // a token whenever, while draining, the last call ends
	synced   chan struct{} // closed once all replicas there were are known
	sync     sync.Once
}

// New makes a gateway and subscribes it to its sources. Shutdown ends it.
func New(config Config) (*Gateway, error) {
	g := &Gateway{
		registry: config.Registry,
		platform: config.Platform,
		workload: config.Workload,
		limits:   config.Limits.withDefaults(),
		log:      config.Logger,
		table:    &table{recorder: config.Activity},
		spare:    sync.Pool{New: emptyCall},
		idle:     make(chan struct{}, 1),
		synced:   make(chan struct{}),
	}
	if g.log == nil {
		g.log = slog.Default()
	}
	if g.table.recorder == nil {
		g.table.recorder = activity.NewRecorder()
	}
	g.ctx, g.end = context.WithCancel(context.Background())
	g.table.labels = g.limits.Labels
	g.metrics = newMetrics(g)
	g.shadows = newShadows(g)
	if config.Metrics != nil {
		if err := config.Metrics.Register(g.metrics); err != nil {
			_ = g.Shutdown(g.ctx)
			return nil, modelmanager.Errorf(modelmanager.CodeInternal, "registering the gateway's metrics: %w", err)
		}
		g.cancel = append(g.cancel, func() { config.Metrics.Unregister(g.metrics) })
	}
	g.cancel = append(g.cancel, g.platform.Subscribe(g.replicaChanged), g.registry.Subscribe(g.modelChanged))
	g.tasks.Go(g.sweep)
	return g, nil
}

// Limits returns the limits in force.
func (g *Gateway) Limits() Limits { return g.limits }

// Predict answers one call for a model: by one version, or by traffic if
// version is 0. Who may call is the caller's business.
func (g *Gateway) Predict(w http.ResponseWriter, r *http.Request, model string, version int) {
	if !g.enter() {
		problem.Write(w, g.refusal())
		return
	}
	defer g.leave()
	c := newCall(g, w, r)
	defer c.free()
	if err := c.answer(model, version); err != nil {
		c.fail(err)
	}
}

// answer is the chain of a call.
func (c *call) answer(model string, version int) (err error) {
	c.readDeadline()
	if err := c.route(model, version); err != nil {
		return err
	}
	defer func() { c.finish(err) }()
	if err := c.awaitReplica(nil); err != nil {
		return err
	}
	if err := c.readBody(); err != nil {
		return err
	}
	if err := c.forward(); err != nil {
		return err
	}
	if err := c.deliver(); err != nil {
		return err
	}
	c.offerShadow()
	return nil
}

// enter admits a call, unless the gateway drains or is full.
func (g *Gateway) enter() bool {
	n := g.calls.Add(1)
	if n <= int64(g.limits.Calls) && !g.draining.Load() {
		return true
	}
	g.leave()
	return false
}

func (g *Gateway) leave() {
	if g.calls.Add(-1) == 0 && g.draining.Load() {
		select {
		case g.idle <- struct{}{}:
		default:
		}
	}
}

func (g *Gateway) refusal() error {
	if g.draining.Load() {
		return retryLater(modelmanager.CodeUnavailable, time.Second, "this server is shutting down; send the request again, another one will answer it")
	}
	g.metrics.overflow.Add(1)
	return retryLater(modelmanager.CodeTooManyRequests, time.Second,
		"this server already has %d predictions under way, its limit; try again in a second", g.limits.Calls)
}

// Shutdown refuses new calls, waits for those under way until ctx ends, and
// frees everything. Its error is ctx's, if calls were cut off.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.draining.Store(true)
	var err error
	for g.calls.Load() > 0 && err == nil {
		select {
		case <-g.idle:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	g.end()
	for _, cancel := range g.cancel {
		cancel()
	}
	g.tasks.Wait()
	g.table.close()
	return err
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.Body, 16<<20)
	setDefault(&l.Answer, 64<<20)
	setDefault(&l.Wait, 30*time.Second)
	setDefault(&l.MaxWait, 5*time.Minute)
	setDefault(&l.Queue, 1000)
	setDefault(&l.Calls, 20_000)
	setDefault(&l.Shadow, 256)
	setDefault(&l.Sample, 10)
	setDefault(&l.Labels, 2000)
	l.Wait = min(l.Wait, l.MaxWait)
	return l
}

func setDefault[T int | int64 | time.Duration](value *T, otherwise T) {
	if *value <= 0 {
		*value = otherwise
	}
}

func retryLater(code modelmanager.Code, after time.Duration, format string, args ...any) error {
	err := modelmanager.Errorf(code, format, args...)
	err.RetryAfter = after
	return err
}
