package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// Follower keeps a server's models equal to a folder of model folders: what is
// there is published, and published again when it changes. It looks every
// Interval; a folder is taken when it has looked the same twice, so that one
// that is just being written is not.
type Follower struct {
	Root      string
	Validator *Validator
	Target    Target
	// Published tells the tree of a model's newest versions, so that what is
	// there already isn't built again.
	Published func(ctx context.Context, model, tree string) (bool, error)
	Interval  time.Duration // default 1 s
	Again     time.Duration // after a fault that may pass, such as a registry's; default 30 s
	Logger    *slog.Logger
	Images    *Images // where the server runs images; nil: it runs folders

	seen map[string]*seen // by folder

	mu     sync.Mutex
	errors map[string]error // by folder: why it isn't published
}

// Run follows the folder until ctx ends. pass is called after each pass that
// dealt with everything there is, with the problems that are left.
func (f *Follower) Run(ctx context.Context, pass func(problems map[string]error)) error {
	if f.Interval == 0 {
		f.Interval = time.Second
	}
	if _, err := os.ReadDir(f.Root); err != nil {
		return fmt.Errorf("reading the folder of models: %w", err)
	}
	if f.Again == 0 {
		f.Again = 30 * time.Second
	}
	f.seen, f.errors = map[string]*seen{}, map[string]error{}
	ticker := time.NewTicker(f.Interval)
	defer ticker.Stop()
	for first := true; ; first = false {
		if f.pass(ctx, first) {
			pass(f.Problems())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Problems tells why folders aren't published, by folder.
func (f *Follower) Problems() map[string]error {
	f.mu.Lock()
	defer f.mu.Unlock()
	problems := make(map[string]error, len(f.errors))
	for dir, err := range f.errors {
		problems[dir] = err
	}
	return problems
}

// problem notes why a folder isn't published; nil: it is. Telling it is left to
// Run's pass.
func (f *Follower) problem(dir string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.errors, dir)
		return
	}
	f.errors[dir] = err
}

// pass looks at every folder once, and deals with the changed ones, two at a
// time. It tells whether it dealt with any.
func (f *Follower) pass(ctx context.Context, first bool) bool {
	dirs, err := ModelFolders(f.Root)
	if err != nil {
		f.Logger.Warn("the folder of models can't be read", "folder", f.Root, "error", err)
		return false
	}
	present := map[string]bool{}
	names := map[string]string{} // the folder that has a model's name
	var group errgroup.Group
	group.SetLimit(2)
	dealt := first
	for _, dir := range dirs {
		present[dir] = true
		state := f.seen[dir]
		if state == nil {
			state = &seen{}
			f.seen[dir] = state
		}
		found := state.look(dir)
		stamp, name := found.stamp, found.name
		twin := names[name]
		if twin == "" && name != "" {
			names[name], state.name = dir, name
		} else if twin != "" {
			stamp += "beside " + twin
		}
		settled := first || stamp == state.stamp
		state.stamp = stamp
		again := !state.again.IsZero() && !time.Now().Before(state.again)
		if !settled || stamp == state.done && !again {
			continue
		}
		first := first || again && stamp == state.done && state.first
		state.done, state.first, state.again = stamp, first, time.Time{}
		dealt = true
		if twin != "" { // the two would replace each other for ever
			f.problem(dir, modelmanager.Errorf(modelmanager.CodeNameTaken,
				"the model in %s has the name of the one in %s, %s; give it another", dir, twin, name))
			continue
		}
		group.Go(func() error {
			f.deal(ctx, dir, state)
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	for dir, state := range f.seen {
		if !present[dir] {
			f.Logger.Info("a folder is gone; its model goes on answering until it is retired", "folder", dir, "model", state.name)
			delete(f.seen, dir)
			f.problem(dir, nil)
			dealt = true
		}
	}
	return dealt
}

func (f *Follower) deal(ctx context.Context, dir string, state *seen) {
	result, err := f.publish(ctx, dir, state.first)
	if ctx.Err() != nil {
		return
	}
	f.problem(dir, err)
	if modelmanager.CodeOf(err) == modelmanager.CodeUnavailable {
		state.again = time.Now().Add(f.Again)
	}
	if result.New {
		f.Logger.Info("published", "model", result.Model, "version", result.Version)
	}
}

// publish brings one folder into production. In the first pass, one that has
// been published before is left alone: somebody may have rolled it back since.
func (f *Follower) publish(ctx context.Context, dir string, first bool) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	folder, err := spec.LoadFolder(dir)
	if err != nil {
		return none, err
	}
	tree, err := Tree(folder)
	if err != nil {
		return none, err
	}
	if first {
		if published, err := f.Published(ctx, folder.Spec.Name, tree); err != nil || published {
			return none, err
		}
	}
	options := Options{Scratch: f.Validator.Scratch, Files: f.Validator.Files, Progress: f.progress(folder.Spec.Name), Images: f.Images != nil}
	prepared, err := Prepare(ctx, folder, options)
	if err != nil {
		return none, err
	}
	defer prepared.Close()
	report, err := f.Validator.Validate(ctx, prepared, options)
	if err != nil {
		return none, err
	}
	if err := report.Err(); err != nil {
		return none, err
	}
	source := SourceOf(ctx, dir)
	return Publish(ctx, prepared, f.Target, Publication{
		Source: source, Committed: CommitTime(ctx, dir, source), Images: f.Images, Options: options,
	})
}

// progressEvery bounds how often the log tells how far one activity has come.
const progressEvery = 10 * time.Second

// progress logs what is being done for a model: each new activity at once, and
// how far it has come ("installing 11 packages: numpy (4 of 11)") now and then.
func (f *Follower) progress(model string) func(string) {
	var mu sync.Mutex
	var activity string
	var told time.Time
	return func(text string) {
		mu.Lock()
		defer mu.Unlock()
		next, _, _ := strings.Cut(text, ": ")
		if next == activity && time.Since(told) < progressEvery {
			return
		}
		activity, told = next, time.Now()
		f.Logger.Info(text, "model", model)
	}
}

// ModelFolders returns the folders under root that hold a model.yaml, root
// itself included, in the order of their names.
func ModelFolders(root string) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			if path != root && errors.Is(err, fs.ErrNotExist) {
				return nil // gone while we looked
			}
			return err
		}
		if entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		if !entry.IsDir() && entry.Name() == "model.yaml" {
			dirs = append(dirs, filepath.Dir(path))
		}
		return nil
	})
	return dirs, err
}
