package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
)

// sizes counts what the table holds.
func (t *table) sizes() (routes, versions int) {
	t.eachRoute(func(*route) { routes++ })
	t.eachVersion(func(*version) { versions++ })
	return routes, versions
}

func TestModelsThatNobodyCallsCostNothing(t *testing.T) {
	w := newWorld(t, Limits{})
	for _, name := range []string{"a", "b", "c"} {
		w.traffic(name, all(1))
	}
	if routes, versions := w.gateway.table.sizes(); routes+versions != 0 {
		t.Errorf("%d routes, %d versions", routes, versions)
	}
	for range 5 {
		w.call("unknown/predict", "{}").want(t, 404, "")
		w.call("a/versions/100000/predict", "{}").want(t, 404, "")
	}
	if routes, versions := w.gateway.table.sizes(); routes != 1 || versions != 1 {
		t.Errorf("%d routes, %d versions", routes, versions)
	}
}

func TestEviction(t *testing.T) {
	w := newWorld(t, Limits{})
	for _, name := range []string{"running", "ended"} {
		r, _ := w.start(name, 1, says(name))
		w.traffic(name, all(1))
		w.call(name+"/predict", "{}").want(t, 200, name)
		if name == "ended" {
			w.report(r, true)
		}
	}
	table := w.gateway.table
	table.evict(time.Now().Add(-time.Minute))
	if routes, versions := table.sizes(); routes != 2 || versions != 2 {
		t.Errorf("called a moment ago: %d routes, %d versions", routes, versions)
	}
	table.evict(time.Now().Add(time.Minute))
	if routes, versions := table.sizes(); routes != 0 || versions != 1 {
		t.Errorf("long after: %d routes, %d versions", routes, versions)
	}
	w.call("running/predict", "{}").want(t, 200, "running")
	w.start("ended", 1, says("again"))
	w.call("ended/predict", "{}").want(t, 200, "again")
}

func TestEvictionSparesCalls(t *testing.T) {
	w := newWorld(t, Limits{})
	w.traffic("m", all(1))
	result := make(chan answer, 1)
	go func() { result <- w.call("m/predict", "{}") }()
	until(t, "the call", func() bool { return len(w.gateway.Load()) == 1 && w.gateway.Load()[0].Waiting == 1 })
	w.gateway.table.evict(time.Now().Add(time.Hour))
	w.start("m", 1, says("ok"))
	(<-result).want(t, 200, "ok")
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, Limits{Labels: 1})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.gateway.metrics)
	w.start("m", 1, says("{}"))
	w.start("beyond", 1, says("{}"))
	w.traffic("m", all(1))
	w.traffic("beyond", all(1))
	for range 3 {
		w.call("m/predict", "{}")
		w.call("beyond/predict", "{}")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.Metric {
			var labels []string
			for _, l := range metric.Label {
				labels = append(labels, l.GetValue())
			}
			value := metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			found[strings.TrimPrefix(family.GetName(), "modelmanager_gateway_")+" "+strings.Join(labels, ",")] = value
		}
	}
	for name, want := range map[string]float64{
		"requests_total 2xx,m,1": 3, "requests_total 2xx,,": 3, "request_seconds m,1": 3, "request_seconds ,": 3,
		"ready_replicas m,1": 1, "in_flight m,1": 0, "active_versions ": 2, "activations_total ": 0,
	} {
		if got, ok := found[name]; !ok || got != want {
			t.Errorf("%s: %v, want %v in %v", name, got, want, found)
		}
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t, Limits{})
	r, _ := w.start("m", 1, http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
		if request.Method != "GET" || request.URL.Path != agent.PathStatus || request.Header.Get("Authorization") != "Bearer secret" {
			http.Error(rw, "no", http.StatusForbidden)
			return
		}
		rw.Write([]byte(`{"stage": "ready", "in_flight": 2, "waiting": 1, "calls": 7}`))
	}))
	status, err := w.gateway.Status(context.Background(), r)
	if err != nil || status.InFlight != 2 || status.Waiting != 1 || status.Calls != 7 {
		t.Errorf("%+v %v", status, err)
	}
	w.report(r, true)
	if _, err := w.gateway.Status(context.Background(), r); modelmanager.CodeOf(err) != modelmanager.CodeNotFound {
		t.Errorf("a replica that is gone: %v", err)
	}
}
