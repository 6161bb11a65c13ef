package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/environment"
	"modelmanager.dev/internal/proc"
	"modelmanager.dev/internal/spec"
)

// buildTimeout bounds a build.command.
const buildTimeout = 15 * time.Minute

// build runs a model's build.command in its prepared folder; what it leaves
// there joins the artifact. The command sees no variables but the few that
// compilers and package managers need.
func build(ctx context.Context, s *spec.Spec, dir string, options Options) error {
	options.say("building: %s", strings.Join(s.Build.Command, " "))
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, s.Build.Command[0], s.Build.Command[1:]...)
	command.Dir = dir
	command.Env = buildEnvironment()
	if options.Images {
		// A program of Go that needs no C shall need no C library of its image.
		command.Env = append(command.Env, "CGO_ENABLED=0")
	}
	command.WaitDelay = 5 * time.Second
	output := &tail{limit: 16 << 10}
	command.Stdout, command.Stderr = output, output

	err := proc.Run(command)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec,
			"building %s: %q took longer than %s", s.Name, s.Build.Command[0], buildTimeout)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec,
			"building %s: there is no program %q here (build.command); install it, or correct its name", s.Name, s.Build.Command[0])
	default:
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "building %s: %s failed: %w\n%s",
			s.Name, strings.Join(s.Build.Command, " "), err, output)
	}
}

func buildEnvironment() []string {
	// A build inside a checkout must not depend on the checkout's state.
	return append(environment.Environ(), "GOWORK=off")
}

// tail keeps the last bytes that were written to it.
type tail struct {
	limit   int
	data    []byte
	dropped bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if excess := len(t.data) - t.limit; excess > 0 {
		t.data = append(t.data[:0], t.data[excess:]...)
		t.dropped = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	text := bytes.TrimSpace(t.data)
	if t.dropped {
		return fmt.Sprintf("…%s", text)
	}
	return string(text)
}
