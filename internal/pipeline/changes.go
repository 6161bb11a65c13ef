package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
)

// WorkTree stands for a repository's work tree as it is, uncommitted changes
// and new files included, where a revision is asked for.
const WorkTree = ":worktree"

// Change is a model that isn't what it was.
type Change struct {
	Folder  string     `json:"folder"` // in the repository, with slashes; of a removed model, where it was
	Model   string     `json:"model"`  // "" if its model.yaml can't be read
	Kind    ChangeKind `json:"kind"`
	From    string     `json:"from,omitempty"` // of a moved model: the folder where it was
	Because []Cause    `json:"because,omitempty"`
	// Twins are other folders whose model has the same name, which is an error.
	Twins []string `json:"twins,omitempty"`
}

// ChangeKind is what became of a model.
type ChangeKind string

// The kinds of changes. A moved model may have changed, too; Because says so.
const (
	Added   ChangeKind = "added"
	Changed ChangeKind = "changed"
	Removed ChangeKind = "removed"
	Moved   ChangeKind = "moved"
)

// Cause is a folder whose change changed a model.
type Cause struct {
	Kind   CauseKind `json:"kind"`
	Folder string    `json:"folder,omitempty"` // of a template or shared folder
}

// CauseKind says what a folder is to a model.
type CauseKind string

// The kinds of causes: the model's own files, the template that it extends
// (directly or through others), a folder that it shares.
const (
	OwnFiles     CauseKind = "own"
	FromTemplate CauseKind = "template"
	FromShared   CauseKind = "shared"
)

func (c Cause) String() string {
	switch c.Kind {
	case FromTemplate:
		return "template " + c.Folder
	case FromShared:
		return "shared folder " + c.Folder
	}
	return "its own files"
}

// Shared are the causes that other models may have, too: what it has changed
// with, whatever files of its own changed as well (a template is often changed
// together with what all its models have learnt). A model that is new has none.
func (c Change) Shared() []Cause {
	if c.Kind == Added {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Because), func(cause Cause) bool { return cause.Kind == OwnFiles })
}

// ChangeGroup is changes with the same cause: those of one template are looked
// at, reported and rolled out together.
type ChangeGroup struct {
	Because []Cause  `json:"because"`
	Changes []Change `json:"changes"`
}

// Title says in a few words what the group is about.
func (g ChangeGroup) Title() string {
	var causes []string
	for _, cause := range g.Because {
		causes = append(causes, cause.String())
	}
	if len(causes) == 0 {
		return "moved"
	}
	return strings.Join(causes, ", ")
}

// GroupChanges groups changes by cause: first one group of all models that
// changed by files of their own alone, and of those that are new, then one for each
// combination of templates and shared folders. Within a group they keep their order.
func GroupChanges(changes []Change) []ChangeGroup {
	var groups []ChangeGroup
	index := map[string]int{}
	for _, change := range changes {
		because := change.Shared()
		if len(because) == 0 {
			because = []Cause{{Kind: OwnFiles}}
		}
		key := fmt.Sprintf("%q", because)
		i, found := index[key]
		if !found {
			i = len(groups)
			index[key] = i
			groups = append(groups, ChangeGroup{Because: because})
		}
		groups[i].Changes = append(groups[i].Changes, change)
	}
	slices.SortStableFunc(groups, func(a, b ChangeGroup) int {
		return cmp.Compare(a.rank(), b.rank())
	})
	return groups
}

func (g ChangeGroup) rank() int {
	if g.Because[0].Kind == OwnFiles {
		return 0
	}
	return 1
}

// Changes tells which models differ between two states of the repository that
// the folder repo lies in, in the order of their folders.
//
// from is a revision; "REV..." is where REV and to part (their merge base), as
// in a pull request; "A...B" and "A..B" name both, and to is "". The zero hash
// is the state before the first commit. to is a revision, WorkTree, or "" for
// HEAD.
//
// A model changes with its own files and with those of every folder it is made
// of. Only paths that differ are looked at, and an index of all model.yaml,
// which is kept beside the repository's objects and brought up to date from the
// differences: how many models did not change makes no comparison.
func Changes(ctx context.Context, repo, from, to string) ([]Change, error) {
	r, err := repository.Open(ctx, repo)
	if err != nil {
		return nil, err
	}
	span, err := ResolveSpan(ctx, r, from, to)
	if err != nil {
		return nil, err
	}
	return span.Changes(ctx)
}

// Span is two states of a repository.
type Span struct {
	Repository *repository.Repository
	From, To   repository.Commit // To: of the work tree, what it is based on
	WorkTree   bool              // the later state is the work tree

	kept func() (*kept, error) // the index that was kept, read meanwhile
}

// newSpan is two states that are known.
func newSpan(r *repository.Repository, from, to repository.Commit) Span {
	return Span{Repository: r, From: from, To: to, kept: keptMeanwhile(r)}
}

// ResolveSpan finds the two states that Changes is asked about.
func ResolveSpan(ctx context.Context, r *repository.Repository, from, to string) (Span, error) {
	span := Span{Repository: r, WorkTree: to == WorkTree, kept: keptMeanwhile(r)}
	base := strings.Contains(from, "...")
	if before, after, found := strings.Cut(from, ".."); found {
		after = strings.TrimPrefix(after, ".")
		if before == "" {
			return span, modelmanager.Errorf(modelmanager.CodeBadRequest, "%.200q names no revision before the dots; is a variable empty that it comes from?", from)
		}
		if after != "" && to != "" {
			return span, modelmanager.Errorf(modelmanager.CodeBadRequest, "%.200q names two revisions, and %.200q is a third; leave out what is after the dots", from, to)
		}
		from, to = before, cmp.Or(to, after)
	}
	if span.WorkTree || to == "" {
		to = "HEAD"
	}
	var err error
	if span.To, err = r.Resolve(ctx, to); err != nil {
		return span, err
	}
	if span.From, err = r.Resolve(ctx, cmp.Or(from, "HEAD")); err != nil {
		return span, err
	}
	if base {
		span.From, err = r.MergeBase(ctx, span.From, span.To)
	}
	return span, err
}

// Changes tells which models differ between the two states.
func (s Span) Changes(ctx context.Context) ([]Change, error) {
	d, err := s.compare(ctx)
	if err != nil {
		return nil, err
	}
	return d.changes(), nil
}

// compare reads what differs.
func (s Span) compare(ctx context.Context) (*comparison, error) {
	objects, err := s.Repository.Objects(ctx)
	if err != nil {
		return nil, err
	}
	defer objects.Close()
	base := s.To.Tree
	if s.WorkTree {
		base = s.From.Tree // the work tree is told as what differs from it
	}
	d := &comparison{before: map[string]head{}, fresh: map[string]bool{}}
	// Two comparisons, of which git takes as long for each: at the same time.
	group, both := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		d.to, err = openIndex(both, s, objects, base)
		return err
	})
	group.Go(func() error {
		note := func(change repository.PathChange) error {
			d.paths = append(d.paths, change)
			return nil
		}
		if s.WorkTree {
			return s.Repository.DiffWorkTree(both, s.From.Tree, note)
		}
		return s.Repository.Diff(both, s.From.Tree, s.To.Tree, note)
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, change := range d.paths {
		if err := d.note(s, objects, change); err != nil {
			return nil, err
		}
	}
	return d, nil
}
