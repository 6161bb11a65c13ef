package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/agent"
	"modelmanager.dev/internal/platform"
)

// ensureEvery is how often the platform is asked again for a replica that
// somebody waits for: the one it started may have been scaled away.
const ensureEvery = time.Second

// awaitReplica waits until the version has a ready replica other than avoid.
func (c *call) awaitReplica(avoid *replica) error {
	v := c.version
	if v.pick(avoid) != nil {
		return nil
	}
	if v.waiting.Add(1) > int64(c.g.limits.Queue) {
		v.waiting.Add(-1)
		c.g.metrics.overflow.Add(1)
		return retryLater(modelmanager.CodeTooManyRequests, retryAfter,
			"%s; %d calls already wait for it, the limit; try again in %s", c.g.progress(v.ref), c.g.limits.Queue, retryAfter)
	}
	defer v.waiting.Add(-1)
	c.g.metrics.activations.Add(1)
	timer := time.NewTimer(time.Until(c.deadline))
	defer timer.Stop()
	again := time.NewTicker(ensureEvery)
	defer again.Stop()
	for {
		changed := v.change()
		if avoid != nil && !v.has(avoid) {
			avoid = nil // should it come back, it is as good as any
		}
		if v.pick(avoid) != nil {
			return nil
		}
		if err := c.g.ensure(c.r.Context(), v); err != nil {
			return err
		}
		if stage, reason := c.g.platform.Stage(v.ref); stage == agent.StageFailed && v.isFailed() {
			return retryLater(modelmanager.CodeUnavailable, failedRetryAfter,
				"%s version %d can't start: %s; see its logs; it is being tried again", v.ref.Model, v.ref.Version, reason)
		}
		select {
		case <-changed:
		case <-again.C:
		case <-c.r.Context().Done():
			return c.cancelled()
		case <-c.g.ctx.Done():
			return c.g.refusal()
		case <-timer.C:
			return retryLater(modelmanager.CodeUnavailable, retryAfter,
				"%s; it was not ready within the %s that this call may wait; try again in %s, or wait longer with the header Prefer: wait=N (at most %d)",
				c.g.progress(v.ref), c.wait, retryAfter, int(c.g.limits.MaxWait/time.Second))
		}
	}
}

// When to come back to a version that is starting, and to one that can't.
const (
	retryAfter       = 5 * time.Second
	failedRetryAfter = 30 * time.Second
)

// progress says what a version that isn't ready is doing.
func (g *Gateway) progress(ref platform.Ref) string {
	return ref.Model + " " + g.doing(ref)
}

// doing is progress among a model's own versions.
func (g *Gateway) doing(ref platform.Ref) string {
	stage, reason := g.platform.Stage(ref)
	doing := map[agent.Stage]string{
		agent.StageScheduling: "is waiting for a place to run",
		agent.StagePulling:    "is fetching what it is made of",
		agent.StagePreparing:  "is building its environment",
		agent.StageStarting:   "is starting its agent",
		agent.StageLoading:    "is loading its model",
		agent.StageReady:      "is about to answer",
		agent.StageStopping:   "is stopping",
	}[stage]
	switch {
	case stage == agent.StageFailed:
		doing = "can't start: " + reason
	case reason != "" && reason != platform.StageReason(stage):
		doing += ": " + reason
	}
	return fmt.Sprintf("version %d %s", ref.Version, doing)
}

// ensure asks the platform for a replica, at most once in ensureEvery for all
// that wait.
func (g *Gateway) ensure(ctx context.Context, v *version) error {
	v.mu.Lock()
	now := time.Now()
	if now.Sub(v.ensured) < ensureEvery {
		v.mu.Unlock()
		return nil
	}
	v.ensured = now
	v.mu.Unlock()
	workload, err := g.load(ctx, v)
	if err == nil {
		err = g.platform.Ensure(ctx, *workload)
	}
	if err != nil {
		v.mu.Lock()
		v.ensured = time.Time{} // the next caller hears the same, not silence
		v.mu.Unlock()
	}
	return err
}

// load returns what runs a version; it never changes, and so is read once.
func (g *Gateway) load(ctx context.Context, v *version) (*platform.Workload, error) {
	if w := v.workload.Load(); w != nil {
		return w, nil
	}
	workload, err := g.workload(ctx, v.ref)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(workload.Spec.Serve, modelmanager.RealTime) {
		return nil, modelmanager.Errorf(modelmanager.CodeNotServed,
			"%s version %d doesn't answer single calls, only jobs; submit one with POST /v1/models/%s/jobs", v.ref.Model, v.ref.Version, v.ref.Model)
	}
	v.workload.Store(&workload)
	return &workload, nil
}

// warm starts a version that nobody waits for.
func (g *Gateway) warm(v *version) {
	v.mu.Lock()
	due := !v.isReady() && time.Since(v.ensured) >= ensureEvery
	v.mu.Unlock()
	if !due || g.draining.Load() {
		return
	}
	g.tasks.Go(func() {
		if err := g.ensure(g.ctx, v); err != nil && g.ctx.Err() == nil {
			g.log.Warn("a version that shall take traffic can't be started", "model", v.ref.Model, "version", v.ref.Version, "error", err)
		}
	})
}
