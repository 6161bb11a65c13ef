package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/peers"
)

func TestActivity(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if got, err := w.client.Activity(ctx); err != nil || got.Versions == nil || len(got.Versions) != 0 || time.Since(got.At) > time.Minute {
		t.Errorf("before anything: %+v %v", got, err)
	}
	w.publish("doubler", func(s map[string]any) {
		s["predictions"] = []any{map[string]any{"name": "y", "type": "number", "maximum": 100}}
	})
	if got, err := w.client.ModelActivity(ctx, "doubler"); err != nil || got.Model != "doubler" || len(got.Versions) != 0 {
		t.Errorf("before the first call: %+v %v", got, err)
	}
	w.call("POST", "/v1/models/doubler/predict", `{"rows": [{"x": 1}, {"x": 2}]}`)
	w.call("POST", "/v1/models/doubler/predict", `{"rows": [{"x": 80}, {"x": 90}, {"x": 1}], "on_error": "partial"}`)
	w.call("POST", "/v1/models/doubler/predict", "x\n70\n", "Content-Type", "text/csv")
	w.refused(502, modelmanager.CodeInvalidPredictions, "POST", "/v1/models/doubler/predict", `{"rows": [{"x": 60}, {"x": 1}]}`)
	w.refused(502, modelmanager.CodeModelError, "POST", "/v1/models/doubler/predict", `{"rows": [{"x": 666}]}`)
	w.refused(422, modelmanager.CodeInvalidRows, "POST", "/v1/models/doubler/predict", `{"rows": [{"x": "a"}]}`)
	response, _ := w.call("POST", "/v1/models/doubler/predict", `{"rows": [{"x": 1}]}`)
	for _, name := range []string{"Mm-Predicted", "Mm-Invalid"} {
		if response.Header.Get(name) != "" {
			t.Errorf("the caller is told what is the gateway's: %s", name)
		}
	}
	// A call is counted a moment after its caller has the answer.
	var now modelmanager.Activity
	eventually(t, func() bool {
		var err error
		now, err = w.client.Activity(ctx)
		return err == nil && len(now.Versions) == 1 && now.Versions[0].Calls == 7
	})
	v := now.Versions[0]
	if v.Model != "doubler" || v.Version != 1 || v.Percent != 100 || v.Health.State != modelmanager.Healthy || v.Replicas != 1 || v.InFlight != 0 ||
		v.Errors != 3 || v.Predictions != 2+3+1+2+1 || v.Invalid != 2+1+1 || v.P50 <= 0 || v.P99 < v.P50 || v.LastCall == nil {
		t.Errorf("%+v", v)
	}
	hour, err := w.client.ModelActivity(ctx, "doubler")
	if err != nil || len(hour.Versions) != 1 || hour.Versions[0].Version != 1 || hour.Versions[0].Total != v.CallCounts ||
		!hour.To.Equal(hour.From.Add(time.Hour)) || hour.Versions[0].Minutes[0].Replicas != 1 {
		t.Errorf("%+v %v", hour, err)
	}
	w.refused(404, modelmanager.CodeNotFound, "GET", "/v1/models/unknown/activity", "")
	w.refused(400, modelmanager.CodeBadRequest, "GET", "/v1/activity?model=doubler", "")
}

// TestNobodyHasToWaitForOtherServers: what this server knows is answered at
// once, and says that it isn't all.
func TestNobodyHasToWaitForOtherServers(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.publish("scorer", canaries("1h", 2, false))
	w.publish("scorer", canaries("1h", 3, false))
	w.call("POST", "/v1/models/scorer/predict", `{"rows": [{"x": 1}]}`)
	asked := make(chan struct{}, 100)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer silent.Close()
	w.mu.Lock()
	w.others = []peers.Peer{{URL: silent.URL}}
	w.mu.Unlock()
	if now, err := w.client.ActivityWithin(ctx, time.Millisecond); err != nil || now.Incomplete == "" || len(now.Versions) == 0 {
		t.Errorf("%+v %v", now, err)
	}
	if hour, err := w.client.ModelActivityWithin(ctx, time.Millisecond, "scorer"); err != nil || hour.Incomplete == "" || len(hour.Versions) == 0 {
		t.Errorf("%+v %v", hour, err)
	}
	if info, err := w.client.ModelWithin(ctx, time.Millisecond, "scorer"); err != nil || info.Canary == nil || info.Canary.Version != 2 {
		t.Errorf("%+v %v", info, err)
	}
	waiting, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.client.Activity(waiting)
	}()
	select {
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Error("the other server isn't asked")
	}
	cancel()
	<-ended
	w.refused(400, modelmanager.CodeBadRequest, "GET", "/v1/activity?wait_ms=2001", "")
}

// eventually waits for a condition.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(20 * time.Second); !holds(); <-again.C {
		if time.Now().After(end) {
			t.Fatal("it didn't come about")
		}
	}
}
