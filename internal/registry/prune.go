package registry

import (
	"context"
	"slices"

	"modelmanager.dev"
)

// KeptVersions is how many of a model's newest versions Prune always leaves.
const KeptVersions = 20

// Prune drops a model's old versions, and returns their numbers: all but the
// first, the newest KeptVersions, those that its traffic or its history names,
// and those that are in use elsewhere, such as by jobs. One process at a time may
// call it. What it drops, no publication of the same content finds again.
//
// The model's record says first which versions are being dropped: from then on
// none of them takes traffic, and only then inUse looks where else they are
// used. Pruning that ends in between goes on when it is called again.
func (r *Registry) Prune(ctx context.Context, name string, inUse func(ctx context.Context) (map[int]bool, error)) ([]int, error) {
	newest, err := r.store.Versions(ctx, name, 0, KeptVersions)
	if err != nil || len(newest) < KeptVersions {
		return nil, err
	}
	oldest := newest[len(newest)-1].Number
	model, err := r.change(ctx, name, func(model *modelmanager.Model) (bool, error) {
		chosen := expendable(*model, oldest)
		model.Dropping = model.Dropping.With(chosen...)
		return len(chosen) > 0, nil
	})
	if err != nil || len(model.Dropping) == 0 {
		return nil, err
	}
	used, err := inUse(ctx)
	if err != nil {
		return nil, err
	}
	marked := slices.Collect(model.Dropping.All())
	var dropped []int
	for _, number := range marked {
		if used[number] {
			continue
		}
		if err := r.store.DeleteVersion(ctx, name, number); err != nil {
			return dropped, err
		}
		dropped = append(dropped, number)
	}
	_, err = r.change(ctx, name, func(model *modelmanager.Model) (bool, error) {
		model.Dropping = model.Dropping.Without(marked...)
		model.Dropped = model.Dropped.With(dropped...)
		return true, nil
	})
	return dropped, err
}

// expendable chooses, of a model's versions before the oldest of the newest,
// those that its record doesn't need.
func expendable(model modelmanager.Model, oldest int) []int {
	var chosen []int
	for number := 2; number < oldest; number++ {
		if model.Dropped.Has(number) || model.Dropping.Has(number) || slices.ContainsFunc(model.History, func(setting modelmanager.Traffic) bool {
			return setting.Names(number)
		}) {
			continue
		}
		chosen = append(chosen, number)
	}
	return chosen
}

// keeps refuses a setting that names a version which is, or is being, dropped.
func keeps(model modelmanager.Model, setting modelmanager.Traffic) error {
	for _, share := range append(slices.Clone(setting.Versions), modelmanager.Share{Version: setting.Shadow}) {
		if model.Dropped.Has(share.Version) || model.Dropping.Has(share.Version) {
			return versionDropped(model.Name, share.Version)
		}
	}
	return nil
}

func versionDropped(model string, number int) error {
	return modelmanager.Errorf(modelmanager.CodeNotFound,
		"version %d of %s is kept no longer: of old versions, those are kept that the model's traffic or its history names; publish its content again", number, model)
}
