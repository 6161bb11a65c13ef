package pipeline

import (
	"context"
	"fmt"

	"modelmanager.dev/internal/repository"
)

// History publishes what each commit of a branch changed, from the first to the
// newest, and gives nothing traffic: on an empty server the versions get the
// numbers that they had where each commit was published. It can be killed and
// run again. Commits that other branches brought count as their merge.
func (p *Publisher) History(ctx context.Context, r *repository.Repository, revision string, told func(Outcome)) ([]Outcome, error) {
	commits, err := r.FirstParents(ctx, revision)
	if err != nil {
		return nil, err
	}
	holding := *p
	holding.hold = true
	all := []Outcome{}
	from := repository.Nothing()
	for _, id := range commits {
		commit, err := r.Resolve(ctx, id)
		if err != nil {
			return all, err
		}
		plan, err := holding.Plan(ctx, newSpan(r, from, commit), nil)
		if err != nil {
			return all, fmt.Errorf("at commit %.12s: %w", id, err)
		}
		outcomes, err := holding.Execute(ctx, plan, told)
		plan.Close()
		all = append(all, outcomes...)
		if err != nil {
			return all, err
		}
		from = commit
	}
	return all, nil
}
