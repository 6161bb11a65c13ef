package scaler

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// Load is what one server's gateway has of a version.
type Load struct {
	Ref      platform.Ref `json:"ref"`
	InFlight int          `json:"in_flight"`
	Waiting  int          `json:"waiting"`
	LastCall time.Time    `json:"last_call"`
	Wanted   bool         `json:"wanted,omitempty"`
}

// Registry is what the scaler needs of the registry.
type Registry interface {
	// Subscribe calls event for every model there is, in any order, and then
	// for each change.
	Subscribe(event func(modelmanager.Model)) (cancel func())
}

// Platform is what the scaler needs of the platform.
type Platform interface {
	// Subscribe calls event for every replica there is, then once with Synced,
	// then for each change.
	Subscribe(event func(platform.ReplicaEvent)) (cancel func())
	// Scale makes a version have this many replicas.
	Scale(ctx context.Context, workload platform.Workload, replicas int) error
}

// Config is all that a Scaler is told.
type Config struct {
	Registry Registry
	Platform Platform
	Workload func(ctx context.Context, ref platform.Ref) (platform.Workload, error)
	// Loads asks every server's gateway. An error says that not all answered;
	// what the others said is returned with it.
	Loads func(ctx context.Context) ([]Load, error)
	// Status asks a replica's agent.
	Status func(ctx context.Context, replica platform.Replica) (agent.Status, error)
	Every  time.Duration // between two looks; default 2 s
	Logger *slog.Logger  // nil: slog.Default
}

// Scaler decides how many replicas versions have. Any server may take a
// version from none to one; all else is the business of the one server whose
// Scaler runs.
type Scaler struct {
	config Config
	log    *slog.Logger

	mu       sync.Mutex
	versions map[platform.Ref]*version
	models   map[string][]int32    // the live versions of each model that has any
	retired  map[string]bool       // models that answer no more
	examine  map[platform.Ref]bool // live versions whose scale.min isn't known yet
	// renewals are versions that were told what they have already, and when.
	renewals map[platform.Ref]time.Time
	synced   bool
	wake     chan struct{} // a token: examine has grown
}

// version is what the loop remembers of a version.
type version struct {
	replicas map[string]platform.Replica
	calls    map[string]int64 // of each replica, when last asked
	lastCall time.Time        // the latest that gateways told
	lastUse  time.Time
	lost     time.Time // when its traffic ended; zero: it has some, or never had any
	past     time.Time // when others lost theirs, and nobody had called it since; zero: not yet
	window   window
	panicked time.Time
	workload *platform.Workload
	told     int // what the platform was last told
	toldAt   time.Time
}

