package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
)

// Repository is a git repository on this machine, bare or with a work tree. It
// is safe for concurrent use, but for its Objects.
type Repository struct {
	Root    string // of the work tree, absolute; "" in a bare repository
	GitDir  string // absolute
	Common  string // the git folder that linked work trees share, absolute
	Shallow bool   // its history is cut off
}

// Open finds the repository that a folder lies in. CodeBadRequest if it lies in
// none, or if git refuses to read it.
func Open(ctx context.Context, dir string) (*Repository, error) {
	output, err := run(ctx, dir, nil, "rev-parse", "--absolute-git-dir", "--git-common-dir", "--is-shallow-repository", "--is-inside-work-tree")
	if err != nil {
		return nil, fmt.Errorf("opening the git repository of %s: %w", dir, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
	if len(lines) != 4 {
		return nil, modelmanager.Errorf(modelmanager.CodeBadRequest,
			"opening the git repository of %s: its path has a line break in it; move it", dir)
	}
	r := &Repository{GitDir: lines[0], Common: lines[1], Shallow: lines[2] == "true"}
	if !filepath.IsAbs(r.Common) {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		r.Common = filepath.Join(absolute, r.Common)
	}
	if lines[3] != "true" {
		return r, nil
	}
	top, err := run(ctx, dir, nil, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, fmt.Errorf("opening the git repository of %s: %w", dir, err)
	}
	r.Root = strings.TrimSuffix(string(top), "\n")
	return r, nil
}

// git runs a git command in the repository and returns what it printed.
func (r *Repository) git(ctx context.Context, arguments ...string) ([]byte, error) {
	return run(ctx, r.dir(), r.place(), arguments...)
}

// dir is where git commands run.
func (r *Repository) dir() string {
	if r.Root != "" {
		return r.Root
	}
	return r.GitDir
}

// place names the repository to git, so that it doesn't look for one again.
func (r *Repository) place() []string {
	place := []string{"--git-dir=" + r.GitDir}
	if r.Root != "" {
		place = append(place, "--work-tree="+r.Root)
	}
	return place
}

// settings hold for every git command: nothing of a repository's configuration
// is run, paths are told as they are.
func settings() []string {
	return []string{
		"--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.DevNull, "-c", "core.quotePath=false",
		"-c", "protocol.ext.allow=never", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "core.commitGraph=true",
	}
}

// command makes a git command. What ends it early is ctx.
func command(ctx context.Context, dir string, place []string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "git", slices.Concat(settings(), place, arguments)...)
	command.Dir = dir
	command.Env = environment()
	command.WaitDelay = 5 * time.Second
	return command
}

// environment is this program's, without what says which repository is meant:
// hooks are run with that, and the caller says it himself.
func environment() []string {
	var variables []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_EXTERNAL_DIFF",
			"GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "LC_ALL", "LANGUAGE":
			continue
		}
		variables = append(variables, variable)
	}
	return append(variables, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_LITERAL_PATHSPECS=1")
}

// run runs one git command and returns its output.
func run(ctx context.Context, dir string, place []string, arguments ...string) ([]byte, error) {
	command := command(ctx, dir, place, arguments...)
	var output bytes.Buffer
	problem := &said{}
	command.Stdout, command.Stderr = &output, problem
	if err := command.Run(); err != nil {
		return nil, failure(ctx, arguments[0], err, problem.String())
	}
	return output.Bytes(), nil
}

// stream runs a git command and hands its output to read while it comes.
func (r *Repository) stream(ctx context.Context, read func(io.Reader) error, arguments ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	command := command(ctx, r.dir(), r.place(), arguments...)
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	problem := &said{}
	command.Stderr = problem
	if err := command.Start(); err != nil {
		return failure(ctx, arguments[0], err, "")
	}
	if err := read(output); err != nil {
		cancel()
		_ = command.Wait() // it was ended
		return err
	}
	if err := command.Wait(); err != nil {
		return failure(ctx, arguments[0], err, problem.String())
	}
	return nil
}

// exitCode is what git exited with; −1 if it didn't exit by itself.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// failure says why a git command failed, in words that help.
func failure(ctx context.Context, what string, err error, said string) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "reading a git repository needs the program git; install it")
	case strings.Contains(said, "dubious ownership"):
		return modelmanager.Errorf(modelmanager.CodeBadRequest,
			"git doesn't read a repository of another user; if you trust it, run: git config --global --add safe.directory FOLDER\n%s", said)
	case strings.Contains(said, "not a git repository"):
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "this is not in a git repository; go to a clone of yours")
	case strings.Contains(said, "must be run in a work tree"):
		return modelmanager.Errorf(modelmanager.CodeBadRequest, "the repository is bare: it has no work tree")
	}
	if said == "" {
		said = err.Error()
	}
	return &gitError{err: modelmanager.Errorf(modelmanager.CodeBadRequest, "git %s: %s", what, said), cause: err}
}

// gitError is what git said, and how it exited.
type gitError struct {
	err   *modelmanager.Error
	cause error
}

func (e *gitError) Error() string   { return e.err.Error() }
func (e *gitError) Unwrap() []error { return []error{e.err, e.cause} }

// unknownRevision tells whether git doesn't know the commit it was asked for.
func (e *gitError) unknownRevision() bool {
	text := e.err.Detail
	return exitCode(e.cause) == 128 && (strings.Contains(text, "bad revision") || strings.Contains(text, "unknown revision") ||
		strings.Contains(text, "bad object") || strings.Contains(text, "ambiguous argument"))
}

// said keeps the first few kilobytes that git wrote to its error stream.
type said struct{ text []byte }

func (s *said) Write(p []byte) (int, error) {
	if room := 4096 - len(s.text); room > 0 {
		s.text = append(s.text, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (s *said) String() string { return strings.TrimSpace(string(s.text)) }
