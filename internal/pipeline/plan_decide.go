package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/registry"
	"modelmanager.dev/internal/spec"
)

// facts are what a decision needs to know of the server and of git.
type facts struct {
	known   bool                       // there is such a model
	history []modelmanager.Traffic     // newest first
	latest  []modelmanager.VersionInfo // newest first; as many as one page has
	same    *modelmanager.VersionInfo  // the version made of the same content
}

func (f facts) live() int {
	if len(f.history) == 0 {
		return 0
	}
	return f.history[0].Largest()
}

func (f facts) takesTraffic(version int) bool {
	return version != 0 && len(f.history) > 0 &&
		slices.ContainsFunc(f.history[0].Versions, func(share modelmanager.Share) bool { return share.Version == version })
}

func (f facts) seen() time.Time {
	if len(f.history) == 0 {
		return time.Time{}
	}
	return f.history[0].At
}

// decide decides what is to be done for one model, as things stand.
func (p *Publisher) decide(ctx context.Context, plan *Plan, step *PlanStep) error {
	_, err := p.decideNow(ctx, plan, step)
	return err
}

// decideNow is decide; it returns what it decided upon.
func (p *Publisher) decideNow(ctx context.Context, plan *Plan, step *PlanStep) (facts, error) {
	step.Action, step.Version, step.Live, step.Why, step.Breaking, step.rolledOut = "", 0, 0, "", nil, false
	var folder *spec.Folder
	if step.Kind != Removed {
		if len(step.Twins) > 0 {
			step.broken(modelmanager.Errorf(modelmanager.CodeNameTaken, "%s and %s have models of the same name, %s; rename one of them",
				step.Folder, strings.Join(step.Twins, " and "), step.Model))
			return facts{}, nil
		}
		var err error
		if folder, err = plan.load(step.Folder); err == nil {
			step.Model, step.Rollout = folder.Spec.Name, string(folder.Spec.Rollout.Strategy)
			if step.tree == "" {
				step.tree, err = Tree(folder)
			}
		}
		if err != nil {
			step.broken(err)
			return facts{}, nil
		}
	}
	f, err := p.look(ctx, step)
	if err != nil {
		return f, fmt.Errorf("asking the server about %s: %w", step.Model, err)
	}
	step.Live = f.live()
	if f.same != nil {
		step.Version = f.same.Version
	}
	if p.replay != nil {
		p.replay.decide(step, f)
		return f, nil
	}
	past, err := p.compare(ctx, plan, f)
	if err != nil {
		return f, err
	}
	switch {
	case step.Kind == Removed:
		return f, p.decideRetire(ctx, plan, step, f, past)
	case past.newer != "":
		step.Action = ActNothing
		step.Why = fmt.Sprintf("commit %.12s, which is newer, has been dealt with already", past.newer)
	case past.unknown != "":
		step.Action = ActNothing
		step.Why = fmt.Sprintf("what answers comes from commit %.12s, which this clone doesn't know and which may be newer; fetch it, or publish with --supersede", past.unknown)
	case f.same == nil:
		step.Action = ActPublish
	case len(f.history) > 0 && len(f.history[0].Versions) == 0:
		step.Action = ActPublish // which brings a retired model back
	case p.careful && len(f.history) > 0:
		step.Action = ActNothing
		step.Why = fmt.Sprintf("it was published before, as version %d", f.same.Version)
	case past.same:
		step.Action, step.rolledOut = ActNothing, true
		step.Why = fmt.Sprintf("this commit was rolled out already, as version %d", f.same.Version)
	default:
		step.Action = ActRollOut
		step.Why = step.standing(f)
	}
	return f, p.decideBreaking(ctx, plan, step, folder.Spec, f)
}

// decideBreaking keeps a step from breaking callers of the version that answers
// now. What changes the traffic afterwards is seen by its roll-out, and decided anew.
func (p *Publisher) decideBreaking(ctx context.Context, plan *Plan, step *PlanStep, s *spec.Spec, f facts) error {
	if step.Action != ActPublish && step.Action != ActRollOut || step.Live == step.Version || f.takesTraffic(step.Version) {
		return nil
	}
	broken, err := breaks(ctx, p.Server, step.Live, s)
	switch {
	case err != nil:
		return err
	case len(broken) == 0:
	case plan.allowed(step.Model) || p.AllowBreaking != nil && p.AllowBreaking(step.Model):
		step.Breaking = broken
	default:
		step.broken(breakingError(step.Model, step.Live, broken))
	}
	return nil
}

