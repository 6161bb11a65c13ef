package pipeline

import (
	"context"
	"encoding/json"
	"strings"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// liveVersions are the live versions that a model is compared with.
type liveVersions []liveVersion

type liveVersion struct {
	server     LiveServer
	comparison *Comparison
	examples   <-chan liveAnswer // of the live version
}

type liveAnswer struct {
	predictions []json.RawMessage
	err         error
}

// askEarly asks a live version for predictions of the new one's examples while
// that is still being prepared: it may have to start, too.
func askEarly(ctx context.Context, server LiveServer, c *Comparison, examples []spec.Example) liveVersion {
	rows := make([]json.RawMessage, len(examples))
	for i, example := range examples {
		rows[i] = rowOf(c.live.Features, example.Features)
	}
	answers := make(chan liveAnswer, 1)
	go func() {
		outcomes, err := askedVersion{server, c.live, c.Version}.outcomes(ctx, rows)
		answers <- liveAnswer{predictionsOf(outcomes), err}
	}()
	return liveVersion{server, c, answers}
}

// answered returns what compares predictions once the new version has answered
// its examples. That there are none to compare is no fault of the model; that a
// sample can't be read or predicted is, with nothing to compare too.
func (l liveVersions) answered(path string, report *Report) func(context.Context, *examplesRun, []outcome) error {
	return func(ctx context.Context, run *examplesRun, outcomes []outcome) error {
		for _, live := range l {
			if err := live.shiftOfExamples(ctx, run, outcomes); err != nil {
				live.comparison.Problem = strings.TrimSpace(err.Error())
			}
		}
		if path == "" {
			return ctx.Err()
		}
		sample, err := readSample(ctx, path, run)
		if modelmanager.CodeOf(err) == modelmanager.CodeInvalidInput {
			report.Findings = append(report.Findings, Finding{
				Code: FoundSample, Severity: SeverityError, File: path, Message: err.Error(),
				Suggestion: "the sample's rows have the model's features, in any format that jobs take",
			})
			return nil
		}
		if err != nil {
			return err
		}
		for _, live := range l {
			if live.comparison.Problem != "" {
				continue
			}
			if err := sample.shift(ctx, live.server, live.comparison, run); err != nil {
				live.comparison.Problem = strings.TrimSpace(err.Error())
			}
		}
		return ctx.Err()
	}
}
