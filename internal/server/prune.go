package server

import (
	"context"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/registry"
)

// pruneEvery is the time between two rounds over all models.
const pruneEvery = time.Hour

// keepStoreSmall drops old versions that nothing needs, round after round,
// until ctx ends.
func (s *Server) keepStoreSmall(ctx context.Context) error {
	if err := s.registry.WaitSynced(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	pruned := map[string]int{} // models, and the latest version they had then
	for {
		if err := s.pruneAll(ctx, pruned); err != nil && ctx.Err() == nil {
			s.Logger.Warn("dropping old versions failed; trying again", "error", err, "in", pruneEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pruneAll prunes the models that have new versions since it last did.
func (s *Server) pruneAll(ctx context.Context, pruned map[string]int) error {
	for query := (registry.Query{Limit: 1000, Retired: true}); ; {
		page, err := s.registry.List(query)
		if err != nil {
			return err
		}
		for _, model := range page.Models {
			if model.Latest <= registry.KeptVersions || model.Latest == pruned[model.Name] {
				continue
			}
			dropped, err := s.registry.Prune(ctx, model.Name, func(ctx context.Context) (map[int]bool, error) {
				return s.versionsOfJobs(ctx, model.Name)
			})
			if len(dropped) > 0 {
				s.Logger.Info("old versions were dropped", "model", model.Name, "versions", dropped)
			}
			if err != nil {
				return err
			}
			pruned[model.Name] = model.Latest
		}
		if page.NextPageToken == "" {
			return nil
		}
		query.PageToken = page.NextPageToken
	}
}

// versionsOfJobs returns the versions of a model that jobs wait for, or run.
func (s *Server) versionsOfJobs(ctx context.Context, model string) (map[int]bool, error) {
	versions := map[int]bool{}
	for _, state := range []modelmanager.JobState{modelmanager.JobQueued, modelmanager.JobRunning} {
		for query := (batch.Query{Model: model, State: state, Limit: 1000}); ; {
			page, err := s.jobs.List(ctx, query)
			if err != nil {
				return nil, err
			}
			for _, job := range page.Jobs {
				versions[job.Version] = true
			}
			if page.NextPageToken == "" {
				break
			}
			query.PageToken = page.NextPageToken
		}
	}
	return versions, nil
}
