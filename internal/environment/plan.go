package environment

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"modelmanager.dev"
)

// language is what a model is written in, as far as environments go.
type language int

const (
	none language = iota
	python
	r
)

// plan finds out what a version needs.
func (m *Manager) plan(ctx context.Context, need Need) (*plan, error) {
	switch languageOf(need) {
	case python:
		return m.planPython(ctx, need)
	case r:
		return m.planR(ctx, need)
	default:
		return &plan{name: need.Spec.Name}, nil
	}
}

// languageOf tells by `run`, and for programs by what they start with.
func languageOf(need Need) language {
	run := need.Spec.Run
	command := run.Command
	if run.HTTP != nil {
		command = run.HTTP.Command
	}
	if run.Job != nil {
		command = run.Job.Command
	}
	switch {
	case run.Python != "":
		return python
	case run.R != "":
		return r
	case len(command) == 0:
		return none
	}
	program := filepath.Base(command[0])
	if program == "Rscript" || program == "R" {
		return r
	}
	if program == "python" || strings.HasPrefix(program, "python3") {
		return python
	}
	// Any other program may still bring a Python environment of its own, such
	// as `gunicorn app:app` beside a requirements.txt.
	if lock, _ := findLock(need.Dir); lock != "" && slices.Contains(pythonPrograms, program) {
		return python
	}
	return none
}

// pythonPrograms are servers that packages of Python install.
var pythonPrograms = []string{"gunicorn", "uvicorn", "hypercorn", "waitress-serve", "flask", "fastapi", "mlserver", "mlflow", "bentoml", "litserve", "uv"}

// unavailable is the error of a machine that lacks something.
func unavailable(format string, args ...any) error {
	return modelmanager.Errorf(modelmanager.CodeModelError, format, args...)
}
