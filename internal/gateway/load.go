package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/gateway/upstream"
	"modelmanager.dev/internal/platform"
)

// Load is what this gateway has of a version: calls under way, of them those
// that wait for a replica, and when the last one began or ended.
type Load struct {
	Ref      platform.Ref `json:"ref"`
	InFlight int          `json:"in_flight"`
	Waiting  int          `json:"waiting"`
	LastCall time.Time    `json:"last_call"` // zero before the first
	// Wanted versions shall take traffic, and are not ready yet, or take it until
	// others are.
	Wanted bool `json:"wanted,omitempty"`
}

// Load tells of every active version; the leader adds up what all servers tell.
func (g *Gateway) Load() []Load {
	wanted := map[*version]bool{}
	g.table.eachRoute(func(r *route) {
		if state := r.state.Load(); state != nil && state.pending != nil {
			state.each(func(v *version) { wanted[v] = true })
		}
	})
	var loads []Load
	g.table.eachVersion(func(v *version) {
		waiting := int(v.waiting.Load())
		load := Load{Ref: v.ref, InFlight: max(int(v.calls.Load())-waiting, 0), Waiting: waiting, Wanted: wanted[v]}
		if last := v.lastCall.Load(); v.counter.Called() {
			load.LastCall = time.Unix(0, last)
		}
		loads = append(loads, load)
	})
	return loads
}

const maxStatus = 64 << 10

// Status asks one replica's agent how it does.
func (g *Gateway) Status(ctx context.Context, r platform.Replica) (agent.Status, error) {
	pool, header := g.poolOf(r)
	if pool == nil {
		return agent.Status{}, modelmanager.Errorf(modelmanager.CodeNotFound, "asking %s for its status: there is no such replica", r.ID)
	}
	deadline := time.Now().Add(2 * time.Second)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	reply, err := pool.Do(ctx, &upstream.Request{Method: http.MethodGet, Path: agent.PathStatus, Header: header, Deadline: deadline})
	if err != nil {
		return agent.Status{}, modelmanager.Errorf(modelmanager.CodeUnavailable, "asking %s for its status: %w", r.ID, err)
	}
	defer reply.Close()
	body, err := io.ReadAll(io.LimitReader(reply, maxStatus))
	if err != nil || reply.Status != http.StatusOK {
		return agent.Status{}, modelmanager.Errorf(modelmanager.CodeUnavailable, "asking %s for its status: it answered %d (%v)", r.ID, reply.Status, err)
	}
	var status agent.Status
	if err := json.Unmarshal(body, &status); err != nil {
		return agent.Status{}, modelmanager.Errorf(modelmanager.CodeInternal, "asking %s for its status: %w", r.ID, err)
	}
	return status, nil
}

func (g *Gateway) poolOf(r platform.Replica) (*upstream.Pool, []byte) {
	found, ok := g.table.versions.Load(r.Ref)
	if !ok {
		return nil, nil
	}
	v := found.(*version)
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.replicas[r.ID]
	if known == nil || known.Address == "" {
		return nil, nil
	}
	return known.pool, known.header
}
