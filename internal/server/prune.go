package server

import (
	"context"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/batch"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/registry"
)

// Prune drops old versions of a model from its store, but for those that named
// says are still named somewhere; it returns their numbers.
type Prune func(ctx context.Context, model string, named func(version int) bool) ([]int, error)

// keptVersions is how many versions a model may have before anybody looks.
const keptVersions = 20

// pruneEvery is the time between two rounds over all models.
const pruneEvery = time.Hour

// keepStoreSmall drops what the store needn't keep, round after round, until
// ctx ends.
func (s *Server) keepStoreSmall(ctx context.Context) error {
	if err := s.registry.WaitSynced(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if err := s.pruneAll(ctx); err != nil && ctx.Err() == nil {
			s.Logger.Warn("dropping old versions failed; trying again", "error", err, "in", pruneEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Server) pruneAll(ctx context.Context) error {
	jobs, err := s.versionsOfJobs(ctx)
	if err != nil {
		return err
	}
	for query := (registry.Query{Limit: 1000}); ; {
		page, err := s.registry.List(query)
		if err != nil {
			return err
		}
		for _, model := range page.Models {
			if model.Latest <= keptVersions {
				continue
			}
			dropped, err := s.Prune(ctx, model.Name, func(version int) bool {
				return jobs[platform.Ref{Model: model.Name, Version: version}]
			})
			if len(dropped) > 0 {
				s.Logger.Info("old versions were dropped", "model", model.Name, "versions", dropped)
			}
			if err != nil {
				return err
			}
		}
		if page.NextPageToken == "" {
			return nil
		}
		query.PageToken = page.NextPageToken
	}
}

// versionsOfJobs returns the versions that jobs wait for, or run.
func (s *Server) versionsOfJobs(ctx context.Context) (map[platform.Ref]bool, error) {
	versions := map[platform.Ref]bool{}
	for _, state := range []modelmanager.JobState{modelmanager.JobQueued, modelmanager.JobRunning} {
		for query := (batch.Query{State: state, Limit: 1000}); ; {
			page, err := s.jobs.List(ctx, query)
			if err != nil {
				return nil, err
			}
			for _, job := range page.Jobs {
				versions[platform.Ref{Model: job.Model, Version: job.Version}] = true
			}
			if page.NextPageToken == "" {
				break
			}
			query.PageToken = page.NextPageToken
		}
	}
	return versions, nil
}
