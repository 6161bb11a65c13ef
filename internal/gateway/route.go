package gateway

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/platform"
)

// route says where a model's calls go. Its state is replaced, never changed.
type route struct {
	name     string
	lastCall atomic.Int64
	state    atomic.Pointer[routeState] // nil until the model has been read

	mu      sync.Mutex // held while the state is replaced
	model   modelmanager.Model
	changed bool // the registry told of a change while the model was being read
}

type routeState struct {
	refusal error // of every call: the model is retired
	byShare error // of calls by traffic: there is none, or it isn't served so
	latest  int   // the highest number of a version

	inForce modelmanager.Traffic
	split   []weight
	shadow  *version // nil: none
	pending *pending // nil: inForce is what was asked for
}

// weight is a version's share of the calls.
type weight struct {
	version *version
	percent int
}

// pending is a setting that waits for its versions to be ready.
type pending struct {
	wanted modelmanager.Traffic
	cold   []*version // its versions
}

func (s *routeState) each(do func(*version)) {
	for _, w := range s.split {
		do(w.version)
	}
	if s.shadow != nil {
		do(s.shadow)
	}
	if s.pending != nil {
		for _, v := range s.pending.cold {
			do(v)
		}
	}
}

// route finds the version that answers a call, and counts the call as its.
func (c *call) route(model string, number int) error {
	for {
		r, state, err := c.g.stateOf(c.r.Context(), model, c.deadline)
		if err != nil {
			return err
		}
		now := c.started.UnixNano()
		if now-r.lastCall.Load() > int64(time.Second) {
			r.lastCall.Store(now) // not on every call: the cache line is everybody's
		}
		if state.refusal != nil {
			return state.refusal
		}
		v, err := c.g.choose(c, state, platform.Ref{Model: model, Version: number})
		if err != nil {
			return err
		}
		if v.enter() {
			c.version = v
			return nil
		}
		r.rebuild(c.g) // the version was forgotten in between
	}
}

func (g *Gateway) choose(c *call, state *routeState, ref platform.Ref) (*version, error) {
	if ref.Version != 0 {
		if ref.Version < 0 || ref.Version > state.latest {
			return nil, modelmanager.Errorf(modelmanager.CodeNotFound, "%s has no version %d; its latest is %d", ref.Model, ref.Version, state.latest)
		}
		return g.table.version(ref), nil
	}
	if state.byShare != nil {
		return nil, state.byShare
	}
	c.shadow = state.shadow
	if len(state.split) == 1 {
		return state.split[0].version, nil
	}
	if keys := c.r.Header[headerKey]; len(keys) > 0 && keys[0] != "" {
		return stick(state.split, ref.Model, keys[0]), nil
	}
	return draw(state.split), nil
}

// stateOf returns a model's route as it is now.
func (g *Gateway) stateOf(ctx context.Context, model string, deadline time.Time) (*route, *routeState, error) {
	found, ok := g.table.routes.Load(model)
	if !ok {
		return g.open(ctx, model, deadline)
	}
	r := found.(*route)
	state := r.state.Load()
	if state == nil {
		return g.open(ctx, model, deadline)
	}
	if state.pending != nil {
		state = r.settle(g)
	}
	return r, state, nil
}

// open reads a model into the table: with its history, which changes told of
// later don't have, and which says what was in force before.
func (g *Gateway) open(ctx context.Context, name string, deadline time.Time) (*route, *routeState, error) {
	if err := g.awaitSync(ctx, deadline); err != nil {
		return nil, nil, err
	}
	found, _ := g.table.routes.LoadOrStore(name, &route{name: name})
	r := found.(*route)
	for {
		r.mu.Lock()
		r.changed = false
		r.mu.Unlock()
		model, err := g.registry.Get(ctx, name)
		if err != nil {
			if r.state.Load() == nil {
				g.table.routes.CompareAndDelete(name, found)
			}
			return nil, nil, err
		}
		r.mu.Lock()
		if r.state.Load() == nil && !r.changed {
			r.model = model
			r.lastCall.Store(time.Now().UnixNano())
			r.replace(g)
		}
		state := r.state.Load()
		r.mu.Unlock()
		if state != nil {
			return r, state, nil
		}
	}
}

