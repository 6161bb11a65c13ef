package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"modelmanager.dev"
	"modelmanager.dev/internal/problem"
	"modelmanager.dev/internal/spec"
)

type diffInput struct {
	ModelPath
	From int `query:"from" minimum:"1" required:"true"`
	To   int `query:"to" minimum:"1" required:"true"`
}

func (a *API) registerDiff(h huma.API) {
	register(h, huma.Operation{
		OperationID: "diff-versions", Method: http.MethodGet, Path: "/v1/models/{model}/diff",
		Summary:     "Compare two versions: spec, artifact, training metrics, predictions on the examples",
		Description: "Both versions are asked, and so started where they are idle.",
		Tags:        []string{"versions"},
	}, a.diffVersions)
}

func (a *API) diffVersions(ctx context.Context, in *diffInput) (*body[modelmanager.Diff], error) {
	var versions [2]modelmanager.Version
	var specs [2]*spec.Spec
	for i, number := range []int{in.From, in.To} {
		version, err := a.Registry.Version(ctx, in.Model, number)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		s, err := spec.FromCanonical(version.Spec)
		if err != nil {
			return nil, a.failed(ctx, err)
		}
		versions[i], specs[i] = version, s
	}
	diff := modelmanager.Diff{
		Model: in.Model, From: in.From, To: in.To,
		Changes: []modelmanager.SpecChange{},
		Artifact: modelmanager.ArtifactDiff{
			From: versions[0].Artifact.Digest, To: versions[1].Artifact.Digest,
			Same: versions[0].Artifact.Digest == versions[1].Artifact.Digest,
		},
		Training: trainingChanges("", specs[0].Training, specs[1].Training),
	}
	for _, change := range spec.Diff(specs[0], specs[1]) {
		diff.Changes = append(diff.Changes, modelmanager.SpecChange{
			Path: change.Path, Message: change.Message, Breaking: change.Breaking,
		})
		diff.Breaking = diff.Breaking || change.Breaking
	}
	if err := a.compareExamples(ctx, &diff, specs); err != nil {
		diff.Problem = problem.Of(err).Detail
	}
	return answer(diff), nil
}

// trainingChanges lists the differences between two training blocks.
func trainingChanges(path string, from, to map[string]any) []modelmanager.TrainingChange {
	names := map[string]bool{}
	for name := range from {
		names[name] = true
	}
	for name := range to {
		names[name] = true
	}
	var changes []modelmanager.TrainingChange
	for name := range names {
		a, b := from[name], to[name]
		inner := strings.TrimPrefix(path+"."+name, ".")
		mapA, isMapA := a.(map[string]any)
		mapB, isMapB := b.(map[string]any)
		switch {
		case isMapA && isMapB:
			changes = append(changes, trainingChanges(inner, mapA, mapB)...)
		case !reflect.DeepEqual(a, b):
			changes = append(changes, modelmanager.TrainingChange{Path: inner, From: a, To: b})
		}
	}
	slices.SortFunc(changes, func(a, b modelmanager.TrainingChange) int { return strings.Compare(a.Path, b.Path) })
	return changes
}

// compareExamples asks both versions for predictions of the newer one's
// examples. An example that a version refuses has null for its prediction.
func (a *API) compareExamples(ctx context.Context, diff *modelmanager.Diff, specs [2]*spec.Spec) error {
	for i, number := range []int{diff.From, diff.To} {
		if !slices.Contains(specs[i].Serve, modelmanager.RealTime) {
			return modelmanager.Errorf(modelmanager.CodeNotServed,
				"version %d serves batch only, so it can't be asked about the examples; to see how predictions move, run a job of the same file with either version and compare what they answer", number)
		}
	}
	request := modelmanager.PredictRequest{OnError: "partial"}
	for _, example := range specs[1].Examples {
		features, err := json.Marshal(example.Features)
		if err != nil {
			return err
		}
		request.Rows = append(request.Rows, features)
		diff.Examples = append(diff.Examples, modelmanager.ExampleDiff{
			Name: example.Name, Features: features, From: json.RawMessage("null"), To: json.RawMessage("null"),
		})
	}
	for i, number := range []int{diff.From, diff.To} {
		predictions, err := a.Predict(ctx, diff.Model, number, request)
		if err != nil {
			return fmt.Errorf("asking version %d for predictions of the examples: %w", number, err)
		}
		for j := range min(len(predictions), len(diff.Examples)) {
			if i == 0 {
				diff.Examples[j].From = predictions[j]
			} else {
				diff.Examples[j].To = predictions[j]
			}
		}
	}
	return nil
}

// Predict asks a version through the gateway, as any caller would.
func (a *API) Predict(ctx context.Context, model string, version int, request modelmanager.PredictRequest) ([]json.RawMessage, error) {
	data, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, "/predict", bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	call.Header.Set("Content-Type", "application/json")
	var reply reply
	a.Gateway.Predict(&reply, call, model, version)
	if reply.status != http.StatusOK {
		var p problem.Problem
		if err := json.Unmarshal(reply.body.Bytes(), &p); err != nil {
			return nil, fmt.Errorf("the gateway answered %d", reply.status)
		}
		return nil, &modelmanager.Error{Code: p.Code, Detail: p.Detail, Rows: p.Errors}
	}
	var response modelmanager.PredictResponse
	if err := json.Unmarshal(reply.body.Bytes(), &response); err != nil {
		return nil, fmt.Errorf("reading the predictions: %w", err)
	}
	return response.Predictions, nil
}

// reply keeps the answer to a call of our own.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *reply) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

// WriteHeader implements http.ResponseWriter.
func (r *reply) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// Write implements http.ResponseWriter.
func (r *reply) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}
