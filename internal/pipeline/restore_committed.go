package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// committed lays out the folder that a version was made of, as its commit has
// it; where the source says no path, the one whose model has the name. The caller
// calls remove when it is done with the folder.
func committed(ctx context.Context, r *repository.Repository, source modelmanager.Source, model, scratch string) (folder *spec.Folder, commit repository.Commit, remove func(), err error) {
	if commit, err = r.Resolve(ctx, source.Commit); err != nil {
		return nil, commit, nil, err
	}
	objects, err := r.Objects(ctx)
	if err != nil {
		return nil, commit, nil, err
	}
	defer objects.Close()
	index, err := openIndex(ctx, newSpan(r, commit, commit), objects, commit.Tree)
	if err != nil {
		return nil, commit, nil, err
	}
	at := source.Path
	if at == "" {
		holders := index.holders(model)
		if len(holders) != 1 {
			return nil, commit, nil, modelmanager.Errorf(modelmanager.CodeNotFound,
				"commit %.12s has %s with a model of this name, and nothing says which it was", commit.ID, wording.Count(len(holders), "folder"))
		}
		at = holders[0]
	}
	if _, found := index.at(at); !found {
		return nil, commit, nil, modelmanager.Errorf(modelmanager.CodeNotFound, "commit %.12s has no model in %q", commit.ID, at)
	}
	dir, err := os.MkdirTemp(scratch, "restore-")
	if err != nil {
		return nil, commit, nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	// A model's folders must lie in one repository: this says where it ends.
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		return nil, commit, nil, err
	}
	if _, err := r.CheckOut(ctx, commit.Tree, index.parts(at), dir); err != nil {
		return nil, commit, nil, err
	}
	folder, err = spec.LoadFolder(filepath.Join(dir, filepath.FromSlash(at)))
	if err != nil {
		text := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
		return nil, commit, nil, &modelmanager.Error{Code: modelmanager.CodeOf(err), Detail: text, Err: err}
	}
	return folder, commit, remove, nil
}
