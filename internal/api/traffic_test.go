package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// times is a version whose factor is n.
func times(n int) func(map[string]any) {
	return with("params", map[string]any{"factor": n})
}

// TestASettingIsPendingUntilItsVersionsAreReady: the API says what was asked
// for, who answers meanwhile, and why.
func TestASettingIsPendingUntilItsVersionsAreReady(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.publish("scorer", times(2))
	ask := func() int {
		answer, err := w.client.Predict(ctx, "scorer", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{json.RawMessage(`{"x": 1}`)}})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Version
	}
	ask()
	release := make(chan struct{})
	w.start(func(ctx context.Context, _ *spec.Spec) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	all := func(version int) []modelmanager.Share { return []modelmanager.Share{{Version: version, Percent: 100}} }
	w.publish("scorer", times(3)) // rolled out at once, which takes effect when it is ready
	if version := ask(); version != 1 {
		t.Errorf("version %d answers before it is ready", version)
	}
	traffic, err := w.client.Traffic(ctx, "scorer")
	if err != nil || !slices.Equal(traffic.Versions, all(2)) || traffic.Pending == nil || !slices.Equal(traffic.Pending.Answering, all(1)) ||
		!strings.Contains(traffic.Pending.Reason, "version 1 goes on answering until then") {
		t.Errorf("%+v %+v %v", traffic, traffic.Pending, err)
	}
	info, err := w.client.Model(ctx, "scorer")
	if err != nil || info.Traffic.Pending == nil || info.Traffic.Now().Largest() != 1 || info.Health.State != modelmanager.Healthy ||
		!strings.Contains(info.Health.Reason, "version 2 is") || !strings.Contains(string(info.Spec), `"factor":2`) {
		t.Errorf("%+v %s %v", info.Traffic.Pending, info.Spec, err)
	}
	// What was read can be sent back.
	_, read := w.call("GET", "/v1/models/scorer/traffic", "")
	if response, body := w.call("PUT", "/v1/models/scorer/traffic", read); response.StatusCode != http.StatusOK {
		t.Errorf("%s %s", response.Status, body)
	}
	close(release)
	eventually(t, func() bool { return ask() == 2 })
	if traffic, err := w.client.Traffic(ctx, "scorer"); err != nil || traffic.Pending != nil {
		t.Errorf("%+v %v", traffic.Pending, err)
	}
}

// TestAVersionThatCantStart leaves the one before answering, and says so.
func TestAVersionThatCantStart(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.publish("scorer", times(2))
	ask := func() {
		if answer, err := w.client.Predict(ctx, "scorer", 0, modelmanager.PredictRequest{Rows: []json.RawMessage{json.RawMessage(`{"x": 1}`)}}); err != nil || answer.Version != 1 {
			t.Errorf("%+v %v", answer, err)
		}
	}
	ask()
	w.start(func(context.Context, *spec.Spec) error { return fmt.Errorf("it has no model.pkl") })
	w.publish("scorer", times(3))
	var info modelmanager.ModelInfo
	eventually(t, func() bool {
		ask()
		var err error
		info, err = w.client.Model(ctx, "scorer")
		return err == nil && info.Traffic.Pending != nil && strings.Contains(info.Traffic.Pending.Reason, "it has no model.pkl")
	})
	if info.Health.State != modelmanager.Degraded || !strings.Contains(info.Health.Reason, "version 1 goes on answering") {
		t.Errorf("%+v", info.Health)
	}
}

// TestTrafficIsSetAfterWhatWasSeen: who acts on what they saw changes nothing
// once it is otherwise.
func TestTrafficIsSetAfterWhatWasSeen(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.publish("scorer", times(2))
	w.publish("scorer", times(3))
	seen, err := w.client.Traffic(ctx, "scorer")
	if err != nil {
		t.Fatal(err)
	}
	first, err := w.client.SetTrafficAfter(ctx, "scorer", seen.At, modelmanager.All(1))
	if err != nil || first.Largest() != 1 {
		t.Fatalf("%+v %v", first, err)
	}
	_, err = w.client.SetTrafficAfter(ctx, "scorer", seen.At, modelmanager.All(2))
	if e := refusedWith(t, modelmanager.CodeConflict, err); !strings.Contains(e.Detail, "changed it meanwhile") {
		t.Error(e)
	}
	_, err = w.client.RollbackAfter(ctx, "scorer", seen.At, "")
	refusedWith(t, modelmanager.CodeConflict, err)
	if traffic, err := w.client.Traffic(ctx, "scorer"); err != nil || !traffic.At.Equal(first.At) {
		t.Errorf("%+v %v", traffic, err)
	}
	if back, err := w.client.RollbackAfter(ctx, "scorer", first.At, ""); err != nil || back.Largest() != 2 {
		t.Errorf("%+v %v", back, err)
	}
	w.refused(http.StatusConflict, modelmanager.CodeConflict, "PUT", "/v1/models/scorer/traffic",
		`{"versions": [{"version": 1, "percent": 100}], "seen": "`+time.Now().Format(time.RFC3339)+`"}`)
}
