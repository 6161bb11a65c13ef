package pipeline

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
)

// Selection is the folders that are to be validated, and the repository that they
// lie in.
type Selection struct {
	Root     string // of the repository, absolute; "": there is none
	Remote   string // its address
	Subjects []Subject
	Removed  []Change
	// AllowBreaking tells for which models the commits allow breaking changes; nil: none.
	AllowBreaking func(model string) bool
	Names         Names // of the repository's models; nil where the subjects' changes tell of twins
	// NamesProblem says why the repository's names couldn't be read, if they couldn't.
	NamesProblem error
}

// SelectFolders selects folders by name.
func SelectFolders(ctx context.Context, folders []string) (Selection, error) {
	var selection Selection
	for _, folder := range folders {
		selection.Subjects = append(selection.Subjects, Subject{Dir: folder})
	}
	if r, err := repository.Open(ctx, folders[0]); err == nil && r.Root != "" {
		selection.Root, selection.Remote = r.Root, r.Remote(ctx)
		selection.Names, selection.NamesProblem = namesIn(ctx, r.Root)
	}
	return selection, ctx.Err()
}

// SelectChanged selects the models that have changed since a revision, of those
// below the folders if there are any. REF is where this branch left REF, up to the
// work tree as it is; REF...HEAD takes what is committed, without looking at every
// file. CodeBadRequest if that isn't possible here.
func SelectChanged(ctx context.Context, since string, folders []string) (Selection, error) {
	var selection Selection
	where := "."
	if len(folders) > 0 {
		where = folders[0]
	}
	r, err := repository.Open(ctx, where)
	if err != nil {
		return selection, err
	}
	if r.Root == "" {
		return selection, modelmanager.Errorf(modelmanager.CodeBadRequest, "%s is a bare repository, which has no files to validate", where)
	}
	selection.Root, selection.Remote = r.Root, r.Remote(ctx)
	span, err := reviewSpan(ctx, r, since)
	if err != nil {
		return selection, err
	}
	changes, err := span.Changes(ctx)
	if err != nil {
		return selection, err
	}
	if selection.AllowBreaking, err = span.AllowBreaking(ctx); err != nil {
		return selection, err
	}
	var changed []string
	for _, change := range changes {
		dir := shortest(filepath.Join(r.Root, filepath.FromSlash(change.Folder)))
		switch {
		case !below(dir, folders):
		case change.Kind == Removed:
			selection.Removed = append(selection.Removed, change)
		default:
			selection.Subjects = append(selection.Subjects, Subject{Dir: dir, Change: &change})
			changed = append(changed, change.Folder)
		}
	}
	submodules, err := r.Submodules(ctx, span.To.Tree, changed)
	if err != nil {
		return selection, err
	}
	for i := range selection.Subjects {
		subject := &selection.Subjects[i]
		for _, submodule := range submodulesIn(subject.Change.Folder, submodules) {
			subject.submodules = append(subject.submodules, shortest(filepath.Join(r.Root, filepath.FromSlash(submodule))))
		}
	}
	return selection, nil
}

func reviewSpan(ctx context.Context, r *repository.Repository, since string) (Span, error) {
	switch {
	case repository.IsNothing(since):
		return ResolveSpan(ctx, r, since, WorkTree)
	case !strings.Contains(since, ".."):
		return ResolveSpan(ctx, r, since+"...", WorkTree)
	}
	span, err := ResolveSpan(ctx, r, since, "")
	if err != nil {
		return span, err
	}
	head, err := r.Resolve(ctx, "HEAD")
	if err == nil && head.ID != span.To.ID {
		err = modelmanager.Errorf(modelmanager.CodeBadRequest,
			"%.200q ends at another commit than the one that is checked out; check it out first: what is validated are the files here", since)
	}
	return span, err
}

// shortest writes a path relative to here, if that is shorter.
func shortest(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(here); err == nil {
		here = real
	}
	if relative, err := filepath.Rel(here, path); err == nil && len(relative) < len(path) {
		return relative
	}
	return path
}

// below tells whether a path lies in one of the folders; it does if none is named.
func below(path string, folders []string) bool {
	if len(folders) == 0 {
		return true
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	for _, folder := range folders {
		parent, err := filepath.Abs(folder)
		if err != nil {
			continue
		}
		if relative, err := filepath.Rel(parent, absolute); err == nil && filepath.IsLocal(relative) {
			return true
		}
	}
	return false
}
