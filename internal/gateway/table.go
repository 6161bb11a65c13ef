package gateway

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"modelmanager.dev"
	"modelmanager.dev/internal/activity"
	"modelmanager.dev/internal/platform"
)

// table holds what is active: the models that were called lately and the
// versions that have replicas or calls. All other models cost nothing here.
// Reading takes no lock.
type table struct {
	routes   sync.Map // model name → *route
	versions sync.Map // platform.Ref → *version

	mu       sync.Mutex // creation and removal
	labels   int        // versions that may have metrics of their own
	labelled int
	recorder *activity.Recorder
	rest     activity.Totals // of the versions that are no longer here
}

func (t *table) version(ref platform.Ref) *version {
	if v, ok := t.versions.Load(ref); ok {
		return v.(*version)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := t.versions.Load(ref); ok {
		return v.(*version)
	}
	v := newVersion(ref, t.recorder.Counter(ref))
	if t.labelled < t.labels {
		t.labelled++
		v.labelled = true
	}
	t.versions.Store(ref, v)
	return v
}

func (t *table) eachVersion(do func(*version)) {
	t.versions.Range(func(_, v any) bool {
		do(v.(*version))
		return true
	})
}

func (t *table) eachRoute(do func(*route)) {
	t.routes.Range(func(_, r any) bool {
		do(r.(*route))
		return true
	})
}

// evict removes routes that weren't called since a time, and versions that
// nothing needs.
func (t *table) evict(before time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	used := map[*version]bool{}
	t.eachRoute(func(r *route) {
		state := r.state.Load()
		if state != nil && state.pending == nil && r.lastCall.Load() < before.UnixNano() {
			t.routes.Delete(r.name)
			return
		}
		if state != nil {
			state.each(func(v *version) { used[v] = true })
		}
	})
	t.eachVersion(func(v *version) {
		if used[v] || v.lastCall.Load() >= before.UnixNano() || !v.evict() {
			return
		}
		t.versions.Delete(v.ref)
		if v.labelled {
			t.labelled--
		}
		v.counter.MoveTo(&t.rest)
	})
}

func (t *table) close() {
	t.eachVersion(func(v *version) { v.close() })
}

// How long a model without calls stays in the table, and a connection without
// use in its pool.
const (
	activeFor = 15 * time.Minute
	connFor   = 30 * time.Second
)

// sweep forgets what is no longer needed.
func (g *Gateway) sweep() {
	tick := time.NewTicker(connFor / 2)
	defer tick.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case now := <-tick.C:
			g.table.eachVersion(func(v *version) { v.closeIdle(now.Add(-connFor)) })
			g.table.evict(now.Add(-activeFor))
			g.table.recorder.Sweep(now)
		}
	}
}

// replicaChanged takes in what the platform tells.
func (g *Gateway) replicaChanged(event platform.ReplicaEvent) {
	if event.Synced {
		g.sync.Do(func() { close(g.synced) })
		return
	}
	for !g.table.version(event.Replica.Ref).apply(event, g.upstream) {
		runtime.Gosched() // it is being removed at this moment
	}
}

// modelChanged takes in what the registry tells. Models that nobody calls are
// read when somebody does.
func (g *Gateway) modelChanged(model modelmanager.Model) {
	if r, ok := g.table.routes.Load(model.Name); ok {
		r.(*route).told(g, model)
	}
}

// counter is an atomic count that is only ever added to.
type counter = atomic.Int64