// standing says what a version that exists already does now.
func (s *PlanStep) standing(f facts) string {
	if f.takesTraffic(s.Version) {
		return fmt.Sprintf("its content is version %d, which answers already", s.Version)
	}
	return fmt.Sprintf("its content is version %d already", s.Version)
}

// look asks the server about a model.
func (p *Publisher) look(ctx context.Context, step *PlanStep) (facts, error) {
	var f facts
	history, err := p.Server.TrafficHistory(ctx, step.Model)
	if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
		return f, nil
	}
	if err != nil {
		return f, err
	}
	f.known, f.history = true, history.History
	for token := ""; ; {
		page, err := p.Server.Versions(ctx, step.Model, 100, token)
		if modelmanager.CodeOf(err) == modelmanager.CodeNotFound {
			return f, nil
		}
		if err != nil {
			return f, err
		}
		if token == "" {
			f.latest = page.Versions
		}
		for _, version := range page.Versions {
			if step.tree != "" && version.Source.Tree == step.tree {
				f.same = &version
				return f, nil
			}
		}
		if token = page.NextPageToken; token == "" || step.tree == "" {
			return f, nil
		}
	}
}

// past is how a plan's commit stands to those that changed a model's traffic.
type past struct {
	same    bool   // it was here itself
	newer   string // a commit that comes from ours
	unknown string // the commit in force, which this clone doesn't have
}

// compare compares a plan's commit with those in a model's history: pipelines of
// several commits may end in any order.
func (p *Publisher) compare(ctx context.Context, plan *Plan, f facts) (past, error) {
	var found past
	r := plan.span.Repository
	for i, setting := range f.history {
		commit := setting.Commit
		if commit == "" && i == 0 {
			commit = f.commitOf(setting.Largest())
		}
		switch {
		case commit == "":
			continue
		case commit == plan.Commit:
			found.same = found.same || setting.Commit == commit && (i == 0 || !p.Supersede)
			continue
		case p.Supersede:
			continue
		}
		has, err := r.Has(ctx, commit)
		if err != nil {
			return found, err
		}
		if !has {
			// Somebody's own publication, of a commit that was never pushed, is no
			// pipeline that overtook this one.
			if i == 0 && setting.Commit != "" {
				found.unknown = commit
			}
			continue
		}
		newer, err := r.IsAncestor(ctx, plan.Commit, commit)
		if err != nil {
			return found, err
		}
		if newer {
			found.newer = commit
			return found, nil
		}
	}
	return found, nil
}

// commitOf is the commit that a version was first made of.
func (f facts) commitOf(version int) string {
	for _, info := range f.latest {
		if info.Version == version {
			return info.Source.Commit
		}
	}
	return ""
}

// decideRetire decides what becomes of a model whose folder is gone: it is
// retired, if it came from there.
func (p *Publisher) decideRetire(ctx context.Context, plan *Plan, step *PlanStep, f facts, past past) error {
	step.Action = ActNothing
	if !f.known || len(f.latest) == 0 {
		step.Why = "it was never published"
		return nil
	}
	newest := f.latest[0]
	from := newest.Source
	switch {
	case past.newer != "":
		step.Why = fmt.Sprintf("commit %.12s, which is newer, has been dealt with already", past.newer)
		return nil
	case past.unknown != "":
		step.Why = fmt.Sprintf("what answers comes from commit %.12s, which this clone doesn't know and which may be newer; fetch it, or publish with --supersede", past.unknown)
		return nil
	case plan.Repository == "" || !registry.SameRepository(from.Repository, plan.Repository):
		step.Why = fmt.Sprintf("its folder is gone, but the model belongs to %s", cmp.Or(from.Repository, "no repository"))
		return nil
	case past.same && len(f.history[0].Versions) == 0:
		step.Why = "it is retired"
		return nil
	}
	if from.Path != step.Folder {
		// A moved model's versions may name folders where it lay before.
		there, err := plan.span.Repository.Existed(ctx, plan.Commit, path.Join(from.Path, modelFile))
		if err != nil {
			return err
		}
		if !there {
			step.Why = fmt.Sprintf("its folder is gone, but version %d came from %s; retire it by mm models retire", newest.Version, cmp.Or(from.Path, "elsewhere"))
			return nil
		}
	}
	step.Action = ActRetire
	return nil
}
