// Package memory keeps a registry's records in memory: for tests, and for
// trying things out.
package memory

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
)

// Store is a registry.Store in memory. The zero value isn't ready; use New.
type Store struct {
	mu       sync.Mutex
	models   map[string]record
	versions map[string]map[int]modelmanager.Version
	watches  map[*watch]struct{}
	writes   int
	closed   bool
}

// record keeps a model as JSON: nothing that callers do to what they gave or
// got can reach it.
type record struct {
	data     []byte
	revision registry.Revision
}

// watch collects the names of models whose state has yet to be told.
type watch struct {
	dirty map[string]struct{}
	wake  chan struct{} // of capacity 1
}

// New makes an empty store.
func New() *Store {
	return &Store{
		models:   map[string]record{},
		versions: map[string]map[int]modelmanager.Version{},
		watches:  map[*watch]struct{}{},
	}
}

func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return modelmanager.Errorf(modelmanager.CodeCancelled, "using the registry's store: %w", err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return modelmanager.Errorf(modelmanager.CodeUnavailable, "using the registry's store: it is closed")
	}
	return nil
}

// Model implements registry.Store.
func (s *Store) Model(ctx context.Context, name string) (modelmanager.Model, registry.Revision, error) {
	if err := s.begin(ctx); err != nil {
		return modelmanager.Model{}, registry.None, err
	}
	kept, found := s.models[name]
	s.mu.Unlock()
	if !found {
		return modelmanager.Model{}, registry.None, modelmanager.Errorf(modelmanager.CodeNotFound, "there is no model %q", name)
	}
	model, err := decode(kept)
	return model, kept.revision, err
}

func decode(kept record) (modelmanager.Model, error) {
	var model modelmanager.Model
	if err := json.Unmarshal(kept.data, &model); err != nil {
		return model, modelmanager.Errorf(modelmanager.CodeInternal, "reading a model's record: %w", err)
	}
	return model, nil
}

// PutModel implements registry.Store.
func (s *Store) PutModel(ctx context.Context, model modelmanager.Model, old registry.Revision) (registry.Revision, error) {
	if err := registry.CheckName(model.Name); err != nil {
		return registry.None, err
	}
	data, err := json.Marshal(model)
	if err != nil {
		return registry.None, modelmanager.Errorf(modelmanager.CodeInternal, "writing model %s: %w", model.Name, err)
	}
	if err := s.begin(ctx); err != nil {
		return registry.None, err
	}
	defer s.mu.Unlock()
	if s.models[model.Name].revision != old {
		return registry.None, modelmanager.Errorf(modelmanager.CodeConflict, "writing model %s: it was changed meanwhile", model.Name)
	}
	s.writes++
	revision := registry.Revision(strconv.Itoa(s.writes))
	s.models[model.Name] = record{data, revision}
	for w := range s.watches {
		w.dirty[model.Name] = struct{}{}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return revision, nil
}

// CreateVersion implements registry.Store.
func (s *Store) CreateVersion(ctx context.Context, version modelmanager.Version) error {
	if err := registry.CheckName(version.Model); err != nil {
		return err
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if _, taken := s.versions[version.Model][version.Number]; taken {
		return modelmanager.Errorf(modelmanager.CodeConflict, "version %d of %s exists", version.Number, version.Model)
	}
	if s.versions[version.Model] == nil {
		s.versions[version.Model] = map[int]modelmanager.Version{}
	}
	s.versions[version.Model][version.Number] = version
	return nil
}

// DeleteVersion implements registry.Store.
func (s *Store) DeleteVersion(ctx context.Context, model string, number int) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.versions[model], number)
	return nil
}

// Version implements registry.Store.
func (s *Store) Version(ctx context.Context, model string, number int) (modelmanager.Version, error) {
	if err := s.begin(ctx); err != nil {
		return modelmanager.Version{}, err
	}
	defer s.mu.Unlock()
	version, found := s.versions[model][number]
	if !found {
		return version, modelmanager.Errorf(modelmanager.CodeNotFound, "model %q has no version %d", model, number)
	}
	return version, nil
}

// Versions implements registry.Store.
func (s *Store) Versions(ctx context.Context, model string, before, limit int) ([]modelmanager.Version, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	numbers := slices.Sorted(maps.Keys(s.versions[model]))
	slices.Reverse(numbers)
	var versions []modelmanager.Version
	for _, number := range numbers {
		if len(versions) == limit {
			break
		}
		if before == 0 || number < before {
			versions = append(versions, s.versions[model][number])
		}
	}
	return versions, nil
}

// Watch implements registry.Store.
func (s *Store) Watch(ctx context.Context, event func(registry.Event)) error {
	w := &watch{dirty: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	if err := s.begin(ctx); err != nil {
		return err
	}
	for name := range s.models {
		w.dirty[name] = struct{}{}
	}
	s.watches[w] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watches, w)
		s.mu.Unlock()
	}()
	if err := s.flush(ctx, w, event); err != nil {
		return err
	}
	event(registry.Event{Synced: true})
	for {
		if err := s.flush(ctx, w, event); err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flush tells the present state of every model that has changed.
func (s *Store) flush(ctx context.Context, w *watch, event func(registry.Event)) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(w.dirty))
	clear(w.dirty)
	s.mu.Unlock()
	for _, name := range names {
		model, revision, err := s.Model(ctx, name)
		if err != nil {
			return err
		}
		event(registry.Event{Model: model, Revision: revision})
	}
	return nil
}

// Close implements registry.Store. Watches that are under way end.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for w := range s.watches {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return nil
}
