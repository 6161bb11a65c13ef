package rollout

import (
	"fmt"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/spec"
)

// How patient a decision is.
const (
	// A version that can't start is tried again for this long.
	failingFor = 15 * time.Second
	// One that is on its way may take this long, and what its spec allows.
	startingFor = 15 * time.Minute
	// With too few calls a step lasts so many times its pause at most.
	longestPauses = 3
)

// Action is what a decision asks for.
type Action string

// Actions. A Next may be the last one, which gives the version everything.
const (
	Wait Action = "wait"
	Next Action = "next"
	Back Action = "back"
)

// State is what is seen of a canary.
type State struct {
	Setting modelmanager.Traffic // in force; a step of a canary
	Rollout spec.Rollout         // of the new version
	// New and Before are what became of the two versions' calls since the step
	// began. Complete is false if a server didn't tell.
	New, Before activity.Counts
	Complete    bool
	// Started is when the new version was first seen ready; zero: not yet. Then
	// Awaited says for how long somebody has waited for it, Starting what it is
	// doing, and Allowed how long its spec lets it load.
	Started  time.Time
	Awaited  time.Duration
	Starting string
	Allowed  time.Duration
	// Failing is for how long it has been unable to run, by Failure.
	Failing time.Duration
	Failure string
}

// Decision is what is to be done about a canary.
type Decision struct {
	Action  Action
	Traffic modelmanager.Traffic // of Next
	Reason  string               // one sentence
	Begun   time.Time            // when the step began in earnest
	Until   time.Time            // when Next may come
	Latest  time.Time            // when it is decided, however few calls there were
}

// Decide decides about a canary. It never goes forward while a condition to go
// back is passed, even by too few calls to go back for.
func Decide(now time.Time, s State) Decision {
	before, version, ok := s.Setting.Canary()
	steps := stepsOf(s.Rollout)
	step := slices.Index(steps, version.Percent)
	if !ok || step < 0 {
		return Decision{Action: Wait, Reason: "it is no step of a canary"}
	}
	pause := time.Duration(s.Rollout.Pause)
	d := Decision{Action: Wait, Begun: s.Setting.At}
	if s.Started.After(d.Begun) {
		d.Begun = s.Started
	}
	d.Until, d.Latest = d.Begun.Add(pause), d.Begun.Add(longestPauses*pause)
	back := func(format string, args ...any) Decision {
		d.Action = Back
		d.Reason = fmt.Sprintf("canary of version %d went back from %d%%: ", version.Version, version.Percent) + fmt.Sprintf(format, args...)
		return d
	}
	wait := func(format string, args ...any) Decision {
		d.Reason = fmt.Sprintf(format, args...)
		return d
	}

	if s.Failing >= failingFor {
		return back("it can't run: %s", s.Failure)
	}
	conditions := conditionsOf(s, before.Version)
	for _, c := range conditions {
		if c.holds() {
			return back("%s", c.passed())
		}
	}
	if s.Started.IsZero() {
		if s.Awaited >= startingFor+s.Allowed {
			return back("it wasn't ready after %s: %s", s.Awaited.Round(time.Second), s.Starting)
		}
		return wait("version %d doesn't run yet: %s", version.Version, s.Starting)
	}
	seen := summary(s.New, version.Percent)
	if now.Before(d.Until) {
		return wait("%s", seen)
	}
	late := !now.Before(d.Latest)
	for _, c := range conditions {
		switch {
		case c.exceeded() && late:
			return back("%s, still so after %s", c.passed(), now.Sub(d.Begun).Round(time.Second))
		case c.exceeded():
			return wait("%s; it doesn't go on like this, and is decided at the latest at %s", c.passed(), d.Latest.UTC().Format(time.TimeOnly))
		}
	}
	if !s.Complete {
		return wait("not all servers say what they have seen; %s", seen)
	}
	if s.New.Calls < enough && !late {
		return wait("%s, and %d are wanted until %s", seen, enough, d.Latest.UTC().Format(time.TimeOnly))
	}
	d.Action = Next
	if step+1 < len(steps) {
		d.Traffic = setting(s.Setting, before.Version, version.Version, steps[step+1])
		d.Reason = stepText(version.Version, step+1, steps) + ", after " + seen
	} else {
		d.Traffic = setting(s.Setting, before.Version, version.Version, 100)
		d.Reason = fmt.Sprintf("canary of version %d is through: all calls, after %s", version.Version, seen)
	}
	return d
}
