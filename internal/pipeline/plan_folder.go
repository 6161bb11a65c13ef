package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"modelmanager.dev"
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

// ModelFolder finds a model's folder; the path of a model.yaml stands for its
// folder's.
func ModelFolder(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if target, err := os.Readlink(path); err == nil {
			return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%q is a symbolic link to %q, where nothing is; name the model's folder", path, target)
		}
		return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec, "there is no folder %s", path)
	case err == nil && !info.IsDir() && filepath.Base(path) == modelFile:
		return filepath.Dir(path), nil
	case err == nil && !info.IsDir():
		return "", modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s is a file; name the model's folder", path)
	}
	return path, err
}