// New returns a Scaler; Run makes it work.
func New(config Config) *Scaler {
	if config.Every <= 0 {
		config.Every = 2 * time.Second
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Scaler{config: config, log: config.Logger, wake: make(chan struct{}, 1)}
}

// Run follows loads and applies what they ask for until ctx ends. It knows
// nothing from earlier runs: the clock of every idle version starts anew.
func (s *Scaler) Run(ctx context.Context) error {
	s.mu.Lock()
	s.versions = map[platform.Ref]*version{}
	s.models = map[string][]int32{}
	s.retired = map[string]bool{}
	s.examine = map[platform.Ref]bool{}
	s.renewals = map[platform.Ref]time.Time{}
	s.synced = false
	s.mu.Unlock()
	defer s.config.Platform.Subscribe(s.replicaChanged)()
	defer s.config.Registry.Subscribe(s.modelChanged)()
	var tasks sync.WaitGroup
	tasks.Go(func() { s.findMinimums(ctx) })
	defer tasks.Wait()
	tick := time.NewTicker(s.config.Every)
	defer tick.Stop()
	for {
		s.step(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// of returns what is remembered of a version; s.mu is held.
func (s *Scaler) of(ref platform.Ref) *version {
	v := s.versions[ref]
	if v == nil {
		v = &version{replicas: map[string]platform.Replica{}, calls: map[string]int64{}, lastUse: time.Now(), told: -1}
		s.versions[ref] = v
	}
	return v
}

func (s *Scaler) replicaChanged(event platform.ReplicaEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if event.Synced {
		s.synced = true
		return
	}
	v := s.of(event.Replica.Ref)
	if event.Gone {
		delete(v.replicas, event.Replica.ID)
		delete(v.calls, event.Replica.ID)
		return
	}
	v.replicas[event.Replica.ID] = event.Replica
}

// lateness is how long after a version's traffic ended a call is noticed that was
// one of that traffic, by a gateway that heard of the change last.
const lateness = 10 * time.Second

// modelChanged notes which versions are live. One that no longer is keeps a
// replica for scale.idle from now, so that rolling back takes no time, or until
// another one is what a rollback goes to; of a retired model, none.
func (s *Scaler) modelChanged(model modelmanager.Model) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if delete(s.retired, model.Name); model.Retired != nil {
		s.retired[model.Name] = true
	}
	now := live(model)
	var lost []int32
	for _, n := range s.models[model.Name] {
		ref := platform.Ref{Model: model.Name, Version: int(n)}
		delete(s.examine, ref)
		if !slices.Contains(now, n) {
			lost = append(lost, n)
		}
	}
	if len(lost) > 0 {
		s.lose(model, lost)
	}
	if len(now) == 0 {
		delete(s.models, model.Name)
		return
	}
	s.models[model.Name] = now
	for _, n := range now {
		ref := platform.Ref{Model: model.Name, Version: int(n)}
		if v := s.versions[ref]; v == nil {
			s.examine[ref] = true
		} else {
			v.lost, v.past = time.Time{}, time.Time{}
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// lose notes that versions of a model have just lost their traffic. They are what
// a roll-back goes to, and those that lost theirs before are past, unless somebody
// has called them since; not so while a canary is on its way, and after a
// roll-back, which the next one goes further back than. s.mu is held.
func (s *Scaler) lose(model modelmanager.Model, versions []int32) {
	at, setting := time.Now(), model.Traffic()
	_, _, canary := setting.Canary()
	for ref, v := range s.versions {
		switch {
		case ref.Model != model.Name:
		case slices.Contains(versions, int32(ref.Version)):
			v.lost, v.lastUse = at, at
		case !v.lost.IsZero() && v.past.IsZero() && !canary && setting.Back == 0 && v.lastUse.Sub(v.lost) < lateness:
			v.past = at
		}
	}
}

// live lists the versions that a model's calls go to.
func live(model modelmanager.Model) []int32 {
	if model.Retired != nil {
		return nil
	}
	traffic := model.Traffic()
	list := make([]int32, 0, len(traffic.Versions))
	for _, share := range traffic.Versions {
		if share.Percent > 0 {
			list = append(list, int32(share.Version))
		}
	}
	if traffic.Shadow != 0 {
		list = append(list, int32(traffic.Shadow))
	}
	return list
}

// step looks once at everything, and acts.
func (s *Scaler) step(ctx context.Context) {
	s.mu.Lock()
	synced := s.synced
	s.mu.Unlock()
	if !synced {
		return // what runs isn't known yet
	}
	now := time.Now()
	loads, err := s.config.Loads(ctx)
	if err != nil {
		s.log.Warn("a server didn't say what it has under way; nothing is scaled down meanwhile", "error", err)
	}
	seen := s.look(ctx, loads, err != nil)
	s.settle(now)
	if ctx.Err() != nil {
		return
	}
	var group errgroup.Group
	group.SetLimit(16)
	for ref, sum := range seen {
		group.Go(func() error {
			s.apply(ctx, now, ref, sum)
			return nil
		})
	}
	_ = group.Wait()
}

// findMinimums reads the spec of versions that came to be live while nothing
// of them ran: those with a scale.min have to be started. There may be very
// many, so it has a goroutine of its own.
func (s *Scaler) findMinimums(ctx context.Context) {
	retry := time.NewTicker(time.Minute)
	defer retry.Stop()
	for {
		s.mu.Lock()
		refs := slices.Collect(maps.Keys(s.examine))
		s.mu.Unlock()
		for _, ref := range refs {
			workload, err := s.config.Workload(ctx, ref)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Warn("a live version can't be read; it will be tried again", "model", ref.Model, "version", ref.Version, "error", err)
				continue
			}
			s.found(ref, workload)
		}
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
		case <-s.wake:
		}
	}
}

func (s *Scaler) found(ref platform.Ref, workload platform.Workload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.examine[ref] && scaleOf(workload.Spec).Min > 0 {
		s.of(ref).workload = &workload
	}
	delete(s.examine, ref)
}
