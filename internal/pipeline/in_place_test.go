package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"modelmanager.dev"
)

// placed is a server with a version of a model that has an image of its own.
type placed struct {
	Destination // what nobody asks it for
	LiveServer

	most   int // rows of a call
	asleep int // calls until it is ready
	answer func(xs []float64) modelmanager.PredictResponse
}

func (p *placed) Predict(_ context.Context, _ string, version int, request modelmanager.PredictRequest) (modelmanager.PredictResponse, error) {
	if p.asleep--; p.asleep >= 0 {
		return modelmanager.PredictResponse{}, &modelmanager.Error{Code: modelmanager.CodeUnavailable, Detail: "starting", RetryAfter: time.Millisecond}
	}
	if len(request.Rows) > p.most {
		return modelmanager.PredictResponse{}, modelmanager.Errorf(modelmanager.CodeTooLarge, "%d rows", len(request.Rows))
	}
	var xs []float64
	for _, row := range request.Rows {
		var values struct{ X float64 }
		if err := json.Unmarshal(row, &values); err != nil {
			return modelmanager.PredictResponse{}, err
		}
		xs = append(xs, values.X)
	}
	return p.answer(xs), nil
}

func (p *placed) Upload(context.Context, string, io.Reader) (modelmanager.Upload, error) {
	return modelmanager.Upload{}, errors.ErrUnsupported
}

func (p *placed) Limits(context.Context) (modelmanager.Limits, error) {
	return modelmanager.Limits{PredictRows: p.most}, nil
}

func (p *placed) Version(_ context.Context, model string, version int) (modelmanager.VersionInfo, error) {
	return modelmanager.VersionInfo{Model: model, Version: version, Health: modelmanager.Health{State: modelmanager.Starting}}, nil
}

// A version that couldn't be tried before it was published has to answer its
// examples in its place.
func TestTryInPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "scorer")
	write(t, filepath.Join(dir, "model.yaml"), `name: scorer
summary: Twice the number.
owner: tests@example.org
features: [{name: x, type: number}]
predictions: [{name: y, type: number}]
run: {http: {path: /invocations}}
build: {image: "registry.example.org/scorer@sha256:`+strings.Repeat("0", 64)+`"}
examples:
  - {features: {x: 2}, predictions: {y: 4}}
  - {features: {x: 30}}
`)
	version := inPlace{spec: loadFolder(t, dir).Spec, version: 3}
	answering := func(y func(x float64, row, of int) string) func(xs []float64) modelmanager.PredictResponse {
		return func(xs []float64) (answer modelmanager.PredictResponse) {
			for i, x := range xs {
				text := y(x, i, len(xs))
				if _, problem, refused := strings.Cut(text, "!"); refused {
					text = "null"
					answer.Errors = append(answer.Errors, modelmanager.RowError{Row: int64(i), Message: problem})
				}
				answer.Predictions = append(answer.Predictions, json.RawMessage(text))
			}
			return answer
		}
	}
	twice := func(x float64, _, _ int) string { return fmt.Sprintf(`{"y":%g}`, 2*x) }
	for name, c := range map[string]struct {
		answer func(x float64, row, of int) string
		code   modelmanager.Code
		says   string
	}{
		"right":               {twice, "", ""},
		"right, a row a call": {twice, "", ""},
		"refused, a row a call": {func(x float64, _, _ int) string {
			if x == 30 {
				return "!no luck"
			}
			return twice(x, 0, 0)
		}, modelmanager.CodeInvalidPredictions, "example 2: no luck"},
		"wrong":                {func(x float64, _, _ int) string { return fmt.Sprintf(`{"y":%g}`, 3*x) }, modelmanager.CodeInvalidPredictions, "example 1: y is 6, and should be 4"},
		"refused":              {func(x float64, _, _ int) string { return "!no luck" }, modelmanager.CodeInvalidPredictions, "example 1: no luck"},
		"by the number beside": {func(x float64, row, of int) string { return fmt.Sprintf(`{"y":%g}`, 2*x+float64(row)) }, modelmanager.CodeRowDependent, "predict must score each row by itself"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				most := 10
				if strings.HasSuffix(name, "a row a call") {
					most = 1
				}
				server := &placed{most: most, asleep: 2, answer: answering(c.answer)}
				version.server = server
				err := version.try(t.Context(), server, func(text string) { t.Log(text) })
				if modelmanager.CodeOf(err) != c.code {
					t.Fatalf("%v, want the code %q", err, c.code)
				}
				if err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "version 3 of scorer is published, but takes no traffic")) {
					t.Errorf("%v; want %s", err, c.says)
				}
			})
		})
	}
}
