package rollout

import (
	"context"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// readySince returns since when there has been a replica that answers; the
// beginning of time as we know it, if that isn't known.
func readySince(replicas []platform.Replica) time.Time {
	first := time.Time{}
	for _, r := range replicas {
		if r.Stage == agent.StageReady && (first.IsZero() || r.Since.Before(first)) {
			first = r.Since
		}
	}
	if first.IsZero() {
		return time.Unix(0, 0)
	}
	return first
}

// Describe says how a model's canary is; nil if none is under way. Any server
// can tell; what others have seen is waited for so long at most.
func (l *Loop) Describe(ctx context.Context, model modelmanager.Model, wait time.Duration) (*modelmanager.Canary, error) {
	setting := model.Traffic()
	before, version, ok := setting.Canary()
	if !ok || model.Retired != nil {
		return nil, nil
	}
	work, err := l.config.Workload(ctx, platform.Ref{Model: model.Name, Version: version.Version})
	if err != nil {
		return nil, err
	}
	steps := stepsOf(work.Spec.Rollout)
	step := slices.Index(steps, version.Percent)
	if step < 0 {
		return nil, nil
	}
	asking, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	s, err := l.seen(asking, model.Name, setting, &work)
	if err != nil {
		l.log.Debug("a canary is described without what other servers have seen", "model", model.Name, "error", err)
	}
	l.mu.Lock()
	if c, ok := l.canaries[model.Name]; ok && c.version == version.Version && !c.started.IsZero() {
		s.Started = c.started
	}
	l.mu.Unlock()
	d := Decide(time.Now(), s)
	told := &modelmanager.Canary{
		Version: version.Version, Before: before.Version, Step: step + 1, Steps: steps,
		Since: setting.At, Until: d.Until.UTC(), Latest: d.Latest.UTC(), Status: d.Reason,
		Calls: s.New.Public(), CallsBefore: s.Before.Public(),
	}
	told.BackWhen = append(told.BackWhen, "it can't run")
	for _, c := range conditionsOf(s, before.Version) {
		told.BackWhen = append(told.BackWhen, c.rule)
	}
	return told, nil
}
