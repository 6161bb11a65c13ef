package pipeline

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"modelmanager.dev"
	"modelmanager.dev/internal/dataset"
)

// LiveDestination takes publications, and can be asked what became of them.
type LiveDestination interface {
	Destination
	LiveServer
}

// PublishTried is Publish, and then rolls the version out unless it is held. A
// model that runs in an image of its own, which can't be run here, is tried in
// its place first: a version whose examples go wrong takes no traffic.
func PublishTried(ctx context.Context, p *Prepared, server LiveDestination, publication Publication) (modelmanager.PublishResult, error) {
	if !p.Spec.NeedsImage() {
		return Publish(ctx, p, server, publication)
	}
	hold := publication.Hold
	publication.Hold = true
	result, err := Publish(ctx, p, server, publication)
	if err != nil {
		return result, err
	}
	say := func(text string) { publication.Options.say("%s", text) }
	if err := (inPlace{server, p.Spec, result.Version}).try(ctx, server, say); err != nil || hold {
		return result, err
	}
	if _, err := server.RollOut(ctx, result.Model, result.Version, modelmanager.RolloutRequest{Reason: publication.Reason}); err != nil {
		return result, fmt.Errorf("version %d of %s is published, but doesn't take traffic: %w", result.Version, result.Model, err)
	}
	result.VersionInfo, err = server.Version(ctx, result.Model, result.Version)
	return result, err
}

// tryInPlace tries a model that couldn't be tried before it was published.
func (r *planRun) tryInPlace(ctx context.Context, outcome *Outcome) error {
	folder, err := r.plan.load(outcome.Folder)
	if err != nil || !folder.Spec.NeedsImage() {
		return err
	}
	server, answers := r.Server.(LiveServer)
	if !answers {
		return nil // a server that publishes by itself runs no images
	}
	return inPlace{r.Server, folder.Spec, outcome.Version}.try(ctx, server, func(text string) { r.say(outcome.Model, text) })
}

// try runs the version's examples as validation does: together, alone and
// reversed; of one that serves batch only, together in a job.
func (p inPlace) try(ctx context.Context, server LiveServer, say func(string)) error {
	features, err := dataset.Compile(p.spec.Features)
	if err != nil {
		return err
	}
	request, err := decodeExamples(p.spec, features)
	if err != nil {
		return err
	}
	defer request.Record.Release()
	say(fmt.Sprintf("running the examples of version %d in its place: %d", p.version, len(p.spec.Examples)))
	if err := p.await(ctx, say, func() error { return nil }); err != nil {
		return err
	}
	run := &examplesRun{spec: p.spec, features: features, asks: asksInPlace{askedVersion{server, p.spec, p.version}, features}}
	report := &Report{Model: p.spec.Name}
	if p.answersCalls() {
		_, err = run.all(ctx, request.Record, report)
	} else {
		_, err = run.together(ctx, request.Record, report)
	}
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		return fmt.Errorf("version %d of %s is published, but takes no traffic: %w", p.version, p.spec.Name, err)
	}
	return nil
}

// asksInPlace asks a published version through its server.
type asksInPlace struct {
	askedVersion
	features *dataset.Schema
}

func (p asksInPlace) ask(ctx context.Context, batch arrow.RecordBatch) ([]outcome, error) {
	rows := make([]json.RawMessage, batch.NumRows())
	for i := range rows {
		rows[i] = p.features.AppendRow(nil, batch, i)
	}
	return p.outcomes(ctx, rows)
}