// awaitSync waits until the replicas there are are known: without them, an old
// version that answers can't be told from a cold one.
func (g *Gateway) awaitSync(ctx context.Context, deadline time.Time) error {
	select {
	case <-g.synced:
		return nil
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-g.synced:
		return nil
	case <-ctx.Done():
		return &modelmanager.Error{Code: modelmanager.CodeCancelled, Detail: "the caller went away before the answer", Err: context.Cause(ctx)}
	case <-timer.C:
		return retryLater(modelmanager.CodeUnavailable, time.Second,
			"this server has only just started, and doesn't know yet what is running; try again in a second")
	}
}

// told takes in a model's new record.
func (r *route) told(g *Gateway, model modelmanager.Model) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed = true
	if r.state.Load() == nil {
		return // open reads it again
	}
	r.model = model
	r.replace(g)
}

// rebuild looks the versions up again.
func (r *route) rebuild(g *Gateway) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replace(g)
}

// settle looks whether a pending setting can come into force, and keeps its
// versions starting.
func (r *route) settle(g *Gateway) *routeState {
	state := r.state.Load()
	if state.pending == nil {
		return state
	}
	if !slices.ContainsFunc(state.pending.cold, func(v *version) bool { return !v.isReady() }) || !anyReady(state.split) {
		r.rebuild(g)
		return r.state.Load()
	}
	for _, v := range state.pending.cold {
		g.warm(v)
	}
	return state
}

func anyReady(split []weight) bool {
	return slices.ContainsFunc(split, func(w weight) bool { return w.version.isReady() })
}

// replace makes the state anew; r.mu is held.
func (r *route) replace(g *Gateway) {
	version := func(n int) *version { return g.table.version(platform.Ref{Model: r.name, Version: n}) }
	state := &routeState{latest: r.model.Latest}
	var before *modelmanager.Traffic
	if old := r.state.Load(); old != nil {
		before = &old.inForce
	}
	switch {
	case r.model.Retired != nil:
		state.refusal = modelmanager.Errorf(modelmanager.CodeRetired,
			"model %s is retired%s; its versions are kept, but answer no more", r.name, because(r.model.Retired.Reason))
	case len(r.model.Serve) > 0 && !slices.Contains(r.model.Serve, modelmanager.RealTime):
		state.byShare = modelmanager.Errorf(modelmanager.CodeNotServed,
			"model %s doesn't answer single calls, only jobs; submit one with POST /v1/models/%s/jobs, or ask its owner to add realtime to serve in its model.yaml", r.name, r.name)
	case len(r.model.Traffic().Versions) == 0:
		state.byShare = modelmanager.Errorf(modelmanager.CodeConflict,
			"model %s has no version in production; promote one, or call a version by its number", r.name)
	default:
		chosen, held := inForce(r.model.History, before, time.Now(), readiness{
			ready:  func(n int) bool { return version(n).isReady() },
			failed: func(n int) bool { return version(n).isFailed() },
		})
		state.inForce = chosen
		for _, share := range chosen.Versions {
			if share.Percent > 0 {
				state.split = append(state.split, weight{version(share.Version), share.Percent})
			}
		}
		wanted := r.model.Traffic()
		if wanted.Shadow != 0 {
			state.shadow = version(wanted.Shadow)
		}
		if held {
			state.pending = &pending{wanted: wanted}
			for _, share := range wanted.Versions {
				if share.Percent > 0 {
					state.pending.cold = append(state.pending.cold, version(share.Version))
				}
			}
		}
	}
	r.state.Store(state)
	if state.pending != nil {
		for _, v := range state.pending.cold {
			g.warm(v)
		}
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}
