package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"modelmanager.dev"
	"modelmanager.dev/client"
)

// rows makes a request of a model with the one feature x.
func rows(values ...float64) modelmanager.PredictRequest {
	var request modelmanager.PredictRequest
	for _, x := range values {
		request.Rows = append(request.Rows, json.RawMessage(fmt.Sprintf(`{"x": %v}`, x)))
	}
	return request
}

func predictions(response modelmanager.PredictResponse) []string {
	var texts []string
	for _, prediction := range response.Predictions {
		texts = append(texts, string(prediction))
	}
	return texts
}

func TestTheLifeOfAModel(t *testing.T) {
	w := newWorld(t)
	ctx, c := t.Context(), w.client

	first := w.publish("scorer", nil)
	if first.Version != 1 || !first.New || first.Percent != 100 || first.Digest == "" || first.By == "" {
		t.Errorf("published %+v", first)
	}
	again := w.publish("scorer", nil)
	if again.Version != 1 || again.New {
		t.Errorf("the same content became %+v", again.VersionInfo)
	}
	second := w.publish("scorer", with("params", map[string]any{"factor": 3}))
	if second.Version != 2 || second.Percent != 100 {
		t.Errorf("the second version is %+v", second)
	}

	info, err := c.Model(ctx, "scorer")
	if err != nil || info.Name != "scorer" || info.Latest != 2 || info.Owner != "me@example.org" || info.Labels["customer"] != "st-mary" ||
		info.Traffic.Largest() != 2 || info.Health.State == "" || info.Created.IsZero() || len(info.Serve) != 2 {
		t.Errorf("the model is %+v (%v)", info, err)
	}
	var s struct{ Params map[string]any }
	if err := json.Unmarshal(info.Spec, &s); err != nil || s.Params["factor"] != 3.0 {
		t.Errorf("the live version's spec is %s", info.Spec)
	}

	versions, err := c.Versions(ctx, "scorer", 1, "")
	if err != nil || len(versions.Versions) != 1 || versions.Versions[0].Version != 2 || versions.NextPageToken == "" {
		t.Fatalf("%+v %v", versions, err)
	}
	versions, err = c.Versions(ctx, "scorer", 1, versions.NextPageToken)
	if err != nil || len(versions.Versions) != 1 || versions.Versions[0].Version != 1 || versions.NextPageToken != "" {
		t.Fatalf("%+v %v", versions, err)
	}
	if version, err := c.Version(ctx, "scorer", 1); err != nil || version.Version != 1 || version.Percent != 0 || len(version.Spec) == 0 {
		t.Errorf("%+v %v", version, err)
	}

	traffic, err := c.SetTraffic(ctx, "scorer", modelmanager.Traffic{
		Versions: []modelmanager.Share{{Version: 1, Percent: 90}, {Version: 2, Percent: 10}}, Shadow: 0, Reason: "careful",
	})
	if err != nil || traffic.Largest() != 1 || traffic.Reason != "careful" || traffic.By == "" || traffic.At.IsZero() {
		t.Errorf("%+v %v", traffic, err)
	}
	if got, err := c.Traffic(ctx, "scorer"); err != nil || !cmp.Equal(got, traffic) {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := c.SetTraffic(ctx, "scorer", traffic.Traffic); err != nil {
		t.Errorf("a setting that was read can't be sent back: %v", err)
	}
	back, err := c.Rollback(ctx, "scorer", "too careful")
	if err != nil || back.Largest() != 2 {
		t.Errorf("%+v %v", back, err)
	}
	if further, err := c.Rollback(ctx, "scorer", ""); err != nil || further.Largest() != 1 || len(further.Versions) != 1 {
		t.Errorf("%+v %v", further, err)
	}
	_, err = c.Rollback(ctx, "scorer", "")
	refusedWith(t, modelmanager.CodeConflict, err)
	history, err := c.TrafficHistory(ctx, "scorer")
	if err != nil || len(history.History) != 5 || history.History[1].Reason != "too careful" {
		t.Errorf("%+v %v", history, err)
	}

	if err := c.Retire(ctx, "scorer", "replaced"); err != nil {
		t.Fatal(err)
	}
	if err := c.Retire(ctx, "scorer", "again"); err != nil {
		t.Errorf("retiring twice: %v", err)
	}
	for _, call := range []struct{ method, path, body string }{
		{"GET", "/v1/models/scorer", ""}, {"GET", "/v1/models/scorer/traffic", ""},
		{"POST", "/v1/models/scorer/predict", `{"rows": [{"x": 1}]}`}, {"POST", "/v1/models/scorer/versions/1/predict", `{"rows": [{"x": 1}]}`},
		{"POST", "/v1/models/scorer/jobs", `{"input": {"upload": "x"}}`}, {"POST", "/v1/models/scorer/rollback", ""},
		{"PUT", "/v1/models/scorer/traffic", `{"versions": [{"version": 1, "percent": 100}]}`},
	} {
		w.refused(http.StatusGone, modelmanager.CodeRetired, call.method, call.path, call.body)
	}
	if versions, err := c.Versions(ctx, "scorer", 0, ""); err != nil || len(versions.Versions) != 2 {
		t.Errorf("a retired model's versions: %+v %v", versions, err)
	}
	if history, err := c.TrafficHistory(ctx, "scorer"); err != nil || len(history.History) == 0 {
		t.Errorf("a retired model's history: %+v %v", history, err)
	}
	if _, err := c.Version(ctx, "scorer", 2); err != nil {
		t.Error(err)
	}
	if revived := w.publish("scorer", with("summary", "Back again.")); revived.Version != 3 || revived.Percent != 100 {
		t.Errorf("%+v", revived)
	}
}

func TestListsFindAndPage(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.publish(fmt.Sprintf("model-%d", i), func(s map[string]any) {
			s["labels"] = map[string]any{"use": []string{"a", "b"}[i%2], "customer": "x"}
			s["owner"] = []string{"ann@example.org", "bob@example.org"}[i%2]
			if i == 4 {
				s["serve"] = []any{"batch"}
				s["summary"] = "About tumours."
			}
		})
	}
	names := func(q client.ModelQuery) string {
		t.Helper()
		var found []string
		for {
			list, err := w.client.Models(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, model := range list.Models {
				found = append(found, strings.TrimPrefix(model.Name, "model-"))
				if model.Spec != nil {
					t.Error("a list has specs")
				}
			}
			if q.PageToken = list.NextPageToken; q.PageToken == "" {
				return strings.Join(found, " ")
			}
		}
	}
	for want, q := range map[string]client.ModelQuery{
		"0 1 2 3 4": {Limit: 2},
		"4":         {Text: "tumours MODEL"},
		"1 3":       {Owner: "bob@example.org"},
		"0 2 4":     {Labels: map[string]string{"use": "a", "customer": "x"}, Limit: 1},
		"0 1 2 3":   {Serve: modelmanager.RealTime},
		"":          {Labels: map[string]string{"use": "c"}},
	} {
		if got := names(q); got != want {
			t.Errorf("%+v finds %q, want %q", q, got, want)
		}
	}
	if _, body := w.call("GET", "/v1/models?q=nothing-like-this", ""); strings.TrimSpace(body) != `{"models":[]}` {
		t.Errorf("an empty list is %s", body)
	}
	if err := w.client.Retire(t.Context(), "model-0", ""); err != nil {
		t.Fatal(err)
	}
	if got := names(client.ModelQuery{}); got != "1 2 3 4" {
		t.Errorf("the retired one is listed: %s", got)
	}
	if _, body := w.call("GET", "/v1/models?retired=true", ""); !strings.Contains(body, `"model-0"`) {
		t.Errorf("the retired one is not there with retired=true: %s", body)
	}
}

func TestPredictions(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.publish("scorer", nil)
	w.publish("scorer", with("params", map[string]any{"factor": 3}))

	response, err := w.client.Predict(ctx, "scorer", 0, rows(1, 2))
	if err != nil || response.Model != "scorer" || response.Version != 2 || !slices.Equal(predictions(response), []string{`{"y":3}`, `{"y":6}`}) {
		t.Errorf("%+v %v", response, err)
	}
	response, err = w.client.Predict(ctx, "scorer", 1, rows(1))
	if err != nil || response.Version != 1 || !slices.Equal(predictions(response), []string{`{"y":2}`}) {
		t.Errorf("%+v %v", response, err)
	}

	partial := rows(1, 13, 2)
	partial.Rows = append(partial.Rows, json.RawMessage(`{"x": "much"}`), json.RawMessage(`{"y": 1}`))
	partial.IDs = []json.RawMessage{[]byte(`"a"`), []byte(`2`), []byte(`"c"`), []byte(`4.5`), []byte(`"e"`)}
	_, err = w.client.Predict(ctx, "scorer", 0, partial)
	if e := refusedWith(t, modelmanager.CodeInvalidRows, err); len(e.Rows) < 2 {
		t.Errorf("the rows that are wrong: %+v", e.Rows)
	}
	partial.OnError = "partial"
	response, err = w.client.Predict(ctx, "scorer", 0, partial)
	if err != nil || !slices.Equal(predictions(response), []string{`{"y":3}`, "null", `{"y":6}`, "null", "null"}) || len(response.Errors) < 3 || len(response.IDs) != 5 {
		t.Errorf("%+v %v", response, err)
	}

	reader, readAs, err := w.client.PredictCSV(ctx, "scorer", 0, strings.NewReader("id,x\n7,1\n8,2\n"), client.CSVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if readAs.Delimiter != "," || readAs.Encoding != "utf-8" || readAs.HeaderRow != 1 {
		t.Errorf("read as %+v", readAs)
	}
	asRows, readAs, err := w.client.PredictCSVRows(ctx, "scorer", 0, strings.NewReader("id;x\n7;1,5\n8;2\n9;much\n"), client.CSVOptions{Partial: true})
	if err != nil || len(asRows.Predictions) != 3 || string(asRows.Predictions[2]) != "null" || len(asRows.Errors) != 1 || readAs.Decimal != "," {
		t.Errorf("CSV as rows: %+v %+v %v", asRows, readAs, err)
	}
	data, err := io.ReadAll(reader)
	reader.Close()
	if err != nil || strings.ReplaceAll(string(data), "\r\n", "\n") != "id,y\n7,3\n8,6\n" && !strings.Contains(string(data), "7") {
		t.Errorf("CSV: %q %v", data, err)
	}
	answer, _ := w.call("POST", "/v1/models/scorer/predict", `{"rows": [{"x": 1}]}`)
	if answer.Header.Get("Model-Version") == "" {
		t.Errorf("the answer's head doesn't name its version: %v", answer.Header)
	}

	_, err = w.client.Predict(ctx, "scorer", 0, rows(666))
	refusedWith(t, modelmanager.CodeModelError, err)
	_, err = w.client.Predict(ctx, "scorer", 9, rows(1))
	refusedWith(t, modelmanager.CodeNotFound, err)
	_, err = w.client.Predict(ctx, "scorre", 0, rows(1))
	if e := refusedWith(t, modelmanager.CodeNotFound, err); !strings.Contains(e.Detail, "scorer") {
		t.Errorf("no suggestion: %v", e)
	}
	many := strings.Repeat(`{"x":1},`, 10_000) + `{"x":1}`
	w.refused(413, modelmanager.CodeTooLarge, "POST", "/v1/models/scorer/predict", `{"rows": [`+many+`]}`)
	w.refused(415, modelmanager.CodeUnsupportedMedia, "POST", "/v1/models/scorer/predict", `<x/>`, "Content-Type", "text/xml")
}

func TestAColdModelSaysWhatItWaitsFor(t *testing.T) {
	w := newWorld(t)
	w.publish("batch-only", with("serve", []any{"batch"}))
	w.refused(409, modelmanager.CodeNotServed, "POST", "/v1/models/batch-only/predict", `{"rows": [{"x": 1}]}`)

	w.publish("held", with("rollout", map[string]any{"strategy": "manual"}))
	response, body := w.call("POST", "/v1/models/held/predict", `{"rows": [{"x": 1}]}`, "Prefer", "wait=1")
	if response.StatusCode != 409 && response.StatusCode != 503 {
		t.Errorf("without traffic: %s %s", response.Status, body)
	}
	w.refused(409, modelmanager.CodeConflict, "POST", "/v1/models/held/jobs", `{"input": {"upload": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}}`)
}

func TestPublishingIsChecked(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	image := "registry.example.org/scorer@sha256:" + strings.Repeat("a", 64)
	valid := w.publication("scorer", nil)

	for name, change := range map[string]func(*modelmanager.PublishRequest){
		"no artifact":    func(p *modelmanager.PublishRequest) { p.Artifact = modelmanager.ArtifactRef{} },
		"both":           func(p *modelmanager.PublishRequest) { p.Artifact.Image = image },
		"a tag":          func(p *modelmanager.PublishRequest) { p.Artifact = modelmanager.ArtifactRef{Image: "scorer:latest"} },
		"negative":       func(p *modelmanager.PublishRequest) { p.Version = -1 },
		"another's name": func(p *modelmanager.PublishRequest) { p.Spec = source("other", nil) },
	} {
		request := valid
		change(&request)
		_, err := w.client.Publish(ctx, "scorer", request, "")
		if code := modelmanager.CodeOf(err); code != modelmanager.CodeBadRequest {
			t.Errorf("%s: %v (%s)", name, err, code)
		}
	}
	for name, s := range map[string]json.RawMessage{
		"unknown key":    source("scorer", with("predicitons", 1)),
		"no features":    source("scorer", with("features", []any{})),
		"no summary":     source("scorer", with("summary", "")),
		"bad limits":     source("scorer", with("scale", map[string]any{"max": -3})),
		"a template's":   source("scorer", with("extends", "../base")),
		"two ways":       source("scorer", with("run", map[string]any{"python": "a.py:b", "r": "a.R:b"})),
		"bad name":       source("Scorer", nil),
		"pattern":        source("scorer", with("features", []any{map[string]any{"name": "x", "type": "string", "pattern": "("}})),
		"an array":       json.RawMessage(`[]`),
		"path traversal": source("scorer", with("run", map[string]any{"python": "../../etc/passwd:predict"})),
	} {
		request := valid
		request.Spec = s
		_, err := w.client.Publish(ctx, "scorer", request, "")
		if code := modelmanager.CodeOf(err); code != modelmanager.CodeInvalidSpec && code != modelmanager.CodeBadRequest {
			t.Errorf("%s: %v (%s)", name, err, code)
		}
	}
	request := valid
	request.Spec = source("scorer", with("params", map[string]any{"table": strings.Repeat("x", 300<<10)}))
	_, err := w.client.Publish(ctx, "scorer", request, "")
	refusedWith(t, modelmanager.CodeTooLarge, err)
	request = valid
	request.Artifact.Upload = strings.Repeat("A", 26)
	_, err = w.client.Publish(ctx, "scorer", request, "")
	refusedWith(t, modelmanager.CodeNotFound, err)
	w.refused(404, modelmanager.CodeNotFound, "GET", "/v1/models/scorer", "")

	request = valid
	request.Artifact = modelmanager.ArtifactRef{Image: image}
	request.Version = 7
	result, err := w.client.Publish(ctx, "scorer", request, "")
	if err != nil || result.Version != 7 || result.Artifact.Image != image {
		t.Errorf("%+v %v", result, err)
	}
	request.Spec = source("scorer", with("summary", "Another."))
	_, err = w.client.Publish(ctx, "scorer", request, "")
	refusedWith(t, modelmanager.CodeConflict, err)
	request.Version, request.Source.Repository = 0, "https://example.org/one"
	if _, err = w.client.Publish(ctx, "scorer", request, ""); err != nil {
		t.Fatal(err)
	}
	request.Source.Repository = "https://example.org/two"
	_, err = w.client.Publish(ctx, "scorer", request, "")
	refusedWith(t, modelmanager.CodeNameTaken, err)
}

func TestARepeatedPublicationMovesNoTraffic(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.publish("scorer", nil)
	better := with("params", map[string]any{"factor": 3})
	first, err := w.client.Publish(ctx, "scorer", w.publication("scorer", better), "key-1")
	if err != nil || first.Version != 2 || !first.New {
		t.Fatalf("%+v %v", first, err)
	}
	if _, err := w.client.Rollback(ctx, "scorer", "it is worse"); err != nil {
		t.Fatal(err)
	}
	again, err := w.client.Publish(ctx, "scorer", w.publication("scorer", better), "key-1") // uploaded again, too
	if err != nil || again.Version != 2 || again.New || again.Percent != 0 {
		t.Errorf("%+v %v", again, err)
	}
	if traffic, err := w.client.Traffic(ctx, "scorer"); err != nil || traffic.Largest() != 1 {
		t.Errorf("the roll-back was undone: %+v %v", traffic, err)
	}
	_, err = w.client.Publish(ctx, "scorer", w.publication("scorer", with("summary", "Other.")), "key-1")
	refusedWith(t, modelmanager.CodeConflict, err)
	if anew, err := w.client.Publish(ctx, "scorer", w.publication("scorer", better), "key-2"); err != nil || anew.Version != 2 || anew.Percent != 100 {
		t.Errorf("publishing it on purpose: %+v %v", anew, err)
	}
}

func TestRollouts(t *testing.T) {
	w := newWorld(t)
	canary := map[string]any{"strategy": "canary", "steps": []any{5, 50, 100}}
	w.publish("scorer", with("rollout", canary))
	if result := w.publish("scorer", func(s map[string]any) { s["rollout"], s["summary"] = canary, "New." }); result.Version != 2 || result.Percent != 5 {
		t.Errorf("a canary begins with %d%%", result.Percent)
	}
	manual := map[string]any{"strategy": "manual"}
	if result := w.publish("scorer", with("rollout", manual)); result.Version != 3 || result.Percent != 0 {
		t.Errorf("a manual rollout begins with %d%%", result.Percent)
	}
	request := w.publication("scorer", with("summary", "Held."))
	request.Hold = true
	if result, err := w.client.Publish(t.Context(), "scorer", request, ""); err != nil || result.Version != 4 || result.Percent != 0 {
		t.Errorf("%+v %v", result, err)
	}
}

func TestDiff(t *testing.T) {
	w := newWorld(t)
	w.publish("scorer", with("training", map[string]any{"metrics": map[string]any{"auc": 0.9, "same": 1}}))
	w.publish("scorer", func(s map[string]any) {
		s["training"] = map[string]any{"metrics": map[string]any{"auc": 0.95, "same": 1}, "rows": 10}
		s["params"] = map[string]any{"factor": 3}
		s["features"] = []any{map[string]any{"name": "x", "type": "number", "minimum": 0}}
		s["examples"] = []any{
			map[string]any{"name": "one", "features": map[string]any{"x": 1}},
			map[string]any{"name": "unlucky", "features": map[string]any{"x": 13}},
		}
	})
	diff, err := w.client.Diff(t.Context(), "scorer", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if !diff.Breaking || diff.Artifact.From == "" || !diff.Artifact.Same || diff.Problem != "" {
		t.Errorf("%+v", diff)
	}
	var paths []string
	for _, change := range diff.Changes {
		paths = append(paths, change.Path)
		if change.Message == "" {
			t.Errorf("%+v says nothing", change)
		}
	}
	if !slices.Contains(paths, "features.x.minimum") {
		t.Errorf("changes: %+v", diff.Changes)
	}
	want := []modelmanager.TrainingChange{{Path: "metrics.auc", From: 0.9, To: 0.95}, {Path: "rows", To: 10.0}}
	if d := cmp.Diff(want, diff.Training); d != "" {
		t.Error(d)
	}
	wantExamples := []modelmanager.ExampleDiff{
		{Name: "one", Features: []byte(`{"x":1}`), From: []byte(`{"y":2}`), To: []byte(`{"y":3}`)},
		{Name: "unlucky", Features: []byte(`{"x":13}`), From: []byte("null"), To: []byte("null")},
	}
	if d := cmp.Diff(wantExamples, diff.Examples); d != "" {
		t.Error(d)
	}
	if same, err := w.client.Diff(t.Context(), "scorer", 2, 2); err != nil || len(same.Changes) != 0 || same.Breaking || same.Training != nil {
		t.Errorf("%+v %v", same, err)
	}
	// Backwards, what was narrowed is widened: no caller breaks.
	if back, err := w.client.Diff(t.Context(), "scorer", 2, 1); err != nil || back.Breaking {
		t.Errorf("%+v %v", back, err)
	}
	_, err = w.client.Diff(t.Context(), "scorer", 1, 3)
	refusedWith(t, modelmanager.CodeNotFound, err)
	w.refused(400, modelmanager.CodeBadRequest, "GET", "/v1/models/scorer/diff?from=1", "")
	w.publish("batcher", with("serve", []any{"batch"}))
	if diff, err := w.client.Diff(t.Context(), "batcher", 1, 1); err != nil || diff.Problem == "" {
		t.Errorf("%+v %v", diff, err)
	}
}
