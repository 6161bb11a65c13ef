// Package rollout takes canaries from step to step, or back: Decide is a pure
// function of what is seen of a canary, and Loop applies it.
//
// That a canary is under way, at which step and since when, is said by the
// model's setting of traffic alone (modelmanager.Traffic.Canary, and its time):
// whoever becomes the leader goes on where the last one stopped, and whatever
// somebody else sets ends it.
package rollout

import (
	"fmt"
	"slices"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Base returns the version that a new one is measured against, and that has
// the rest of the traffic meanwhile: of a canary under way the version before,
// else the one with the largest share. 0 if nothing has traffic.
func Base(current modelmanager.Traffic) int {
	if before, _, canary := current.Canary(); canary {
		return before.Version
	}
	return current.Largest()
}

// First returns the first step of a version's canary, and why; ok is false
// where there is nothing to do in steps: another version answers nothing, or
// the steps begin with all. asked says who asks for it, and why.
func First(current modelmanager.Traffic, version int, r spec.Rollout, asked string) (step modelmanager.Traffic, reason string, ok bool) {
	base, steps := Base(current), stepsOf(r)
	if base == 0 || base == version || len(steps) == 0 {
		return step, "", false
	}
	step = setting(current, base, version, steps[0])
	if step.Shadow == version {
		step.Shadow = 0 // it answers itself now
	}
	reason = stepText(version, 0, steps)
	if asked != "" {
		reason += " (" + asked + ")"
	}
	return step, reason, true
}

// stepsOf returns the percentages below 100, which always follows.
func stepsOf(r spec.Rollout) []int {
	return slices.DeleteFunc(slices.Clone(r.Steps), func(percent int) bool { return percent <= 0 || percent >= 100 })
}

// setting sends a percentage to a version, and the rest to the one before.
func setting(current modelmanager.Traffic, before, version, percent int) modelmanager.Traffic {
	next := modelmanager.All(version)
	if percent < 100 {
		next.Versions = []modelmanager.Share{{Version: before, Percent: 100 - percent}, {Version: version, Percent: percent}}
	}
	next.Shadow = current.Shadow
	return next
}

func stepText(version, step int, steps []int) string {
	return fmt.Sprintf("canary of version %d, step %d of %d: %d%%", version, step+1, len(steps), steps[step])
}
