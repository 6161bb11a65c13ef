package registry

import (
	"context"
	"slices"
	"time"

	"modelmanager.dev"
)

// ByCommit says on whose behalf a repository's pipeline changes a model.
type ByCommit struct {
	Commit string // empty: on nobody's
	// Seen is when the setting in force was made that the pipeline saw: by then
	// it had compared commits. Another one by now is a CodeConflict; the zero time
	// is that of a model without any; nil: it doesn't matter.
	Seen *time.Time
}

// SetTrafficFor is SetTraffic for a repository's pipeline. The setting keeps the
// commit; a setting that is in force already gets it, and stays else as it is,
// so that a pipeline of an earlier commit sees that a later one wants this.
func (r *Registry) SetTrafficFor(ctx context.Context, name string, traffic modelmanager.Traffic, change modelmanager.Change, commit ByCommit) (modelmanager.Model, error) {
	largest, err := r.mayTake(ctx, name, traffic)
	if err != nil {
		return modelmanager.Model{}, err
	}
	return r.change(ctx, name, func(model *modelmanager.Model) (bool, error) {
		if model.Retired != nil {
			return false, retiredError(*model)
		}
		if err := unchanged(*model, commit.Seen); err != nil {
			return false, err
		}
		if sameTraffic(model.Traffic(), traffic) {
			return noteCommit(model, commit.Commit), nil
		}
		if err := keeps(*model, traffic); err != nil {
			return false, err
		}
		r.setTraffic(model, traffic, change)
		model.History[0].Commit = commit.Commit
		return true, describe(model, largest)
	})
}

// Retire ends a model: it answers no more, its versions and its history stay.
// Retiring a retired model changes nothing, but that a commit, if there is one,
// is noted.
func (r *Registry) Retire(ctx context.Context, name string, change modelmanager.Change, commit ByCommit) (modelmanager.Model, error) {
	if _, _, err := r.get(ctx, name); err != nil {
		return modelmanager.Model{}, err
	}
	return r.change(ctx, name, func(model *modelmanager.Model) (bool, error) {
		if model.Retired != nil {
			return noteCommit(model, commit.Commit), nil
		}
		if err := unchanged(*model, commit.Seen); err != nil {
			return false, err
		}
		r.setTraffic(model, modelmanager.Traffic{}, change)
		model.History[0].Commit = commit.Commit
		model.Retired = &modelmanager.Change{By: change.By, At: model.History[0].At, Reason: change.Reason}
		return true, nil
	})
}

// noteCommit gives the setting in force to a commit; it tells whether that
// changed anything. The setting is a little later then, so that whoever saw it
// before looks again.
func noteCommit(model *modelmanager.Model, commit string) bool {
	if commit == "" || len(model.History) == 0 || model.History[0].Commit == commit {
		return false
	}
	model.History = slices.Clone(model.History)
	model.History[0].Commit = commit
	model.History[0].At = model.History[0].At.Add(time.Microsecond)
	return true
}
