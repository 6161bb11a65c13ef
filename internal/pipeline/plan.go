package pipeline

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
	"modelmanager.dev/internal/spec"
)

// Destination is where a repository's models are published: a server, through
// its API.
type Destination interface {
	Target
	Versions(ctx context.Context, model string, limit int, pageToken string) (modelmanager.VersionList, error)
	TrafficHistory(ctx context.Context, model string) (modelmanager.TrafficHistory, error)
	Version(ctx context.Context, model string, version int) (modelmanager.VersionInfo, error)
	Predict(ctx context.Context, model string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error)
	RollOut(ctx context.Context, model string, version int, request modelmanager.RolloutRequest) (modelmanager.Traffic, error)
	RetireFor(ctx context.Context, model, reason, commit string, seen time.Time) error
}

// Plan is what the publication of a repository's revision does.
type Plan struct {
	Repository string     `json:"repository,omitempty"` // its address
	From       string     `json:"from"`                 // commit; "" for the first
	Commit     string     `json:"commit"`
	Steps      []PlanStep `json:"steps"`

	span    Span
	dir     string // where the folders are laid out
	allowed func(model string) bool
}

// PlanStep is what becomes of one changed model.
type PlanStep struct {
	Change
	Action  PlanAction `json:"action"`
	Version int        `json:"version,omitempty"` // that the folder's content is already
	Live    int        `json:"live,omitempty"`    // that answers now
	Rollout string     `json:"rollout,omitempty"` // immediate, canary or manual
	Why     string     `json:"why,omitempty"`     // that it isn't published or rolled out, in a sentence
	// Breaking is what callers of the live version can fail by, though that is allowed.
	Breaking []string `json:"breaking,omitempty"`

	tree      string
	rolledOut bool // by this very commit, in a run before
}

// PlanAction is what is done to a model.
type PlanAction string

// The actions. A version that exists is rolled out where the folder's content is
// one of the model's versions; nothing is done where it answers already, or
// where a commit that is newer has dealt with the model; a broken folder can't
// be published.
const (
	ActPublish PlanAction = "publish"
	ActRollOut PlanAction = "roll out"
	ActRetire  PlanAction = "retire"
	ActNothing PlanAction = "nothing"
	ActBroken  PlanAction = "broken"
)

// Publisher publishes what changed in a repository.
type Publisher struct {
	Server    Destination
	Validator *Validator
	Images    *Images // for a server that runs images
	Scratch   string  // a folder for temporary files; "": the system's
	// Address names the repository; "": the one it was cloned from.
	Address string
	// Supersede lets it replace what came from a commit that is newer, or that
	// this clone doesn't know: the branch was set back, or its history rewritten.
	Supersede bool
	// ApprovedBy is who approved what is published; "": the commit says it.
	ApprovedBy string
	// AllowBreaking tells for which models breaking changes are allowed, beside
	// those that the commits' messages name (Allow-Breaking: MODEL); nil: none.
	AllowBreaking func(model string) bool
	// Wait makes each model's outcome wait until its version answers.
	Wait     bool
	Progress func(model, text string) // told what is being done; may be nil

	// careful leaves models alone whose content is published: it isn't known what
	// was dealt with before, and somebody may have rolled one back since.
	careful bool
	// replay publishes a history again, which leaves traffic alone; nil: it doesn't.
	replay *replay
}

// Close removes what a plan has laid out.
func (p *Plan) Close() error { return os.RemoveAll(p.dir) }

// Plan looks at what changed, lays it out in a folder of its own as it was
// committed, and decides what is to be done; folders are those whose models
// are meant (none: all). It changes nothing. The caller closes the plan.
func (p *Publisher) Plan(ctx context.Context, span Span, folders []string) (_ *Plan, err error) {
	d, err := span.compare(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Repository: p.address(ctx, span.Repository), From: span.From.ID, Commit: span.To.ID, span: span}
	if plan.allowed, err = span.AllowBreaking(ctx); err != nil {
		return nil, err
	}
	if plan.dir, err = os.MkdirTemp(p.Scratch, "publish-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			plan.Close()
		}
	}()
	// A model's folders must lie in one repository: this says where it ends.
	if err := os.Mkdir(filepath.Join(plan.dir, ".git"), 0o755); err != nil {
		return nil, err
	}
	var parts []string
	for _, change := range d.changes() {
		if !under(folders, change.Folder) {
			continue
		}
		plan.Steps = append(plan.Steps, PlanStep{Change: change})
		if change.Kind != Removed {
			parts = append(parts, d.to.parts(change.Folder)...)
		}
	}
	submodules, err := span.Repository.CheckOut(ctx, span.To.Tree, parts, plan.dir)
	if err != nil {
		return nil, err
	}
	for i := range plan.Steps {
		step := &plan.Steps[i]
		if inside := submodulesIn(step.Folder, submodules); len(inside) > 0 && step.Kind != Removed {
			step.broken(modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s %s; %s", inside[0], isSubmodule, insteadOfSubmodule))
			continue
		}
		if err := p.decide(ctx, plan, step); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// What lies in a submodule isn't there where a model is published, whatever is
// checked out where it is validated.
const (
	isSubmodule        = "is a submodule: its files are no part of this repository"
	insteadOfSubmodule = "commit its files, or name them under `files`"
)

// submodulesIn returns those of submodules that lie in a folder.
func submodulesIn(folder string, submodules []string) (inside []string) {
	for _, submodule := range submodules {
		if under([]string{folder}, submodule) {
			inside = append(inside, submodule)
		}
	}
	return inside
}

// under tells whether a folder is one of some, or lies in one; none: always.
func under(folders []string, folder string) bool {
	if len(folders) == 0 {
		return true
	}
	return slices.ContainsFunc(folders, func(root string) bool {
		root = path.Clean(filepath.ToSlash(root))
		return root == "." || folder == root || strings.HasPrefix(folder, root+"/")
	})
}

// address names the repository: a bare one that was not cloned, by its folder.
func (p *Publisher) address(ctx context.Context, r *repository.Repository) string {
	if p.Address != "" {
		return repository.WithoutSecret(p.Address)
	}
	if remote := r.Remote(ctx); remote != "" || r.Root != "" {
		return remote
	}
	return r.GitDir
}

func (s *PlanStep) broken(err error) {
	s.Action, s.Why = ActBroken, err.Error()
}

// Groups groups a plan's steps as GroupChanges does changes.
func (p *Plan) Groups() [][]PlanStep {
	byFolder := map[string]PlanStep{}
	var changes []Change
	for _, step := range p.Steps {
		byFolder[step.key()] = step
		changes = append(changes, step.Change)
	}
	var groups [][]PlanStep
	for _, group := range GroupChanges(changes) {
		var steps []PlanStep
		for _, change := range group.Changes {
			steps = append(steps, byFolder[PlanStep{Change: change}.key()])
		}
		groups = append(groups, steps)
	}
	return groups
}

func (s PlanStep) key() string { return s.Folder + "\x00" + s.Model + "\x00" + string(s.Kind) }

// load reads a folder of the plan's.
func (p *Plan) load(folder string) (*spec.Folder, error) {
	loaded, err := spec.LoadFolder(filepath.Join(p.dir, filepath.FromSlash(folder)))
	return loaded, p.inRepository(err)
}

// inRepository makes an error tell of a plan's files as the repository has them.
func (p *Plan) inRepository(err error) error {
	if err == nil {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), p.dir+string(filepath.Separator), "")
	if text == err.Error() {
		return err
	}
	return &modelmanager.Error{Code: modelmanager.CodeOf(err), Detail: text, Err: err}
}
