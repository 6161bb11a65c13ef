package registry

import "modelmanager.dev"

// Before returns the setting that a roll-back would bring back, for who asks
// before doing it; found is false if nothing is kept from before.
func Before(history []modelmanager.Traffic) (setting modelmanager.Traffic, found bool) {
	if index, found := settingBefore(history, 0); found {
		return history[index], true
	}
	if len(history) == 0 {
		return setting, false
	}
	// A canary of many steps: what was before it is no longer kept, but is known.
	before, _, canary := history[0].Canary()
	if !canary {
		return setting, false
	}
	setting = modelmanager.All(before.Version)
	setting.Shadow = history[0].Shadow
	return setting, true
}
