package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/peers"
	"modelmanager.dev/internal/platform"
	"modelmanager.dev/internal/problem"
	store "modelmanager.dev/internal/registry/memory"
)

// neverLeads never leads.
type neverLeads struct{}

func (neverLeads) Run(ctx context.Context, _ func(context.Context) error) error {
	<-ctx.Done()
	return nil
}

// knows finds servers that are known only later.
type knows struct{ other atomic.Pointer[peers.Peer] }

func (k *knows) Peers(context.Context) ([]peers.Peer, error) {
	if other := k.other.Load(); other != nil {
		return []peers.Peer{*other}, nil
	}
	return nil, nil
}

// TestALeaderHearsOfCallsThatOthersAnswered: the server that leads a canary has
// no calls; the one that has them doesn't lead.
func TestALeaderHearsOfCallsThatOthersAnswered(t *testing.T) {
	shared := store.New()
	predict := func(workload platform.Workload, w http.ResponseWriter, _ *http.Request) {
		if workload.Version.Number == 2 {
			problem.Write(w, modelmanager.Errorf(modelmanager.CodeModelError, "it is bad"))
			return
		}
		_, _ = io.WriteString(w, `{"predictions":[{"y":4}]}`)
	}
	var ofLeader, ofOther knows
	leads := startAs(t, predict, nil, func(c *Config) { c.Store, c.Peers = shared, &ofLeader })
	answers := startAs(t, predict, nil, func(c *Config) { c.Store, c.Peers, c.Elector = shared, &ofOther, neverLeads{} })
	ofLeader.other.Store(&peers.Peer{URL: "http://" + answers.internal.Addr().String()})
	ofOther.other.Store(&peers.Peer{URL: "http://" + leads.internal.Addr().String()})
	canary := strings.Replace(model, "run:", "rollout: {strategy: canary, steps: [50], pause: 1h}\nrun:", 1)
	leads.publish(t)
	if result := leads.publishAs(t, canary, "sha256:other"); result.Version != 2 || result.Percent != 50 {
		t.Fatalf("%+v", result)
	}

	var back modelmanager.Traffic
	for end := time.Now().Add(time.Minute); ; {
		response, err := http.Post("http://"+answers.Address()+"/v1/models/doubler/predict", "application/json", strings.NewReader(`{"rows":[{"x":2}]}`))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		record, err := leads.registry.Get(t.Context(), "doubler")
		if err != nil {
			t.Fatal(err)
		}
		if back = record.Traffic(); len(back.Versions) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the canary is where it was: %+v", back)
		}
	}
	if back.Versions[0].Version != 1 || back.By != modelmanager.ByRollout || !strings.Contains(back.Reason, "of back_when.errors") {
		t.Errorf("%+v", back)
	}
	// Both tell the same of what was called through one of them.
	for name, s := range map[string]*world{"leader": leads, "other": answers} {
		now := s.activity.Now(t.Context())
		if len(now.Versions) != 2 || now.Versions[1].Version != 2 || now.Versions[1].Errors == 0 || now.Incomplete != "" {
			t.Errorf("%s: %+v", name, now)
		}
	}
}
