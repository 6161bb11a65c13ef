package pipeline

import (
	"context"
	"fmt"
	"sync"

	"modelmanager.dev"
	"modelmanager.dev/internal/repository"
)

// History publishes what each commit of a branch changed, from the first to the
// newest, and gives nothing traffic: on an empty server the versions get the
// numbers that they had where each commit was published. It can be killed and
// run again. Commits that other branches brought count as their merge.
//
// No version gets another number than it had: after a commit whose model can't be
// published now, it isn't known whether it had a number, so the model's later
// commits fail, too. unpublished says that such commits had none: they were as
// broken then. A model.yaml that can't be read had none in any case.
func (p *Publisher) History(ctx context.Context, r *repository.Repository, revision string, unpublished bool, told func(Outcome)) ([]Outcome, error) {
	commits, err := r.FirstParents(ctx, revision)
	if err != nil {
		return nil, err
	}
	replaying := *p
	replaying.replay = &replay{unpublished: unpublished, newest: map[string]int{}, known: map[string]int{}, lost: map[string]string{}}
	all := []Outcome{}
	from := repository.Nothing()
	for _, id := range commits {
		commit, err := r.Resolve(ctx, id)
		if err != nil {
			return all, err
		}
		plan, err := replaying.Plan(ctx, newSpan(r, from, commit), nil)
		if err != nil {
			return all, fmt.Errorf("at commit %.12s: %w", id, err)
		}
		outcomes, err := replaying.Execute(ctx, plan, told)
		plan.Close()
		all = append(all, outcomes...)
		if err != nil {
			return all, err
		}
		from = commit
	}
	return all, nil
}

// replay is how far a history has been published again.
type replay struct {
	unpublished bool

	mu     sync.Mutex
	newest map[string]int    // model → the number of its newest version so far
	known  map[string]int    // model and tree → the number of that content
	lost   map[string]string // model → why the numbers from here on aren't known
}

// decide decides what is done with a folder of the history.
func (r *replay) decide(step *PlanStep, f facts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	step.Action = ActNothing
	if step.Kind == Removed {
		step.Why = "its folder is gone"
		return
	}
	next := r.newest[step.Model] + 1
	switch number, seen := r.known[step.content()]; {
	case r.lost[step.Model] != "":
		step.broken(modelmanager.Errorf(modelmanager.CodeConflict, "not restored, so that it doesn't get another number: %s", r.lost[step.Model]))
	case seen:
		step.Version, step.Why = number, fmt.Sprintf("its content is version %d", number)
	case f.same != nil && f.same.Version == next:
		r.note(step, next)
		step.Why = fmt.Sprintf("it is there, as version %d", next)
	case f.same != nil:
		r.lose(step, fmt.Sprintf("the server has its content as version %d, and by the history it is version %d; restore into an empty server", f.same.Version, next))
	case len(f.latest) > 0 && f.latest[0].Version >= next:
		r.lose(step, fmt.Sprintf("the server has another content as version %d; restore into an empty server", next))
	default:
		step.Action = ActPublish
	}
}

// done notes what became of a folder.
func (r *replay) done(outcome *Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch next := r.newest[outcome.Model] + 1; {
	case outcome.Action == ActBroken:
		outcome.Unpublished = r.lost[outcome.Model] == ""
	case outcome.Action != ActPublish:
	case outcome.Err != nil && !r.unpublished:
		r.lost[outcome.Model] = fmt.Sprintf("commit %.12s, which comes before, can't be published now, and may have had a number; if it was as broken then, say --unpublished", outcome.Commit)
	case outcome.Err != nil:
		outcome.Unpublished = true
	case outcome.New && outcome.Version != next:
		outcome.Err = modelmanager.Errorf(modelmanager.CodeConflict,
			"it is version %d now, and by the history it is version %d: somebody else published meanwhile; restore into an empty server", outcome.Version, next)
		r.lost[outcome.Model] = outcome.Err.Error()
	default:
		r.note(&outcome.PlanStep, outcome.Version)
	}
}

func (r *replay) note(step *PlanStep, number int) {
	r.known[step.content()] = number
	r.newest[step.Model] = max(r.newest[step.Model], number)
}

func (r *replay) lose(step *PlanStep, why string) {
	r.lost[step.Model] = why
	step.broken(modelmanager.Errorf(modelmanager.CodeConflict, "%s", why))
}

func (s *PlanStep) content() string { return s.Model + "\x00" + s.tree }
