package gateway

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// Pending says who answers a model's calls while its setting of traffic isn't
// in force yet because a version of it isn't ready, and why; nil if it is in
// force. Of a model that nobody has called lately, only the history tells what
// answers meanwhile: with the setting in force alone, nothing is pending.
func (g *Gateway) Pending(model modelmanager.Model) *modelmanager.Pending {
	select {
	case <-g.synced:
	default:
		return nil // what runs isn't known yet
	}
	wanted := model.Traffic()
	if model.Retired != nil || len(wanted.Versions) == 0 || len(model.Serve) > 0 && !slices.Contains(model.Serve, modelmanager.RealTime) {
		return nil
	}
	before, met := g.answering(model.Name)
	chosen, held := inForce(model.History, before, time.Now(), readiness{
		ready:  func(n int) bool { v := g.known(model.Name, n); return v != nil && v.isReady() },
		failed: func(n int) bool { v := g.known(model.Name, n); return v != nil && v.isFailed() },
	})
	if !held {
		return nil
	}
	pending := &modelmanager.Pending{}
	for _, share := range chosen.Versions {
		if share.Percent > 0 {
			pending.Answering = append(pending.Answering, share)
		}
	}
	for _, share := range wanted.Versions {
		v := g.known(model.Name, share.Version)
		if share.Percent == 0 || v != nil && v.isReady() {
			continue
		}
		pending.Reason = g.whyPending(platform.Ref{Model: model.Name, Version: share.Version}, met || v != nil, pending.Answering)
		break
	}
	return pending
}

// answering returns what answers a model's calls on this server, as far as it
// has had any lately.
func (g *Gateway) answering(model string) (setting *modelmanager.Traffic, met bool) {
	found, loaded := g.table.routes.Load(model)
	if !loaded {
		return nil, false
	}
	r := found.(*route)
	if r.state.Load() == nil {
		return nil, false
	}
	return &r.settle(g).inForce, true
}

// known returns a version that the table has; nil: it has none, and so no replica.
func (g *Gateway) known(model string, number int) *version {
	if v, found := g.table.versions.Load(platform.Ref{Model: model, Version: number}); found {
		return v.(*version)
	}
	return nil
}

// whyPending says what a setting waits for, and who answers meanwhile; begun
// tells whether somebody has the version started.
func (g *Gateway) whyPending(ref platform.Ref, begun bool, answering []modelmanager.Share) string {
	names, verb := make([]string, len(answering)), "goes"
	for i, share := range answering {
		names[i] = fmt.Sprintf("version %d", share.Version)
	}
	if len(names) > 1 {
		verb = "go"
	}
	who := strings.Join(names, " and ")
	if stage, _ := g.platform.Stage(ref); stage == agent.StageFailed {
		return fmt.Sprintf("%s; it is being tried again, and %s %s on answering", g.doing(ref), who, verb)
	}
	if !begun {
		return fmt.Sprintf("version %d starts with the next call; %s %s on answering until it is ready", ref.Version, who, verb)
	}
	return fmt.Sprintf("%s; %s %s on answering until then", g.doing(ref), who, verb)
}
