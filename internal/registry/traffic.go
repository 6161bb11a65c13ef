package registry

import (
	"context"
	"slices"
	"strconv"
	"time"

	"modelmanager.dev"
)

// Limits of a model's traffic.
const (
	maxHistory = 20 // settings kept
	maxShares  = 20 // versions of one setting
)

// SetTraffic sets which versions of a model answer, and returns the model. A
// setting that is in force already changes nothing. Who acts on what they saw
// says when that setting was made (its At, zero if there was none); nil: it
// doesn't matter. Errors: CodeBadRequest for an impossible setting, CodeNotFound
// for an unknown model or version, CodeRetired, CodeConflict for another setting
// in force than the one seen.
func (r *Registry) SetTraffic(ctx context.Context, name string, traffic modelmanager.Traffic, change modelmanager.Change, seen *time.Time) (modelmanager.Model, error) {
	largest, err := r.mayTake(ctx, name, traffic)
	if err != nil {
		return modelmanager.Model{}, err
	}
	return r.change(ctx, name, func(model *modelmanager.Model) (bool, error) {
		if model.Retired != nil {
			return false, retiredError(*model)
		}
		if err := unchanged(*model, seen); err != nil {
			return false, err
		}
		_, _, canary := model.Traffic().Canary()
		taken := canary && change.By != modelmanager.ByRollout // who asks for a canary's step as it is makes it stay
		if sameTraffic(model.Traffic(), traffic) && !taken {
			return false, nil
		}
		if err := keeps(*model, traffic); err != nil {
			return false, err
		}
		commit := model.Traffic().Commit
		r.setTraffic(model, traffic, change)
		if canary && change.By == modelmanager.ByRollout {
			model.History[0].Commit = commit // of the publication whose canary it is
		}
		return true, describe(model, largest)
	})
}

// unchanged fails if the setting in force isn't the one that somebody saw; nil:
// they didn't look.
func unchanged(model modelmanager.Model, seen *time.Time) error {
	if seen == nil || model.Traffic().At.Equal(*seen) {
		return nil
	}
	return modelmanager.Errorf(modelmanager.CodeConflict,
		"changing the traffic of %s: %s changed it meanwhile; look at it again", model.Name, somebody(model.Traffic().By))
}

func somebody(by string) string {
	if by == "" {
		return "somebody"
	}
	return by
}

// Rollback goes back to the setting before the one in force; again, one
// further back. Settings that answered nothing, and the steps of canaries, are
// passed over: back from a canary is where it came from. CodeConflict if there
// is nothing before, or another setting is in force than the one seen, as of
// SetTraffic.
func (r *Registry) Rollback(ctx context.Context, name string, change modelmanager.Change, seen *time.Time) (modelmanager.Model, error) {
	if _, _, err := r.get(ctx, name); err != nil {
		return modelmanager.Model{}, err
	}
	return r.change(ctx, name, func(model *modelmanager.Model) (bool, error) {
		if model.Retired != nil {
			return false, retiredError(*model)
		}
		if err := unchanged(*model, seen); err != nil {
			return false, err
		}
		back, found := Before(model.History)
		if !found {
			return false, modelmanager.Errorf(modelmanager.CodeConflict,
				"rolling back %s: no setting of its traffic is kept from before the one in force; set the traffic instead", name)
		}
		largest, err := r.checkVersions(ctx, name, back)
		if err != nil {
			return false, err
		}
		if err := keeps(*model, back); err != nil {
			return false, err
		}
		left := model.Traffic()
		r.setTraffic(model, back, change)
		model.History[0].Back = left.Back + 1
		if change.By == modelmanager.ByRollout {
			model.History[0].Commit = left.Commit // an older one's must not undo it
		}
		return true, describe(model, largest)
	})
}

// setTraffic puts a setting at the head of a model's history. Its time is
// later than that of every setting before it, whatever the clocks say: times
// order a model's records.
func (r *Registry) setTraffic(model *modelmanager.Model, traffic modelmanager.Traffic, change modelmanager.Change) {
	at := change.At.UTC().Truncate(time.Microsecond)
	if change.At.IsZero() {
		at = r.instant()
	}
	if last := model.Traffic().At; !at.After(last) {
		at = last.Add(time.Microsecond)
	}
	setting := modelmanager.Traffic{
		Versions: slices.Clone(traffic.Versions),
		Shadow:   traffic.Shadow,
		Reason:   change.Reason,
		By:       change.By,
		At:       at,
	}
	model.History = slices.Insert(slices.Clone(model.History), 0, setting)
	if len(model.History) > maxHistory {
		model.History = slices.Clip(model.History[:maxHistory])
	}
}

