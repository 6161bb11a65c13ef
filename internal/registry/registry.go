package registry

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/wording"
)

// Options of a Registry; the zero value is what the server uses.
type Options struct {
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
}

// Registry keeps models and versions, and their rules. Reads and writes of one
// model go to the store; List and Subscribe answer from an index in memory
// that Run keeps up to date. It is safe for concurrent use, and any number of
// registries, in any number of processes, may share a store's medium.
type Registry struct {
	store  Store
	now    func() time.Time
	logger *slog.Logger

	ready     chan struct{} // closed when the index holds every model
	readyOnce sync.Once

	// telling is held while a change enters the index and is told to the
	// subscribers, so that all of them see the same order.
	telling     sync.Mutex
	subscribers map[*subscriber]struct{}
	written     map[string]write // own changes that Watch has yet to tell
	watches     int              // how often Run has called Watch

	mu    sync.RWMutex // guards index; taken after telling
	index *index
}

type subscriber struct{ tell func(modelmanager.Model) }

// write is what this registry wrote of a model, ahead of Watch.
type write struct {
	mark  mark
	watch int // the watch that was running
}

// New makes a registry over a store. Run must be called for List and Subscribe.
func New(store Store, options Options) *Registry {
	r := &Registry{
		store:       store,
		now:         options.Now,
		logger:      options.Logger,
		ready:       make(chan struct{}),
		subscribers: map[*subscriber]struct{}{},
		written:     map[string]write{},
		index:       newIndex(),
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.logger == nil {
		r.logger = slog.Default()
	}
	return r
}

// Run follows the store until ctx ends, and returns ctx's error. It watches
// again, with growing pauses, when the connection to the store is lost;
// meanwhile the index keeps what it knew.
func (r *Registry) Run(ctx context.Context) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval = 100 * time.Millisecond
	pauses.MaxInterval = 15 * time.Second
	for {
		r.beginWatch()
		err := r.store.Watch(ctx, func(event Event) {
			if event.Synced {
				pauses.Reset()
			}
			r.observe(event)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		delay := pauses.NextBackOff()
		r.logger.Warn("following the registry's store failed; trying again", "err", err, "pause", delay)
		if !pause.For(ctx, delay) {
			return ctx.Err()
		}
	}
}

// Ready is closed once List and Subscribe know every model.
func (r *Registry) Ready() <-chan struct{} { return r.ready }

// WaitSynced waits until Ready, or until ctx ends.
func (r *Registry) WaitSynced(ctx context.Context) error {
	select {
	case <-r.ready:
		return nil
	case <-ctx.Done():
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "waiting for the list of models: %w", ctx.Err())
	}
}

// Get returns a model's whole record, from the store; while that can't be
// reached, what is known of it, which is all but its older history. A retired model comes
// with its record and an error of CodeRetired; for an unknown one the error
// (CodeNotFound) names the nearest models.
func (r *Registry) Get(ctx context.Context, name string) (modelmanager.Model, error) {
	model, _, err := r.get(ctx, name)
	if modelmanager.CodeOf(err) == modelmanager.CodeUnavailable {
		if known, ok := r.known(name); ok {
			model, err = known, nil
		}
	}
	if err == nil && model.Retired != nil {
		err = retiredError(model)
	}
	return model, err
}

// known returns what the index holds of a model: of its history, the setting
// in force.
func (r *Registry) known(name string) (modelmanager.Model, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	slot, ok := r.index.find(name)
	if !ok {
		return modelmanager.Model{}, false
	}
	return r.index.model(slot), true
}

// get reads the record of a model that has been published or described.
func (r *Registry) get(ctx context.Context, name string) (modelmanager.Model, Revision, error) {
	if err := CheckName(name); err != nil {
		return modelmanager.Model{}, None, r.unknownModel(name)
	}
	model, revision, err := r.store.Model(ctx, name)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound || err == nil && !announced(model) {
		return modelmanager.Model{}, None, r.unknownModel(name)
	}
	return model, revision, err
}

func (r *Registry) unknownModel(name string) error {
	name = wording.Shorten(name, 2*maxNameLength)
	r.mu.RLock()
	nearest := nearestNames(strings.ToLower(name), r.index.liveNames)
	r.mu.RUnlock()
	if len(nearest) == 0 {
		return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no model %q", name)
	}
	return modelmanager.Errorf(modelmanager.CodeNotFound, "there is no model %q; did you mean %s?",
		name, strings.Join(nearest, " or "))
}

func retiredError(model modelmanager.Model) error {
	why := ""
	if model.Retired.By != "" {
		why += " by " + model.Retired.By
	}
	if model.Retired.Reason != "" {
		why += " (" + model.Retired.Reason + ")"
	}
	return modelmanager.Errorf(modelmanager.CodeRetired,
		"model %s was retired on %s%s; publishing a version of it brings it back",
		model.Name, model.Retired.At.UTC().Format("2 January 2006"), why)
}

// Version returns one version, of a retired model too.
func (r *Registry) Version(ctx context.Context, model string, number int) (modelmanager.Version, error) {
	if CheckName(model) != nil {
		return modelmanager.Version{}, r.unknownModel(model)
	}
	version, err := r.store.Version(ctx, model, number)
	if modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		return version, err
	}
	record, _, err := r.get(ctx, model)
	if err != nil {
		return modelmanager.Version{}, err
	}
	if record.Dropped.Has(number) || record.Dropping.Has(number) {
		return modelmanager.Version{}, versionDropped(model, number)
	}
	return modelmanager.Version{}, modelmanager.Errorf(modelmanager.CodeNotFound,
		"model %s has no version %d; its latest is %d", model, number, record.Latest)
}

// Limits of a page.
const (
	defaultLimit = 50
	maxLimit     = 1000
)

func pageLimit(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// Versions returns a model's versions, newest first, with numbers below
// before (0: from the newest), at most limit of them (0: 50).
func (r *Registry) Versions(ctx context.Context, model string, before, limit int) ([]modelmanager.Version, error) {
	if _, _, err := r.get(ctx, model); err != nil {
		return nil, err
	}
	return r.store.Versions(ctx, model, max(before, 0), pageLimit(limit))
}

// change applies a change to a published model's record, again and again
// until no other writer came between. The function tells whether there is
// anything to write; it may be called several times.
func (r *Registry) change(ctx context.Context, name string, apply func(*modelmanager.Model) (bool, error)) (modelmanager.Model, error) {
	for attempt := 0; ; attempt++ {
		model, revision, err := r.store.Model(ctx, name)
		if err != nil {
			return modelmanager.Model{}, err
		}
		changed, err := apply(&model)
		if err != nil || !changed {
			return model, err
		}
		_, err = r.store.PutModel(ctx, model, revision)
		if err == nil {
			r.wrote(model)
			return model, nil
		}
		if modelmanager.CodeOf(err) != modelmanager.CodeConflict {
			return modelmanager.Model{}, err
		}
		if err := yieldToOthers(ctx, attempt); err != nil {
			return modelmanager.Model{}, err
		}
	}
}

// yieldToOthers pauses a writer that lost to another one, the longer the more
// often it lost, and by chance, so that of many writers each gets its turn.
func yieldToOthers(ctx context.Context, attempt int) error {
	longest := min(time.Millisecond<<min(attempt, 10), 100*time.Millisecond)
	if !pause.For(ctx, rand.N(longest)) {
		return contextError(ctx)
	}
	return nil
}

func contextError(ctx context.Context) error {
	code := modelmanager.CodeCancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code = modelmanager.CodeDeadlineExceeded
	}
	return modelmanager.Errorf(code, "changing the registry: %w", ctx.Err())
}
