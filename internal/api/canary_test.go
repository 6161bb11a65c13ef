package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/spec"
)

// canaries makes specs of a model that goes out in steps; bad ones fail.
func canaries(pause string, factor float64, bad bool) func(map[string]any) {
	return func(s map[string]any) {
		s["params"] = map[string]any{"factor": factor, "bad": bad}
		s["rollout"] = map[string]any{"strategy": "canary", "steps": []any{20, 60}, "pause": pause, "back_when": map[string]any{"errors": 0.2, "p99": "20s"}}
	}
}

func newCanaryWorld(t *testing.T) *world {
	w := newWorld(t)
	w.hold(func(_ context.Context, s *spec.Spec) error {
		if s.Params["bad"] == true {
			return modelmanager.Errorf(modelmanager.CodeModelError, "it is bad")
		}
		return nil
	})
	w.publish("scorer", canaries("1h", 2, false))
	return w
}

// untilTraffic calls the model until its traffic is as wanted.
func (w *world) untilTraffic(want string) modelmanager.TrafficInfo {
	w.t.Helper()
	var last modelmanager.TrafficInfo
	for end := time.Now().Add(30 * time.Second); ; {
		w.call("POST", "/v1/models/scorer/predict", `{"rows": [{"x": 1}]}`)
		var err error
		if last, err = w.client.Traffic(w.t.Context(), "scorer"); err != nil {
			w.t.Fatal(err)
		}
		if sharesOf(last) == want {
			return last
		}
		if time.Now().After(end) {
			w.t.Fatalf("the traffic is %+v, not %s", last, want)
		}
	}
}

func sharesOf(t modelmanager.TrafficInfo) string {
	var parts []string
	for _, share := range t.Versions {
		parts = append(parts, fmt.Sprint(share.Version, "=", share.Percent))
	}
	return strings.Join(parts, " ")
}

func TestACanaryIsShown(t *testing.T) {
	w := newCanaryWorld(t)
	ctx := t.Context()
	request := w.publication("scorer", canaries("1h", 3, false))
	request.Reason = "trained on November"
	if result, err := w.client.Publish(ctx, "scorer", request, ""); err != nil || result.Version != 2 || result.Percent != 20 {
		t.Fatalf("%+v %v", result, err)
	}
	info, err := w.client.Model(ctx, "scorer")
	if err != nil || info.Canary == nil {
		t.Fatalf("%+v %v", info, err)
	}
	c := *info.Canary
	if c.Version != 2 || c.Before != 1 || c.Step != 1 || len(c.Steps) != 2 || !c.Since.Equal(info.Traffic.At) || c.Until.Sub(c.Since) < time.Hour ||
		c.Latest.Sub(c.Until) != 2*time.Hour || c.Status == "" || len(c.BackWhen) != 3 {
		t.Errorf("%+v", c)
	}
	if info.Traffic.By != modelmanager.ByRollout || info.Traffic.Reason != "canary of version 2, step 1 of 2: 20% (local: trained on November)" {
		t.Errorf("%+v", info.Traffic)
	}
	// The same content again changes nothing; the old content again ends it.
	if result := w.publish("scorer", canaries("1h", 3, false)); result.Version != 2 || result.Percent != 20 {
		t.Errorf("%+v", result)
	}
	if again, err := w.client.Traffic(ctx, "scorer"); err != nil || !again.At.Equal(info.Traffic.At) {
		t.Errorf("%+v %v", again, err)
	}
	if result := w.publish("scorer", canaries("1h", 2, false)); result.Version != 1 || result.Percent != 100 {
		t.Errorf("%+v", result)
	}
	// A third version's canary is measured against what was before the second's.
	w.publish("scorer", canaries("1h", 3, false))
	w.publish("scorer", canaries("1h", 4, false))
	traffic, err := w.client.Traffic(ctx, "scorer")
	if err != nil || sharesOf(traffic) != "1=80 3=20" {
		t.Errorf("%+v %v", traffic, err)
	}
	// Who sets what there is makes it stay.
	if _, err := w.client.SetTraffic(ctx, "scorer", modelmanager.Traffic{Versions: traffic.Versions, Reason: "as it is"}); err != nil {
		t.Error(err)
	}
	if info, err := w.client.Model(ctx, "scorer"); err != nil || info.Canary != nil || sharesOf(info.Traffic) != "1=80 3=20" || info.Traffic.Reason != "as it is" {
		t.Errorf("%+v %v", info, err)
	}
	if back, err := w.client.Rollback(ctx, "scorer", ""); err != nil || sharesOf(back) != "1=100" {
		t.Errorf("%+v %v", back, err)
	}
}

func TestACanaryArrivesOrGoesBack(t *testing.T) {
	w := newCanaryWorld(t)
	w.publish("scorer", canaries("5s", 3, true))
	back := w.untilTraffic("1=100")
	if back.By != modelmanager.ByRollout || !strings.Contains(back.Reason, "calls failed (100%), more than the 20% of back_when.errors") {
		t.Errorf("%+v", back)
	}
	if result := w.publish("scorer", canaries("100ms", 3, false)); result.Version != 3 || result.Percent != 20 {
		t.Errorf("%+v", result)
	}
	w.untilTraffic("3=100")
	history, err := w.client.TrafficHistory(t.Context(), "scorer")
	if err != nil || len(history.History) != 6 {
		t.Fatalf("%+v %v", history, err)
	}
	for i, says := range []string{"is through", "step 2 of 2: 60%", "step 1 of 2: 20%", "went back from 20%", "step 1 of 2: 20%"} {
		if got := history.History[i]; !strings.Contains(got.Reason, says) || got.By != modelmanager.ByRollout {
			t.Errorf("setting %d: %+v", i, got)
		}
	}
	if back, err := w.client.Rollback(t.Context(), "scorer", "after all"); err != nil || sharesOf(back) != "1=100" {
		t.Errorf("%+v %v", back, err)
	}
}

func TestWhereThereIsNothingToSplit(t *testing.T) {
	w := newWorld(t)
	jobs := func(s map[string]any) { s["serve"] = []any{"batch"} }
	w.publish("scorer", jobs)
	if result := w.publish("scorer", canaries("1h", 3, false)); result.Version != 2 || result.Percent != 100 {
		t.Errorf("after a version that runs jobs only: %+v", result)
	}
	if result := w.publish("other", canaries("1h", 3, false)); result.Percent != 100 {
		t.Errorf("the first version: %+v", result)
	}
}
