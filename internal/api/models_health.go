package api

import (
	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/registry"
)

// modelHealth is the worst health of the versions that answer. Where a setting
// is pending because a version of it can't start, the model is degraded.
func (a *API) modelHealth(model modelmanager.Model, traffic modelmanager.TrafficInfo) modelmanager.Health {
	if model.Retired != nil {
		return modelmanager.Health{State: modelmanager.Idle, Reason: "retired"}
	}
	worst := modelmanager.Health{State: modelmanager.Idle}
	rank := map[modelmanager.HealthState]int{
		modelmanager.Idle: 0, modelmanager.Healthy: 1, modelmanager.Unknown: 2,
		modelmanager.Starting: 3, modelmanager.Degraded: 4, modelmanager.Unhealthy: 5,
	}
	worse := func(health modelmanager.Health) {
		if rank[health.State] > rank[worst.State] {
			worst = health
		}
	}
	of := func(share modelmanager.Share) modelmanager.Health {
		return a.Platform.Health(platform.Ref{Model: model.Name, Version: share.Version})
	}
	for _, share := range traffic.Now().Versions {
		worse(of(share))
	}
	if traffic.Pending == nil {
		return worst
	}
	for _, share := range traffic.Versions {
		if of(share).State == modelmanager.Unhealthy {
			worse(modelmanager.Health{State: modelmanager.Degraded, Reason: traffic.Pending.Reason})
		}
	}
	if worst.Reason == "" {
		worst.Reason = traffic.Pending.Reason
	}
	return worst
}

// byHealth names the models that aren't idle, by their state: those that have
// replicas, however many models there are.
func (a *API) byHealth() (map[modelmanager.HealthState][]string, error) {
	refs, synced := a.Platform.Running()
	if !synced {
		return nil, modelmanager.Errorf(modelmanager.CodeUnavailable, "the server has only just started, and doesn't know yet how models are; try again in a moment")
	}
	names := []string{}
	for _, ref := range refs {
		names = append(names, ref.Model)
	}
	states := map[modelmanager.HealthState][]string{}
	err := a.among(names, func(model modelmanager.Model) {
		if health := a.modelHealth(model, a.trafficInfo(model)); health.State != modelmanager.Idle {
			states[health.State] = append(states[health.State], model.Name)
		}
	})
	return states, err
}

// among calls do for each model of these names that there is.
func (a *API) among(names []string, do func(modelmanager.Model)) error {
	for query := (registry.Query{Among: names, Limit: maxPage}); ; {
		page, err := a.Registry.List(query)
		if err != nil {
			return err
		}
		for _, model := range page.Models {
			do(model)
		}
		if query.PageToken = page.NextPageToken; query.PageToken == "" {
			return nil
		}
	}
}

// withHealth narrows a query to the models in a state.
func withHealth(query registry.Query, state modelmanager.HealthState, states map[modelmanager.HealthState][]string) registry.Query {
	if state != modelmanager.Idle {
		query.Among = append([]string{}, states[state]...)
		return query
	}
	for _, names := range states {
		query.But = append(query.But, names...)
	}
	return query
}

// counts counts what a list selects: its models, by owner, by label, and by
// health, whichever of those the list is narrowed to.
func (a *API) counts(query registry.Query, most int, health modelmanager.HealthState, states map[modelmanager.HealthState][]string) (*modelmanager.ModelCounts, error) {
	selected := query
	if health != "" {
		selected = withHealth(query, health, states)
	}
	tally, err := a.Registry.Tally(selected, most)
	if err != nil {
		return nil, err
	}
	counts := &modelmanager.ModelCounts{Models: tally.Models, Owners: []modelmanager.OwnerCount{}, Labels: []modelmanager.LabelCount{}}
	for _, owner := range tally.Owners {
		counts.Owners = append(counts.Owners, modelmanager.OwnerCount{Owner: owner.Value, Models: owner.Models})
	}
	for _, label := range tally.Labels {
		counts.Labels = append(counts.Labels, modelmanager.LabelCount{Name: label.Name, Value: label.Value, Models: label.Models})
	}
	if states == nil {
		return counts, nil // how models are isn't known yet
	}
	counts.Health = map[modelmanager.HealthState]int{}
	all := tally.Models
	if health != "" {
		if tally, err = a.Registry.Tally(query, 0); err != nil {
			return nil, err
		}
		all = tally.Models
	}
	for state := range states {
		if tally, err = a.Registry.Tally(withHealth(query, state, states), 0); err != nil {
			return nil, err
		}
		counts.Health[state] = tally.Models
		all -= tally.Models
	}
	counts.Health[modelmanager.Idle] = all
	return counts, nil
}
