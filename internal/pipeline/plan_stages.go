package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/pause"
	"modelmanager.dev/internal/spec"
	"modelmanager.dev/internal/wording"
)

// The stages of a change that many models have in common: so many models first,
// and ten times as many in each stage after that.
const (
	firstStage  = 3
	stageGrowth = 10
)

// inStages deals with models that changed for the same reason: a few first, and
// the next stage once each version of the one before answers. A stage in which
// one fails is the last; the other models are left as they are. Run again, it
// begins with the first stage again, whose versions are there, and must answer.
//
// What can't be published anyhow, or needs nothing, is no probe for the others.
func (r *planRun) inStages(ctx context.Context, group []PlanStep) {
	var probes, others []PlanStep
	for _, step := range group {
		if step.Action == ActPublish || step.Action == ActRollOut || step.rolledOut {
			probes = append(probes, step)
		} else {
			others = append(others, step)
		}
	}
	r.all(ctx, others, r.Wait)
	for size, done := firstStage, 0; done < len(probes) && ctx.Err() == nil; size *= stageGrowth {
		stage := probes[done:min(done+size, len(probes))]
		done += len(stage)
		rest := probes[done:]
		for _, step := range stage {
			r.say(step.Model, fmt.Sprintf("%s: one of %d models in this stage, and %d come after it", step.Shared()[0], len(stage), len(rest)))
		}
		failed := r.all(ctx, stage, r.Wait || len(rest) > 0)
		if failed == 0 || ctx.Err() != nil {
			continue
		}
		for _, step := range rest {
			r.add(Outcome{PlanStep: step, Held: true, Err: modelmanager.Errorf(modelmanager.CodeInvalidSpec,
				"left as it is: of the %s before it with the same change (%s), %d failed; mend those, or publish again", wording.Count(done, "model"), step.Shared()[0], failed)})
		}
		return
	}
}

// How patient it is with a version that shall answer.
const (
	answersWithin = 15 * time.Minute // beside its timeouts.start
	failsFor      = 15 * time.Second // a start is tried again for so long
	askEvery      = 500 * time.Millisecond
)

// await waits until a version that has traffic answers one of its examples: calls
// start it, and until it is ready the version before answers. A canary is not
// waited for to its end. It fails where the version can't run, or has lost its
// traffic meanwhile, by itself or by somebody's hand.
func (r *planRun) await(ctx context.Context, outcome *Outcome) error {
	rolledOut := outcome.Action == ActPublish || outcome.Action == ActRollOut || outcome.rolledOut
	if !rolledOut || r.replay != nil || outcome.Rollout == "manual" {
		return nil
	}
	folder, err := r.plan.load(outcome.Folder)
	if err != nil {
		return err
	}
	p := inPlace{server: r.Server, spec: folder.Spec, version: outcome.Version}
	return p.await(ctx, func(text string) { r.say(outcome.Model, text) }, func() error {
		history, err := r.Server.TrafficHistory(ctx, outcome.Model)
		if err != nil {
			return fmt.Errorf("asking the server about %s: %w", outcome.Model, err)
		}
		if f := (facts{history: history.History}); !f.takesTraffic(outcome.Version) {
			return p.failed("it takes no traffic any more: %s", history.History[0].Reason)
		}
		return nil
	})
}

// inPlace is a version that is published, on its server.
type inPlace struct {
	server  Destination
	spec    *spec.Spec
	version int
}

func (p inPlace) failed(format string, args ...any) error {
	return modelmanager.Errorf(modelmanager.CodeModelError, "version %d of %s is published, but "+format, append([]any{p.version, p.spec.Name}, args...)...)
}

// await waits until the version answers one of its examples, which starts it, for
// as long as still is nil. Of one that serves batch only, jobs tell.
func (p inPlace) await(ctx context.Context, say func(string), still func() error) error {
	var failing time.Time
	told := ""
	for deadline := time.Now().Add(answersWithin + time.Duration(p.spec.Timeouts.Start)); ; {
		if err := still(); err != nil {
			return err
		}
		if !p.answersCalls() {
			return nil
		}
		err := p.first(ctx)
		switch modelmanager.CodeOf(err) {
		case "":
			return nil
		case modelmanager.CodeUnavailable, modelmanager.CodeDeadlineExceeded, modelmanager.CodeTooManyRequests,
			modelmanager.CodeNotFound: // another server may know of it a moment later
		default:
			return p.failed("it doesn't answer its example: %w", err)
		}
		version, versionErr := p.server.Version(ctx, p.spec.Name, p.version)
		switch {
		case versionErr != nil || version.Health.State != modelmanager.Unhealthy:
			failing = time.Time{}
		case failing.IsZero():
			failing = time.Now()
		case time.Since(failing) >= failsFor:
			return p.failed("it can't run: %s", version.Health.Reason)
		}
		if time.Now().After(deadline) {
			return p.failed("it doesn't answer: %w", err)
		}
		if text := fmt.Sprintf("waiting for version %d: %v", p.version, err); text != told {
			told = text
			say(text)
		}
		if !pause.For(ctx, askEvery) {
			return ctx.Err()
		}
	}
}

func (p inPlace) answersCalls() bool { return slices.Contains(p.spec.Serve, modelmanager.RealTime) }

// first asks the version for its first example's predictions.
func (p inPlace) first(ctx context.Context) error {
	features, err := json.Marshal(p.spec.Examples[0].Features)
	if err != nil {
		return err
	}
	_, err = p.server.Predict(ctx, p.spec.Name, p.version, modelmanager.PredictRequest{Rows: []json.RawMessage{features}, OnError: "partial"})
	return err
}
