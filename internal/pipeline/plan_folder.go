package pipeline

import (
	"context"
	"fmt"

	"modelmanager.dev/internal/spec"
)

// Foresee says what publishing a folder as it is would do. It changes nothing,
// and neither builds the model nor tries it.
func (p *Publisher) Foresee(ctx context.Context, folder *spec.Folder) (PlanStep, error) {
	step := PlanStep{Change: Change{Model: folder.Spec.Name, Folder: folder.Root}, Rollout: folder.Spec.Rollout.Strategy}
	var err error
	if step.tree, err = Tree(folder); err != nil {
		return step, err
	}
	for _, f := range checkFolder(folder) {
		if f.Severity == SeverityError {
			step.Action, step.Why = ActBroken, f.place()+": "+f.Message
			return step, nil
		}
	}
	f, err := p.look(ctx, &step)
	if err != nil {
		return step, fmt.Errorf("asking the server about %s: %w", step.Model, err)
	}
	step.Live, step.Action = f.live(), ActPublish
	if f.same != nil {
		step.Action, step.Version = ActRollOut, f.same.Version
		step.Why = step.standing(f)
	}
	nothing := &Plan{allowed: func(string) bool { return false }}
	return step, p.decideBreaking(ctx, nothing, &step, folder.Spec, f)
}
