package rollout

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/platform"
)

// Registry is what a Loop needs of the registry.
type Registry interface {
	// Subscribe calls event for every model there is, and then for each change;
	// of a model's history only the setting in force need be there.
	Subscribe(event func(modelmanager.Model)) (cancel func())
	// SetTraffic sets traffic, and Rollback goes back to what was
	// before the canary; CodeConflict if the setting in force isn't the one seen.
	SetTraffic(ctx context.Context, model string, traffic modelmanager.Traffic, change modelmanager.Change, seen *time.Time) (modelmanager.Model, error)
	Rollback(ctx context.Context, model string, change modelmanager.Change, seen *time.Time) (modelmanager.Model, error)
}

// Platform is what a Loop needs of the platform.
type Platform interface {
	Health(ref platform.Ref) modelmanager.Health
	Replicas(ref platform.Ref) []platform.Replica
	// Ensure makes a version have a replica, if it has none.
	Ensure(ctx context.Context, workload platform.Workload) error
}

// Config is all that a Loop is told.
type Config struct {
	Registry Registry
	Platform Platform
	Workload func(ctx context.Context, ref platform.Ref) (platform.Workload, error)
	// Since returns what became of a model's calls, by version. An error says
	// that not all servers answered; what the others said is returned with it.
	Since  func(ctx context.Context, model string, since time.Time) (map[int]activity.Counts, error)
	Every  time.Duration // between two looks at most often; default 1 s
	Logger *slog.Logger  // nil: slog.Default
}

// A canary is looked at so many times in its pause, but not more seldom than
// every longestLook.
const (
	looksPerPause = 20
	longestLook   = 10 * time.Second
	looksAtOnce   = 8
)

// Loop takes canaries further. Run is for the one server that leads; Describe
// is for all.
type Loop struct {
	config Config
	log    *slog.Logger

	mu       sync.Mutex
	canaries map[string]canary // by model; nil where Run doesn't run
}

// canary is what a leader remembers of one; none of it has to outlive it.
type canary struct {
	setting modelmanager.Traffic
	version int
	started time.Time // when the version was first seen ready
	awaited time.Time // since when it has been waited for
	failing time.Time // since when it can't run; zero: it can
	due     time.Time // when to look again
	work    *platform.Workload
}

// New returns a Loop; Run makes it work.
func New(config Config) *Loop {
	if config.Every <= 0 {
		config.Every = time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Loop{config: config, log: config.Logger}
}

// Run takes canaries further until ctx ends. It knows nothing from earlier
// runs.
func (l *Loop) Run(ctx context.Context) error {
	l.mu.Lock()
	l.canaries = map[string]canary{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.canaries = nil
		l.mu.Unlock()
	}()
	defer l.config.Registry.Subscribe(l.modelChanged)()
	tick := time.NewTicker(l.config.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			l.step(ctx)
		}
	}
}

// modelChanged notes which models have a canary under way.
func (l *Loop) modelChanged(model modelmanager.Model) {
	setting := model.Traffic()
	_, version, ok := setting.Canary()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.canaries == nil {
		return // told after Run has ended
	}
	known, found := l.canaries[model.Name]
	switch {
	case !ok || model.Retired != nil:
		delete(l.canaries, model.Name)
	case !found || known.version != version.Version:
		l.canaries[model.Name] = canary{setting: setting, version: version.Version}
	default: // its next step, most probably
		known.setting, known.due = setting, time.Time{}
		l.canaries[model.Name] = known
	}
}

// remember keeps what was seen of a canary, unless it is at another step by now.
func (l *Loop) remember(model string, c canary) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.canaries[model]; ok && known.setting.At.Equal(c.setting.At) {
		l.canaries[model] = c
	}
}

// step looks at every canary that is due.
func (l *Loop) step(ctx context.Context) {
	now := time.Now()
	due := map[string]canary{}
	l.mu.Lock()
	for model, c := range l.canaries {
		if !now.Before(c.due) {
			due[model] = c
		}
	}
	l.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(looksAtOnce)
	for model, c := range due {
		group.Go(func() error {
			l.look(ctx, model, c)
			return nil
		})
	}
	_ = group.Wait()
}

