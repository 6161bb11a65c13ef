package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent/worker"
	"modelmanager.dev/internal/dataset"
	"modelmanager.dev/internal/spec"
)

// TaskFunc runs Config.Task, with the worker that predictor starts if the task
// needs one; it closes that worker. The exit code is the program's: 0,
// ExitModelFault, ExitStorageFault, or 1 for anything else.
type TaskFunc func(ctx context.Context, config Config, predictor func(context.Context) (worker.Predictor, error)) (exitCode int, err error)

// ReadConfig reads the file that a platform wrote. What may not be in a file
// that the worker could read, or differs between agents that share one, comes
// from variables: see VariableKey and those after it.
func ReadConfig(path string) (Config, error) {
	var config Config
	data, err := os.ReadFile(path)
	if err != nil {
		return config, fmt.Errorf("reading the agent's configuration: %w", err)
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return config, fmt.Errorf("reading the agent's configuration %s: %w", path, err)
	}
	if err := config.complete(os.Getenv); err != nil {
		return config, fmt.Errorf("reading the agent's configuration %s: %w", path, err)
	}
	return config, nil
}

// Run is the whole of an agent: it serves requests, or runs the task of its
// configuration, until that is done or ctx ends; then it finishes what it has
// and ends the worker. It returns the program's exit code.
func Run(ctx context.Context, config Config, task TaskFunc, logger *slog.Logger) (exitCode int, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if config.Lifeline {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			stop(errOrphaned)
		}()
	}
	options, err := workerOptions(config, logger)
	if err != nil {
		return 1, err
	}
	if reaper, err := worker.NewReaper(); err == nil {
		options.Reaper = reaper
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go reaper.Run(ctx)
	}
	if config.Task == nil {
		if err := serveRequests(ctx, config, options); err != nil {
			return 1, err
		}
		return 0, nil
	}
	if task == nil {
		return 1, modelmanager.Errorf(modelmanager.CodeInternal, "this agent can't run tasks")
	}
	return task(ctx, config, func(ctx context.Context) (worker.Predictor, error) {
		options.BackoffMax = batchBackoff
		return worker.Start(ctx, options)
	})
}

// errOrphaned is why an agent stops whose parent is gone: nobody waits for
// what it has not finished.
var errOrphaned = errors.New("the agent's parent is gone")

func workerOptions(config Config, logger *slog.Logger) (worker.Options, error) {
	s, err := spec.FromCanonical(config.Spec)
	if err != nil {
		return worker.Options{}, err
	}
	features, err := dataset.Compile(s.Features)
	if err != nil {
		return worker.Options{}, fmt.Errorf("the features of %s version %d: %w", config.Model, config.Version, err)
	}
	predictions, err := dataset.Compile(s.Predictions)
	if err != nil {
		return worker.Options{}, fmt.Errorf("the predictions of %s version %d: %w", config.Model, config.Version, err)
	}
	if err := os.MkdirAll(config.RunDir, 0o700); err != nil {
		return worker.Options{}, fmt.Errorf("making the worker's folder: %w", err)
	}
	secrets := map[string]string{} // the platform has put them into the agent's environment
	for _, secret := range s.Secrets {
		if value, ok := os.LookupEnv(secret.Env); ok {
			secrets[secret.Env] = value
		}
	}
	return worker.Options{
		Model:       config.Model,
		Version:     config.Version,
		Spec:        s,
		Features:    features,
		Predictions: predictions,
		Dir:         config.Dir,
		RunDir:      config.RunDir,
		Environment: config.Environment,
		Secrets:     secrets,
		Zygote:      config.Zygote,
		Output:      config.Output,
		Logger:      logger,
	}, nil
}

// batchBackoff bounds the wait between restarts while a shard runs: a search
// for rows at fault restarts the worker often, and its own budget ends it.
const batchBackoff = time.Second
