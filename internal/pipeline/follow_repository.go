package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
)

// RepositoryFollower keeps a server's models equal to a branch of a git
// repository: it looks at the branch every Interval, and publishes what new
// commits change. All that it keeps is in the mirror, which can be deleted.
type RepositoryFollower struct {
	Mirror    repository.Mirror
	Publisher *Publisher
	Interval  time.Duration // default 10 s
	Again     time.Duration // after a fault that may pass; default 30 s
	Logger    *slog.Logger

	head     string    // the commit that was dealt with last
	again    time.Time // when to deal with it once more; zero: not
	problems map[string]error
}

// Run follows the branch until ctx ends. pass is called after each commit that
// was dealt with, with the problems that are left, by folder.
func (f *RepositoryFollower) Run(ctx context.Context, pass func(problems map[string]error)) error {
	if err := f.Mirror.Check(ctx); err != nil {
		return err
	}
	if f.Interval == 0 {
		f.Interval = 10 * time.Second
	}
	if f.Again == 0 {
		f.Again = 30 * time.Second
	}
	ticker := time.NewTicker(f.Interval)
	defer ticker.Stop()
	said := ""
	for {
		dealt, err := f.look(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && err.Error() != said:
			// Told once, not every few seconds.
			said = err.Error()
			f.Logger.Error("the repository can't be followed; trying again", "repository", f.address(), "branch", f.Mirror.Branch, "error", err)
		case err == nil:
			said = ""
		}
		if dealt {
			pass(maps.Clone(f.problems))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *RepositoryFollower) address() string { return repository.WithoutSecret(f.Mirror.URL) }

// look looks at the branch once, and tells whether it dealt with a commit.
func (f *RepositoryFollower) look(ctx context.Context) (bool, error) {
	head, err := f.Mirror.Head(ctx)
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(f.Mirror.Dir); err == nil && head == f.head && (f.again.IsZero() || time.Now().Before(f.again)) {
		return false, nil
	}
	repo, commit, err := f.Mirror.Fetch(ctx)
	if err != nil {
		return false, err
	}
	if err := f.publish(ctx, repo, commit); err != nil {
		return false, err
	}
	f.head = commit.ID
	return true, nil
}

// publish publishes what a commit changed since the one that was dealt with
// last. Where nothing is known of that, in a new mirror, every folder is looked
// at, and models that were published before are left as they are.
func (f *RepositoryFollower) publish(ctx context.Context, repo *repository.Repository, commit repository.Commit) error {
	from, known, err := repo.Published(ctx)
	if err != nil {
		return err
	}
	if f.problems == nil {
		f.problems = f.readProblems()
	}
	publisher := *f.Publisher
	publisher.Address = f.address()
	publisher.careful = !known
	if known && from.ID != commit.ID {
		forward, err := repo.IsAncestor(ctx, from.ID, commit.ID)
		if err != nil {
			return err
		}
		publisher.Supersede = !forward // the branch was set back, or written anew
	}
	plan, err := publisher.Plan(ctx, newSpan(repo, from, commit), nil)
	if err != nil {
		return err
	}
	defer plan.Close()
	outcomes, err := publisher.Execute(ctx, plan, f.told)
	if err != nil {
		return err
	}
	f.again = time.Time{}
	held := 0
	for _, outcome := range outcomes {
		if outcome.Held {
			held++ // no fault of its own
			continue
		}
		delete(f.problems, outcome.From)
		if outcome.Err == nil {
			delete(f.problems, outcome.Folder)
			continue
		}
		f.problems[outcome.Folder] = fmt.Errorf("commit %.12s: %w", commit.ID, outcome.Err)
		if passing(outcome.Err) {
			f.again = time.Now().Add(f.Again)
		}
	}
	f.keepProblems()
	if held > 0 {
		// The next commit, which may mend what failed, brings them too.
		f.Logger.Warn("models are left as they are, since one of those before them with the same change failed", "models", held, "commit", commit.ID)
	}
	if held > 0 || !f.again.IsZero() {
		return nil
	}
	return repo.SetPublished(ctx, commit)
}

// passing tells whether a fault may pass by itself.
func passing(err error) bool {
	switch modelmanager.CodeOf(err) {
	case modelmanager.CodeUnavailable, modelmanager.CodeStorage, modelmanager.CodeTooManyRequests, modelmanager.CodeConflict, modelmanager.CodeInternal:
		return true
	}
	return false
}

func (f *RepositoryFollower) told(outcome Outcome) {
	switch {
	case outcome.Held:
	case outcome.Err != nil:
		f.Logger.Error("a model is not published", "folder", outcome.Folder, "problem", outcome.Problem)
	case outcome.Action == ActRetire:
		f.Logger.Info("retired: its folder is gone", "model", outcome.Model, "folder", outcome.Folder)
	case outcome.New:
		f.Logger.Info("published", "model", outcome.Model, "version", outcome.Version, "folder", outcome.Folder)
	case outcome.Action == ActRollOut:
		f.Logger.Info("rolled out", "model", outcome.Model, "version", outcome.Version, "folder", outcome.Folder)
	}
}

// Problems outlive the server beside the mirror: broken folders are looked at
// again only when they change.
func (f *RepositoryFollower) problemsFile() string {
	return filepath.Join(f.Mirror.Dir, "modelmanager", "problems.json")
}

func (f *RepositoryFollower) readProblems() map[string]error {
	problems := map[string]error{}
	var texts map[string]string
	if data, err := os.ReadFile(f.problemsFile()); err == nil && json.Unmarshal(data, &texts) == nil {
		for folder, text := range texts {
			problems[folder] = errors.New(text)
		}
	}
	return problems
}

func (f *RepositoryFollower) keepProblems() {
	texts := map[string]string{}
	for folder, problem := range f.problems {
		texts[folder] = problem.Error()
	}
	data, err := json.Marshal(texts)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(f.problemsFile()), 0o755)
	}
	if err == nil {
		err = os.WriteFile(f.problemsFile(), data, 0o644)
	}
	if err != nil {
		f.Logger.Warn("the list of problems can't be kept", "error", err)
	}
}