// look decides about one canary, and acts.
func (l *Loop) look(ctx context.Context, model string, c canary) {
	if c.work == nil {
		workload, err := l.config.Workload(ctx, platform.Ref{Model: model, Version: c.version})
		if err != nil {
			l.warn(ctx, "a canary's version can't be read; it stays at its step", model, err)
			c.due = time.Now().Add(longestLook)
			l.remember(model, c)
			return
		}
		c.work = &workload
	}
	pause := time.Duration(c.work.Spec.Rollout.Pause)
	c.due = time.Now().Add(min(max(pause/looksPerPause, l.config.Every), longestLook))
	state := l.observe(ctx, model, &c)
	if ctx.Err() != nil {
		return
	}
	l.remember(model, c)
	decision := Decide(time.Now(), state)
	change := modelmanager.Change{By: modelmanager.ByRollout, Reason: decision.Reason}
	var err error
	switch decision.Action {
	case Next:
		_, err = l.config.Registry.SetTraffic(ctx, model, decision.Traffic, change, &c.setting.At)
	case Back:
		_, err = l.config.Registry.Rollback(ctx, model, change, &c.setting.At)
	default:
		return
	}
	switch {
	case modelmanager.CodeOf(err) == modelmanager.CodeConflict: // somebody decided otherwise meanwhile
	case err != nil:
		l.warn(ctx, "a canary's traffic can't be set; it will be tried again", model, err)
	default:
		l.log.Info("a canary moved", "model", model, "version", c.version, "to", decision.Action, "reason", decision.Reason)
	}
}

func (l *Loop) warn(ctx context.Context, message, model string, err error) {
	if ctx.Err() == nil {
		l.log.Warn(message, "model", model, "error", err)
	}
}

// observe sees how a canary is, and starts its version if nobody else did.
func (l *Loop) observe(ctx context.Context, model string, c *canary) State {
	now := time.Now()
	if c.awaited.IsZero() {
		c.awaited = now
	}
	s, err := l.seen(ctx, model, c.setting, c.work)
	if err != nil {
		l.warn(ctx, "a canary waits for what other servers have seen", model, err)
	}
	ref := platform.Ref{Model: model, Version: c.version}
	health := l.config.Platform.Health(ref)
	switch {
	case health.State == modelmanager.Unhealthy:
		if c.failing.IsZero() {
			c.failing = now
		}
	case health.State != modelmanager.Starting: // a failed one that is being tried again is no better
		c.failing = time.Time{}
	}
	if !s.Started.IsZero() && c.started.IsZero() {
		c.started = s.Started
	}
	if c.started.IsZero() && health.State == modelmanager.Idle {
		if err := l.config.Platform.Ensure(ctx, *c.work); err != nil {
			s.Starting = err.Error()
			l.warn(ctx, "a canary's version can't be started; it will be tried again", model, err)
		}
	}
	s.Started, s.Awaited = c.started, now.Sub(c.awaited)
	if !c.failing.IsZero() {
		s.Failing = now.Sub(c.failing)
		if health.State == modelmanager.Unhealthy {
			s.Failure = health.Reason
		} else {
			s.Failing = min(s.Failing, failingFor-1) // not while it is tried
		}
	}
	return s
}

// seen is what any server sees of a canary.
func (l *Loop) seen(ctx context.Context, model string, setting modelmanager.Traffic, work *platform.Workload) (State, error) {
	before, version, _ := setting.Canary()
	s := State{Setting: setting, Rollout: work.Spec.Rollout, Allowed: time.Duration(work.Spec.Timeouts.Start)}
	counts, err := l.config.Since(ctx, model, setting.At)
	s.Complete = err == nil
	s.New, s.Before = counts[version.Version], counts[before.Version]
	ref := platform.Ref{Model: model, Version: version.Version}
	health := l.config.Platform.Health(ref)
	switch health.State {
	case modelmanager.Healthy, modelmanager.Degraded:
		s.Started = readySince(l.config.Platform.Replicas(ref))
	default:
		if s.New.Calls > s.New.Errors {
			s.Started = setting.At // it answered, and has gone idle
		}
	}
	s.Starting = health.Reason
	if s.Starting == "" {
		s.Starting = "it is " + string(health.State)
	}
	return s, err
}