// settingBefore returns the index of the setting that a roll-back from the
// one at index goes to. A setting that was itself reached by rolling back
// stands for the one it repeats: what is before it is what was before that
// one, never the setting that somebody rolled back from.
func settingBefore(history []modelmanager.Traffic, index int) (int, bool) {
	chosen, found := chosenSetting(history, index)
	if !found {
		return 0, false
	}
	for {
		before, found := chosenSetting(history, chosen+1)
		if !found || !passedOver(history[before]) {
			return before, found
		}
		chosen = before
	}
}

// passedOver tells whether nobody wants to go back to a setting: it answered
// nothing, or was a step on a canary's way.
func passedOver(setting modelmanager.Traffic) bool {
	_, _, canary := setting.Canary()
	return canary || len(setting.Versions) == 0
}

// chosenSetting returns the index of the setting that somebody chose and that
// the one at index is, or repeats.
func chosenSetting(history []modelmanager.Traffic, index int) (int, bool) {
	if index >= len(history) {
		return 0, false
	}
	if history[index].Back == 0 {
		return index, true
	}
	return settingBefore(history, index+1)
}

func sameTraffic(a, b modelmanager.Traffic) bool {
	if a.Shadow != b.Shadow || len(a.Versions) != len(b.Versions) {
		return false
	}
	for _, share := range a.Versions {
		if !slices.Contains(b.Versions, share) {
			return false
		}
	}
	return true
}

func checkTraffic(name string, traffic modelmanager.Traffic) error {
	refuse := func(format string, args ...any) error {
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "setting the traffic of "+name+": "+format, args...)
	}
	if len(traffic.Versions) == 0 {
		return refuse("it names no version; to stop a model from answering, retire it")
	}
	if len(traffic.Versions) > maxShares {
		return refuse("it names %d versions, the limit is %d", len(traffic.Versions), maxShares)
	}
	sum := 0
	percent := map[int]int{}
	for _, share := range traffic.Versions {
		if share.Version < 1 {
			return refuse("%d isn't a version's number", share.Version)
		}
		if _, twice := percent[share.Version]; twice {
			return refuse("version %d appears twice", share.Version)
		}
		if share.Percent < 0 || share.Percent > 100 {
			return refuse("%d percent for version %d isn't between 0 and 100", share.Percent, share.Version)
		}
		percent[share.Version] = share.Percent
		sum += share.Percent
	}
	if sum != 100 {
		return refuse("the percentages add up to %d, not to 100", sum)
	}
	if traffic.Shadow < 0 {
		return refuse("the shadow can't be version %d", traffic.Shadow)
	}
	if percent[traffic.Shadow] > 0 {
		return refuse("version %d can't be the shadow: it answers %d percent itself", traffic.Shadow, percent[traffic.Shadow])
	}
	return nil
}

// mayTake returns the version with the largest share if the model may have the
// setting: it is well formed, and the model and its versions are there.
func (r *Registry) mayTake(ctx context.Context, name string, traffic modelmanager.Traffic) (modelmanager.Version, error) {
	if err := checkTraffic(name, traffic); err != nil {
		return modelmanager.Version{}, err
	}
	if _, _, err := r.get(ctx, name); err != nil {
		return modelmanager.Version{}, err
	}
	return r.checkVersions(ctx, name, traffic)
}

// checkVersions returns the version with the largest share once every version
// of the setting is known to exist.
func (r *Registry) checkVersions(ctx context.Context, name string, traffic modelmanager.Traffic) (modelmanager.Version, error) {
	var largest modelmanager.Version
	numbers := []int{}
	for _, share := range traffic.Versions {
		numbers = append(numbers, share.Version)
	}
	if traffic.Shadow != 0 {
		numbers = append(numbers, traffic.Shadow)
	}
	for _, number := range numbers {
		version, err := r.Version(ctx, name, number)
		if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
			return largest, modelmanager.Errorf(modelmanager.CodeNotFound,
				"setting the traffic of %s: it has no version %s", name, strconv.Itoa(number))
		}
		if err != nil {
			return largest, err
		}
		if number == traffic.Largest() {
			largest = version
		}
	}
	return largest, nil
}
