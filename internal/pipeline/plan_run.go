package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"modelmanager.dev"
)

// Outcome is what became of one step of a plan.
type Outcome struct {
	PlanStep
	New     bool                  `json:"new,omitempty"`     // a version was published
	Traffic *modelmanager.Traffic `json:"traffic,omitempty"` // after it
	Problem string                `json:"problem,omitempty"` // "": it was done
	Commit  string                `json:"commit,omitempty"`  // that was published
	// Locked: what its open requirements mean was found out when it was published.
	Locked bool `json:"locked,omitempty"`
	// Unpublished: of a history that is published again, what had no version then either.
	Unpublished bool `json:"unpublished,omitempty"`

	// Held: it was left as it is, since one of those before it failed.
	Held bool `json:"held,omitempty"`

	Err error `json:"-"`
}

const (
	atATime  = 2  // models dealt with at a time
	attempts = 10 // at a model whose traffic others change at the same time
)

// Execute does what a plan says, two models at a time, and tells each outcome as
// it comes. One model that fails doesn't keep the others, but where a template
// or shared folder changed, its models go in stages, and a stage in which one
// fails is the last.
//
// It can be killed at any point and run again: versions are the same by content,
// and what this very commit has rolled out is not touched again, so that a
// roll-back outlives it. Each decision is taken anew when its turn comes.
func (p *Publisher) Execute(ctx context.Context, plan *Plan, told func(Outcome)) ([]Outcome, error) {
	run := &planRun{Publisher: p, plan: plan, told: told}
	for _, group := range plan.Groups() {
		if p.replay == nil && len(group[0].Shared()) > 0 && len(group) > firstStage {
			run.inStages(ctx, group)
		} else {
			run.all(ctx, group, p.Wait)
		}
	}
	return run.outcomes, ctx.Err()
}

// planRun is one execution of a plan.
type planRun struct {
	*Publisher
	plan *Plan
	told func(Outcome)

	mu       sync.Mutex
	outcomes []Outcome
}

func (r *planRun) add(outcome Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	outcome.Commit = r.plan.Commit
	if outcome.Err != nil {
		outcome.Problem = outcome.Err.Error()
	}
	r.outcomes = append(r.outcomes, outcome)
	if r.told != nil {
		r.told(outcome)
	}
}

// all deals with some steps, and returns how many failed. wait tells whether each
// is waited for until its version answers.
func (r *planRun) all(ctx context.Context, steps []PlanStep, wait bool) (failed int) {
	var group errgroup.Group
	group.SetLimit(atATime)
	var mu sync.Mutex
	for _, step := range steps {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			outcome := r.step(ctx, step)
			if wait && outcome.Err == nil {
				outcome.Err = r.await(ctx, &outcome)
			}
			if ctx.Err() != nil {
				return nil // it isn't known how far it came; the next run sees
			}
			if r.replay != nil {
				outcome.Commit = r.plan.Commit
				r.replay.done(&outcome)
			}
			r.add(outcome)
			if outcome.Err != nil {
				mu.Lock()
				failed++
				mu.Unlock()
			}
			return nil
		})
	}
	_ = group.Wait() // its functions return nil
	return failed
}

// step deals with one model: until nobody changes its traffic meanwhile.
func (r *planRun) step(ctx context.Context, step PlanStep) Outcome {
	outcome := Outcome{PlanStep: step}
	if step.Action == ActBroken {
		outcome.Err = modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s", step.Why)
		return outcome
	}
	for range attempts {
		facts, err := r.decideNow(ctx, r.plan, &outcome.PlanStep)
		if err == nil {
			err = r.tagLeft(ctx, &outcome.PlanStep, facts)
		}
		if err == nil {
			err = r.plan.inRepository(r.act(ctx, &outcome, facts))
		}
		if outcome.Err = err; modelmanager.CodeOf(err) != modelmanager.CodeConflict || ctx.Err() != nil {
			return outcome
		}
	}
	return outcome
}

// act does what was decided upon. CodeConflict: the model changed meanwhile.
func (r *planRun) act(ctx context.Context, outcome *Outcome, f facts) error {
	reason := r.plan.reason()
	switch outcome.Action {
	case ActBroken:
		return modelmanager.Errorf(modelmanager.CodeInvalidSpec, "%s", outcome.Why)
	case ActRetire:
		r.say(outcome.Model, "retiring it")
		return r.Server.RetireFor(ctx, outcome.Model, reason+" removed its folder "+outcome.Folder, r.plan.Commit, f.seen())
	case ActPublish:
		result, err := r.publish(ctx, outcome)
		if err != nil {
			return err
		}
		outcome.Version, outcome.New = result.Version, result.New
	case ActRollOut: // it is there
	default:
		return nil
	}
	if r.replay != nil {
		return nil
	}
	if err := r.tryInPlace(ctx, outcome); err != nil {
		return err
	}
	seen := f.seen()
	traffic, err := r.Server.RollOut(ctx, outcome.Model, outcome.Version, modelmanager.RolloutRequest{Reason: reason, Commit: r.plan.Commit, Seen: &seen})
	if modelmanager.CodeOf(err) == modelmanager.CodeConflict {
		return err
	}
	if err != nil {
		return fmt.Errorf("version %d of %s is published, but doesn't take traffic: %w", outcome.Version, outcome.Model, err)
	}
	outcome.Traffic = &traffic
	return nil
}

// reason says in a model's history why its traffic changed.
func (p *Plan) reason() string {
	const most = 200
	subject := []rune(p.span.To.Subject)
	if len(subject) > most {
		subject = append(subject[:most], '…')
	}
	return fmt.Sprintf("commit %.12s (%s)", p.Commit, string(subject))
}

func (r *planRun) say(model, text string) {
	if r.Progress != nil {
		r.Progress(model, text)
	}
}

func (r *planRun) options(model string) Options {
	return Options{Scratch: r.Scratch, Files: r.Validator.Files, Images: r.Images != nil, Progress: func(text string) { r.say(model, text) }}
}

func (r *planRun) publication(outcome *Outcome) Publication {
	commit := r.plan.span.To
	return Publication{
		Source: modelmanager.Source{
			Repository: r.plan.Repository, Commit: commit.ID, Path: outcome.Folder, Tree: outcome.tree, Author: commit.Author,
		},
		Hold: true, Reason: r.plan.reason(), ApprovedBy: cmp.Or(r.ApprovedBy, commit.ApprovedBy), Images: r.Images, Committed: commit.When.UTC().Format(time.RFC3339), Options: r.options(outcome.Model),
	}
}

// publish validates and publishes a folder, without traffic for it.
func (r *planRun) publish(ctx context.Context, outcome *Outcome) (modelmanager.PublishResult, error) {
	var none modelmanager.PublishResult
	folder, err := r.plan.load(outcome.Folder)
	if err != nil {
		return none, err
	}
	options := r.options(outcome.Model)
	prepared, err := Prepare(ctx, folder, options)
	if err != nil {
		return none, err
	}
	defer prepared.Close()
	report, err := r.Validator.Validate(ctx, prepared, options)
	if err != nil {
		return none, err
	}
	if err := report.Err(); err != nil {
		return none, err
	}
	outcome.Locked = len(report.Locked) > 0
	result, err := Publish(ctx, prepared, r.Server, r.publication(outcome))
	if err == nil && result.Model == "" {
		err = errors.New("the server answered without a version")
	}
	return result, err
}
