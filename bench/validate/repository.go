package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const modelYAML = `name: customer-%d
summary: Probability that customer %d leaves.
owner: churn@example.org
labels: {customer: c%d, use: churn}
features:
  - {name: tenure, type: number, minimum: 0, unit: months}
  - {name: plan, type: string, enum: [basic, plus, business]}
  - {name: spend, type: number, minimum: 0, nullable: true}
predictions:
  - {name: probability, type: number, minimum: 0, maximum: 1}
run: {python: predict.py:predict}
examples:
  - features: {tenure: 12, plan: basic, spend: 30}
  - features: {tenure: 60, plan: business, spend: null}
`

const predictPy = `def predict(rows: list):
    return [1 / (1 + row["tenure"]) for row in rows]
`

// makeRepository makes a repository of so many models on a branch before, and one
// of them changed after it.
func makeRepository(ctx context.Context, dir string, models int) error {
	for i := range models {
		folder := filepath.Join(dir, "models", fmt.Sprintf("customer-%d", i))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for name, text := range map[string]string{
			"model.yaml": fmt.Sprintf(modelYAML, i, i, i), "predict.py": predictPy, "README.md": "Who leaves.\n",
		} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	changed := filepath.Join(dir, "models", "customer-7", "predict.py")
	for _, step := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "."}, {"commit", "-qm", "All models"}, {"tag", "before"},
	} {
		if err := git(ctx, dir, step...); err != nil {
			return err
		}
	}
	if err := os.WriteFile(changed, []byte(predictPy+"# better\n"), 0o644); err != nil {
		return err
	}
	return git(ctx, dir, "commit", "-qam", "A better model")
}

func git(ctx context.Context, dir string, arguments ...string) error {
	command := exec.CommandContext(ctx, "git", append([]string{"-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0"}, arguments...)...)
	command.Dir = dir
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", arguments[0], err, output)
	}
	return nil
}
